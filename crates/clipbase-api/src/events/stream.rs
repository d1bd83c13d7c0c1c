//! A job's log as server-sent events, until the job ends, its client goes, or one of the stream's own
//! [`Ends`](super::ends::Ends) is reached.
//!
//! A stream catches up by itself, page by page and only as fast as its client reads; then it lives off the
//! [`Follower`](super::follower::Follower). It holds a page of events at most.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use clipbase::events::Followed;
use clipbase::{Code, JobId, JobStatus};
use futures_util::stream;
use http::StatusCode;
use serde::Serialize;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::Instrument as _;

use super::ends::Ends;
use super::follower::News;
use super::page::EventView;
use crate::envelope::{ApiError, ApiResult, HttpCode};
use crate::jobs::JobStatusName;
use crate::router::App;

/// How many events a stream reads at once while it catches up.
const PAGE: u32 = 20;
/// When a client that was sent away may try again.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// Opens a stream after an event.
pub(super) async fn open(
    app: &App,
    job: JobId,
    after: i32,
    is_resumed: bool,
    ends: Ends,
) -> ApiResult<Response> {
    let slot = Slot::take(&app.streams)?;
    let first = app.clipbase.events().after(job, after, PAGE).await?;
    if is_resumed && first.is_end && first.events.is_empty() {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let mut live = Live {
        app: app.clone(),
        job,
        last: after,
        until: after,
        shown: None,
        sending: None,
        news: None,
        is_gone: false,
        is_over: false,
        _slot: slot,
    };
    live.take_page(first);
    // The answer's body is read outside of the request's span.
    let span = tracing::Span::current();
    let events = stream::unfold((live, ends), move |(mut live, mut ends)| {
        let next = async move {
            let event = live.next(&mut ends).await?;
            Some((Ok::<_, Infallible>(event), (live, ends)))
        };
        next.instrument(span.clone())
    });
    let keep_alive = KeepAlive::new()
        .interval(app.options.keep_alive)
        .text("keep-alive");
    Ok(event_stream(
        Sse::new(events).keep_alive(keep_alive).into_response(),
    ))
}

/// Asks proxies that collect answers not to hold the events back.
pub(crate) fn event_stream(mut response: Response) -> Response {
    response
        .headers_mut()
        .insert("x-accel-buffering", http::HeaderValue::from_static("no"));
    response
}

/// One of the streams that may be open.
#[derive(Debug)]
pub(crate) struct Slot(
    #[allow(dead_code, reason = "held until the stream is dropped")] OwnedSemaphorePermit,
);

impl Slot {
    pub(crate) fn take(streams: &Arc<Semaphore>) -> ApiResult<Self> {
        let permit = Arc::clone(streams).try_acquire_owned().map_err(|_| {
            ApiError::new(
                HttpCode::Overloaded,
                "as many streams are open as are allowed; read the log page by page, or try again",
            )
            .retry_after(RETRY_AFTER)
        })?;
        metrics::gauge!("clipbase_http_streams").increment(1.0);
        Ok(Self(permit))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        metrics::gauge!("clipbase_http_streams").decrement(1.0);
    }
}

#[derive(Serialize)]
struct Progress {
    status: JobStatusName,
    progress: i32,
}

#[derive(Serialize)]
struct End {
    /// Null when the job was deleted.
    status: Option<JobStatusName>,
}

struct Live {
    app: App,
    job: JobId,
    /// The number of the last event that was sent.
    last: i32,
    /// The number up to which the stream reads by itself.
    until: i32,
    shown: Option<(JobStatus, i32)>,
    /// What is being sent, and how many of its events were.
    sending: Option<(Arc<Followed>, usize)>,
    // Before the slot: a watcher less before a stream more.
    news: Option<Receiver<News>>,
    /// The job is gone; it remains to say so.
    is_gone: bool,
    is_over: bool,
    _slot: Slot,
}

impl Live {
    async fn next(&mut self, ends: &mut Ends) -> Option<Event> {
        loop {
            if self.is_over {
                return None;
            }
            if let Some(event) = self.send() {
                // Plain values with string keys: there is nothing in them that JSON cannot say.
                return event.ok();
            }
            tokio::select! {
                biased;
                last = ends.reached() => {
                    self.is_over = true;
                    return last;
                }
                () = self.more() => {}
            }
        }
    }

    /// Returns the next piece of what is at hand.
    fn send(&mut self) -> Option<Result<Event, axum::Error>> {
        if self.is_gone {
            self.is_over = true;
            return Some(end(None));
        }
        let (followed, sent) = self.sending.as_mut()?;
        while let Some(event) = followed.events.get(*sent) {
            *sent += 1;
            // The news of a job may begin before what this stream has read.
            if event.seq > self.last {
                self.last = event.seq;
                let numbered = Event::default().id(event.seq.to_string());
                return Some(numbered.json_data(EventView::from(event.clone())));
            }
        }
        let (status, progress) = (followed.status, followed.progress);
        // The state is of now; while older events are still to come it would run ahead of them.
        let is_behind = self.last < self.until || (status.is_terminal() && !followed.is_end);
        if !is_behind && self.shown != Some((status, progress)) {
            self.shown = Some((status, progress));
            let progress = Progress {
                status: status.into(),
                progress,
            };
            return Some(Event::default().event("progress").json_data(progress));
        }
        let is_end = followed.is_end;
        self.sending = None;
        self.is_over = is_end;
        is_end.then(|| end(Some(status)))
    }

    /// Waits for something to send; may return without.
    async fn more(&mut self) {
        if self.last < self.until {
            let events = self.app.clipbase.events();
            match events.after(self.job, self.last, PAGE).await {
                Ok(page) => self.take_page(page),
                Err(error) if error.code() == Code::NotFound => self.is_gone = true,
                Err(error) => {
                    tracing::warn!(code = error.code().as_str(), "a stream cannot catch up yet");
                    tokio::time::sleep(self.app.options.follow_interval).await;
                }
            }
            return;
        }
        let Some(news) = &mut self.news else {
            let (news, read) = self.app.follower.watch(self.job, self.last);
            self.news = Some(news);
            self.until = read;
            return;
        };
        match news.recv().await {
            Ok(News::Followed(followed)) => self.sending = Some((followed, 0)),
            Ok(News::Gone) => self.is_gone = true,
            // Too slow for the buffer, or the job's last news came before this watcher: watch anew, and read
            // what was missed.
            Err(RecvError::Lagged(_) | RecvError::Closed) => self.news = None,
        }
    }

    fn take_page(&mut self, page: Followed) {
        let is_full = page.events.len() >= PAGE as usize;
        let read = page.events.last().map_or(self.last, |event| event.seq);
        self.until = if is_full { i32::MAX } else { read };
        self.sending = Some((Arc::new(page), 0));
    }
}

fn end(status: Option<JobStatus>) -> Result<Event, axum::Error> {
    let status = status.map(JobStatusName::from);
    Event::default().event("end").json_data(End { status })
}
