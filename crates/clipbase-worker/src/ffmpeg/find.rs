//! Finds the installed programs, and says what is wrong where one cannot be run.

use std::ffi::OsStr;
use std::path::Path;

use crate::clipper::{ClipError, ClipErrorCode};
use crate::process::{self, Tool, Trouble};

/// Finds one program: the path given, or else the first in `near` and the search path.
pub(super) fn tool(
    name: &'static str,
    given: Option<&Path>,
    near: Option<&Path>,
    search_path: Option<&OsStr>,
) -> Result<Tool, ClipError> {
    process::find(name, given, near, search_path).ok_or_else(|| missing(name))
}

/// The error that names the line which installs both programs.
pub(super) fn missing(name: &str) -> ClipError {
    ClipError::new(
        ClipErrorCode::FfmpegMissing,
        format!(
            "{name} was not found or cannot be run; install it with `apt-get install -y ffmpeg` or \
             `brew install ffmpeg`"
        ),
    )
}

/// What is wrong when a program has no end of its own.
pub(super) fn trouble(trouble: Trouble) -> ClipError {
    match trouble {
        Trouble::Missing(name) => missing(name),
        Trouble::NotStarted(name, kind) => ClipError::new(
            ClipErrorCode::ScratchFailed,
            format!("{name} could not be started: {kind}"),
        ),
        Trouble::TooLong(name, time) => ClipError::new(
            ClipErrorCode::TimeLimit,
            format!(
                "{name} did not finish within {} seconds; cut a shorter range or raise the time limit",
                time.as_secs()
            ),
        ),
        Trouble::Unknown(name) => ClipError::new(
            ClipErrorCode::FfmpegKilled,
            format!("{name} could not be waited for; try again"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_missing_program_names_the_line_that_installs_it() {
        let error = tool("ffmpeg", None, None, Some(OsStr::new("/nonexistent"))).unwrap_err();
        assert_eq!(error.code(), ClipErrorCode::FfmpegMissing);
        assert!(error.message().contains("apt-get install -y ffmpeg"));
        assert!(error.message().contains("brew install ffmpeg"));
    }

    #[test]
    fn ffprobe_is_looked_for_beside_ffmpeg_first() {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("ffprobe");
        std::fs::write(&program, "").unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let found = tool("ffprobe", None, Some(directory.path()), None).unwrap();
        assert_eq!(found.path, program);
    }
}
