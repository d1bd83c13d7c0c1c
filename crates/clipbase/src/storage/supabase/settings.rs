//! The small settings of a Supabase storage: each a plain value with its default and its bounds.
//!
//! A value that is out of bounds is refused where it joins the configuration, with the setting's name.

use std::time::Duration;

use crate::error::{Error, Result};
use crate::storage::{Bucket, StorageKey};

/// The longest that any timeout may be set to.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(3_600);

/// The most tries that a call may be set to.
pub const TRIES_MAX: u32 = 10;

/// The longest pause that may be set between two tries.
pub const PAUSE_MAX: Duration = Duration::from_secs(60);

/// The most media types that a bucket's list may hold.
pub const MEDIA_TYPES_MAX: usize = 100;

/// Where in its bucket an object lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyLayout {
    /// The key's first segment is the bucket: `{job}/source.mp4` in the bucket `sources`.
    #[default]
    Bucket,
    /// The path is the whole key: `sources/{job}/source.mp4` in the bucket `sources`, as a client stores it
    /// that hands the whole key to `from('sources')`.
    Literal,
}

impl KeyLayout {
    /// Returns the object's path inside its bucket.
    pub(super) fn path(self, key: &StorageKey) -> String {
        match self {
            Self::Bucket => key.path(),
            Self::Literal => key.to_string(),
        }
    }

    /// Reads a path of a bucket; `None` for an object that is not ours.
    pub(super) fn key(self, bucket: Bucket, path: &str) -> Option<StorageKey> {
        let key: StorageKey = match self {
            Self::Bucket => format!("{}/{path}", bucket.name()).parse().ok()?,
            Self::Literal => path.parse().ok()?,
        };
        (key.bucket() == bucket).then_some(key)
    }
}

impl std::str::FromStr for KeyLayout {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "bucket" => Ok(Self::Bucket),
            "literal" => Ok(Self::Literal),
            _ => Err(Error::invalid("key-layout", "must be bucket or literal")),
        }
    }
}

/// How long the server may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// To accept a connection, TLS included.
    pub connect: Duration,
    /// For a whole call without content: look up, list, sign, remove. A copy has [`Timeouts::read`].
    pub control: Duration,
    /// For the next piece of content in either direction, and for the answer after the last one. A transfer
    /// as a whole has no limit: it may take as long as it moves.
    pub read: Duration,
}

impl Default for Timeouts {
    /// 10 s, 30 s and 60 s. The server gives its own database 30 s before it answers 544.
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            control: Duration::from_secs(30),
            read: Duration::from_secs(60),
        }
    }
}

impl Timeouts {
    pub(super) fn check(self) -> Result<Self> {
        let all = [self.connect, self.control, self.read];
        if all
            .iter()
            .all(|time| (Duration::from_millis(1)..=TIMEOUT_MAX).contains(time))
        {
            Ok(self)
        } else {
            Err(Error::invalid(
                "storage-timeouts",
                "must be 1 millisecond to 1 hour each",
            ))
        }
    }
}

/// How a call that failed for the moment is tried again: after a random part of a pause that doubles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// How often a call is tried in all, from 1 to [`TRIES_MAX`]. A transfer that moves on starts counting
    /// anew.
    pub tries: u32,
    /// The longest first pause.
    pub base: Duration,
    /// The longest pause of all, at most [`PAUSE_MAX`]. Only a server that asks for more gets more.
    pub cap: Duration,
}

impl Default for RetryPolicy {
    /// 4 tries, 200 ms, 5 s.
    fn default() -> Self {
        Self {
            tries: 4,
            base: Duration::from_millis(200),
            cap: Duration::from_secs(5),
        }
    }
}

impl RetryPolicy {
    pub(super) fn check(self) -> Result<Self> {
        if !(1..=TRIES_MAX).contains(&self.tries) {
            return Err(Error::invalid("storage-tries", "must be 1 to 10"));
        }
        if self.base > self.cap || self.cap > PAUSE_MAX {
            return Err(Error::invalid(
                "storage-pauses",
                "the first must not exceed the longest, nor that one minute",
            ));
        }
        Ok(self)
    }
}

/// What the buckets take. `None` leaves a bucket's own setting alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BucketPolicy {
    /// The largest object, in bytes. The storage has a limit of its own, which this one cannot exceed.
    pub max_bytes: Option<u64>,
    /// The media types that `sources` takes, bare (`video/mp4`) or by group (`video/*`). `text/plain` is
    /// added: the installation's marker is one.
    pub sources_types: Option<Vec<String>>,
    /// The media types that `results` takes, likewise.
    pub results_types: Option<Vec<String>>,
}

impl BucketPolicy {
    pub(super) fn check(mut self) -> Result<Self> {
        if self.max_bytes == Some(0) {
            return Err(Error::invalid("bucket-max-bytes", "must be at least 1"));
        }
        check_types("sources-types", self.sources_types.as_mut())?;
        check_types("results-types", self.results_types.as_mut())?;
        let clips = self.results_types.iter().all(|types| {
            ["video/mp4", "application/x-subrip"]
                .iter()
                .all(|ours| types.iter().any(|allowed| covers(allowed, ours)))
        });
        if clips {
            Ok(self)
        } else {
            Err(Error::invalid(
                "results-types",
                "must allow video/mp4 and application/x-subrip, which workers store",
            ))
        }
    }

    /// Returns the media types of a bucket, where they are set.
    pub(super) fn types(&self, bucket: Bucket) -> Option<&[String]> {
        match bucket {
            Bucket::Sources => self.sources_types.as_deref(),
            Bucket::Results => self.results_types.as_deref(),
        }
    }
}

/// Refuses what the server would compare in vain: it looks at the whole string, parameters and all.
fn check_types(field: &'static str, types: Option<&mut Vec<String>>) -> Result<()> {
    let Some(types) = types else {
        return Ok(());
    };
    let bare = |text: &String| {
        text.split_once('/').is_some_and(|(group, kind)| {
            let word = |text: &str| {
                !text.is_empty()
                    && text.bytes().all(|byte| {
                        byte.is_ascii_lowercase()
                            || byte.is_ascii_digit()
                            || matches!(byte, b'.' | b'+' | b'-')
                    })
            };
            word(group) && (kind == "*" || word(kind))
        })
    };
    if types.is_empty() || types.len() >= MEDIA_TYPES_MAX || !types.iter().all(bare) {
        return Err(Error::invalid(
            field,
            "must be 1 to 99 media types in lower case without parameters, as video/mp4 or video/*",
        ));
    }
    if !types.iter().any(|allowed| covers(allowed, "text/plain")) {
        types.push("text/plain".to_owned());
    }
    Ok(())
}

fn covers(allowed: &str, media_type: &str) -> bool {
    allowed == media_type
        || allowed
            .strip_suffix('*')
            .is_some_and(|group| group.ends_with('/') && media_type.starts_with(group))
}

/// Refuses a lifetime of upload links that makes no sense.
pub(super) fn check_upload_link_ttl(ttl: Duration) -> Result<Duration> {
    let day = Duration::from_secs(24 * 3_600);
    if (Duration::from_secs(1)..=day).contains(&ttl) && ttl.subsec_nanos() == 0 {
        Ok(ttl)
    } else {
        Err(Error::invalid(
            "upload-link-ttl",
            "must be 1 second to 24 hours, in whole seconds",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::JobId;

    #[test]
    fn both_layouts_read_back_what_they_write() {
        let job = JobId::new();
        for layout in [KeyLayout::Bucket, KeyLayout::Literal] {
            for key in [
                StorageKey::source(job, "mp4").unwrap(),
                StorageKey::result_srt(job, 3),
                StorageKey::probe(Bucket::Sources),
            ] {
                let path = layout.path(&key);
                assert_eq!(layout.key(key.bucket(), &path), Some(key));
            }
        }
        let stray = format!("results/{job}/clip.mp4");
        assert_eq!(KeyLayout::Literal.key(Bucket::Sources, &stray), None);
        assert_eq!(KeyLayout::Bucket.key(Bucket::Results, &stray), None);
    }

    #[test]
    fn media_types_are_bare_and_cover_what_clipbase_writes() {
        let policy = |sources: &[&str], results: &[&str]| {
            let own = |types: &[&str]| Some(types.iter().map(|t| (*t).to_owned()).collect());
            BucketPolicy {
                max_bytes: None,
                sources_types: own(sources),
                results_types: own(results),
            }
            .check()
        };
        let good = policy(&["video/*"], &["video/mp4", "application/x-subrip"]).unwrap();
        assert_eq!(
            good.types(Bucket::Sources).unwrap(),
            ["video/*", "text/plain"]
        );
        for (sources, results, field) in [
            (
                &["video/mp4; codecs=x"][..],
                &["video/*"][..],
                "sources-types:",
            ),
            (&[], &["video/*"], "sources-types:"),
            (&["*/*"], &["video/*"], "sources-types:"),
            (&["video/*"], &["video/*"], "results-types:"),
        ] {
            let error = policy(sources, results).unwrap_err();
            assert!(error.to_string().starts_with(field), "{error}");
        }
        let none = BucketPolicy {
            max_bytes: Some(0),
            ..BucketPolicy::default()
        };
        assert!(none.check().is_err());
    }
}
