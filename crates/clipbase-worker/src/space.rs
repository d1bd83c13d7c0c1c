//! Checks that what is about to be written will fit on the disk, before it is begun.

use std::path::Path;

use crate::clipper::{ClipError, ClipErrorCode};

/// Checks that so many bytes are free for this user where the directory lies.
pub(crate) fn check(directory: &Path, needed: u64) -> Result<(), ClipError> {
    let facts = rustix::fs::statvfs(directory).map_err(|_| {
        ClipError::new(
            ClipErrorCode::ScratchFailed,
            "the scratch directory cannot be used; check that it exists and is writable",
        )
    })?;
    if facts.f_bavail.saturating_mul(facts.f_frsize) < needed {
        return Err(no_space());
    }
    Ok(())
}

pub(crate) fn no_space() -> ClipError {
    ClipError::new(
        ClipErrorCode::NoSpace,
        "the scratch directory's disk is too full for this clip; free some space or use another disk",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clip_larger_than_the_disk_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(check(directory.path(), 1), Ok(()));
        let error = check(directory.path(), u64::MAX).unwrap_err();
        assert_eq!(error.code(), ClipErrorCode::NoSpace);
    }

    #[test]
    fn a_missing_directory_is_told() {
        let error = check(Path::new("/nonexistent"), 1).unwrap_err();
        assert_eq!(error.code(), ClipErrorCode::ScratchFailed);
    }
}
