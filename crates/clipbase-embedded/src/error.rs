//! Everything that can go wrong, each as one line that says what to do about it.
//!
//! The texts go to the person at the terminal, so they name paths and commands. They hold no secret:
//! a private cluster has none.

use std::io;
use std::path::{Path, PathBuf};

use crate::binaries::{Major, OLDEST};

/// What every fallible call of this crate returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a private PostgreSQL could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No usable server is installed.
    #[error(
        "no PostgreSQL {OLDEST} or newer was found{passed_over}; install one with `apt-get install -y \
         postgresql` (or `brew install postgresql@17`), or set DATABASE_URL"
    )]
    NotFound {
        /// What was found but cannot be used, and why: empty, or ` (passed over: …)`.
        passed_over: String,
    },
    /// The data were written by another major version than any that is installed.
    #[error(
        "the data in {} need PostgreSQL {needed}, which was not found{passed_over}; install it with \
         `apt-get install -y postgresql-{needed}` (or `brew install postgresql@{needed}`), or move that \
         directory away to start empty",
        directory.display()
    )]
    WrongMajor {
        /// The cluster's directory.
        directory: PathBuf,
        /// The major version that wrote the data.
        needed: Major,
        /// What was found instead: empty, or ` (passed over: …)`.
        passed_over: String,
    },
    /// The directory of binaries that the settings name does not work.
    #[error("the PostgreSQL in {} cannot be used: {reason}; name another directory or none", directory.display())]
    Unusable {
        /// The directory that was named.
        directory: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// PostgreSQL refuses to run as root and there is no one else to run it as.
    #[error(
        "PostgreSQL does not run as root, and /etc/passwd has neither `postgres` nor `nobody`; run as an \
         ordinary user, or set DATABASE_URL"
    )]
    NoAccount,
    /// Root may not become another user here (a container without that right).
    #[error(
        "PostgreSQL does not run as root, and this root may not become `{account}`; run as an ordinary \
         user, or set DATABASE_URL"
    )]
    CannotSwitchUser {
        /// The user that would have run the server.
        account: String,
    },
    /// A directory on the way is closed to the user that runs the server.
    #[error(
        "the user `{account}`, who runs PostgreSQL for root, cannot pass through {} to {}; choose a place \
         outside it, or open it with `chmod o+x {}`",
        closed.display(), target.display(), closed.display()
    )]
    Unreachable {
        /// The user that runs the server.
        account: String,
        /// The directory that is closed.
        closed: PathBuf,
        /// Where the server has to get to.
        target: PathBuf,
    },
    /// The directory holds something else, or belongs to someone else.
    #[error("{} cannot hold the database: {reason}; choose another directory", directory.display())]
    DirectoryNotOurs {
        /// The directory that was named.
        directory: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Another server, not started by this crate, runs on the same data.
    #[error(
        "another PostgreSQL (process {pid}) runs on {}; stop it, or choose another directory",
        data.display()
    )]
    AlreadyRunning {
        /// That server's process id.
        pid: u32,
        /// The data directory.
        data: PathBuf,
    },
    /// `initdb` failed.
    #[error("PostgreSQL could not create the database in {}: {reason}", directory.display())]
    InitFailed {
        /// The cluster's directory.
        directory: PathBuf,
        /// The line of `initdb` that says why.
        reason: String,
    },
    /// The server ended while it was starting.
    #[error("PostgreSQL did not start: {reason}; its log is {}", log.display())]
    StartFailed {
        /// The line of the log that says why.
        reason: String,
        /// The server's log.
        log: PathBuf,
    },
    /// The server runs but did not become ready in time.
    #[error(
        "PostgreSQL was not ready after {seconds} s; look into {}, and try again when the machine is less \
         busy",
        log.display()
    )]
    NotReady {
        /// How long it was waited for.
        seconds: u64,
        /// The server's log.
        log: PathBuf,
    },
    /// The operating system refused something.
    #[error("cannot {action} {}: {}", path.display(), source.kind())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// What it was tried on.
        path: PathBuf,
        /// What the operating system answered.
        source: io::Error,
    },
}

impl Error {
    /// Returns the stable, machine-readable reason.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "POSTGRES_NOT_FOUND",
            Self::WrongMajor { .. } => "POSTGRES_WRONG_MAJOR",
            Self::Unusable { .. } => "POSTGRES_UNUSABLE",
            Self::NoAccount => "POSTGRES_NO_ACCOUNT",
            Self::CannotSwitchUser { .. } => "POSTGRES_CANNOT_SWITCH_USER",
            Self::Unreachable { .. } => "POSTGRES_DIRECTORY_UNREACHABLE",
            Self::DirectoryNotOurs { .. } => "POSTGRES_DIRECTORY_NOT_OURS",
            Self::AlreadyRunning { .. } => "POSTGRES_ALREADY_RUNNING",
            Self::InitFailed { .. } => "POSTGRES_INIT_FAILED",
            Self::StartFailed { .. } => "POSTGRES_START_FAILED",
            Self::NotReady { .. } => "POSTGRES_NOT_READY",
            Self::Io { .. } => "POSTGRES_IO",
        }
    }
}

/// Says which path an I/O error is about, which `io::Error` itself never does.
pub(crate) trait At<T> {
    /// Turns the error into [`Error::Io`]; `action` is a verb: `create`, `open`.
    fn at(self, action: &'static str, path: &Path) -> Result<T>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, action: &'static str, path: &Path) -> Result<T> {
        self.map_err(|source| Error::Io {
            action,
            path: path.to_owned(),
            source,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_server_names_the_line_to_type() {
        let error = Error::NotFound {
            passed_over: String::new(),
        };
        assert_eq!(
            error.to_string(),
            "no PostgreSQL 15 or newer was found; install one with `apt-get install -y postgresql` \
             (or `brew install postgresql@17`), or set DATABASE_URL"
        );
        assert_eq!(error.code(), "POSTGRES_NOT_FOUND");
    }

    #[test]
    fn a_wrong_major_says_which_the_data_need() {
        let error = Error::WrongMajor {
            directory: "/data".into(),
            needed: Major(16),
            passed_over: String::new(),
        };
        assert!(
            error
                .to_string()
                .contains("`apt-get install -y postgresql-16`"),
            "{error}"
        );
    }

    #[test]
    fn every_message_is_one_line() {
        let io = io::Error::from(io::ErrorKind::PermissionDenied);
        let error = Err::<(), _>(io).at("open", Path::new("/x")).unwrap_err();
        assert_eq!(error.to_string(), "cannot open /x: permission denied");
        assert!(!Error::NoAccount.to_string().contains('\n'));
    }
}
