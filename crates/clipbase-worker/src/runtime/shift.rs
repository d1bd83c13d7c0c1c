//! The main loop of a run: looks for jobs, starts them, and confirms finished ones together.
//!
//! Finishing and claiming go in one statement, a *turn*. Jobs run on tasks of their own and report their end
//! here; a report that nobody could confirm is confirmed by its own job, again and again. Whatever else a
//! worker does is elsewhere: the heart and the ticks never wait for this loop, nor it for them.

use std::sync::Arc;
use std::time::Duration;

use clipbase::Result;
use clipbase::leases::{CLAIM_MAX, FINISH_MANY_MAX, Finish, Lease, Turn};
use clipbase::wakeups::Wakeups;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::execute::{Desk, Ended};
use super::word::Report;
use super::{Observer, Outcome, Summary, Worker, jittered, tally, ticks};

/// How long a finished job waits for others to be confirmed with it, while others are at work. One that is
/// alone does not wait.
pub const FINISH_GATHER: Duration = Duration::from_millis(20);

/// Wake-ups are followed at most so often.
const WAKE_GAP: Duration = Duration::from_millis(10);

/// One run of a worker.
pub(super) struct Shift<'a> {
    worker: &'a Worker,
    observer: Arc<dyn Observer>,
    /// Canceled by the caller's shutdown, or by an error that ends the run.
    stop: CancellationToken,
    jobs: JoinSet<Ended>,
    slots: Arc<Semaphore>,
    report: mpsc::UnboundedSender<Report>,
    reports: mpsc::UnboundedReceiver<Report>,
    /// Jobs that were confirmed here and whose tasks have not ended yet: their places are given away.
    leaving: usize,
    summary: Summary,
    pause: Duration,
    next_look: Instant,
    last_look: Option<Instant>,
    found_nothing: bool,
}

impl<'a> Shift<'a> {
    pub(super) fn new(
        worker: &'a Worker,
        shutdown: &CancellationToken,
        observer: Arc<dyn Observer>,
    ) -> Self {
        let options = &worker.shared.options;
        let (report, reports) = mpsc::unbounded_channel();
        Self {
            worker,
            observer,
            stop: shutdown.child_token(),
            jobs: JoinSet::new(),
            slots: Arc::new(Semaphore::new(options.concurrency)),
            report,
            reports,
            leaving: 0,
            summary: Summary::default(),
            pause: options.poll_min,
            next_look: Instant::now(),
            last_look: None,
            found_nothing: false,
        }
    }

    /// Works until the stop; or, when asked to, until nothing is left to do.
    pub(super) async fn work(mut self, until_idle: bool) -> Result<Summary> {
        self.worker.tolerate(self.worker.reap().await)?;
        let mut ticks = ticks::start(self.worker);
        let options = &self.worker.shared.options;
        let wakeups = if options.listen {
            self.worker.shared.clipbase.wakeups()
        } else {
            None
        };
        let outcome = self.look_and_run(until_idle, wakeups.as_ref()).await;
        // After an error, too, what is running ends well.
        self.stop.cancel();
        self.run_out().await;
        ticks.shutdown().await;
        outcome.map(|()| self.summary)
    }

    async fn look_and_run(&mut self, until_idle: bool, wakeups: Option<&Wakeups>) -> Result<()> {
        let stop = self.stop.clone();
        while !stop.is_cancelled() {
            if until_idle && self.jobs.is_empty() && self.found_nothing && self.is_idle().await? {
                break;
            }
            let may_look = self.free() > 0;
            tokio::select! {
                // A stop before all else: a look that is due at the same moment would claim what has to be given back.
                biased;
                () = stop.cancelled() => {}
                () = canceled(wakeups) => self.worker.shared.heart.nudge(),
                Some(report) = self.reports.recv() => self.turn(report).await?,
                Some(ended) = self.jobs.join_next() => self.count(ended),
                () = look_due(self.next_look, self.last_look, wakeups), if may_look => {
                    self.look().await?;
                }
            }
        }
        Ok(())
    }

    /// Lets the jobs end: nothing is claimed any more.
    async fn run_out(&mut self) {
        while !self.jobs.is_empty() {
            tokio::select! {
                Some(report) = self.reports.recv() => {
                    if let Err(error) = self.turn(report).await {
                        // The jobs confirm themselves.
                        tracing::warn!(code = error.code().as_str(), "{error}");
                    }
                }
                Some(ended) = self.jobs.join_next() => self.count(ended),
            }
        }
    }

    /// How many more jobs may be claimed.
    fn free(&self) -> usize {
        let options = &self.worker.shared.options;
        let held = self.jobs.len().saturating_sub(self.leaving);
        (options.concurrency + options.prefetch)
            .saturating_sub(held)
            .min(CLAIM_MAX as usize)
    }

    async fn look(&mut self) -> Result<()> {
        let limit = self.free();
        let options = self.worker.claim_options(limit);
        let began = Instant::now();
        let claimed = self.worker.shared.clipbase.leases().claim(&options).await;
        let claimed = self.worker.tolerate(claimed)?.unwrap_or_default();
        self.begin(claimed, began);
        Ok(())
    }

    /// Confirms finished jobs, and claims as many as may follow them.
    async fn turn(&mut self, first: Report) -> Result<()> {
        let reports = self.gather(first).await;
        let finishes: Vec<Finish<'_>> = reports.iter().map(Report::as_finish).collect();
        let leases = self.worker.shared.clipbase.leases();
        let began = Instant::now();
        let turn = if self.stop.is_cancelled() {
            leases.finish_many(&finishes).await.map(|finished| Turn {
                finished,
                claimed: Vec::new(),
            })
        } else {
            let free = (self.free() + reports.len()).min(CLAIM_MAX as usize);
            leases
                .turn(&finishes, &self.worker.claim_options(free))
                .await
        };
        // Without an answer each job sees to its own end: the reports are dropped.
        let Some(turn) = self.worker.tolerate(turn)? else {
            return Ok(());
        };
        for (report, finished) in reports.into_iter().zip(turn.finished) {
            if report.reply.send(finished).is_ok() {
                self.leaving += 1;
            }
        }
        if !self.stop.is_cancelled() || !turn.claimed.is_empty() {
            self.begin(turn.claimed, began);
        }
        Ok(())
    }

    /// Waits a moment for other jobs that end at about the same time.
    async fn gather(&mut self, first: Report) -> Vec<Report> {
        let mut reports = vec![first];
        let until = Instant::now() + FINISH_GATHER;
        let concurrency = self.worker.shared.options.concurrency;
        while reports.len() < FINISH_MANY_MAX {
            let at_work = concurrency.saturating_sub(self.slots.available_permits());
            let next = if concurrency > 1 && at_work > 0 {
                tokio::time::timeout_at(until, self.reports.recv())
                    .await
                    .ok()
                    .flatten()
            } else {
                self.reports.try_recv().ok()
            };
            let Some(report) = next else { break };
            reports.push(report);
        }
        reports
    }

    fn begin(&mut self, leases: Vec<Lease>, began: Instant) {
        let options = &self.worker.shared.options;
        tally::claimed(leases.len(), began.elapsed());
        self.found_nothing = leases.is_empty();
        self.pause = if self.found_nothing {
            (self.pause * 2).min(options.poll_max)
        } else {
            options.poll_min
        };
        let now = Instant::now();
        self.last_look = Some(now);
        self.next_look = now + jittered(self.pause);
        for lease in leases {
            let (worker, observer) = (self.worker.clone(), self.observer.clone());
            let (stop, slots, report) =
                (self.stop.clone(), self.slots.clone(), self.report.clone());
            self.jobs.spawn(async move {
                let desk = Desk {
                    observer: observer.as_ref(),
                    stop: &stop,
                    slots: Some(&slots),
                    reports: Some(&report),
                };
                worker.execute(lease, desk).await
            });
        }
    }

    fn count(&mut self, ended: Result<Ended, JoinError>) {
        let (outcome, was_reported) = match ended {
            Ok(ended) => (ended.outcome, ended.was_reported),
            Err(_) => (Outcome::Lost, false),
        };
        self.summary.count(outcome);
        if was_reported {
            self.leaving = self.leaving.saturating_sub(1);
        } else {
            // A place has become free, and no turn has filled it.
            self.pause = self.worker.shared.options.poll_min;
            self.next_look = Instant::now();
        }
    }

    async fn is_idle(&mut self) -> Result<bool> {
        // Asked once for each look.
        self.found_nothing = false;
        let idle = self.worker.is_idle().await;
        Ok(self.worker.tolerate(idle)? == Some(true))
    }
}

/// Waits until somebody's job was canceled: the next heartbeat tells whose.
async fn canceled(wakeups: Option<&Wakeups>) {
    match wakeups {
        Some(wakeups) => wakeups.canceled().await,
        None => std::future::pending().await,
    }
}

/// Waits until the next look is due, or a wake-up calls for one.
async fn look_due(next: Instant, last: Option<Instant>, wakeups: Option<&Wakeups>) {
    let woken = async {
        let Some(wakeups) = wakeups else {
            return std::future::pending().await;
        };
        if let Some(last) = last {
            tokio::time::sleep_until(last + WAKE_GAP).await;
        }
        wakeups.woken().await;
    };
    tokio::select! {
        () = tokio::time::sleep_until(next) => {}
        () = woken => {}
    }
}
