//! Reading jobs: one by its id, many by their state.

use axum::extract::State;
use clipbase::Cursor;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::view::{JobStatusName, JobView};
use crate::envelope::{Answer, ApiError, ApiResult};
use crate::extract::{Params, PathJob};
use crate::openapi::Success;
use crate::router::App;

/// How many jobs a page has unless asked otherwise.
const LIMIT_DEFAULT: u32 = 50;

/// Which page of which list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListParams {
    /// The state of the jobs; every state unless given.
    #[param(nullable = false, inline)]
    status: Option<JobStatusName>,
    /// How many jobs, 50 unless given.
    #[param(minimum = 1, maximum = 1000, nullable = false)]
    limit: Option<u32>,
    /// Where the page starts: `next` of the page before.
    #[param(nullable = false, pattern = "^[0-9]{1,16}-[0-9a-f]{32}$")]
    cursor: Option<String>,
}

/// A page of jobs.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
pub(crate) struct JobPage {
    /// The jobs, newest first.
    jobs: Vec<JobView>,
    /// Pass this as `cursor` to read on; null at the end.
    next: Option<String>,
}

/// Reads a job.
#[utoipa::path(get, path = "/v1/jobs/{id}", operation_id = "getJob", tag = "jobs",
    params(("id" = uuid::Uuid, Path, description = "The job.")),
    responses((status = 200, description = "The job as it is now.", body = Success<JobView>)))]
pub(crate) async fn get(
    State(app): State<App>,
    PathJob(id): PathJob,
) -> ApiResult<Answer<JobView>> {
    let job = app.clipbase.jobs().get(id).await?;
    job.map(|job| Answer(job.into()))
        .ok_or_else(ApiError::job_not_found)
}

/// Lists the jobs of a state, or of all, newest first.
///
/// A page costs the same wherever it lies.
#[utoipa::path(get, path = "/v1/jobs", operation_id = "listJobs", tag = "jobs",
    params(ListParams),
    responses((status = 200, description = "A page of jobs.", body = Success<JobPage>)))]
pub(crate) async fn list(
    State(app): State<App>,
    Params(params): Params<ListParams>,
) -> ApiResult<Answer<JobPage>> {
    let after: Option<Cursor> = params.cursor.map(|text| text.parse()).transpose()?;
    let limit = params.limit.unwrap_or(LIMIT_DEFAULT);
    read_page(&app, params.status, limit, after)
        .await
        .map(Answer)
}

/// A page of a list.
pub(crate) async fn read_page(
    app: &App,
    status: Option<JobStatusName>,
    limit: u32,
    after: Option<Cursor>,
) -> ApiResult<JobPage> {
    let jobs = app.clipbase.jobs();
    let page = match status {
        Some(status) => jobs.list_by_status(status.into(), limit, after).await?,
        None => jobs.list(limit, after).await?,
    };
    Ok(JobPage {
        jobs: page.jobs.into_iter().map(JobView::from).collect(),
        next: page.next.map(|cursor| cursor.to_string()),
    })
}
