//! The queue as it moves: counts, the last hour and the newest jobs, as server-sent events.
//!
//! However many watch, the database is asked once a second for the numbers and once for each list that somebody
//! looks at; there are five lists. Nobody watching, nobody asking.

use std::convert::Infallible;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use clipbase::Clipbase;
use clipbase::jobs::{Minute, THROUGHPUT_MINUTES_MAX};
use futures_util::stream;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use utoipa::IntoParams;

use crate::access::Principal;
use crate::envelope::{ApiError, ApiResult};
use crate::events::ends::Ends;
use crate::events::stream::{Slot, event_stream};
use crate::extract::Params;
use crate::jobs::JobStatusName;
use crate::jobs::read::read_page;
use crate::router::App;
use crate::serve::Draining;
use crate::stats::{StatsView, read_stats};

/// How many jobs the live list has.
const LIST: u32 = 25;
/// How often the numbers and lists are read while somebody watches.
const PERIOD: Duration = Duration::from_secs(1);
/// The minutes that are read anew each time: the running one, and the one before for what committed late.
const FRESH_MINUTES: u32 = 2;

/// What somebody watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Topic {
    Stats,
    Jobs(Option<JobStatusName>),
}

impl Topic {
    const ALL: [Topic; 6] = [
        Self::Stats,
        Self::Jobs(None),
        Self::Jobs(Some(JobStatusName::Queued)),
        Self::Jobs(Some(JobStatusName::Processing)),
        Self::Jobs(Some(JobStatusName::Done)),
        Self::Jobs(Some(JobStatusName::Failed)),
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Stats => "stats",
            Self::Jobs(_) => "jobs",
        }
    }
}

/// The newest word on a topic, as JSON; `None` until there is one.
type Word = Option<Arc<str>>;

/// Who watches what. One reader runs for each topic that is watched.
pub(crate) struct Board {
    desks: Mutex<Vec<Desk>>,
}

struct Desk {
    topic: Topic,
    word: watch::Sender<Word>,
    has_reader: bool,
}

impl fmt::Debug for Board {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Board")
    }
}

impl Board {
    pub(crate) fn new() -> Self {
        let desks = Topic::ALL.map(|topic| Desk {
            topic,
            word: watch::Sender::new(None),
            has_reader: false,
        });
        Self {
            desks: Mutex::new(desks.into()),
        }
    }

    /// Watches a topic, and starts its reader where nobody did before.
    fn watch(&self, app: &App, topic: Topic) -> Option<watch::Receiver<Word>> {
        let mut desks = self.desks.lock().unwrap_or_else(PoisonError::into_inner);
        let desk = desks.iter_mut().find(|desk| desk.topic == topic)?;
        let mut watched = desk.word.subscribe();
        if desk.has_reader {
            watched.mark_changed();
        } else {
            desk.has_reader = true;
            desk.word.send_replace(None);
            tokio::spawn(read_on(app.clone(), topic, desk.word.clone()));
        }
        Some(watched)
    }

    /// Lets a reader go that nobody needs: under the lock, so that no watcher comes in between unseen.
    fn is_left(&self, topic: Topic) -> bool {
        let mut desks = self.desks.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(desk) = desks.iter_mut().find(|desk| desk.topic == topic) else {
            return true;
        };
        desk.has_reader = desk.word.receiver_count() > 0;
        !desk.has_reader
    }
}

/// Reads a topic until nobody watches it.
async fn read_on(app: App, topic: Topic, word: watch::Sender<Word>) {
    let mut hour = Hour::default();
    loop {
        let read = match topic {
            Topic::Stats => read_numbers(&app, &mut hour).await,
            Topic::Jobs(status) => read_page(&app, status, LIST, None)
                .await
                .map(|page| serde_json::to_string(&page)),
        };
        match read {
            Ok(Ok(text)) => {
                word.send_if_modified(|known| {
                    let is_new = known.as_deref() != Some(text.as_str());
                    if is_new {
                        *known = Some(text.into());
                    }
                    is_new
                });
            }
            Ok(Err(_)) => tracing::error!("the board cannot be written as JSON"),
            Err(error) => {
                tracing::warn!(code = error.code.as_str(), "the board cannot be read yet");
            }
        }
        tokio::time::sleep(PERIOD).await;
        if app.board.is_left(topic) {
            return;
        }
    }
}

/// The counts, and the last hour minute by minute.
#[derive(Serialize)]
struct Numbers<'a> {
    #[serde(flatten)]
    stats: StatsView,
    minutes: &'a [Minute],
}

async fn read_numbers(app: &App, hour: &mut Hour) -> ApiResult<serde_json::Result<String>> {
    let stats = read_stats(app).await?;
    hour.refresh(&app.clipbase).await?;
    let minutes = &hour.minutes;
    Ok(serde_json::to_string(&Numbers { stats, minutes }))
}

/// The minutes of the last hour. Those that are over are remembered, not counted again.
#[derive(Default)]
struct Hour {
    minutes: Vec<Minute>,
}

impl Hour {
    async fn refresh(&mut self, clipbase: &Clipbase) -> clipbase::Result<()> {
        let fresh = clipbase.jobs().throughput(FRESH_MINUTES).await?;
        if !self.take(&fresh) {
            self.minutes = clipbase.jobs().throughput(THROUGHPUT_MINUTES_MAX).await?;
        }
        Ok(())
    }

    /// Takes the newest minutes in; `false` where some are missing between them and the ones known.
    fn take(&mut self, fresh: &[Minute]) -> bool {
        let Some(first) = fresh.first() else {
            return true;
        };
        let is_joined = self.minutes.iter().any(|known| known.at == first.at);
        if is_joined {
            self.minutes.retain(|known| known.at < first.at);
            self.minutes.extend_from_slice(fresh);
            let over = self
                .minutes
                .len()
                .saturating_sub(THROUGHPUT_MINUTES_MAX as usize);
            self.minutes.drain(..over);
        }
        is_joined
    }
}

/// Which jobs to watch.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct LiveParams {
    /// The state of the jobs; every state unless given.
    #[param(nullable = false, inline)]
    status: Option<JobStatusName>,
}

/// Watches the queue.
///
/// A stream of `stats` (the counts by state, and how many jobs ended in each minute of the last hour) and `jobs` (the
/// newest jobs, as a page of the list). The numbers come every second, the list when it has changed. A stream whose key is
/// revoked or may no longer read says `refused`, with a code and a message, and ends.
#[utoipa::path(get, path = "/v1/live", operation_id = "watchQueue", tag = "jobs",
    params(LiveParams),
    responses((status = 200, description = "The stream.", body = String, content_type = "text/event-stream")))]
pub(crate) async fn get(
    State(app): State<App>,
    Params(params): Params<LiveParams>,
    axum::Extension(owner): axum::Extension<Principal>,
    draining: Option<axum::Extension<Draining>>,
) -> ApiResult<Response> {
    let slot = Slot::take(&app.streams)?;
    let watch = |topic| app.board.watch(&app, topic).ok_or_else(ApiError::internal);
    let watcher = Watcher {
        stats: watch(Topic::Stats)?,
        jobs: watch(Topic::Jobs(params.status))?,
        ends: Ends::of(
            &app,
            &owner,
            draining.map(|axum::Extension(draining)| draining),
        ),
        is_over: false,
        _slot: slot,
    };
    let events = stream::unfold(watcher, async |mut watcher| {
        let event = watcher.next().await?;
        Some((Ok::<_, Infallible>(event), watcher))
    });
    let keep_alive = KeepAlive::new()
        .interval(app.options.keep_alive)
        .text("keep-alive");
    Ok(event_stream(
        Sse::new(events).keep_alive(keep_alive).into_response(),
    ))
}

struct Watcher {
    stats: watch::Receiver<Word>,
    jobs: watch::Receiver<Word>,
    ends: Ends,
    is_over: bool,
    _slot: Slot,
}

impl Watcher {
    async fn next(&mut self) -> Option<Event> {
        if self.is_over {
            return None;
        }
        tokio::select! {
            biased;
            last = self.ends.reached() => {
                self.is_over = true;
                last
            }
            text = changed(&mut self.stats) => text.map(|text| event(Topic::Stats, &text)),
            text = changed(&mut self.jobs) => text.map(|text| event(Topic::Jobs(None), &text)),
        }
    }
}

fn event(topic: Topic, text: &str) -> Event {
    Event::default().event(topic.name()).data(text)
}

/// Waits for the next word; `None` when there will be none.
async fn changed(word: &mut watch::Receiver<Word>) -> Option<Arc<str>> {
    loop {
        word.changed().await.ok()?;
        if let Some(text) = word.borrow_and_update().clone() {
            return Some(text);
        }
    }
}
