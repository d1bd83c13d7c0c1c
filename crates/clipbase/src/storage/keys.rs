//! Where objects live: the seed's canonical keys, as types.
//!
//! A key's first segment is its bucket and the rest is its path in that bucket. The first lease of a job
//! writes the seed's own result keys; lease `n > 1` writes under `results/{job}/{n}/`, so that a
//! superseded worker can never overwrite what its successor stored.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;
use uuid::Uuid;

use crate::error::{Error, Result};
use crate::ids::JobId;

/// The longest extension a source may keep, in bytes.
pub const EXTENSION_BYTES_MAX: usize = 16;

/// The two buckets, both private.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Bucket {
    /// What users bring.
    Sources,
    /// What workers make.
    Results,
}

impl Bucket {
    /// Both buckets.
    pub const ALL: [Bucket; 2] = [Bucket::Sources, Bucket::Results];

    /// Finds a bucket by its name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|bucket| bucket.name() == name)
    }

    /// Returns the bucket's name.
    pub const fn name(self) -> &'static str {
        match self {
            Bucket::Sources => "sources",
            Bucket::Results => "results",
        }
    }
}

/// The end of a source's name: 1 to 16 ASCII letters and digits, so that it can never lead elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceExtension(String);

impl SourceExtension {
    /// Checks an extension and keeps its case.
    ///
    /// # Errors
    /// `INVALID_INPUT` when it is not 1 to 16 ASCII letters and digits.
    pub fn new(extension: &str) -> Result<Self> {
        let fits = (1..=EXTENSION_BYTES_MAX).contains(&extension.len())
            && extension.bytes().all(|b| b.is_ascii_alphanumeric());
        if !fits {
            return Err(Error::invalid(
                "extension",
                "must be 1 to 16 letters or digits, as in mp4",
            ));
        }
        Ok(Self(extension.to_owned()))
    }

    /// Returns the extension without a dot.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The key of an object that clipbase may write. It cannot be built with a path that leaves its job's
/// folder.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StorageKey {
    /// `sources/{job}/source.{extension}`
    Source {
        /// The job that owns the object.
        job: JobId,
        /// What the file's name ends with; lower-case in keys made here.
        extension: SourceExtension,
    },
    /// `results/{job}/clip.mp4`, or `results/{job}/{lease}/clip.mp4` from the second lease on.
    ResultVideo {
        /// The job that owns the object.
        job: JobId,
        /// The lease that wrote it, from 1.
        lease: i32,
    },
    /// `results/{job}/clip.srt`, or `results/{job}/{lease}/clip.srt` from the second lease on.
    ResultSrt {
        /// The job that owns the object.
        job: JobId,
        /// The lease that wrote it, from 1.
        lease: i32,
    },
    /// `{bucket}/.clipbase-installation`: which installation a bucket belongs to.
    InstallationMarker(Bucket),
    /// `{bucket}/.clipbase-probe-{id}`: stored and removed again to see what a credential may do.
    Probe {
        /// The bucket that is tried.
        bucket: Bucket,
        /// One for each try, so that two never meet.
        id: Uuid,
    },
}

const MARKER_PATH: &str = ".clipbase-installation";

const PROBE_PREFIX: &str = ".clipbase-probe-";

impl StorageKey {
    /// The key of a job's source.
    ///
    /// # Errors
    /// `INVALID_INPUT` when the extension is not 1 to 16 ASCII letters and digits.
    pub fn source(job: JobId, extension: &str) -> Result<Self> {
        Self::source_as_written(job, &extension.to_ascii_lowercase())
    }

    /// As [`StorageKey::source`], for a key that another client wrote: it keeps the case.
    fn source_as_written(job: JobId, extension: &str) -> Result<Self> {
        Ok(Self::Source {
            job,
            extension: SourceExtension::new(extension)?,
        })
    }

    /// The key under which this lease stores its clip.
    pub const fn result_video(job: JobId, lease: i32) -> Self {
        Self::ResultVideo { job, lease }
    }

    /// The key under which this lease stores its subtitles.
    pub const fn result_srt(job: JobId, lease: i32) -> Self {
        Self::ResultSrt { job, lease }
    }

    /// A fresh key to try a bucket with.
    pub fn probe(bucket: Bucket) -> Self {
        Self::Probe {
            bucket,
            id: Uuid::new_v4(),
        }
    }

    /// Returns the bucket: the key's first segment.
    pub const fn bucket(&self) -> Bucket {
        match self {
            Self::Source { .. } => Bucket::Sources,
            Self::ResultVideo { .. } | Self::ResultSrt { .. } => Bucket::Results,
            Self::InstallationMarker(bucket) | Self::Probe { bucket, .. } => *bucket,
        }
    }

    /// Returns the path inside the bucket: the key without its first segment.
    pub fn path(&self) -> String {
        match self {
            Self::Source { job, extension } => format!("{job}/source.{}", extension.as_str()),
            Self::ResultVideo { job, lease } => result_path(*job, *lease, "clip.mp4"),
            Self::ResultSrt { job, lease } => result_path(*job, *lease, "clip.srt"),
            Self::InstallationMarker(_) => MARKER_PATH.to_owned(),
            Self::Probe { id, .. } => format!("{PROBE_PREFIX}{id}"),
        }
    }

    /// Returns the job that owns the object; markers and probes belong to none.
    pub const fn job(&self) -> Option<JobId> {
        match self {
            Self::Source { job, .. }
            | Self::ResultVideo { job, .. }
            | Self::ResultSrt { job, .. } => Some(*job),
            Self::InstallationMarker(_) | Self::Probe { .. } => None,
        }
    }

    /// Returns the media type that the object is stored under: bare, since Supabase compares the whole
    /// string with a bucket's allow-list.
    pub fn content_type(&self) -> &'static str {
        match self {
            Self::ResultVideo { .. } => "video/mp4",
            Self::ResultSrt { .. } => "application/x-subrip",
            Self::InstallationMarker(_) | Self::Probe { .. } => "text/plain",
            Self::Source { extension, .. } => match extension.as_str() {
                "mp4" | "m4v" => "video/mp4",
                "mov" => "video/quicktime",
                "mkv" => "video/x-matroska",
                "webm" => "video/webm",
                _ => "application/octet-stream",
            },
        }
    }
}

fn result_path(job: JobId, lease: i32, file: &str) -> String {
    if lease <= 1 {
        format!("{job}/{file}")
    } else {
        format!("{job}/{lease}/{file}")
    }
}

impl fmt::Display for StorageKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.bucket().name(), self.path())
    }
}

impl fmt::Debug for StorageKey {
    /// Leaves out the bucket's name, which no log line may show.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StorageKey(…/{})", self.path())
    }
}

impl FromStr for StorageKey {
    type Err = Error;

    /// Reads exactly the shapes that `Display` writes.
    fn from_str(text: &str) -> Result<Self> {
        let refuse = || Error::invalid("key", "is not a key that clipbase writes");
        let key = match text.split('/').collect::<Vec<_>>().as_slice() {
            ["sources", job, file] if *job != MARKER_PATH => {
                let extension = file.strip_prefix("source.").ok_or_else(refuse)?;
                Self::source_as_written(parse_job(job)?, extension)?
            }
            ["results", job, "clip.mp4"] => Self::result_video(parse_job(job)?, 1),
            ["results", job, "clip.srt"] => Self::result_srt(parse_job(job)?, 1),
            ["results", job, lease, "clip.mp4"] => {
                Self::result_video(parse_job(job)?, parse_lease(lease)?)
            }
            ["results", job, lease, "clip.srt"] => {
                Self::result_srt(parse_job(job)?, parse_lease(lease)?)
            }
            ["sources", MARKER_PATH] => Self::InstallationMarker(Bucket::Sources),
            ["results", MARKER_PATH] => Self::InstallationMarker(Bucket::Results),
            [bucket, probe] => Self::Probe {
                bucket: Bucket::named(bucket).ok_or_else(refuse)?,
                id: probe
                    .strip_prefix(PROBE_PREFIX)
                    .and_then(|id| id.parse().ok())
                    .ok_or_else(refuse)?,
            },
            _ => return Err(refuse()),
        };
        // One spelling a key: `SOURCES/…`, upper-case UUIDs or `02` for a lease are somebody else's.
        if key.to_string() == text {
            Ok(key)
        } else {
            Err(refuse())
        }
    }
}

fn parse_job(text: &str) -> Result<JobId> {
    text.parse()
        .map_err(|_| Error::invalid("key", "does not name a job"))
}

fn parse_lease(text: &str) -> Result<i32> {
    text.parse()
        .map_err(|_| Error::invalid("key", "does not name a lease"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const JOB: &str = "0198c0de-0000-7000-8000-000000000000";

    #[test]
    fn keys_are_the_seeds() {
        let job: JobId = JOB.parse().unwrap();
        let source = StorageKey::source(job, "MOV").unwrap();
        assert_eq!(source.to_string(), format!("sources/{JOB}/source.mov"));
        assert_eq!(
            StorageKey::result_video(job, 1).to_string(),
            format!("results/{JOB}/clip.mp4")
        );
        assert_eq!(
            StorageKey::result_srt(job, 1).to_string(),
            format!("results/{JOB}/clip.srt")
        );
        assert_eq!(
            StorageKey::result_video(job, 3).to_string(),
            format!("results/{JOB}/3/clip.mp4")
        );
    }

    #[test]
    fn foreign_shapes_are_refused() {
        for text in [
            String::new(),
            "sources".into(),
            format!("sources/{JOB}/source."),
            format!("sources/{JOB}/source.m/4"),
            format!("sources/{JOB}/../source.mp4"),
            format!("sources/{JOB}/other.mp4"),
            format!("results/{JOB}/1/clip.mp4"),
            format!("results/{JOB}/02/clip.mp4"),
            format!("results/{JOB}/-1/clip.mp4"),
            format!("results/{}/clip.mp4", JOB.to_uppercase()),
            format!("other/{JOB}/clip.mp4"),
        ] {
            assert!(text.parse::<StorageKey>().is_err(), "{text}");
        }
    }

    #[test]
    fn debug_hides_the_bucket() {
        let text = format!("{:?}", StorageKey::result_video(JOB.parse().unwrap(), 1));
        assert!(!text.contains("results"), "{text}");
    }

    proptest! {
        #[test]
        fn every_key_parses_back(lease in 1..i32::MAX, extension in "[A-Za-z0-9]{1,16}") {
            let job = JobId::new();
            for key in [
                StorageKey::Source { job, extension: SourceExtension::new(&extension).unwrap() },
                StorageKey::result_video(job, lease),
                StorageKey::result_srt(job, lease),
                StorageKey::InstallationMarker(Bucket::Sources),
                StorageKey::probe(Bucket::Results),
            ] {
                prop_assert_eq!(key.to_string().parse::<StorageKey>().unwrap(), key);
            }
        }
    }
}
