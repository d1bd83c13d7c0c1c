//! Where a job's clip and subtitles can be fetched.

use std::time::Duration;

use axum::extract::State;
use clipbase::storage::{DownloadName, SignOptions, SignedUrl, StorageKey};
use clipbase::{Code, Job, JobStatus};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::clock::ends_at;
use crate::envelope::{Answer, ApiError, ApiResult, HttpCode};
use crate::extract::{Params, PathJob};
use crate::openapi::Success;
use crate::router::App;

/// The longest name that a client may give a file, without its ending.
const NAME_CHARS_MAX: usize = 200;

/// How the links are to be signed.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ResultParams {
    /// How many seconds the links last: 600 unless given. The installation sets the bounds, 300 to 900 by default.
    #[param(nullable = false, example = 600)]
    ttl: Option<u64>,
    /// Makes browsers save the files under this name, with `.mp4` and `.srt` at its end.
    #[param(
        nullable = false,
        min_length = 1,
        max_length = 200,
        pattern = "^[^/\"\\\\\\x00-\\x1f]+$",
        example = "holiday"
    )]
    name: Option<String>,
}

/// A signed link. Whoever has it may read this one object until it ends.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Link {
    /// The link.
    url: String,
    /// How many seconds it lasts.
    #[schema(example = 600)]
    expires_in: u64,
    /// When it ends.
    expires_at: Timestamp,
}

/// What a job made.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct JobResult {
    /// The job.
    id: Uuid,
    /// The clip.
    video: Link,
    /// Its subtitles, when there are any.
    subtitles: Option<Link>,
    /// When the job and its objects may be removed; null keeps them.
    kept_until: Option<Timestamp>,
}

/// Signs links to a job's clip and subtitles.
#[utoipa::path(get, path = "/v1/jobs/{id}/result", operation_id = "getResult", tag = "jobs",
    params(("id" = uuid::Uuid, Path, description = "The job."), ResultParams),
    responses((status = 200, description = "The links.", body = Success<JobResult>)))]
pub(crate) async fn get(
    State(app): State<App>,
    PathJob(id): PathJob,
    Params(params): Params<ResultParams>,
) -> ApiResult<Answer<JobResult>> {
    let bounds = app.options.link_ttl;
    let ttl = match params.ttl {
        Some(seconds) => bounds.ttl(Duration::from_secs(seconds))?,
        None => bounds.default_ttl(),
    };
    let outcome = app.clipbase.jobs().outcome(id).await?;
    let outcome = outcome.ok_or_else(ApiError::job_not_found)?;
    check_done(&outcome.job, outcome.is_expired)?;
    let job = outcome.job;
    let video = key_of(job.result_video_key.as_deref())?.ok_or_else(inconsistent)?;
    let srt = key_of(job.result_srt_key.as_deref())?;
    let sign = |key: StorageKey, ending: &str| {
        let name = params.name.as_ref().map(|name| named(name, ending));
        let app = app.clone();
        async move {
            let options = SignOptions {
                ttl,
                download_name: name.transpose()?,
            };
            let link = app.clipbase.storage().sign(&key, &options).await?;
            ApiResult::Ok(Link::from(link))
        }
    };
    let subtitles = async {
        match srt {
            Some(key) => sign(key, "srt").await.map(Some),
            None => Ok(None),
        }
    };
    let (video, subtitles) = tokio::try_join!(sign(video, "mp4"), subtitles)?;
    Ok(Answer(JobResult {
        id: job.id.as_uuid(),
        video,
        subtitles,
        kept_until: job.expires_at,
    }))
}

fn check_done(job: &Job, is_expired: bool) -> ApiResult<()> {
    match job.status {
        JobStatus::Queued | JobStatus::Processing => Err(ApiError::new(
            HttpCode::JobNotDone,
            "the job has no result yet; follow its events",
        )),
        JobStatus::Failed => Err(ApiError::new(
            HttpCode::JobFailed,
            "the job failed and has no result; its `error` says why",
        )),
        JobStatus::Done if is_expired => Err(ApiError::new(
            HttpCode::ResultExpired,
            "the job's time is up and its result is being removed",
        )),
        JobStatus::Done => Ok(()),
    }
}

fn named(name: &str, ending: &str) -> ApiResult<DownloadName> {
    DownloadName::new(&format!("{name}.{ending}"))
        .ok()
        .filter(|_| (1..=NAME_CHARS_MAX).contains(&name.chars().count()))
        .ok_or_else(|| {
            ApiError::invalid(
                "name",
                "must be 1 to 200 characters, at most 251 bytes, without slashes, quotes or control characters",
            )
        })
}

fn key_of(text: Option<&str>) -> ApiResult<Option<StorageKey>> {
    text.map(|text| text.parse().map_err(|_| inconsistent()))
        .transpose()
}

/// Another client wrote a key that is none.
fn inconsistent() -> ApiError {
    ApiError::new(
        Code::DbInconsistent,
        "the job names a result that is none of clipbase's",
    )
}

impl From<SignedUrl> for Link {
    fn from(link: SignedUrl) -> Self {
        Self {
            url: link.expose().to_owned(),
            expires_in: link.lifetime().as_secs(),
            expires_at: ends_at(link.lifetime()),
        }
    }
}
