//! Creating a job, once for each idempotency key.

use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use clipbase::jobs::{Created, Idempotency};
use clipbase::storage::StorageKey;
use clipbase::{ClipRange, Error, Job, NewJob, Source};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde::Deserialize;
use utoipa::ToSchema;

use super::source::{SourceRequest, Wanted};
use super::time::ClipTime;
use super::view::{JobView, PriorityName};
use crate::access::Principal;
use crate::envelope::{Answer, ApiError, ApiResult};
use crate::extract::{JsonBody, Object, single_header};
use crate::observe::about;
use crate::openapi::Success;
use crate::router::App;

const IDEMPOTENCY_KEY: &str = "idempotency-key";
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// A job to create.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "source": {"upload": "0198c0de-0000-7000-8000-000000000000", "extension": "mp4"},
    "start": "00:00:05", "end": 12.5, "subtitles": true
}))]
pub(crate) struct NewJobRequest {
    #[schema(value_type = SourceRequest)]
    source: Object<SourceRequest>,
    start: ClipTime,
    end: ClipTime,
    /// Whether a subtitle file is wanted beside the clip.
    #[serde(default)]
    subtitles: bool,
    /// Whether the subtitles are drawn into the picture; needs `subtitles`.
    #[serde(default)]
    burn: bool,
    /// The language of the text track: `auto` unless given, or a tag such as `en`.
    #[schema(pattern = "^[A-Za-z0-9-]{1,16}$", example = "auto")]
    language: Option<String>,
    /// Which jobs go first: `normal` unless given.
    #[serde(default)]
    priority: PriorityName,
    /// Which workers it is for: 0 unless given.
    #[serde(default)]
    #[schema(minimum = 0)]
    shard: i32,
    /// How many seconds the job and its objects are kept; by the installation's rules unless given.
    #[schema(minimum = 1, maximum = 315_360_000)]
    expires_in: Option<u64>,
}

/// Creates a job.
///
/// Its source has to exist. With an `Idempotency-Key`, the same request again answers with the same job, and the
/// same key for another request is refused. Keys hold for a day.
#[utoipa::path(post, path = "/v1/jobs", operation_id = "createJob", tag = "jobs",
    request_body = NewJobRequest,
    params(("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 255, nullable = false,
        description = "A name for this request: repeating it makes no second job.")),
    responses((status = 202, description = "The job, queued; or as it is now, when the request was made before.",
        body = Success<JobView>,
        headers(
            ("Location" = String, description = "The job's own address."),
            ("Idempotency-Replayed" = Option<String>, description = "`true` when the job was made by an earlier request.")))))]
pub(crate) async fn create(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    headers: HeaderMap,
    JsonBody(request): JsonBody<NewJobRequest>,
) -> ApiResult<Response> {
    let key = single_header(&headers, IDEMPOTENCY_KEY)?.map(str::to_owned);
    let range = ClipRange::from_millis(request.start.0, request.end.0)?;
    let wanted = request.source.0.clone().check(&app)?;
    let draft = draft(&request, &wanted, range)?;
    about(draft.id);
    let idempotency = key.map(|key| {
        let named = Idempotency::new(principal.key_id, key);
        match wanted.about() {
            Some(text) => named.about(text),
            None => named,
        }
    });
    let created = make(&app, draft, &wanted, idempotency).await?;
    Ok(accepted(created))
}

/// The job as asked for; its source is filled in once it is known to exist.
fn draft(request: &NewJobRequest, wanted: &Wanted, range: ClipRange) -> ApiResult<NewJob> {
    let id = wanted.id();
    let source = match wanted {
        Wanted::Upload(_, key) => Source::Upload(key.clone()),
        Wanted::Youtube(url) => Source::Youtube(url.clone()),
        // Stands for a source that is copied: its place is not part of the request.
        Wanted::Job(_) => Source::Upload(StorageKey::source(id, "mp4")?),
    };
    if request.burn && !request.subtitles {
        return Err(ApiError::invalid("burn", "needs subtitles"));
    }
    let mut job = NewJob::new(id, source, range);
    job.with_subtitles = request.subtitles;
    job.burn_subtitles = request.burn;
    job.priority = request.priority.into();
    job.shard = request.shard;
    job.expires_in = request.expires_in.map(Duration::from_secs);
    if let Some(language) = &request.language {
        job.subtitle_lang.clone_from(language);
    }
    Ok(job)
}

async fn make(
    app: &App,
    mut job: NewJob,
    wanted: &Wanted,
    idempotency: Option<Idempotency>,
) -> ApiResult<Created> {
    let jobs = app.clipbase.jobs();
    let mut may_differ = false;
    // Before the source is looked at: it may be gone by now, and a copy would be made for nothing. An address is
    // not looked at, so `create_once` alone tells whether the request was made before.
    if let Some(request) = idempotency.as_ref().filter(|_| wanted.is_looked_at()) {
        match jobs.find_created(&job, request).await {
            Ok(None) => {}
            Ok(Some(known)) => return Ok(Created::Existing(known)),
            // An earlier job's source may turn out to be an address, which the draft cannot know.
            Err(Error::IdempotencyConflict) if matches!(wanted, Wanted::Job(_)) => {
                may_differ = true;
            }
            Err(error) => return Err(told(error)),
        }
    }
    let found = wanted.find(app, job.id).await?;
    job.source.clone_from(&found.source);
    if let Some(request) = idempotency.as_ref().filter(|_| may_differ)
        && let Some(known) = jobs.find_created(&job, request).await.map_err(told)?
    {
        return Ok(Created::Existing(known));
    }
    found.copy(app).await?;
    match &idempotency {
        Some(request) => jobs.create_once(&job, request).await,
        None => jobs.create(&job).await.map(Created::New),
    }
    .map_err(told)
}

/// The library's names of fields, as a request has them.
fn told(error: Error) -> ApiError {
    match error {
        Error::InvalidInput { field, problem } => {
            let name = match field {
                "subtitle_lang" => "language",
                "idempotency_key" => "Idempotency-Key",
                "source_url" => "source.youtube",
                other => other,
            };
            ApiError::invalid(name, &problem)
        }
        other => other.into(),
    }
}

fn accepted(created: Created) -> Response {
    let is_replay = matches!(created, Created::Existing(_));
    let job: Job = created.into_job();
    // An earlier request's job has another id than this one's draft.
    about(job.id);
    let location = format!("/v1/jobs/{}", job.id);
    let mut response = (StatusCode::ACCEPTED, Answer(JobView::from(job))).into_response();
    if let Ok(value) = HeaderValue::from_str(&location) {
        response.headers_mut().insert(header::LOCATION, value);
    }
    if is_replay {
        response
            .headers_mut()
            .insert(REPLAYED, HeaderValue::from_static("true"));
    }
    response
}
