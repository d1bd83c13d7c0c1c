//! Finds the installed programs.

use std::ffi::{OsStr, OsString};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::process::Tool;
use crate::clipper::{ClipError, ClipErrorCode};

/// Finds one program: the path given, or else the first in `near` and the search path.
pub(super) fn tool(
    name: &'static str,
    given: Option<&Path>,
    near: Option<&Path>,
    search_path: Option<&OsStr>,
) -> Result<Tool, ClipError> {
    let path = match given {
        Some(path) => executable(path.to_owned()),
        None => near
            .map(Path::to_owned)
            .into_iter()
            .chain(search_path.iter().flat_map(std::env::split_paths))
            .find_map(|directory| executable(directory.join(name))),
    };
    Ok(Tool {
        name,
        path: path.ok_or_else(|| missing(name))?,
        search_path: search_path.map(OsString::from),
    })
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

/// Returns the path, absolute because children run in another directory, if a file there can be run.
fn executable(path: PathBuf) -> Option<PathBuf> {
    let facts = std::fs::metadata(&path).ok()?;
    if !facts.is_file() || facts.permissions().mode() & 0o111 == 0 {
        return None;
    }
    std::path::absolute(path).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_names_the_line_that_installs_it() {
        let error = tool("ffmpeg", None, None, Some(OsStr::new("/nonexistent"))).unwrap_err();
        assert_eq!(error.code(), ClipErrorCode::FfmpegMissing);
        assert!(error.message().contains("apt-get install -y ffmpeg"));
        assert!(error.message().contains("brew install ffmpeg"));
    }

    #[test]
    fn a_file_that_cannot_be_run_is_not_a_program() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("ffmpeg"), "text").unwrap();
        let search = directory.path().as_os_str();
        assert!(tool("ffmpeg", None, None, Some(search)).is_err());
        assert!(tool("ffmpeg", Some(&directory.path().join("ffmpeg")), None, None).is_err());
        assert!(tool("ffmpeg", Some(directory.path()), None, None).is_err());
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
