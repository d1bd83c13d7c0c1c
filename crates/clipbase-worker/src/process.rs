//! Runs one child process: no shell, no input, bounded output, a deadline.
//!
//! A child gets an empty environment but for its search path: it parses strangers' files, and the
//! worker's environment holds keys. It leads a process group of its own, and dies with the future that runs
//! it, group and all; [`Dying`] tells when it is gone.

use std::ffi::{OsStr, OsString};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};
use tokio::sync::watch;

/// How much of a child's standard error is kept: its end, where the reason stands.
pub(crate) const STDERR_BYTES_MAX: usize = 16 * 1024;
/// How long a line of a child's output may be; the rest of a longer line is dropped.
pub(crate) const LINE_BYTES_MAX: usize = 16 * 1024;

/// An installed program.
#[derive(Clone, Debug)]
pub(crate) struct Tool {
    pub(crate) name: &'static str,
    pub(crate) path: PathBuf,
    pub(crate) search_path: Option<OsString>,
    /// Children whose future was dropped, until they are gone.
    pub(crate) dying: Dying,
}

/// How a child ended.
#[derive(Debug)]
pub(crate) struct Exit {
    pub(crate) tool: &'static str,
    pub(crate) success: bool,
    pub(crate) code: Option<i32>,
    pub(crate) signal: Option<i32>,
    /// The end of what it wrote to standard error.
    pub(crate) stderr: String,
}

/// Why a child has no end of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The program is not there or may not be run.
    Missing(&'static str),
    /// It could not be started.
    NotStarted(&'static str, std::io::ErrorKind),
    /// It did not end in time, and was stopped.
    TooLong(&'static str, Duration),
    /// The system does not tell how it ended.
    Unknown(&'static str),
}

/// What to run and within which bounds.
pub(crate) struct Run<'a> {
    pub(crate) tool: &'a Tool,
    pub(crate) args: &'a [OsString],
    pub(crate) directory: Option<&'a Path>,
    /// Variables beside the search path.
    pub(crate) variables: &'a [(&'static str, &'a OsStr)],
    pub(crate) time_max: Duration,
}

impl Run<'_> {
    /// Runs the child to its end and hands every line of its standard output to `on_line`.
    pub(crate) async fn lines(self, on_line: impl FnMut(&str) + Send) -> Result<Exit, Trouble> {
        self.supervised(on_line, std::future::pending::<()>())
            .await
            .map(|(exit, _)| exit)
    }

    /// As `lines`, unless `stop` ends first: then the child is stopped, and the exit tells of a signal.
    pub(crate) async fn supervised<S>(
        self,
        mut on_line: impl FnMut(&str) + Send,
        stop: impl Future<Output = S>,
    ) -> Result<(Exit, Option<S>), Trouble> {
        let mut running = self.spawn()?;
        let stdout = running.child.as_mut().and_then(|child| child.stdout.take());
        let stderr = running.child.as_mut().and_then(|child| child.stderr.take());
        let work = async {
            let ((), stderr, status) = tokio::join!(
                each_line(stdout, &mut on_line),
                tail(stderr),
                running.wait()
            );
            (stderr, status)
        };
        let ended = tokio::select! {
            ended = tokio::time::timeout(self.time_max, work) => ended.map(Ok),
            stopped = stop => Ok(Err(stopped)),
        };
        let (stderr, status) = match ended {
            Ok(Ok(ended)) => ended,
            // Dropped, the child is killed; waiting here as well leaves nothing running behind the answer.
            Ok(Err(stopped)) => {
                drop(running);
                self.tool.dying.settled().await;
                return Ok((self.exit(None, &[]), Some(stopped)));
            }
            Err(_) => {
                drop(running);
                self.tool.dying.settled().await;
                return Err(Trouble::TooLong(self.tool.name, self.time_max));
            }
        };
        let status = status.map_err(|_| Trouble::Unknown(self.tool.name))?;
        Ok((self.exit(Some(status), &stderr), None))
    }

    fn exit(&self, status: Option<ExitStatus>, stderr: &[u8]) -> Exit {
        Exit {
            tool: self.tool.name,
            success: status.is_some_and(|status| status.success()),
            code: status.and_then(|status| status.code()),
            signal: status.map_or(Some(Signal::KILL.as_raw()), |status| status.signal()),
            stderr: String::from_utf8_lossy(stderr).into_owned(),
        }
    }

    /// Runs the child and returns its standard output too, up to a bound; what is beyond is dropped.
    pub(crate) async fn answer(self, bytes_max: usize) -> Result<(Exit, String), Trouble> {
        let mut answer = String::new();
        let exit = self
            .lines(|line| {
                if answer.len() + line.len() < bytes_max {
                    answer.push_str(line);
                    answer.push('\n');
                }
            })
            .await?;
        Ok((exit, answer))
    }

    fn spawn(&self) -> Result<Running, Trouble> {
        let mut command = Command::new(&self.tool.path);
        command
            .args(self.args)
            .env_clear()
            .envs(self.variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
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
        let child = command.spawn().map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound | std::io::ErrorKind::PermissionDenied
                if self.directory.is_none_or(Path::is_dir) =>
            {
                Trouble::Missing(self.tool.name)
            }
            kind => Trouble::NotStarted(self.tool.name, kind),
        })?;
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        Ok(Running {
            child: Some(child),
            group: id.and_then(Pid::from_raw),
            dying: self.tool.dying.clone(),
        })
    }
}

/// A child at work. Dropped, it is killed with its group.
struct Running {
    child: Option<Child>,
    group: Option<Pid>,
    dying: Dying,
}

impl Running {
    async fn wait(&mut self) -> std::io::Result<ExitStatus> {
        let Some(child) = &mut self.child else {
            return Err(std::io::ErrorKind::NotFound.into());
        };
        let status = child.wait().await;
        self.child = None;
        // What it started and left behind goes too.
        self.kill();
        status
    }

    fn kill(&self) {
        if let Some(group) = self.group {
            // Nobody left in the group is no failure.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = self.child.take() {
            self.kill();
            self.dying.see_off(child);
        }
    }
}

/// Children that were killed and are not gone yet.
#[derive(Clone, Debug)]
pub(crate) struct Dying(Arc<watch::Sender<usize>>);

impl Default for Dying {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(0)))
    }
}

impl Dying {
    fn see_off(&self, mut child: Child) {
        // Without a runtime the process is ending, and the child was killed.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        let count = self.0.clone();
        count.send_modify(|count| *count += 1);
        runtime.spawn(async move {
            if let Err(error) = child.wait().await {
                tracing::debug!(kind = ?error.kind(), "a child could not be waited for");
            }
            count.send_modify(|count| *count = count.saturating_sub(1));
        });
    }

    /// Waits until all of them are gone.
    pub(crate) async fn settled(&self) {
        // The sender is here: it cannot have gone.
        let _ = self.0.subscribe().wait_for(|count| *count == 0).await;
    }
}

/// Returns the path, absolute because children run in another directory, if a file there can be run.
pub(crate) fn executable(path: PathBuf) -> Option<PathBuf> {
    let facts = std::fs::metadata(&path).ok()?;
    if !facts.is_file() || facts.permissions().mode() & 0o111 == 0 {
        return None;
    }
    std::path::absolute(path).ok()
}

/// Finds a program: the path given, or else the first of this name in `near` and the search path.
pub(crate) fn find(
    name: &'static str,
    given: Option<&Path>,
    near: Option<&Path>,
    search_path: Option<&OsStr>,
) -> Option<Tool> {
    let path = match given {
        Some(path) => executable(path.to_owned()),
        None => near
            .map(Path::to_owned)
            .into_iter()
            .chain(search_path.iter().flat_map(std::env::split_paths))
            .find_map(|directory| executable(directory.join(name))),
    }?;
    Some(Tool {
        name,
        path,
        search_path: search_path.map(OsString::from),
        dying: Dying::default(),
    })
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
mod tests;
