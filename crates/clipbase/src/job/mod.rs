//! The words everything is said in: a job as it is stored, what a caller says to make or change one, and where
//! a page of them starts.
//!
//! Input is checked here, before it reaches the database: every message names the field and the fix.

mod cursor;
mod data;
mod input;
mod range;
mod time;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use cursor::Cursor;
pub(crate) use data::check_event_data;
pub use data::{EVENT_DATA_BYTES_MAX, EVENT_KEYS_RESERVED};
pub use input::{
    ATTEMPTS_MAX, Change, EXPIRES_IN_MAX, JobPatch, LANGUAGE_BYTES_MAX, NewJob,
    SOURCE_URL_BYTES_MAX, Source,
};
pub(crate) use range::range_ms;
pub use range::{ClipRange, RANGE_MILLIS_MAX};
pub use time::parse_millis;

use crate::error::{Error, Result};
use crate::ids::{JobId, WorkerId};
use crate::status::JobStatus;

/// Which jobs go first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// Before all others.
    High,
    /// The default.
    #[default]
    Normal,
    /// After all others.
    Low,
}

impl Priority {
    /// Every priority, first to last.
    pub const ALL: [Priority; 3] = [Self::High, Self::Normal, Self::Low];

    /// Returns the seed's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::High => "high",
            Self::Normal => "normal",
            Self::Low => "low",
        }
    }
}

impl Priority {
    /// Returns its place: 0 goes first.
    pub(crate) const fn rank(self) -> u8 {
        match self {
            Self::High => 0,
            Self::Normal => 1,
            Self::Low => 2,
        }
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Priority {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|priority| priority.as_str() == text)
            .ok_or_else(|| Error::invalid("priority", "must be high, normal or low"))
    }
}

/// A job as the database holds it: the columns of `public.jobs`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
#[allow(
    missing_docs,
    reason = "each field is the column of its name; docs/SCHEMA.md describes them"
)]
pub struct Job {
    pub id: JobId,
    pub status: JobStatus,
    pub priority: Priority,
    pub shard: i32,
    pub source_type: String,
    pub source_key: Option<String>,
    pub source_url: Option<String>,
    pub start_sec: i32,
    pub end_sec: i32,
    pub start_ms: Option<i64>,
    pub end_ms: Option<i64>,
    pub with_subtitles: bool,
    pub burn_subtitles: bool,
    pub subtitle_lang: Option<String>,
    pub progress: i32,
    pub attempts: i32,
    pub max_attempts: i32,
    pub lease: i32,
    pub lease_expires_at: Option<Timestamp>,
    pub worker_id: Option<WorkerId>,
    pub last_heartbeat_at: Option<Timestamp>,
    pub run_at: Timestamp,
    pub cancel_requested_at: Option<Timestamp>,
    pub result_video_key: Option<String>,
    pub result_srt_key: Option<String>,
    pub error_code: Option<String>,
    pub error_message: Option<String>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
    pub expires_at: Option<Timestamp>,
    pub source_deleted_at: Option<Timestamp>,
    pub event_seq: i32,
}

impl Job {
    /// Returns the range in milliseconds: the exact one, or the whole seconds of a client that knows only
    /// those.
    pub fn range_ms(&self) -> (i64, i64) {
        range_ms(self.start_sec, self.end_sec, self.start_ms, self.end_ms)
    }
}

/// Seconds as PostgreSQL's `make_interval` takes them.
pub(crate) fn seconds(duration: Option<Duration>) -> Option<f64> {
    duration.map(|duration| duration.as_secs_f64())
}
