//! A job as clients see it: what they asked for and how far it is. Keys, leases and workers stay inside.

use clipbase::{Job, JobStatus, Priority};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// A job's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = JobStatus)]
pub(crate) enum JobStatusName {
    /// It waits for a worker.
    Queued,
    /// A worker is at it.
    Processing,
    /// There is a result.
    Done,
    /// There is none, and `error` says why.
    Failed,
}

impl From<JobStatus> for JobStatusName {
    fn from(status: JobStatus) -> Self {
        match status {
            JobStatus::Queued => Self::Queued,
            JobStatus::Processing => Self::Processing,
            JobStatus::Done => Self::Done,
            JobStatus::Failed => Self::Failed,
        }
    }
}

impl From<JobStatusName> for JobStatus {
    fn from(name: JobStatusName) -> Self {
        match name {
            JobStatusName::Queued => Self::Queued,
            JobStatusName::Processing => Self::Processing,
            JobStatusName::Done => Self::Done,
            JobStatusName::Failed => Self::Failed,
        }
    }
}

/// Which jobs go first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = Priority)]
pub(crate) enum PriorityName {
    /// Before all others.
    High,
    /// The default.
    #[default]
    Normal,
    /// After all others.
    Low,
}

impl From<Priority> for PriorityName {
    fn from(priority: Priority) -> Self {
        match priority {
            Priority::High => Self::High,
            Priority::Normal => Self::Normal,
            Priority::Low => Self::Low,
        }
    }
}

impl From<PriorityName> for Priority {
    fn from(name: PriorityName) -> Self {
        match name {
            PriorityName::High => Self::High,
            PriorityName::Normal => Self::Normal,
            PriorityName::Low => Self::Low,
        }
    }
}

/// Where a job's video comes from.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = JobSource)]
pub(crate) struct SourceView {
    /// `upload` or `youtube`.
    #[serde(rename = "type")]
    #[schema(example = "upload")]
    kind: String,
    /// The address, of a youtube source.
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
}

/// Why a job failed.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = JobError)]
pub(crate) struct ErrorView {
    /// A stable code.
    #[schema(example = "CANCELED")]
    code: String,
    /// One sentence about it.
    message: Option<String>,
}

/// A clip job.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = Job)]
pub(crate) struct JobView {
    id: Uuid,
    status: JobStatusName,
    /// Percent done of the current attempt.
    #[schema(minimum = 0, maximum = 100)]
    progress: i32,
    source: SourceView,
    /// Where the clip starts, in seconds, exact to the millisecond.
    #[schema(example = 5.25)]
    start: f64,
    /// Where it ends.
    #[schema(example = 12.5)]
    end: f64,
    /// Whether a subtitle file is wanted beside the clip.
    subtitles: bool,
    /// Whether the subtitles are drawn into the picture.
    burn: bool,
    /// The language of the text track, or `auto`.
    language: Option<String>,
    priority: PriorityName,
    shard: i32,
    /// How often the job was tried.
    attempts: i32,
    /// After so many attempts a failure is final.
    max_attempts: i32,
    /// Why the job failed, when it did.
    error: Option<ErrorView>,
    /// The number of its newest event.
    event_seq: i32,
    created_at: Timestamp,
    updated_at: Timestamp,
    /// It is not started before this time.
    run_at: Timestamp,
    /// When the current or last attempt began.
    started_at: Option<Timestamp>,
    /// When it became done or failed.
    finished_at: Option<Timestamp>,
    /// When a cancel was asked for that its worker has still to hear of.
    cancel_requested_at: Option<Timestamp>,
    /// When the job and its objects may be removed.
    expires_at: Option<Timestamp>,
}

impl From<Job> for JobView {
    fn from(job: Job) -> Self {
        let (start_ms, end_ms) = job.range_ms();
        Self {
            id: job.id.as_uuid(),
            status: job.status.into(),
            progress: job.progress,
            source: SourceView {
                kind: job.source_type,
                url: job.source_url,
            },
            start: seconds(start_ms),
            end: seconds(end_ms),
            subtitles: job.with_subtitles,
            burn: job.burn_subtitles,
            language: job.subtitle_lang,
            priority: job.priority.into(),
            shard: job.shard,
            attempts: job.attempts,
            max_attempts: job.max_attempts,
            error: job.error_code.map(|code| ErrorView {
                code,
                message: job.error_message,
            }),
            event_seq: job.event_seq,
            created_at: job.created_at,
            updated_at: job.updated_at,
            run_at: job.run_at,
            started_at: job.started_at,
            finished_at: job.finished_at,
            cancel_requested_at: job.cancel_requested_at,
            expires_at: job.expires_at,
        }
    }
}

/// Milliseconds as seconds. A range ends before 2^31 s, so the number is exact in print.
#[allow(
    clippy::cast_precision_loss,
    reason = "milliseconds of a range have at most 42 bits"
)]
fn seconds(millis: i64) -> f64 {
    millis as f64 / 1000.0
}
