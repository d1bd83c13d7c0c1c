//! One job under its lease: fetch, clip, store, finish.
//!
//! The clip is stored under a key that only this lease has, before the row names it. Whatever goes wrong on
//! the way, the row changes only through the lease, and the scratch directory goes.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clipbase::leases::{Failure, Finish, Lease, Surrendered};
use clipbase::storage::StorageKey;
use clipbase::{Code, Error, JobId, Result};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::Worker;
use super::heart::{Pulse, Stop};
use crate::clipper::{Clip, ClipError, ClipRequest, Progress, Stage};

/// How often the last word on a job is tried while the database is away.
const LAST_WORD_TRIES_MAX: u32 = 10;

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

/// Why the work ended without a result.
enum Trouble {
    Clip(ClipError),
    Other(Error),
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

impl Worker {
    pub(super) async fn execute(
        &self,
        lease: Lease,
        observer: &dyn Observer,
        shutdown: &CancellationToken,
    ) -> (Outcome, Option<Failure>) {
        let job = lease.job_id();
        tracing::info!(%job, lease = lease.number(), attempt = lease.work().attempt, "claimed");
        let pulse = self.shared.heart.attach(&lease);
        let scratch = self.scratch(&lease);
        let reporter = Reporter {
            job,
            pulse: &pulse,
            observer,
        };
        let grace = self.shared.options.shutdown_grace;
        let word = tokio::select! {
            worked = self.produce(&lease, &scratch, &reporter) => Some(match worked {
                Ok((clip, with_srt)) => LastWord::Finish(clip, with_srt),
                Err(trouble) => LastWord::of(&trouble),
            }),
            stop = pulse.stopped() => match stop {
                Stop::Lost => None,
                // With a cancel asked for, any way of giving the job up ends it as canceled.
                Stop::Canceled => Some(LastWord::Release),
            },
            () = ended(shutdown, grace) => Some(LastWord::Release),
        };
        let (outcome, failure) = match word {
            Some(word) => (self.last_word(&lease, &word).await, word.into_failure()),
            None => (Outcome::Lost, None),
        };
        drop(pulse);
        remove_folder(&scratch).await;
        tracing::info!(%job, ?outcome, "ended");
        observer.ended(job, outcome, failure.as_ref());
        (outcome, failure)
    }

    /// Fetches, clips and stores. Dropping it stops the clipper.
    async fn produce(
        &self,
        lease: &Lease,
        scratch: &Path,
        reporter: &Reporter<'_>,
    ) -> Result<(Clip, bool), Trouble> {
        let work = lease.work();
        reporter.stage(JobStage::Fetching, 0);
        let clips = scratch.join("clip");
        make_folder(&clips).await.map_err(Trouble::Other)?;
        let request = ClipRequest {
            source: self.fetch(lease, scratch).await.map_err(Trouble::Other)?,
            start_ms: work.start_ms,
            end_ms: work.end_ms,
            subtitles: work.with_subtitles,
            burn_subtitles: work.burn_subtitles,
            subtitle_lang: work.subtitle_lang.clone(),
            scratch: clips,
        };
        let clip = self
            .shared
            .clipper
            .clip(&request, reporter)
            .await
            .map_err(Trouble::Clip)?;
        reporter.stage(JobStage::Storing, 96);
        let storage = self.shared.clipbase.storage();
        let store = async {
            storage.upload(&clip.video, &lease.video_key()).await?;
            if let Some(subtitles) = &clip.subtitles {
                storage.upload(subtitles, &lease.srt_key()).await?;
            }
            Ok(clip.subtitles.is_some())
        };
        let with_srt = store.await.map_err(Trouble::Other)?;
        reporter.stage(JobStage::Storing, 99);
        Ok((clip, with_srt))
    }

    /// Brings the source to this machine, unless it is there already.
    async fn fetch(&self, lease: &Lease, scratch: &Path) -> Result<PathBuf> {
        let Some(text) = &lease.work().source_key else {
            return Err(Error::invalid(
                "source_type",
                "is not one that this worker can fetch",
            ));
        };
        let key: StorageKey = text.parse()?;
        let storage = self.shared.clipbase.storage();
        if let Some(path) = storage.local_file(&key) {
            return Ok(path);
        }
        let path = scratch.join("source");
        storage.download(&key, &path).await?;
        Ok(path)
    }

    /// Writes how the job ended, through the lease. While the database is away it is tried again: the
    /// work is done, and losing it costs more than waiting.
    async fn last_word(&self, lease: &Lease, word: &LastWord) -> Outcome {
        let mut pause = Duration::from_millis(200);
        for attempt in 1..=LAST_WORD_TRIES_MAX {
            let error = match self.say(lease, word).await {
                Ok(outcome) => return outcome,
                Err(error) => error,
            };
            if matches!(error.code(), Code::LeaseLost | Code::NotFound) {
                return Outcome::Lost;
            }
            let (job, code) = (lease.job_id(), error.code().as_str());
            tracing::warn!(%job, code, attempt, "the end of a job could not be written: {error}");
            if !error.code().is_retryable() {
                break;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(5));
        }
        // The lease runs out, and the job is reaped.
        Outcome::Lost
    }

    async fn say(&self, lease: &Lease, word: &LastWord) -> Result<Outcome> {
        let leases = self.shared.clipbase.leases();
        let surrendered = match word {
            LastWord::Finish(clip, with_srt) => {
                let facts =
                    json!({"duration_ms": clip.duration_ms, "method": clip.method.as_str()});
                let finish = Finish {
                    lease,
                    with_srt: *with_srt,
                    event_data: Some(&facts),
                };
                leases.finish(finish).await?;
                return Ok(Outcome::Done);
            }
            LastWord::Release => leases.release(lease).await?,
            LastWord::Fail {
                failure,
                may_pass: true,
            } => leases.fail_retryable(lease, failure).await?,
            LastWord::Fail {
                failure,
                may_pass: false,
            } => {
                leases.fail(lease, failure).await?;
                Surrendered::Failed
            }
        };
        Ok(match surrendered {
            Surrendered::Queued => Outcome::Requeued,
            Surrendered::Failed => Outcome::Failed,
        })
    }
}

/// How a job ends in this worker.
enum LastWord {
    Finish(Clip, bool),
    Release,
    Fail { failure: Failure, may_pass: bool },
}

impl LastWord {
    /// What is wrong with the input is final; what is wrong with the world may pass.
    fn of(trouble: &Trouble) -> Self {
        let (code, message, may_pass) = match trouble {
            Trouble::Clip(error) => (
                error.code().as_str(),
                error.to_string(),
                error.is_retryable(),
            ),
            Trouble::Other(error) => {
                let is_input = matches!(error.code(), Code::InvalidInput | Code::StorageNotFound);
                (error.code().as_str(), error.to_string(), !is_input)
            }
        };
        match Failure::new(code, &message) {
            Ok(failure) => Self::Fail { failure, may_pass },
            // A clipper of somebody else's with a code that is none: hand the job back.
            Err(_) => Self::Release,
        }
    }

    fn into_failure(self) -> Option<Failure> {
        match self {
            Self::Fail { failure, .. } => Some(failure),
            Self::Finish(..) | Self::Release => None,
        }
    }
}

/// Removes a scratch directory; one that cannot go is reported, and no reason to fail a job.
pub(super) async fn remove_folder(path: &Path) {
    if let Err(error) = tokio::fs::remove_dir_all(path).await
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(kind = ?error.kind(), "a scratch directory stays behind");
    }
}

async fn make_folder(path: &Path) -> Result<()> {
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
async fn ended(shutdown: &CancellationToken, grace: Duration) {
    shutdown.cancelled().await;
    tokio::time::sleep(grace).await;
}
