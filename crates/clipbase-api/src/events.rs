//! A job's log over HTTP: page by page, or live as server-sent events.

pub(crate) mod ends;
pub(crate) mod follower;
mod page;
pub(crate) mod stream;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, header};
use serde::Deserialize;
use utoipa::IntoParams;

use self::ends::Ends;
use crate::access::Principal;
use crate::envelope::{ApiError, ApiResult};
use crate::extract::{Params, PathJob, single_header};
use crate::openapi::Success;
use crate::router::App;
use crate::serve::Draining;

/// The header in which a browser says what it has seen.
const LAST_EVENT_ID: &str = "last-event-id";

/// Which part of the log.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct EventParams {
    /// Only events after this number.
    #[param(minimum = 0, nullable = false)]
    after: Option<i32>,
    /// How many events a page has, 100 unless given. A stream takes no limit.
    #[param(minimum = 1, maximum = 1000, nullable = false)]
    limit: Option<u32>,
}

/// Reads a job's log, or follows it live.
///
/// With `Accept: text/event-stream` the answer is a stream: the job's events with their number as `id`, `progress`
/// without an id, and `end` when the job has ended. It resumes after `Last-Event-ID`; a client that comes back though
/// everything was said gets 204, which tells a browser to stay away. A stream whose key is revoked or may no longer
/// read says `refused`, with a code and a message, and ends.
#[utoipa::path(get, path = "/v1/jobs/{id}/events", operation_id = "getEvents", tag = "jobs",
    params(("id" = uuid::Uuid, Path, description = "The job."), EventParams,
        ("Last-Event-ID" = Option<i32>, Header, minimum = 0, nullable = false,
            description = "Resumes a stream after this number; stronger than `after`.")),
    responses(
        (status = 200, description = "A page, or the stream.", content(
            (Success<page::EventPage> = "application/json"), (String = "text/event-stream"))),
        (status = 204, description = "A stream that has nothing more to say.")))]
pub(crate) async fn get(
    State(app): State<App>,
    PathJob(id): PathJob,
    Params(params): Params<EventParams>,
    axum::Extension(owner): axum::Extension<Principal>,
    headers: HeaderMap,
    draining: Option<axum::Extension<Draining>>,
) -> ApiResult<Response> {
    let after = params.after.unwrap_or(0);
    if after < 0 {
        return Err(ApiError::invalid("after", "must not be negative"));
    }
    let resumed = single_header(&headers, LAST_EVENT_ID)?
        .map(|text| text.parse().ok().filter(|number| *number >= 0))
        .map(|number| {
            number.ok_or_else(|| ApiError::invalid("Last-Event-ID", "must be an event's number"))
        })
        .transpose()?;
    if !wants_stream(&headers) {
        let page = page::read(&app, id, after, params.limit).await?;
        return Ok(page.into_response());
    }
    if params.limit.is_some() {
        return Err(ApiError::invalid("limit", "does not go with a stream"));
    }
    let is_resumed = resumed.is_some();
    let draining = draining.map(|axum::Extension(draining)| draining);
    let ends = Ends::of(&app, &owner, draining);
    stream::open(&app, id, resumed.unwrap_or(after), is_resumed, ends).await
}

fn wants_stream(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|kind| {
            let essence = kind.split(';').next().unwrap_or("").trim();
            essence.eq_ignore_ascii_case("text/event-stream")
        })
}
