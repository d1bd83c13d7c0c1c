//! The server process: making its data, starting it, telling whether it is ready or dead.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use crate::account::Account;
use crate::error::{At, Error, Result};
use crate::layout::{self, Layout, SOCKET};
use crate::settings::{Durability, server_options};

/// Runs as the server's user, so that root writes to no file in a directory of another's. `$1` is
/// the log, emptied when it has grown past 10 MB; the rest is the server.
const LAUNCH: &str = r#"log=$1; shift
if [ -f "$log" ] && [ "$(wc -c <"$log")" -gt 10485760 ]; then : >"$log"; fi
exec "$@" >>"$log" 2>&1"#;

/// How much of the log's end is searched for the reason of a failure.
const LOG_TAIL: usize = 8 * 1024;

/// How long one attempt waits for an answer; a busy server gets another one.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// What `postmaster.pid` says.
#[derive(Debug, PartialEq, Eq)]
struct PidFile {
    pid: u32,
    ready: bool,
}

/// Creates the data. They get their name only when they are whole: a killed `initdb` leaves nothing
/// that looks like data.
///
/// `initdb` holds the server's lock meanwhile, so that one that outlives its program is waited for.
pub(crate) fn init(
    layout: &Layout,
    account: &Account,
    bin_dir: &Path,
    durability: Durability,
    lock: &File,
) -> Result<()> {
    if layout.fresh_data.exists() {
        fs::remove_dir_all(&layout.fresh_data).at("remove", &layout.fresh_data)?;
    }
    let mut command = account.command(bin_dir.join("initdb"));
    command
        .args([
            "--username=postgres",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
        ])
        .arg("--no-instructions")
        .arg(match durability {
            Durability::Durable => "--data-checksums",
            Durability::Fast => "--no-sync",
        })
        .arg("-D")
        .arg(&layout.fresh_data)
        .stdin(lock.try_clone().at("share", &layout.directory)?);
    let answer = account.output(&mut command)?;
    if !answer.status.success() {
        let reason = reason(&String::from_utf8_lossy(&answer.stderr));
        return Err(Error::InitFailed {
            directory: layout.directory.clone(),
            reason,
        });
    }
    fs::rename(&layout.fresh_data, &layout.data).at("rename", &layout.fresh_data)?;
    if durability == Durability::Durable {
        let directory = &layout.directory;
        File::open(directory)
            .and_then(|opened| opened.sync_all())
            .at("write out", directory)?;
    }
    Ok(())
}

/// Removes what a killed server left. Only for the holder of the server's lock: no process of a
/// server of ours lives then.
///
/// PostgreSQL would do most of it, but takes a zombie for a living server: where process 1 collects
/// no orphans, it refuses its own pid file for ever.
pub(crate) fn clear_stale(layout: &Layout) -> Result<()> {
    let pid_file = layout.data.join("postmaster.pid");
    if let Some(found) = read_pid_file(&pid_file)
        && runs_on(found.pid, &layout.data)
    {
        return Err(Error::AlreadyRunning {
            pid: found.pid,
            data: layout.data.clone(),
        });
    }
    layout::remove_file(&pid_file)?;
    layout::remove_file(&layout.socket_dir.join(SOCKET))?;
    layout::remove_file(&layout.socket_dir.join(format!("{SOCKET}.lock")))
}

/// Starts the server. It and all its processes hold the lock from here on.
pub(crate) fn launch(
    layout: &Layout,
    account: &Account,
    bin_dir: &Path,
    durability: Durability,
    lock: File,
) -> Result<Child> {
    let mut command = account.command("/bin/sh");
    command.args(["-c", LAUNCH, "sh"]).arg(&layout.log);
    command
        .arg(bin_dir.join("postgres"))
        .arg("-D")
        .arg(&layout.data);
    for option in server_options(durability, &layout.socket_dir) {
        command.arg("-c").arg(option);
    }
    command.stdin(lock).process_group(0);
    account.spawn(&mut command)
}

/// Tells whether the server lets users in.
pub(crate) fn is_ready(layout: &Layout) -> bool {
    read_pid_file(&layout.data.join("postmaster.pid")).is_some_and(|found| found.ready)
        && answers(&layout.socket_dir.join(SOCKET))
}

/// Asks for encryption, which a server has to answer with one byte (no). A connection alone proves
/// nothing: the kernel still accepts it for a server that was killed a moment ago.
fn answers(socket: &Path) -> bool {
    // The length of the message, then the code of an `SSLRequest`.
    const REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
    let exchange = || {
        let mut stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        stream.write_all(&REQUEST)?;
        stream.read_exact(&mut [0])
    };
    exchange().is_ok()
}

/// Reads which binaries the running server was started from; it writes that down itself.
pub(crate) fn running_bin_dir(layout: &Layout) -> Option<PathBuf> {
    let options = fs::read(layout.data.join("postmaster.opts")).ok()?;
    bin_dir_of(&options)
}

/// Finds the line of the log that says why the server did not start.
pub(crate) fn failure(layout: &Layout) -> Error {
    let log = fs::read(&layout.log).unwrap_or_default();
    let tail = log
        .get(log.len().saturating_sub(LOG_TAIL)..)
        .unwrap_or_default();
    Error::StartFailed {
        reason: reason(&String::from_utf8_lossy(tail)),
        log: layout.log.clone(),
    }
}

/// The last complaint of a text, else its last line.
fn reason(text: &str) -> String {
    let complaint = |line: &&str| {
        ["FATAL:", "PANIC:", "error:", "could not"]
            .iter()
            .any(|word| line.contains(word))
    };
    let mut lines = text.lines().rev().filter(|line| !line.trim().is_empty());
    let last = lines.clone().next().unwrap_or("it said nothing");
    lines.find(complaint).unwrap_or(last).trim().to_owned()
}

fn read_pid_file(path: &Path) -> Option<PidFile> {
    parse_pid_file(&fs::read_to_string(path).ok()?)
}

/// Line 1 is the process id, line 8 the state: `starting`, `ready`, `stopping`, `standby`.
fn parse_pid_file(text: &str) -> Option<PidFile> {
    let mut lines = text.lines();
    // A server that runs on its own, without a postmaster, writes its id below zero.
    let pid = lines.next()?.trim().parse::<i32>().ok()?.unsigned_abs();
    let ready = lines.nth(6).is_some_and(|state| state.trim() == "ready");
    Some(PidFile { pid, ready })
}

/// Tells whether a process is a server on this data: a server's working directory is its data. A
/// zombie has none.
fn runs_on(pid: u32, data: &Path) -> bool {
    if Path::new("/proc/self").exists() {
        let identity = |path: &Path| fs::metadata(path).ok().map(|at| (at.dev(), at.ino()));
        let cwd = identity(Path::new(&format!("/proc/{pid}/cwd")));
        return cwd.is_some() && cwd == identity(data);
    }
    let asked = Command::new("/bin/ps")
        .args(["-p", &pid.to_string(), "-o", "command="])
        .output();
    asked.is_ok_and(|answer| contains(&answer.stdout, data.as_os_str().as_bytes()))
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    !part.is_empty() && text.windows(part.len()).any(|window| window == part)
}

/// The file reads `/path/of/postgres "-D" "/data" …`.
fn bin_dir_of(options: &[u8]) -> Option<PathBuf> {
    let marker = b" \"-D\"";
    let end = options
        .windows(marker.len())
        .position(|window| window == marker)?;
    let program = Path::new(OsStr::from_bytes(options.get(..end)?));
    program
        .parent()
        .filter(|directory| directory.is_absolute())
        .map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pid_file_says_ready_on_its_eighth_line() {
        let file = "4711\n/d/pgdata\n1790000000\n5432\n/d/sock\n\n  123 456\nready   \n";
        assert_eq!(
            parse_pid_file(file),
            Some(PidFile {
                pid: 4711,
                ready: true
            })
        );
        let starting = file.replace("ready   ", "starting");
        assert_eq!(
            parse_pid_file(&starting),
            Some(PidFile {
                pid: 4711,
                ready: false
            })
        );
        assert_eq!(
            parse_pid_file("4711\n"),
            Some(PidFile {
                pid: 4711,
                ready: false
            })
        );
        assert_eq!(parse_pid_file(""), None);
    }

    #[test]
    fn the_running_servers_binaries_are_read_from_its_options() {
        let options = b"/usr/lib/post gres/15/bin/postgres \"-D\" \"/d\" \"-c\" \"x=y\"\n";
        assert_eq!(
            bin_dir_of(options),
            Some("/usr/lib/post gres/15/bin".into())
        );
        assert_eq!(bin_dir_of(b"postgres \"-D\" \"/d\""), None);
    }

    #[test]
    fn the_reason_of_a_failure_is_its_last_complaint() {
        let log = "LOG:  starting\nFATAL:  lock file is empty\nHINT:  something\n";
        assert_eq!(reason(log), "FATAL:  lock file is empty");
        assert_eq!(reason("just this\n"), "just this");
        assert_eq!(reason(""), "it said nothing");
    }

    #[test]
    fn this_process_is_no_server() {
        assert!(!runs_on(std::process::id(), Path::new("/nowhere")));
    }
}
