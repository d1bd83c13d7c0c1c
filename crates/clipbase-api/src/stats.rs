//! The queue in numbers.

use axum::extract::State;
use clipbase::jobs::{Stats, StatusStats};
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use crate::envelope::{Answer, ApiResult};
use crate::jobs::JobStatusName;
use crate::openapi::Success;
use crate::router::App;

/// The jobs of one state.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = StatusStats)]
pub(crate) struct StatusView {
    status: JobStatusName,
    /// How many jobs, counted up to 10,000.
    count: i64,
    /// Whether there are more.
    is_at_least: bool,
    /// When the oldest of them was created.
    oldest_created_at: Option<Timestamp>,
}

/// A picture of the queue.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Stats)]
pub(crate) struct StatsView {
    /// One entry a state.
    statuses: Vec<StatusView>,
    /// When this was true, by the database's clock.
    at: Timestamp,
}

/// Counts the jobs of each state, at a cost that does not grow with the table.
#[utoipa::path(get, path = "/v1/stats", operation_id = "getStats", tag = "jobs",
    responses((status = 200, description = "The counts.", body = Success<StatsView>)))]
pub(crate) async fn get(State(app): State<App>) -> ApiResult<Answer<StatsView>> {
    read_stats(&app).await.map(Answer)
}

pub(crate) async fn read_stats(app: &App) -> ApiResult<StatsView> {
    Ok(app.clipbase.jobs().stats().await?.into())
}

impl From<Stats> for StatsView {
    fn from(stats: Stats) -> Self {
        Self {
            statuses: stats.statuses.into_iter().map(StatusView::from).collect(),
            at: stats.at,
        }
    }
}

impl From<StatusStats> for StatusView {
    fn from(stats: StatusStats) -> Self {
        Self {
            status: stats.status.into(),
            count: stats.count,
            is_at_least: stats.is_at_least,
            oldest_created_at: stats.oldest_created_at,
        }
    }
}
