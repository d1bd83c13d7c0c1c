//! A job to make, and a change of one.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::{ClipRange, Priority, check_event_data};
use crate::error::{Error, Result};
use crate::ids::JobId;
use crate::storage::StorageKey;

/// The longest address of a source, in bytes: the column's width.
pub const SOURCE_URL_BYTES_MAX: usize = 1024;
/// The longest language tag, in bytes: the column's width.
pub const LANGUAGE_BYTES_MAX: usize = 16;
/// The most attempts that a job may be given.
pub const ATTEMPTS_MAX: i32 = 100;
/// The longest time that a job may be given to live: ten years.
pub const EXPIRES_IN_MAX: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

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
    /// As `expires_at`, from the job's creation on by the database's clock: 1 second to [`EXPIRES_IN_MAX`]. Not
    /// with `expires_at`.
    pub expires_in: Option<Duration>,
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
            expires_in: None,
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
        self.check_expiry()?;
        check_event_data(self.event_data.as_ref())
    }

    fn check_expiry(&self) -> Result<()> {
        let Some(time) = self.expires_in else {
            return Ok(());
        };
        if self.expires_at.is_some() {
            return Err(Error::invalid("expires_in", "does not go with expires_at"));
        }
        if (Duration::from_secs(1)..=EXPIRES_IN_MAX).contains(&time) {
            Ok(())
        } else {
            Err(Error::invalid(
                "expires_in",
                "must be 1 second to ten years (315360000 seconds)",
            ))
        }
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn job() -> NewJob {
        let id = JobId::new();
        let source = Source::Upload(StorageKey::source(id, "mp4").unwrap());
        NewJob::new(id, source, ClipRange::from_millis(0, 1000).unwrap())
    }

    #[test]
    fn each_bad_field_is_named() {
        type Spoil = fn(&mut NewJob);
        let cases: [(&str, Spoil); 9] = [
            ("burn_subtitles", |job| job.burn_subtitles = true),
            ("subtitle_lang", |job| {
                job.subtitle_lang = "no language".into();
            }),
            ("shard", |job| job.shard = -1),
            ("max_attempts", |job| job.max_attempts = 0),
            ("expires_in", |job| job.expires_in = Some(Duration::ZERO)),
            ("expires_in", |job| {
                job.expires_in = Some(Duration::from_secs(1));
                job.expires_at = Some(Timestamp::UNIX_EPOCH);
            }),
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
}
