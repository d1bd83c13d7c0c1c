//! One page of a job's log.

use clipbase::JobId;
use clipbase::events::JobEvent;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::envelope::{Answer, ApiResult};
use crate::jobs::JobStatusName;
use crate::router::App;

/// How many events a page has unless asked otherwise.
const LIMIT_DEFAULT: u32 = 100;

/// Something that happened to a job.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Event)]
pub(crate) struct EventView {
    id: Uuid,
    job_id: Uuid,
    /// 1, 2, 3 … within the job, without gaps.
    seq: i32,
    /// When it happened, by the database's clock.
    ts: Timestamp,
    /// What happened.
    #[serde(rename = "type")]
    #[schema(example = "claimed")]
    kind: String,
    /// What the event says of itself.
    data: Option<Value>,
}

/// A page of a job's log.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EventPage {
    /// The events, in order.
    events: Vec<EventView>,
    /// The job's state when they were read.
    status: JobStatusName,
    /// Its progress then, in percent.
    progress: i32,
    /// Pass this as `after` to read on.
    after: i32,
    /// Whether there is nothing more to come: the job has ended, and all was read.
    is_end: bool,
}

impl From<JobEvent> for EventView {
    fn from(event: JobEvent) -> Self {
        Self {
            id: event.id.as_uuid(),
            job_id: event.job_id.as_uuid(),
            seq: event.seq,
            ts: event.ts,
            kind: event.kind,
            data: event.data,
        }
    }
}

pub(super) async fn read(
    app: &App,
    id: JobId,
    after: i32,
    limit: Option<u32>,
) -> ApiResult<Answer<EventPage>> {
    let limit = limit.unwrap_or(LIMIT_DEFAULT);
    let page = app.clipbase.events().after(id, after, limit).await?;
    Ok(Answer(EventPage {
        after: page.events.last().map_or(after, |event| event.seq),
        status: page.status.into(),
        progress: page.progress,
        is_end: page.is_end,
        events: page.events.into_iter().map(EventView::from).collect(),
    }))
}
