//! One job under its lease: wait for a slot, fetch, clip, store, finish.
//!
//! The clip is stored under a key that only this lease has, before the row names it. Whatever goes wrong on
//! the way, the row changes only through the lease, no process is left running when the outcome is told, and
//! the scratch directory goes.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clipbase::leases::{Failure, Lease};
use clipbase::{Code, Error, JobId, Result};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::Worker;
use super::fetch::Admitted;
use super::heart::{Pulse, Stop};
use super::tally;
use super::word::{LastWord, Report, Trouble};
use crate::clipper::{Clip, ClipError, ClipErrorCode, ClipRequest, Progress, Stage};

/// How long processes that were killed are waited for. One that hangs in the kernel must not hold a worker.
const SETTLE_TIME_MAX: Duration = Duration::from_secs(5);

/// Where a job is, for somebody who watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobStage {
    /// Queued; waits for its turn.
    Waiting,
    /// Another worker runs it.
    Elsewhere,
    /// Reading the source from the storage.
    Fetching,
    /// The clipper is at work.
    Clipping(Stage),
    /// Writing the results to the storage.
    Storing,
}

/// Somebody who watches a worker. Called from the worker's tasks: it must not block.
pub trait Observer: Send + Sync + fmt::Debug {
    /// A job has reached a stage, and so many percent overall.
    fn stage(&self, job: JobId, stage: JobStage, percent: u8);

    /// A job has left this worker; the failure says why it has no clip, where something failed.
    fn ended(&self, _job: JobId, _outcome: Outcome, _failure: Option<&Failure>) {}
}

/// Nobody watches.
#[derive(Clone, Copy, Debug)]
pub struct Silent;

impl Observer for Silent {
    fn stage(&self, _job: JobId, _stage: JobStage, _percent: u8) {}
}

/// What became of a job in this worker's hands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Its clip is stored and it is done.
    Done,
    /// It has ended without a clip.
    Failed,
    /// It went back into the queue.
    Requeued,
    /// Another worker holds it, or it was deleted.
    Lost,
}

impl Outcome {
    /// Returns the word for logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Requeued => "requeued",
            Self::Lost => "lost",
        }
    }
}

struct Reporter<'a> {
    job: JobId,
    pulse: &'a Pulse,
    observer: &'a dyn Observer,
}

impl Reporter<'_> {
    fn stage(&self, stage: JobStage, percent: u8) {
        self.pulse.progress(percent);
        self.observer.stage(self.job, stage, percent);
    }
}

/// A source that is fetched is the first part of the job, of which the clipper counts the rest.
struct Fetching<'a>(&'a Reporter<'a>);

impl Progress for Fetching<'_> {
    fn report(&self, _stage: Stage, percent: u8) {
        self.0.stage(JobStage::Fetching, percent.min(100) / 20);
    }
}

impl Progress for Reporter<'_> {
    /// The clipper's percent become the middle of the job's: 5 to 95.
    fn report(&self, stage: Stage, percent: u8) {
        let overall = 5 + u16::from(percent.min(100)) * 90 / 100;
        self.stage(
            JobStage::Clipping(stage),
            u8::try_from(overall).unwrap_or(95),
        );
    }
}

/// What the jobs of one run share.
#[derive(Clone, Copy)]
pub(super) struct Desk<'a> {
    pub(super) observer: &'a dyn Observer,
    /// Canceled when the worker is to stop.
    pub(super) stop: &'a CancellationToken,
    /// How many jobs may be at work; without it, this one may.
    pub(super) slots: Option<&'a Arc<Semaphore>>,
    /// Who confirms finished jobs together.
    pub(super) reports: Option<&'a mpsc::UnboundedSender<Report>>,
}

/// How a job left this worker.
pub(super) struct Ended {
    pub(super) outcome: Outcome,
    pub(super) failure: Option<Failure>,
    /// Whether it was confirmed together with others, and its place given away by that.
    pub(super) was_reported: bool,
}

impl Worker {
    /// Runs a job to its end in this worker.
    pub(super) async fn execute(&self, lease: Lease, desk: Desk<'_>) -> Ended {
        // As grave as an error, so that whatever is logged at all says which job it belongs to.
        let span = tracing::error_span!(
            "job",
            job_id = %lease.job_id(),
            lease = lease.number(),
            attempt = lease.work().attempt
        );
        self.attempt(lease, desk).instrument(span).await
    }

    async fn attempt(&self, lease: Lease, desk: Desk<'_>) -> Ended {
        let _held = tally::Counted::held();
        tracing::info!("claimed");
        let pulse = self.shared.heart.attach(&lease);
        let scratch = self.scratch_of(&lease);
        let reporter = Reporter {
            job: lease.job_id(),
            pulse: &pulse,
            observer: desk.observer,
        };
        let mut began = None;
        let word = match self.slot(&pulse, desk).await {
            Ok(slot) => {
                began = Some(Instant::now());
                let word = self.work_on(&lease, &scratch, &reporter, desk).await;
                // The next job may start while this one's end is written.
                drop(slot);
                word
            }
            Err(word) => word,
        };
        let ended = match word {
            Some(word) => self.tell(&lease, word, desk).await,
            None => Ended {
                outcome: Outcome::Lost,
                failure: None,
                was_reported: false,
            },
        };
        drop(pulse);
        remove_folder(&scratch).await;
        let outcome = ended.outcome;
        if outcome == Outcome::Lost {
            tally::lease_lost();
        }
        tally::ended(outcome, began.map(|began| began.elapsed()));
        tracing::info!(outcome = outcome.as_str(), "ended");
        desk.observer
            .ended(lease.job_id(), outcome, ended.failure.as_ref());
        ended
    }

    /// Waits for a place among the jobs at work. One that was claimed ahead may be stopped before it has
    /// one: the error is what is to be said about it, if anything.
    async fn slot(
        &self,
        pulse: &Pulse,
        desk: Desk<'_>,
    ) -> Result<Option<OwnedSemaphorePermit>, Option<LastWord>> {
        let Some(slots) = desk.slots else {
            return Ok(None);
        };
        tokio::select! {
            biased;
            stop = pulse.stopped() => Err(word_of(stop)),
            () = desk.stop.cancelled() => Err(Some(LastWord::Release)),
            slot = slots.clone().acquire_owned() => Ok(slot.ok()),
        }
    }

    /// Works on the job until it has a result or must stop; then nothing of it runs any more. `None` when
    /// the lease is lost, and there is nothing to say.
    async fn work_on(
        &self,
        lease: &Lease,
        scratch: &Path,
        reporter: &Reporter<'_>,
        desk: Desk<'_>,
    ) -> Option<LastWord> {
        let _running = tally::Counted::running();
        let grace = self.shared.options.shutdown_grace;
        let word = tokio::select! {
            worked = self.produce(lease, scratch, reporter) => Some(match worked {
                Ok(clip) => LastWord::of_clip(&clip),
                Err(trouble) => LastWord::of_trouble(&trouble),
            }),
            stop = reporter.pulse.stopped() => word_of(stop),
            () = ended(desk.stop, grace) => Some(LastWord::Release),
        };
        let settled = async {
            self.shared.clipper.settled().await;
            if let Some(fetcher) = &self.shared.options.youtube {
                fetcher.settled().await;
            }
        };
        if tokio::time::timeout(SETTLE_TIME_MAX, settled)
            .await
            .is_err()
        {
            tracing::warn!("a process that was killed is not gone yet");
        }
        word
    }

    async fn tell(&self, lease: &Lease, word: LastWord, desk: Desk<'_>) -> Ended {
        if let Some(reports) = desk.reports
            && let Some(outcome) = Self::told_together(lease, &word, reports).await
        {
            return Ended {
                outcome,
                failure: None,
                was_reported: true,
            };
        }
        Ended {
            outcome: self.last_word(lease, &word).await,
            failure: word.into_failure(),
            was_reported: false,
        }
    }

    /// Admits, fetches, clips and stores. Dropping it stops the clipper.
    async fn produce(
        &self,
        lease: &Lease,
        scratch: &Path,
        reporter: &Reporter<'_>,
    ) -> Result<Clip, Trouble> {
        reporter.stage(JobStage::Fetching, 0);
        let admitted = self.admit(lease).await?;
        let work = self.make(lease, &admitted, scratch, reporter);
        match self.shared.options.run_time_max {
            Some(most) => tokio::time::timeout(most, work)
                .await
                .unwrap_or_else(|_| Err(took_too_long(most).into())),
            None => work.await,
        }
    }

    async fn make(
        &self,
        lease: &Lease,
        admitted: &Admitted<'_>,
        scratch: &Path,
        reporter: &Reporter<'_>,
    ) -> Result<Clip, Trouble> {
        let work = lease.work();
        let clips = scratch.join("clip");
        make_folder(&clips).await?;
        let request = ClipRequest {
            source: self.fetch(admitted, scratch, &Fetching(reporter)).await?,
            start_ms: work.start_ms,
            end_ms: work.end_ms,
            subtitles: work.with_subtitles,
            burn_subtitles: work.burn_subtitles,
            subtitle_lang: work.subtitle_lang.clone(),
            scratch: clips,
        };
        let clip = self.shared.clipper.clip(&request, reporter).await?;
        reporter.stage(JobStage::Storing, 96);
        let storage = self.shared.clipbase.storage();
        storage.upload(&clip.video, &lease.video_key()).await?;
        if let Some(subtitles) = &clip.subtitles {
            storage.upload(subtitles, &lease.srt_key()).await?;
        }
        reporter.stage(JobStage::Storing, 99);
        Ok(clip)
    }

    /// A folder for one lease, in this worker's own: what a dead worker leaves goes with its folder.
    fn scratch_of(&self, lease: &Lease) -> PathBuf {
        let name = format!("{}-{}", lease.job_id(), lease.number());
        self.shared.scratch.folder().join(name)
    }
}

/// What is said about a job that must stop.
fn word_of(stop: Stop) -> Option<LastWord> {
    match stop {
        Stop::Lost => None,
        // With a cancel asked for, any way of giving the job up ends it as canceled.
        Stop::Canceled => Some(LastWord::Release),
    }
}

fn took_too_long(most: Duration) -> ClipError {
    ClipError::new(
        ClipErrorCode::TimeLimit,
        format!(
            "the job took longer than {} s, the longest that this worker is at work on one; ask for a \
             shorter clip or use a smaller source",
            most.as_secs_f64()
        ),
    )
}

/// Removes a scratch directory; one that cannot go is reported, and no reason to fail a job.
pub(super) async fn remove_folder(path: &Path) {
    if let Err(error) = tokio::fs::remove_dir_all(path).await
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(kind = ?error.kind(), "a scratch directory stays behind");
    }
}

pub(super) async fn make_folder(path: &Path) -> Result<()> {
    tokio::fs::create_dir_all(path).await.map_err(|error| {
        let code = match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                Code::StorageQuota
            }
            _ => Code::StorageUnavailable,
        };
        Error::caused(
            code,
            "the worker's scratch directory cannot be used; check its permissions and free space",
            clipbase::Cause::io(&error),
        )
    })
}

/// Waits until a shutdown was asked for and its grace is over.
async fn ended(stop: &CancellationToken, grace: Duration) {
    stop.cancelled().await;
    tokio::time::sleep(grace).await;
}
