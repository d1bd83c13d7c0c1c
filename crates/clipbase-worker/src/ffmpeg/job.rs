//! One clip in the making: what every step needs to know.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::args::{Args, file_url};
use super::progress::Reporter;
use super::source::Source;
use super::{diagnose, find};
use super::{probe, time};
use crate::clipper::{ClipError, ClipErrorCode, ClipRequest};
use crate::process::{Exit, Run, Tool};

/// The clip's file in the scratch directory. Fixed names need no escaping anywhere.
pub(super) const VIDEO: &str = "clip.mp4";
/// The cut subtitles' file.
pub(super) const SUBTITLES: &str = "clip.srt";
/// The extracted text track's file.
pub(super) const TRACK: &str = "track.srt";

/// One clip in the making.
pub(super) struct Job<'a> {
    pub(super) ffmpeg: &'a Tool,
    pub(super) ffprobe: &'a Tool,
    pub(super) request: &'a ClipRequest,
    /// The source's absolute path.
    pub(super) path: PathBuf,
    /// The scratch directory's absolute path.
    pub(super) scratch: PathBuf,
    pub(super) source: Source,
    pub(super) reporter: Reporter<'a>,
    pub(super) time_max: Duration,
}

impl Job<'_> {
    /// Begins an ffmpeg command that reads the source from a time on and writes inside the scratch.
    pub(super) fn input(&self, before: &[&str], seek_us: i64) -> Args {
        let mut args = Args::default()
            .words(&["-nostdin", "-hide_banner", "-nostats", "-y", "-v", "error"])
            .words(&["-progress", "pipe:1", "-stats_period", "0.25"])
            .words(before);
        args.0.extend(probe::input_locks().0);
        if self.source.is_mov() {
            // Off by default; said here because a movie may name other files to take its media from.
            args = args.words(&["-enable_drefs", "0", "-use_absolute_path", "0"]);
        }
        if seek_us > 0 {
            args = args.pair("-ss", time::from_us(seek_us));
        }
        args.pair("-i", file_url(&self.path))
    }

    /// Runs ffmpeg in the scratch directory.
    pub(super) async fn ffmpeg(
        &self,
        args: Vec<std::ffi::OsString>,
        on_line: impl FnMut(&str) + Send,
    ) -> Result<(), ClipError> {
        let run = Run {
            tool: self.ffmpeg,
            args: &args,
            directory: Some(&self.scratch),
            variables: &[],
            time_max: self.time_max,
        };
        let exit = run.lines(on_line).await.map_err(find::trouble)?;
        if exit.success {
            return Ok(());
        }
        Err(self.failure(&exit))
    }

    pub(super) fn failure(&self, exit: &Exit) -> ClipError {
        tracing::debug!(tool = exit.tool, signal = exit.signal, "child failed");
        diagnose::failure(exit, &[&self.path, &self.scratch])
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.scratch.join(name)
    }
}

/// Tells an error of the scratch directory.
pub(super) fn scratch_error(error: &std::io::Error) -> ClipError {
    if error.kind() == std::io::ErrorKind::StorageFull {
        return crate::space::no_space();
    }
    ClipError::new(
        ClipErrorCode::ScratchFailed,
        format!(
            "the scratch directory cannot be used ({}); check that it exists and is writable",
            error.kind()
        ),
    )
}

/// Returns the absolute path of the scratch directory.
pub(super) fn scratch(path: &Path) -> Result<PathBuf, ClipError> {
    let path = std::path::absolute(path).map_err(|error| scratch_error(&error))?;
    if path.is_dir() {
        return Ok(path);
    }
    Err(scratch_error(&std::io::ErrorKind::NotFound.into()))
}
