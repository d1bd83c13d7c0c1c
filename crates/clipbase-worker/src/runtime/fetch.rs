//! Bringing a job's source to this machine, once its limits and the room for it are checked.

use std::path::{Path, PathBuf};

use clipbase::leases::Lease;
use clipbase::storage::StorageKey;
use clipbase::{Code, Error};

use super::Worker;
use super::scratch::{Megabytes, Room, Scratch, clip_allowance};
use super::word::Trouble;
use crate::clipper::{ClipError, ClipErrorCode, Progress};
use crate::youtube::{FetchRequest, Fetcher};

/// A job that may begin, with room for its files.
pub(super) struct Admitted<'a> {
    source: Source<'a>,
    /// What is about to be written: the source, unless it is here already, and the clip.
    needed: u64,
    /// How much of it is the source, at most.
    fetched: u64,
    _room: Room,
}

enum Source<'a> {
    /// A file of this machine.
    Here(PathBuf),
    Object(StorageKey),
    Youtube(&'a dyn Fetcher, &'a str),
}

impl Worker {
    /// Checks a job against the limits, and waits until there is room for it. Nothing is fetched yet.
    pub(super) async fn admit<'a>(&'a self, lease: &'a Lease) -> Result<Admitted<'a>, Trouble> {
        let (work, options) = (lease.work(), &self.shared.options);
        let length_ms = work.end_ms.saturating_sub(work.start_ms);
        if let Some(most) = options.clip_length_max
            && u128::from(length_ms.unsigned_abs()) > most.as_millis()
        {
            return Err(clip_too_long(most).into());
        }
        let (source, fetched, whole) = match work.source_type.as_str() {
            "upload" => self.upload(work.source_key.as_deref()).await?,
            "youtube" => self.youtube(work.source_url.as_deref())?,
            _ => return Err(no_source("is not one that this worker can fetch").into()),
        };
        let needed = fetched.saturating_add(clip_allowance(length_ms, whole));
        let room = self.shared.scratch.take(needed).await?;
        Ok(Admitted {
            source,
            needed,
            fetched,
            _room: room,
        })
    }

    /// Tells where the upload is, how much must be fetched, and how large it is.
    async fn upload(&self, key: Option<&str>) -> Result<(Source<'_>, u64, u64), Trouble> {
        let key: StorageKey = key.ok_or_else(|| no_source("names no source"))?.parse()?;
        let storage = self.shared.clipbase.storage();
        let Some(info) = storage.info(&key).await? else {
            return Err(Error::failed(
                Code::StorageNotFound,
                "the source is not in the storage; upload it again under a new job",
            )
            .into());
        };
        self.check_size(info.size)?;
        Ok(match storage.local_file(&key) {
            Some(path) => (Source::Here(path), 0, info.size),
            None => (Source::Object(key), info.size, info.size),
        })
    }

    fn youtube<'a>(&'a self, url: Option<&'a str>) -> Result<(Source<'a>, u64, u64), Trouble> {
        let Some(fetcher) = self.shared.options.youtube.as_deref() else {
            return Err(ClipError::new(
                ClipErrorCode::YoutubeDisabled,
                "this worker fetches no videos from YouTube; upload the video, or have it enabled",
            )
            .into());
        };
        let url = url.ok_or_else(|| no_source("names no address"))?;
        fetcher.check(url)?;
        let most = self.shared.options.source_bytes_max.unwrap_or(u64::MAX);
        let most = fetcher.bytes_max().min(most);
        Ok((Source::Youtube(fetcher, url), most, most))
    }

    /// Brings the source of an admitted job to this machine, unless it is there already.
    pub(super) async fn fetch(
        &self,
        admitted: &Admitted<'_>,
        scratch: &Path,
        progress: &dyn Progress,
    ) -> Result<PathBuf, Trouble> {
        match &admitted.source {
            Source::Here(path) => Ok(path.clone()),
            Source::Object(key) => {
                Scratch::check_disk(scratch, admitted.needed)?;
                let path = scratch.join("source");
                self.shared.clipbase.storage().download(key, &path).await?;
                Ok(path)
            }
            Source::Youtube(fetcher, url) => {
                Scratch::check_disk(scratch, admitted.needed)?;
                let folder = scratch.join("youtube");
                super::execute::make_folder(&folder).await?;
                let request = FetchRequest {
                    url: (*url).to_owned(),
                    bytes_max: admitted.fetched,
                    scratch: folder,
                };
                Ok(fetcher.fetch(&request, progress).await?)
            }
        }
    }

    fn check_size(&self, size: u64) -> Result<(), ClipError> {
        match self.shared.options.source_bytes_max {
            Some(most) if size > most => Err(ClipError::new(
                ClipErrorCode::SourceTooLarge,
                format!(
                    "the source has {} and this worker takes {}; upload a smaller one",
                    Megabytes(size),
                    Megabytes(most)
                ),
            )),
            _ => Ok(()),
        }
    }
}

fn clip_too_long(most: std::time::Duration) -> ClipError {
    ClipError::new(
        ClipErrorCode::ClipTooLong,
        format!(
            "the range is longer than {} s, the longest clip that this worker cuts; ask for a shorter one",
            most.as_secs_f64()
        ),
    )
}

fn no_source(problem: &'static str) -> Error {
    Error::invalid("source_type", problem)
}
