//! The scratch directory: how much of it the running jobs take together, and whether its disk has room.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::clipper::{ClipError, ClipErrorCode};
use crate::space;

/// The quota is counted in pieces of so many bytes.
const PIECE_BYTES: u64 = 1024 * 1024;
/// What a clip is believed to take a second at most: 40 Mbit/s.
const CLIP_BYTES_PER_SECOND: u64 = 5_000_000;

/// The scratch directory of a worker.
#[derive(Debug)]
pub(super) struct Scratch {
    folder: PathBuf,
    bytes_max: Option<u64>,
    pieces: Arc<Semaphore>,
}

/// A job's share of the quota. It goes back when dropped.
#[derive(Debug)]
pub(super) struct Room {
    _pieces: Option<OwnedSemaphorePermit>,
}

impl Scratch {
    pub(super) fn new(folder: &Path, bytes_max: Option<u64>) -> Self {
        let pieces = usize::try_from(pieces(bytes_max.unwrap_or(0))).unwrap_or(usize::MAX);
        Self {
            folder: folder.to_owned(),
            bytes_max,
            pieces: Arc::new(Semaphore::new(pieces.min(Semaphore::MAX_PERMITS))),
        }
    }

    /// The folder of one lease.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Waits until the job fits beside those that run, in the order in which jobs ask: a large one is not
    /// overtaken for ever.
    ///
    /// # Errors
    /// `SCRATCH_TOO_SMALL` when it never will.
    pub(super) async fn take(&self, needed: u64) -> Result<Room, ClipError> {
        let Some(bytes_max) = self.bytes_max else {
            return Ok(Room { _pieces: None });
        };
        if needed > bytes_max {
            return Err(ClipError::new(
                ClipErrorCode::ScratchTooSmall,
                format!(
                    "the job needs {} of scratch space and this worker's jobs may take {} together; raise \
                     the scratch limit, or use a smaller source",
                    Megabytes(needed),
                    Megabytes(bytes_max)
                ),
            ));
        }
        let pieces = self.pieces.clone().acquire_many_owned(pieces(needed)).await;
        // The semaphore is never closed.
        Ok(Room {
            _pieces: pieces.ok(),
        })
    }

    /// Checks that the disk has room for so much.
    ///
    /// # Errors
    /// `NO_SPACE`; `SCRATCH_FAILED`.
    pub(super) fn check_disk(folder: &Path, needed: u64) -> Result<(), ClipError> {
        space::check(folder, needed)
    }
}

/// What a clip of so many milliseconds may take: never more than its source, as far as can be told before
/// anything is known of that.
pub(super) fn clip_allowance(length_ms: i64, source_bytes: u64) -> u64 {
    let seconds = length_ms.unsigned_abs().div_ceil(1_000);
    seconds
        .saturating_mul(CLIP_BYTES_PER_SECOND)
        .min(source_bytes)
}

fn pieces(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(PIECE_BYTES)).unwrap_or(u32::MAX)
}

/// A size for people.
pub(super) struct Megabytes(pub(super) u64);

impl std::fmt::Display for Megabytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} MB", self.0.div_ceil(1_000_000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn jobs_share_the_quota_and_wait_for_each_other() {
        let scratch = Scratch::new(Path::new("/tmp"), Some(10 * PIECE_BYTES));
        let first = scratch.take(6 * PIECE_BYTES).await.unwrap();
        let second = scratch.take(5 * PIECE_BYTES);
        tokio::pin!(second);
        tokio::select! {
            biased;
            _ = &mut second => panic!("both fit"),
            () = std::future::ready(()) => {}
        }
        drop(first);
        second.await.unwrap();
    }

    #[tokio::test]
    async fn what_never_fits_is_told() {
        let scratch = Scratch::new(Path::new("/tmp"), Some(10));
        scratch.take(10).await.unwrap();
        let error = scratch.take(11).await.unwrap_err();
        assert_eq!(error.code(), ClipErrorCode::ScratchTooSmall);
        let free = Scratch::new(Path::new("/tmp"), None);
        free.take(u64::MAX).await.unwrap();
    }

    #[test]
    fn a_clip_takes_no_more_than_its_source() {
        assert_eq!(clip_allowance(10_000, u64::MAX), 50_000_000);
        assert_eq!(clip_allowance(10_000, 1_000), 1_000);
        assert_eq!(clip_allowance(1, u64::MAX), CLIP_BYTES_PER_SECOND);
    }
}
