//! Acting on one job: cancel, retry, delete.

use axum::extract::State;
use clipbase::jobs::Canceled;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::view::JobView;
use crate::envelope::{Answer, ApiResult};
use crate::extract::PathJob;
use crate::openapi::Success;
use crate::router::App;

/// A job that is gone.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Deleted {
    /// The job.
    id: Uuid,
}

/// Cancels a job: at once while it is queued, at its worker's next heartbeat while it is processing.
///
/// A second cancel changes nothing and succeeds.
#[utoipa::path(post, path = "/v1/jobs/{id}/cancel", operation_id = "cancelJob", tag = "jobs",
    params(("id" = uuid::Uuid, Path, description = "The job.")),
    responses((status = 200, description = "The job: failed with `CANCELED`, or about to be.", body = Success<JobView>)))]
pub(crate) async fn cancel(
    State(app): State<App>,
    PathJob(id): PathJob,
) -> ApiResult<Answer<JobView>> {
    let (Canceled::Ended(job) | Canceled::Requested(job)) = app.clipbase.jobs().cancel(id).await?;
    Ok(Answer((*job).into()))
}

/// Gives a failed job a fresh start.
#[utoipa::path(post, path = "/v1/jobs/{id}/retry", operation_id = "retryJob", tag = "jobs",
    params(("id" = uuid::Uuid, Path, description = "The job.")),
    responses((status = 200, description = "The job, queued again.", body = Success<JobView>)))]
pub(crate) async fn retry(
    State(app): State<App>,
    PathJob(id): PathJob,
) -> ApiResult<Answer<JobView>> {
    Ok(Answer(app.clipbase.jobs().retry(id).await?.into()))
}

/// Deletes a job with its events; its objects are removed by the next clean-up.
#[utoipa::path(delete, path = "/v1/jobs/{id}", operation_id = "deleteJob", tag = "jobs",
    params(("id" = uuid::Uuid, Path, description = "The job.")),
    responses((status = 200, description = "The job is gone.", body = Success<Deleted>)))]
pub(crate) async fn delete(
    State(app): State<App>,
    PathJob(id): PathJob,
) -> ApiResult<Answer<Deleted>> {
    app.clipbase.jobs().delete(id).await?;
    Ok(Answer(Deleted { id: id.as_uuid() }))
}
