//! Who runs the server, and how its programs are started.
//!
//! PostgreSQL refuses to run as root. Root therefore runs it as `postgres`, else as `nobody`; everyone
//! else runs it as themselves. Programs get a clean environment: a stray `PGPORT` or `LC_ALL` of the
//! caller must not change what the cluster is.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use crate::error::{At, Error, Result};

/// Where the shell's tools are on every system we know; the caller's own PATH comes first.
const STANDARD_PATH: &str = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin";

/// Root's stand-ins, best first. `initdb` needs an entry in /etc/passwd, so no bare number will do.
const STAND_INS: [&str; 2] = ["postgres", "nobody"];

/// The user that runs the server.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    pub(crate) name: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Whether the caller is root and has to become this user.
    pub(crate) stands_in_for_root: bool,
    search_path: OsString,
}

impl Account {
    /// Finds out who runs the server when the caller is the one calling.
    pub(crate) fn of_server(search_path: Option<&OsStr>) -> Result<Self> {
        let mut tools = search_path.map(OsStr::to_owned).unwrap_or_default();
        if !tools.is_empty() {
            tools.push(":");
        }
        tools.push(STANDARD_PATH);
        let uid = effective_uid()?;
        if uid != 0 {
            let name = uid.to_string();
            return Ok(Self {
                name,
                uid,
                gid: 0,
                stands_in_for_root: false,
                search_path: tools,
            });
        }
        let passwd = Path::new("/etc/passwd");
        let entries = fs::read_to_string(passwd).at("read", passwd)?;
        let (name, uid, gid) = stand_in(&entries).ok_or(Error::NoAccount)?;
        Ok(Self {
            name,
            uid,
            gid,
            stands_in_for_root: true,
            search_path: tools,
        })
    }

    /// Prepares a program that will run as this user, away from the caller's directory and variables.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", &self.search_path)
            .env("LC_ALL", "C")
            .env("TZ", "UTC")
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if self.stands_in_for_root {
            // std clears the supplementary groups along with it.
            command.uid(self.uid).gid(self.gid);
        }
        command
    }

    /// Starts a prepared program; tells a missing right to change the user from other failures.
    pub(crate) fn spawn(&self, command: &mut Command) -> Result<Child> {
        command
            .spawn()
            .map_err(|source| self.explain(command, source))
    }

    /// Runs a prepared program to its end and returns what it printed.
    pub(crate) fn output(&self, command: &mut Command) -> Result<Output> {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
            .output()
            .map_err(|source| self.explain(command, source))
    }

    fn explain(&self, command: &Command, source: io::Error) -> Error {
        // EPERM is setuid's refusal; a file that may not be executed answers EACCES.
        const EPERM: i32 = 1;
        if self.stands_in_for_root && source.raw_os_error() == Some(EPERM) {
            return Error::CannotSwitchUser {
                account: self.name.clone(),
            };
        }
        Error::Io {
            action: "run",
            path: command.get_program().into(),
            source,
        }
    }
}

/// Returns the user id that this process acts as.
///
/// std has no call for it, and a dependency for one number is not worth it: Linux says it in a file,
/// other systems through `id`.
pub fn effective_uid() -> Result<u32> {
    if let Some(uid) = fs::read_to_string("/proc/self/status")
        .ok()
        .as_deref()
        .and_then(status_uid)
    {
        return Ok(uid);
    }
    let id = Path::new("/usr/bin/id");
    let answer = Command::new(id).arg("-u").output().at("run", id)?;
    let text = String::from_utf8_lossy(&answer.stdout);
    text.trim()
        .parse()
        .map_err(io::Error::other)
        .at("understand", id)
}

/// The second number after `Uid:` is the effective one.
fn status_uid(status: &str) -> Option<u32> {
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Picks root's stand-in from the text of /etc/passwd.
fn stand_in(passwd: &str) -> Option<(String, u32, u32)> {
    STAND_INS.iter().find_map(|name| {
        passwd.lines().find_map(|line| {
            let mut fields = line.split(':');
            if fields.next() != Some(name) {
                return None;
            }
            let uid = number(fields.nth(1)?)?;
            let gid = number(fields.next()?)?;
            (uid != 0).then(|| ((*name).to_owned(), uid, gid))
        })
    })
}

/// macOS writes `nobody` as -2.
fn number(text: &str) -> Option<u32> {
    text.parse()
        .ok()
        .or_else(|| text.parse().ok().map(i32::cast_unsigned))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nnobody:*:-2:-2::/:/bin/false\n";

    #[test]
    fn postgres_stands_in_for_root_before_nobody() {
        let both = format!("{PASSWD}postgres:x:101:104:admin:/var/lib/postgresql:/bin/bash\n");
        assert_eq!(stand_in(&both), Some(("postgres".to_owned(), 101, 104)));
        assert_eq!(
            stand_in(PASSWD),
            Some(("nobody".to_owned(), u32::MAX - 1, u32::MAX - 1))
        );
    }

    #[test]
    fn an_entry_with_uid_0_is_no_stand_in() {
        assert_eq!(stand_in("postgres:x:0:0::/:/bin/sh\n"), None);
    }

    #[test]
    fn the_effective_uid_is_the_second_of_the_line() {
        assert_eq!(status_uid("Name:\tx\nUid:\t1000\t0\t0\t0\n"), Some(0));
        assert_eq!(status_uid("Name:\tx\n"), None);
    }
}
