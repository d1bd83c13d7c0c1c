//! A job as it is stored, and what a caller says to make or change one.
//!
//! Input is checked here, before it reaches the database: every message names the field and the fix.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::error::{Error, Result};
use crate::ids::{JobId, WorkerId};
use crate::status::JobStatus;
use crate::storage::StorageKey;

/// The longest address of a source, in bytes: the column's width.
pub const SOURCE_URL_BYTES_MAX: usize = 1024;
/// The longest language tag, in bytes: the column's width.
pub const LANGUAGE_BYTES_MAX: usize = 16;
/// The latest end of a clip: what whole seconds in the seed's column can say.
pub const RANGE_MILLIS_MAX: i64 = i32::MAX as i64 * 1000;
/// The most attempts that a job may be given.
pub const ATTEMPTS_MAX: i32 = 100;
/// The most bytes of JSON that a caller may add to an event.
pub const EVENT_DATA_BYTES_MAX: usize = 8 * 1024;
/// The keys of an event's data that clipbase writes itself.
pub const EVENT_KEYS_RESERVED: [&str; 3] = ["by", "from", "set"];

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

/// A part of a video, exact to the millisecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct ClipRange {
    start_ms: i64,
    end_ms: i64,
}

impl ClipRange {
    /// Makes a range of milliseconds from the source's beginning.
    ///
    /// # Errors
    /// `INVALID_INPUT` when it is negative, empty, backwards, or beyond [`RANGE_MILLIS_MAX`].
    pub fn from_millis(start_ms: i64, end_ms: i64) -> Result<Self> {
        if start_ms < 0 {
            return Err(Error::invalid("start", "must not be negative"));
        }
        if end_ms <= start_ms {
            return Err(Error::invalid("end", "must come after the start"));
        }
        if end_ms > RANGE_MILLIS_MAX {
            return Err(Error::invalid("end", "must be at most 2147483647 seconds"));
        }
        Ok(Self { start_ms, end_ms })
    }

    /// Returns the start in milliseconds.
    pub const fn start_ms(self) -> i64 {
        self.start_ms
    }

    /// Returns the end in milliseconds.
    pub const fn end_ms(self) -> i64 {
        self.end_ms
    }

    /// Returns the start in whole seconds, rounded down.
    #[allow(
        clippy::cast_possible_truncation,
        reason = "bounded by RANGE_MILLIS_MAX"
    )]
    pub const fn start_sec(self) -> i32 {
        (self.start_ms / 1000) as i32
    }

    /// Returns the end in whole seconds, rounded up.
    #[allow(
        clippy::cast_possible_truncation,
        reason = "bounded by RANGE_MILLIS_MAX"
    )]
    pub const fn end_sec(self) -> i32 {
        ((self.end_ms + 999) / 1000) as i32
    }
}

/// Where a job's video comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// An object in the sources' bucket.
    Upload(StorageKey),
    /// An address that a worker fetches.
    Youtube(String),
}

impl Source {
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Upload(_) => "upload",
            Self::Youtube(_) => "youtube",
        }
    }

    pub(crate) fn key(&self) -> Option<String> {
        match self {
            Self::Upload(key) => Some(key.to_string()),
            Self::Youtube(_) => None,
        }
    }

    pub(crate) fn url(&self) -> Option<&str> {
        match self {
            Self::Upload(_) => None,
            Self::Youtube(url) => Some(url),
        }
    }

    fn check(&self) -> Result<()> {
        match self {
            Self::Upload(StorageKey::Source { .. }) => Ok(()),
            Self::Upload(_) => Err(Error::invalid("source_key", "must be the key of a source")),
            Self::Youtube(url) if !url.starts_with("https://") => {
                Err(Error::invalid("source_url", "must start with https://"))
            }
            Self::Youtube(url) if url.len() > SOURCE_URL_BYTES_MAX => {
                Err(Error::invalid("source_url", "must be at most 1024 bytes"))
            }
            Self::Youtube(_) => Ok(()),
        }
    }
}

/// A job to create. Start with [`NewJob::new`] and set what differs from the defaults.
#[derive(Clone, Debug, PartialEq)]
pub struct NewJob {
    /// The job's id; its source lies under it, so it is known before the job exists.
    pub id: JobId,
    /// Where the video comes from.
    pub source: Source,
    /// Which part of it.
    pub range: ClipRange,
    /// Whether a subtitle file is wanted beside the clip.
    pub with_subtitles: bool,
    /// Whether the subtitles are drawn into the picture; needs `with_subtitles`.
    pub burn_subtitles: bool,
    /// The language of the text track, or `auto`.
    pub subtitle_lang: String,
    /// Which jobs go first.
    pub priority: Priority,
    /// Which workers it is for; 0 unless you run shards. Not negative.
    pub shard: i32,
    /// Attempts until a failure is final, 1 to [`ATTEMPTS_MAX`].
    pub max_attempts: i32,
    /// Not claimed before this time; at once when `None`.
    pub run_at: Option<Timestamp>,
    /// When the job and its objects may be removed; by retention when `None`.
    pub expires_at: Option<Timestamp>,
    /// What the `created` event carries beside clipbase's own keys: a JSON object.
    pub event_data: Option<Value>,
}

impl NewJob {
    /// A job with the defaults: normal priority, shard 0, three attempts, no subtitles.
    pub fn new(id: JobId, source: Source, range: ClipRange) -> Self {
        Self {
            id,
            source,
            range,
            with_subtitles: false,
            burn_subtitles: false,
            subtitle_lang: "auto".to_owned(),
            priority: Priority::Normal,
            shard: 0,
            max_attempts: 3,
            run_at: None,
            expires_at: None,
            event_data: None,
        }
    }

    pub(crate) fn check(&self) -> Result<()> {
        self.source.check()?;
        if self.burn_subtitles && !self.with_subtitles {
            return Err(Error::invalid("burn_subtitles", "needs with_subtitles"));
        }
        check_language(&self.subtitle_lang)?;
        check_shard(self.shard)?;
        check_attempts(self.max_attempts)?;
        check_event_data(self.event_data.as_ref())
    }
}

/// A change of one field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Change<T> {
    /// Leaves it as it is.
    #[default]
    Keep,
    /// Takes its value away.
    Clear,
    /// Gives it this value.
    Set(T),
}

/// A change of a job that is no transition. What is `None` stays.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JobPatch {
    /// Which jobs go first.
    pub priority: Option<Priority>,
    /// Which workers it is for.
    pub shard: Option<i32>,
    /// Not claimed before this time.
    pub run_at: Option<Timestamp>,
    /// Attempts until a failure is final.
    pub max_attempts: Option<i32>,
    /// When the job may be removed.
    pub expires_at: Change<Timestamp>,
    /// Which part of the video: only while the job is queued or failed.
    pub range: Option<ClipRange>,
    /// Whether a subtitle file is wanted: only while the job is queued or failed.
    pub with_subtitles: Option<bool>,
    /// Whether subtitles are drawn in: only while the job is queued or failed.
    pub burn_subtitles: Option<bool>,
    /// The language: only while the job is queued or failed.
    pub subtitle_lang: Option<String>,
}

impl JobPatch {
    pub(crate) fn check(&self) -> Result<()> {
        if *self == Self::default() {
            return Err(Error::invalid(
                "patch",
                "changes nothing; set at least one field",
            ));
        }
        self.shard.map_or(Ok(()), check_shard)?;
        self.max_attempts.map_or(Ok(()), check_attempts)?;
        self.subtitle_lang.as_deref().map_or(Ok(()), check_language)
    }

    /// Whether it changes what a running worker has already read.
    pub(crate) fn changes_the_clip(&self) -> bool {
        self.range.is_some()
            || self.with_subtitles.is_some()
            || self.burn_subtitles.is_some()
            || self.subtitle_lang.is_some()
    }
}

fn check_language(tag: &str) -> Result<()> {
    let fits = (1..=LANGUAGE_BYTES_MAX).contains(&tag.len())
        && tag.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if fits {
        Ok(())
    } else {
        Err(Error::invalid(
            "subtitle_lang",
            "must be auto or a language tag such as en or pt-BR",
        ))
    }
}

fn check_shard(shard: i32) -> Result<()> {
    if shard < 0 {
        Err(Error::invalid("shard", "must not be negative"))
    } else {
        Ok(())
    }
}

fn check_attempts(attempts: i32) -> Result<()> {
    if (1..=ATTEMPTS_MAX).contains(&attempts) {
        Ok(())
    } else {
        Err(Error::invalid("max_attempts", "must be 1 to 100"))
    }
}

/// Checks what a caller adds to an event: an object, not too large, none of our keys, no text that JSON may
/// hold and PostgreSQL may not (U+0000).
pub(crate) fn check_event_data(data: Option<&Value>) -> Result<()> {
    let Some(data) = data else { return Ok(()) };
    let Value::Object(map) = data else {
        return Err(Error::invalid("data", "must be a JSON object"));
    };
    if let Some(key) = EVENT_KEYS_RESERVED
        .iter()
        .find(|key| map.contains_key(**key))
    {
        return Err(Error::invalid(
            "data",
            format!("must not use the key {key:?}: it is reserved"),
        ));
    }
    if data.to_string().len() > EVENT_DATA_BYTES_MAX {
        return Err(Error::invalid("data", "must be at most 8192 bytes of JSON"));
    }
    if has_nul(data) {
        return Err(Error::invalid(
            "data",
            "must not contain the character U+0000",
        ));
    }
    Ok(())
}

fn has_nul(data: &Value) -> bool {
    match data {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(has_nul),
        Value::Object(map) => map
            .iter()
            .any(|(key, value)| key.contains('\0') || has_nul(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
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
    pub event_seq: i32,
}

impl Job {
    /// Returns the range in milliseconds: the exact one, or the whole seconds of a client that knows only
    /// those.
    pub fn range_ms(&self) -> (i64, i64) {
        range_ms(self.start_sec, self.end_sec, self.start_ms, self.end_ms)
    }
}

pub(crate) fn range_ms(
    start_sec: i32,
    end_sec: i32,
    start_ms: Option<i64>,
    end_ms: Option<i64>,
) -> (i64, i64) {
    (
        start_ms.unwrap_or_else(|| i64::from(start_sec) * 1000),
        end_ms.unwrap_or_else(|| i64::from(end_sec) * 1000),
    )
}

/// Where a page of a list starts: after this row. Prints as text for links and command lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The time of creation of the page's last row.
    pub created_at: Timestamp,
    /// Its id.
    pub id: JobId,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}-{}",
            self.created_at.as_microsecond(),
            self.id.as_uuid().simple()
        )
    }
}

impl FromStr for Cursor {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let refuse = || Error::invalid("cursor", "is not one that a page ended with");
        let (micros, id) = text.rsplit_once('-').ok_or_else(refuse)?;
        let micros: i64 = micros.parse().map_err(|_| refuse())?;
        let created_at = Timestamp::from_microsecond(micros).map_err(|_| refuse())?;
        let id = Uuid::try_parse(id).map_err(|_| refuse())?;
        Ok(Self {
            created_at,
            id: JobId::from_uuid(id),
        })
    }
}

/// Seconds as PostgreSQL's `make_interval` takes them.
pub(crate) fn seconds(duration: Option<Duration>) -> Option<f64> {
    duration.map(|duration| duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn job() -> NewJob {
        let id = JobId::new();
        let source = Source::Upload(StorageKey::source(id, "mp4").unwrap());
        NewJob::new(id, source, ClipRange::from_millis(0, 1000).unwrap())
    }

    #[test]
    fn seconds_are_rounded_outwards() {
        let range = ClipRange::from_millis(1_234, 3_456).unwrap();
        assert_eq!((range.start_sec(), range.end_sec()), (1, 4));
        let range = ClipRange::from_millis(2_000, 3_000).unwrap();
        assert_eq!((range.start_sec(), range.end_sec()), (2, 3));
        let last = ClipRange::from_millis(0, RANGE_MILLIS_MAX).unwrap();
        assert_eq!(last.end_sec(), i32::MAX);
    }

    #[test]
    fn impossible_ranges_name_the_field() {
        for (start, end, field) in [
            (-1, 5, "start"),
            (5, 5, "end"),
            (6, 5, "end"),
            (0, i64::MAX, "end"),
        ] {
            let error = ClipRange::from_millis(start, end).unwrap_err();
            assert!(error.to_string().starts_with(field), "{error}");
        }
    }

    #[test]
    fn each_bad_field_is_named() {
        type Spoil = fn(&mut NewJob);
        let cases: [(&str, Spoil); 7] = [
            ("burn_subtitles", |job| job.burn_subtitles = true),
            ("subtitle_lang", |job| {
                job.subtitle_lang = "no language".into();
            }),
            ("shard", |job| job.shard = -1),
            ("max_attempts", |job| job.max_attempts = 0),
            ("source_url", |job| {
                job.source = Source::Youtube("file:///etc/passwd".into());
            }),
            ("source_key", |job| {
                job.source = Source::Upload(StorageKey::result_video(job.id, 1));
            }),
            ("data", |job| job.event_data = Some(json!({"set": {}}))),
        ];
        for (field, spoil) in cases {
            let mut job = job();
            job.check().unwrap();
            spoil(&mut job);
            let error = job.check().unwrap_err().to_string();
            assert!(error.starts_with(field), "{field}: {error}");
        }
    }

    #[test]
    fn event_data_is_an_object_of_bounded_size() {
        assert!(check_event_data(Some(&json!([1]))).is_err());
        assert!(check_event_data(Some(&json!({"a": "x".repeat(EVENT_DATA_BYTES_MAX)}))).is_err());
        assert!(check_event_data(Some(&json!({"a": "\u{0}"}))).is_err());
        assert!(check_event_data(Some(&json!({"a": 1}))).is_ok());
    }

    proptest! {
        #[test]
        fn a_cursor_parses_back(micros in 0_i64..4_102_444_800_000_000, id: u128) {
            let created_at = Timestamp::from_microsecond(micros).unwrap();
            let cursor = Cursor { created_at, id: JobId::from_uuid(Uuid::from_u128(id)) };
            prop_assert_eq!(cursor.to_string().parse::<Cursor>().unwrap(), cursor);
        }

        #[test]
        fn no_text_makes_a_cursor_panic(text in ".*") {
            let _ = text.parse::<Cursor>();
        }
    }
}
