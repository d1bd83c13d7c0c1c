//! Runs one child process: no shell, no input, bounded output, a deadline.
//!
//! A child gets an empty environment but for its search path: it parses strangers' files, and the
//! worker's environment holds keys. It dies with the future that runs it.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};

use super::find;
use super::limits::{ANSWER_BYTES_MAX, LINE_BYTES_MAX, STDERR_BYTES_MAX};
use crate::clipper::{ClipError, ClipErrorCode};

/// An installed program of the ffmpeg family.
#[derive(Clone, Debug)]
pub(super) struct Tool {
    pub(super) name: &'static str,
    pub(super) path: PathBuf,
    pub(super) search_path: Option<OsString>,
}

/// How a child ended.
#[derive(Debug)]
pub(super) struct Exit {
    pub(super) tool: &'static str,
    pub(super) success: bool,
    pub(super) signal: Option<i32>,
    /// The end of what it wrote to standard error.
    pub(super) stderr: String,
}

/// What to run and within which bounds.
pub(super) struct Run<'a> {
    pub(super) tool: &'a Tool,
    pub(super) args: &'a [OsString],
    pub(super) directory: Option<&'a Path>,
    pub(super) time_max: Duration,
}

impl Run<'_> {
    /// Runs the child to its end and hands every line of its standard output to `on_line`.
    pub(super) async fn lines(
        self,
        mut on_line: impl FnMut(&str) + Send,
    ) -> Result<Exit, ClipError> {
        let mut child = self.spawn()?;
        let stdout = child.stdout.take();
        let stderr = child.stderr.take();
        let work = async {
            let ((), stderr, status) =
                tokio::join!(each_line(stdout, &mut on_line), tail(stderr), child.wait());
            (stderr, status)
        };
        let Ok((stderr, status)) = tokio::time::timeout(self.time_max, work).await else {
            // Dropping the child kills it; waiting here as well leaves nothing running behind the error.
            let _ = child.kill().await;
            return Err(ClipError::new(
                ClipErrorCode::TimeLimit,
                format!(
                    "{} did not finish within {} seconds; cut a shorter range or raise the time limit",
                    self.tool.name,
                    self.time_max.as_secs()
                ),
            ));
        };
        let status = status.map_err(|_| {
            ClipError::new(
                ClipErrorCode::FfmpegKilled,
                format!("{} could not be waited for; try again", self.tool.name),
            )
        })?;
        Ok(Exit {
            tool: self.tool.name,
            success: status.success(),
            signal: status.signal(),
            stderr: String::from_utf8_lossy(&stderr).into_owned(),
        })
    }

    /// Runs the child and returns its standard output too, up to a bound.
    pub(super) async fn answer(self) -> Result<(Exit, String), ClipError> {
        let mut answer = String::new();
        let exit = self
            .lines(|line| {
                if answer.len() + line.len() < ANSWER_BYTES_MAX {
                    answer.push_str(line);
                    answer.push('\n');
                }
            })
            .await?;
        Ok((exit, answer))
    }

    fn spawn(&self) -> Result<Child, ClipError> {
        let mut command = Command::new(&self.tool.path);
        command
            .args(self.args)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        if let Some(path) = &self.tool.search_path {
            command.env("PATH", path);
        }
        if let Some(directory) = self.directory {
            // fontconfig, used for burning text, wants somewhere to cache what it learns about fonts.
            command
                .current_dir(directory)
                .env("XDG_CACHE_HOME", directory);
        }
        command.spawn().map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound | std::io::ErrorKind::PermissionDenied
                if self.directory.is_none_or(Path::is_dir) =>
            {
                find::missing(self.tool.name)
            }
            _ => ClipError::new(
                ClipErrorCode::ScratchFailed,
                format!("{} could not be started: {}", self.tool.name, error.kind()),
            ),
        })
    }
}

/// Names a local file so that ffmpeg reads it neither as an option nor as a URL.
pub(super) fn file_url(path: &Path) -> OsString {
    let mut url = OsString::from("file:");
    url.push(path);
    url
}

/// Collects arguments of several kinds.
#[derive(Default)]
pub(super) struct Args(pub(super) Vec<OsString>);

impl Args {
    pub(super) fn words(mut self, words: &[&str]) -> Self {
        self.0.extend(words.iter().map(OsString::from));
        self
    }

    pub(super) fn pair(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.0.push(name.into());
        self.0.push(value.as_ref().to_owned());
        self
    }

    pub(super) fn last(mut self, word: impl AsRef<OsStr>) -> Vec<OsString> {
        self.0.push(word.as_ref().to_owned());
        self.0
    }
}

/// Splits a stream into lines, each bounded, so that no child can fill the memory.
async fn each_line(
    stream: Option<impl AsyncRead + Unpin>,
    on_line: &mut (impl FnMut(&str) + Send),
) {
    let Some(mut stream) = stream else { return };
    let mut line = Vec::new();
    let mut chunk = vec![0; 8 * 1024];
    while let Ok(read @ 1..) = stream.read(&mut chunk).await {
        for &byte in chunk.iter().take(read) {
            if byte == b'\n' {
                on_line(&String::from_utf8_lossy(&line));
                line.clear();
            } else if line.len() < LINE_BYTES_MAX {
                line.push(byte);
            }
        }
    }
    if !line.is_empty() {
        on_line(&String::from_utf8_lossy(&line));
    }
}

/// Keeps the end of a stream.
async fn tail(stream: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let mut kept = Vec::new();
    let Some(mut stream) = stream else {
        return kept;
    };
    let mut chunk = vec![0; 8 * 1024];
    while let Ok(read @ 1..) = stream.read(&mut chunk).await {
        kept.extend(chunk.iter().take(read));
        if kept.len() > 2 * STDERR_BYTES_MAX {
            kept.drain(..kept.len() - STDERR_BYTES_MAX);
        }
    }
    kept.drain(..kept.len().saturating_sub(STDERR_BYTES_MAX));
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn tail_keeps_the_end() {
        let mut text = vec![b'a'; 100_000];
        text.extend(b"the reason");
        let kept = tail(Some(text.as_slice())).await;
        assert_eq!(kept.len(), STDERR_BYTES_MAX);
        assert!(kept.ends_with(b"the reason"));
    }

    #[tokio::test]
    async fn a_line_without_end_is_cut() {
        let text = vec![b'a'; 100_000];
        let mut lengths = Vec::new();
        each_line(Some(text.as_slice()), &mut |line: &str| {
            lengths.push(line.len());
        })
        .await;
        assert_eq!(lengths, [LINE_BYTES_MAX]);
    }
}
