//! What a worker does with a job: claim it, beat for it, and finish, fail or release it.
//!
//! A [`Lease`] is the right to write to one job. It is made by a claim and cannot be built elsewhere; every
//! write made through it carries it, and changes nothing once another worker has claimed the job. A lease is
//! valid until it is superseded: its expiry refuses nothing by itself, it only lets [`Leases::reap`] take the
//! job back.

mod claim;
mod finish;
mod heartbeat;
mod log;
mod row;
mod surrender;

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

pub use claim::{CLAIM_MAX, ClaimOptions, SHARDS_MAX, Turn};
pub use finish::{FINISH_MANY_MAX, Finish, Finished};
pub use heartbeat::{BEATS_MAX, Beat, Verdict};
pub use surrender::{REAP_MAX, Reaped, Surrendered};

use crate::clipbase::{Inner, Settings};
use crate::db::{Database, Statement};
use crate::error::{Error, Result};
use crate::ids::{JobId, WorkerId};
use crate::job::Priority;
use crate::storage::StorageKey;

/// How long a lease lives without a heartbeat, unless set.
pub const LEASE_TTL: Duration = Duration::from_secs(60);
/// How often a worker beats, unless set: three beats to a lease's life.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(20);
/// The longest error code, in bytes: the column's width.
pub const ERROR_CODE_BYTES_MAX: usize = 64;
/// The most characters of an error message that are kept.
pub const ERROR_MESSAGE_CHARS_MAX: usize = 2_000;

pub(crate) static STATEMENTS: &[&Statement] = &[
    &claim::CLAIM,
    &claim::CLAIM_JOB,
    &claim::TURN,
    &finish::FINISH,
    &heartbeat::HEARTBEAT,
    &log::LOG,
    &surrender::SURRENDER,
    &surrender::REAP,
];

/// The repository of leases. A cheap value: make one where you need it.
///
/// ```
/// # use clipbase::leases::{Beat, ClaimOptions, Failure, Finish, LEASE_TTL, Surrendered, Verdict};
/// # use clipbase::{Code, WorkerId};
/// # use clipbase_testkit::builders::new_jobs;
/// # clipbase_testkit::example(async |clipbase| {
/// # clipbase.jobs().create_many(&new_jobs(5)).await?;
/// let worker = WorkerId::new();
/// let leases = clipbase.leases().claim(&ClaimOptions::new(worker, 4)).await?;
///
/// // One statement beats for all of a worker's jobs, and tells of each whether to go on.
/// let beats: Vec<_> = leases.iter().map(|lease| Beat { lease, progress: Some(40) }).collect();
/// let verdicts = clipbase.leases().heartbeat(&beats, LEASE_TTL).await?;
/// assert!(verdicts.iter().all(|verdict| *verdict == Verdict::GoOn));
///
/// clipbase.leases().log(&leases[0], "encoded", None).await?;
/// clipbase.leases().finish(Finish::new(&leases[0])).await?;
///
/// let failure = Failure::new("NOT_A_VIDEO", "the source holds no moving picture")?;
/// clipbase.leases().fail(&leases[1], &failure).await?;
///
/// // Going down: the job goes back, and the attempt does not count.
/// assert_eq!(clipbase.leases().release(&leases[2]).await?, Surrendered::Queued);
/// let late = clipbase.leases().finish(Finish::new(&leases[2])).await.unwrap_err();
/// assert_eq!(late.code(), Code::LeaseLost);
///
/// // A turn finishes and claims in one round trip; any worker may reap.
/// let turn = clipbase
///     .leases()
///     .turn(&[Finish::new(&leases[3])], &ClaimOptions::new(worker, 10))
///     .await?;
/// assert_eq!(turn.claimed.len(), 2);
/// assert!(clipbase.leases().reap(100).await?.is_empty());
/// # Ok(())
/// # });
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Leases<'a> {
    inner: &'a Inner,
}

impl<'a> Leases<'a> {
    pub(crate) fn new(inner: &'a Inner) -> Self {
        Self { inner }
    }

    fn database(self) -> &'a Database {
        &self.inner.database
    }

    fn settings(self) -> &'a Settings {
        &self.inner.settings
    }
}

/// What a worker has to do: the part of the job that it needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Work {
    /// `upload` or `youtube`.
    pub source_type: String,
    /// The upload's object key.
    pub source_key: Option<String>,
    /// The youtube address.
    pub source_url: Option<String>,
    /// Where the clip starts, in milliseconds from the source's beginning.
    pub start_ms: i64,
    /// Where it ends.
    pub end_ms: i64,
    /// Whether a subtitle file is wanted.
    pub with_subtitles: bool,
    /// Whether the subtitles are drawn into the picture.
    pub burn_subtitles: bool,
    /// The language of the text track, or `auto`.
    pub subtitle_lang: Option<String>,
    /// Which jobs go first.
    pub priority: Priority,
    /// The job's shard.
    pub shard: i32,
    /// Which attempt this is, from 1.
    pub attempt: i32,
    /// After so many attempts a failure is final.
    pub max_attempts: i32,
    /// When the job was created.
    pub created_at: Timestamp,
}

/// The right to write to one job, from its claim until another claim.
///
/// ```compile_fail
/// // Only a claim makes a lease.
/// let lease = clipbase::leases::Lease { number: 2 };
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    job: JobId,
    number: i32,
    worker: WorkerId,
    expires_at: Timestamp,
    work: Work,
}

impl Lease {
    /// Returns the job.
    pub fn job_id(&self) -> JobId {
        self.job
    }

    /// Returns the fencing token: one higher at every claim of the job.
    pub fn number(&self) -> i32 {
        self.number
    }

    /// Returns the worker process that holds the lease.
    pub fn worker_id(&self) -> WorkerId {
        self.worker
    }

    /// Returns when the lease may be reaped, as of the claim; each heartbeat moves it.
    pub fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    /// Returns what is to be done.
    pub fn work(&self) -> &Work {
        &self.work
    }

    /// Returns the key under which this lease stores its clip. No other lease has it.
    pub fn video_key(&self) -> StorageKey {
        StorageKey::result_video(self.job, self.number)
    }

    /// Returns the key under which this lease stores its subtitles. No other lease has it.
    pub fn srt_key(&self) -> StorageKey {
        StorageKey::result_srt(self.job, self.number)
    }
}

/// Why a job failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    code: String,
    message: String,
}

impl Failure {
    /// A failure with a code for programs and a sentence for people, which is cut after
    /// [`ERROR_MESSAGE_CHARS_MAX`] characters.
    ///
    /// # Errors
    /// `INVALID_INPUT` when the code is not 1 to 64 of `A-Z`, `0-9` and `_`.
    pub fn new(code: impl Into<String>, message: &str) -> Result<Self> {
        let code = code.into();
        let fits = (1..=ERROR_CODE_BYTES_MAX).contains(&code.len())
            && code
                .bytes()
                .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
        if !fits {
            return Err(Error::invalid(
                "error_code",
                "must be 1 to 64 of A-Z, 0-9 and _",
            ));
        }
        let message = message
            .chars()
            .filter(|c| *c != '\0')
            .take(ERROR_MESSAGE_CHARS_MAX)
            .collect();
        Ok(Self { code, message })
    }

    /// Returns the code.
    pub fn code(&self) -> &str {
        &self.code
    }

    /// Returns the sentence.
    pub fn message(&self) -> &str {
        &self.message
    }
}

/// Refuses a batch that names one job twice: the statement could only do one of the two.
fn check_batch(field: &'static str, most: usize, ids: impl Iterator<Item = JobId>) -> Result<()> {
    let mut ids: Vec<JobId> = ids.collect();
    if ids.len() > most {
        return Err(Error::invalid(
            field,
            format!("must be at most {most} a call"),
        ));
    }
    ids.sort_unstable();
    if ids.windows(2).any(|pair| pair.first() == pair.last()) {
        return Err(Error::invalid(field, "must name each job once"));
    }
    Ok(())
}

/// Data that a caller adds to an event.
type EventData<'a> = Option<&'a Value>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_has_a_plain_code_and_a_bounded_message() {
        assert!(Failure::new("ffmpeg failed", "").is_err());
        assert!(Failure::new("", "").is_err());
        assert!(Failure::new("A".repeat(65), "").is_err());
        let failure = Failure::new("FFMPEG_FAILED", &"ä\0".repeat(3_000)).unwrap();
        assert_eq!(failure.message().chars().count(), ERROR_MESSAGE_CHARS_MAX);
        assert!(!failure.message().contains('\0'));
    }

    #[test]
    fn a_batch_names_each_job_once() {
        let id = JobId::new();
        assert!(check_batch("jobs", 2, [id, JobId::new()].into_iter()).is_ok());
        assert!(check_batch("jobs", 2, [id, id].into_iter()).is_err());
        assert!(check_batch("jobs", 1, [id, JobId::new()].into_iter()).is_err());
    }
}
