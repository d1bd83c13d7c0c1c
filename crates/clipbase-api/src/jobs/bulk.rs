//! Many jobs at once, by a filter: cancel and retry, with a preview.

use axum::extract::State;
use clipbase::jobs::{BULK_MAX, JobFilter};
use clipbase::{Cursor, JobId, JobStatus};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::envelope::{Answer, ApiError, ApiResult};
use crate::extract::JsonBody;
use crate::openapi::Success;
use crate::router::App;

/// Which jobs to cancel.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"status": "queued", "created_before": "2026-01-01T00:00:00Z", "dry_run": true}))]
pub(crate) struct CancelFilter {
    status: Cancelable,
    /// Only jobs that were created before this time.
    created_before: Option<Timestamp>,
    /// How many jobs at most, 1,000 unless given.
    #[serde(default = "limit_default")]
    #[schema(minimum = 1, maximum = 1000)]
    limit: u32,
    /// Where the call before stopped: its `next`.
    #[schema(pattern = "^[0-9]{1,16}-[0-9a-f]{32}$")]
    cursor: Option<String>,
    /// Counts the jobs and leaves them alone.
    #[serde(default)]
    dry_run: bool,
}

/// A state that a cancel starts from.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Cancelable {
    /// Jobs that wait: they end at once.
    Queued,
    /// Jobs at work: their workers are told.
    Processing,
}

/// Which failed jobs to retry.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"error_code": "STORAGE_UNAVAILABLE", "limit": 100}))]
pub(crate) struct RetryFilter {
    /// Only jobs that failed for this reason.
    #[schema(min_length = 1, max_length = 64, pattern = "^[A-Za-z0-9_.-]+$")]
    error_code: Option<String>,
    /// Only jobs that were created before this time.
    created_before: Option<Timestamp>,
    /// How many jobs at most, 1,000 unless given.
    #[serde(default = "limit_default")]
    #[schema(minimum = 1, maximum = 1000)]
    limit: u32,
    /// Where the call before stopped: its `next`.
    #[schema(pattern = "^[0-9]{1,16}-[0-9a-f]{32}$")]
    cursor: Option<String>,
    /// Counts the jobs and leaves them alone.
    #[serde(default)]
    dry_run: bool,
}

const fn limit_default() -> u32 {
    BULK_MAX
}

/// What was done to many jobs.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Bulk {
    /// How many jobs the filter fitted in this call.
    matched: usize,
    /// How many of them were moved, or marked; 0 in a dry run. One that has moved on meanwhile is not counted.
    changed: usize,
    /// Whether nothing was changed on purpose.
    dry_run: bool,
    /// The jobs that were changed, or would be.
    jobs: Vec<Uuid>,
    /// Pass this as `cursor` to go on; null when every job was looked at. A call may match none and still have
    /// a next one.
    next: Option<String>,
}

/// Cancels the jobs that a filter fits, oldest first.
#[utoipa::path(post, path = "/v1/jobs/cancel", operation_id = "cancelJobs", tag = "bulk",
    request_body = CancelFilter,
    responses((status = 200, description = "What was done.", body = Success<Bulk>)))]
pub(crate) async fn cancel(
    State(app): State<App>,
    JsonBody(asked): JsonBody<CancelFilter>,
) -> ApiResult<Answer<Bulk>> {
    let filter = JobFilter {
        status: match asked.status {
            Cancelable::Queued => JobStatus::Queued,
            Cancelable::Processing => JobStatus::Processing,
        },
        error_code: None,
        created_before: asked.created_before,
    };
    let chosen = choose(&app, &filter, asked.limit, asked.cursor).await?;
    if asked.dry_run {
        return Ok(Answer(chosen.preview()));
    }
    let mut done = app.clipbase.jobs().cancel_many(&chosen.ids).await?;
    done.ended.append(&mut done.requested);
    Ok(Answer(chosen.report(&done.ended)))
}

/// Retries the failed jobs that a filter fits, oldest first.
#[utoipa::path(post, path = "/v1/jobs/retry", operation_id = "retryJobs", tag = "bulk",
    request_body = RetryFilter,
    responses((status = 200, description = "What was done.", body = Success<Bulk>)))]
pub(crate) async fn retry(
    State(app): State<App>,
    JsonBody(asked): JsonBody<RetryFilter>,
) -> ApiResult<Answer<Bulk>> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
    let code = asked.error_code.as_deref().unwrap_or("-");
    if !(1..=64).contains(&code.len()) || !code.bytes().all(plain) {
        let what = "must be 1 to 64 letters, digits, underscores, dots or hyphens";
        return Err(ApiError::invalid("error_code", what));
    }
    let filter = JobFilter {
        status: JobStatus::Failed,
        error_code: asked.error_code,
        created_before: asked.created_before,
    };
    let chosen = choose(&app, &filter, asked.limit, asked.cursor).await?;
    if asked.dry_run {
        return Ok(Answer(chosen.preview()));
    }
    let moved = app.clipbase.jobs().retry_many(&chosen.ids).await?;
    Ok(Answer(chosen.report(&moved)))
}

struct Chosen {
    ids: Vec<JobId>,
    next: Option<Cursor>,
}

async fn choose(
    app: &App,
    filter: &JobFilter,
    limit: u32,
    cursor: Option<String>,
) -> ApiResult<Chosen> {
    let after: Option<Cursor> = cursor.map(|text| text.parse()).transpose()?;
    let page = app.clipbase.jobs().select(filter, limit, after).await?;
    Ok(Chosen {
        ids: page.ids,
        next: page.next,
    })
}

impl Chosen {
    fn preview(&self) -> Bulk {
        self.bulk(0, true, &self.ids)
    }

    fn report(&self, moved: &[JobId]) -> Bulk {
        self.bulk(moved.len(), false, moved)
    }

    fn bulk(&self, changed: usize, dry_run: bool, jobs: &[JobId]) -> Bulk {
        Bulk {
            matched: self.ids.len(),
            changed,
            dry_run,
            jobs: jobs.iter().map(JobId::as_uuid).collect(),
            next: self.next.map(|cursor| cursor.to_string()),
        }
    }
}
