//! The one task of a process that looks for news of all watched jobs, in one statement each time.
//!
//! It holds a short, bounded buffer a job, not a client: whoever is too slow for it is told so, and reads what it
//! missed from the database when it has room again. The task starts with the first watcher and ends after the last.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use clipbase::events::{Followed, follow_many_limit};
use clipbase::{Clipbase, JobId, JobStatus};
use tokio::sync::broadcast;

/// How much news of one job is kept for slow clients.
const BUFFER: usize = 4;
/// How many events one look takes of a job at most, so that what is kept stays small.
const EVENTS_MAX: u32 = 50;

/// News of one job.
#[derive(Clone, Debug)]
pub(crate) enum News {
    /// New events, or another progress.
    Followed(Arc<Followed>),
    /// The job was deleted.
    Gone,
}

/// Looks for news. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Follower(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    clipbase: Clipbase,
    interval: Duration,
    watched: Mutex<Watched>,
}

#[derive(Debug, Default)]
struct Watched {
    jobs: HashMap<JobId, Watch>,
    is_running: bool,
}

#[derive(Debug)]
struct Watch {
    /// The number up to which the task has read.
    after: i32,
    shown: Option<(JobStatus, i32)>,
    sender: broadcast::Sender<News>,
}

impl Follower {
    pub(crate) fn new(clipbase: Clipbase, interval: Duration) -> Self {
        Self(Arc::new(Shared {
            clipbase,
            interval,
            watched: Mutex::default(),
        }))
    }

    /// Watches a job for somebody who has read up to `after`. Returns the news to come, and the number up to
    /// which they must read by themselves: others have watched the job before.
    pub(crate) fn watch(&self, job: JobId, after: i32) -> (broadcast::Receiver<News>, i32) {
        let mut watched = self.0.lock();
        let (receiver, read) = match watched.jobs.entry(job) {
            Entry::Occupied(entry) => (entry.get().sender.subscribe(), entry.get().after),
            Entry::Vacant(entry) => {
                let (sender, receiver) = broadcast::channel(BUFFER);
                entry.insert(Watch {
                    after,
                    shown: None,
                    sender,
                });
                (receiver, after)
            }
        };
        if !watched.is_running {
            watched.is_running = true;
            tokio::spawn(run(Arc::clone(&self.0)));
        }
        (receiver, read)
    }
}

async fn run(shared: Arc<Shared>) {
    while let Some(positions) = shared.positions() {
        let limit = follow_many_limit(positions.len()).min(EVENTS_MAX);
        let found = shared
            .clipbase
            .events()
            .follow_many(&positions, limit)
            .await;
        let is_full = match found {
            Ok(found) => shared.deliver(&positions, found, limit),
            Err(error) => {
                // The streams stay open and go on when the database does.
                tracing::warn!(code = error.code().as_str(), "no news of watched jobs");
                false
            }
        };
        if !is_full {
            tokio::time::sleep(shared.interval).await;
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Watched> {
        // Nothing under the lock can leave it half done.
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What to look at next, without what nobody watches any more; `None` when that is everything.
    fn positions(&self) -> Option<Vec<(JobId, i32)>> {
        let mut watched = self.lock();
        watched
            .jobs
            .retain(|_, watch| watch.sender.receiver_count() > 0);
        if watched.jobs.is_empty() {
            watched.is_running = false;
            return None;
        }
        let jobs = watched.jobs.iter();
        Some(jobs.map(|(job, watch)| (*job, watch.after)).collect())
    }

    /// Hands the news out and tells whether there is more already.
    fn deliver(
        &self,
        positions: &[(JobId, i32)],
        mut found: HashMap<JobId, Followed>,
        limit: u32,
    ) -> bool {
        let mut watched = self.lock();
        let mut is_full = false;
        for (job, _) in positions {
            let Entry::Occupied(mut entry) = watched.jobs.entry(*job) else {
                continue;
            };
            let Some(followed) = found.remove(job) else {
                entry.remove().tell(News::Gone);
                continue;
            };
            is_full |= followed.events.len() >= limit as usize;
            let is_end = followed.is_end;
            entry.get_mut().update(followed);
            if is_end {
                entry.remove();
            }
        }
        is_full
    }
}

impl Watch {
    fn update(&mut self, followed: Followed) {
        let shown = Some((followed.status, followed.progress));
        if let Some(last) = followed.events.last() {
            self.after = last.seq;
        } else if self.shown == shown && !followed.is_end {
            return;
        }
        self.shown = shown;
        self.tell(News::Followed(Arc::new(followed)));
    }

    /// Without watchers, nobody is told.
    fn tell(&self, news: News) {
        self.sender.send(news).ok();
    }
}
