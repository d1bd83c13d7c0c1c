//! Where a clip goes: into a folder of the caller's, whole or not at all.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use clipbase::storage::StorageKey;
use clipbase::{Code, Job};

use crate::context::Context;
use crate::failure::Failure;

/// Copies the results out, each whole or not at all.
pub(super) async fn copy_out(
    context: &Context,
    job: &Job,
    out: &Path,
    with_srt: bool,
) -> Result<Option<PathBuf>, Failure> {
    let storage = context.clipbase.storage();
    let inconsistent = || clipbase::Error::failed(Code::DbInconsistent, "the job names no clip");
    let video = job.result_video_key.as_deref().ok_or_else(inconsistent)?;
    let failed = |error| not_copied(error, out);
    let key: StorageKey = video.parse()?;
    storage.download(&key, out).await.map_err(failed)?;
    let Some(srt) = job.result_srt_key.as_ref().filter(|_| with_srt) else {
        return Ok(None);
    };
    let path = out.with_extension("srt");
    let key: StorageKey = srt.parse()?;
    storage.download(&key, &path).await.map_err(failed)?;
    Ok(Some(path))
}

/// A disk that is full where the clip goes to: the storage cannot know whose it is, and only names the kind.
fn not_copied(error: clipbase::Error, out: &Path) -> Failure {
    let cause = std::error::Error::source(&error).map(ToString::to_string);
    let is_full = |cause: String| cause.contains("StorageFull") || cause.contains("QuotaExceeded");
    if cause.is_some_and(is_full) {
        return unwritable(out.parent().unwrap_or(out), ErrorKind::StorageFull);
    }
    error.into()
}

/// Why a clip cannot be written to a folder, and what to do.
pub(super) fn unwritable(folder: &Path, why: ErrorKind) -> Failure {
    let folder = folder.display();
    match why {
        ErrorKind::NotFound => Failure::input(format!(
            "the folder {folder} does not exist; make it, or name another with --out"
        )),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Failure::new(
            "NO_SPACE",
            format!(
                "there is no space left in {folder}; free some, or name another folder with --out"
            ),
        ),
        other => Failure::input(format!(
            "the clip cannot be written to {folder} ({other}); name another folder with --out"
        )),
    }
}
