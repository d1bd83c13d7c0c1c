//! The files of a cluster's directory, and the right to use it.
//!
//! ```text
//! lock           held by the one process that starts or attaches
//! alive          FIFO, held open by every process that uses the server
//! keeper         held locked by the keeper as long as it lives
//! server         held locked by every process of the server as long as it lives
//! starting       there while a server is on its way but has not written its pid file
//! stopping       there once the keeper has decided to stop the server
//! pgdata/        the data; pgdata.new/ until initdb is through
//! sock/          the socket, where its path is short enough
//! postgres.log
//! ```
//!
//! Locks instead of process ids: a lock ends with its process, however that ended, and no other
//! process ever inherits its number. Nothing here follows a link as root into a place of someone
//! else's choosing.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{
    DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown, fchown,
};
use std::path::{Path, PathBuf};

use crate::account::Account;
use crate::binaries::Major;
use crate::error::{At, Error, Result};
use crate::places;

/// What PostgreSQL calls its socket.
pub(crate) const SOCKET: &str = ".s.PGSQL.5432";

/// The smallest `sun_path` is that of macOS: 104 bytes with its final zero.
const SOCKET_PATH_MAX: usize = 103;

/// The paths of one cluster.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub(crate) directory: PathBuf,
    pub(crate) data: PathBuf,
    pub(crate) fresh_data: PathBuf,
    pub(crate) log: PathBuf,
    pub(crate) starting: PathBuf,
    pub(crate) stopping: PathBuf,
    pub(crate) socket_dir: PathBuf,
}

impl Layout {
    /// Names the paths; touches nothing.
    pub(crate) fn new(directory: &Path) -> Result<Self> {
        let directory = std::path::absolute(directory).at("find", directory)?;
        Ok(Self {
            data: directory.join("pgdata"),
            fresh_data: directory.join("pgdata.new"),
            log: directory.join("postgres.log"),
            starting: directory.join("starting"),
            stopping: directory.join("stopping"),
            socket_dir: socket_dir(&directory),
            directory,
        })
    }

    /// Creates the directory for its user, or makes sure that it is a cluster's already.
    pub(crate) fn prepare(&self, account: &Account) -> Result<()> {
        if let Some(parent) = self.directory.parent() {
            fs::create_dir_all(parent).at("create", parent)?;
        }
        check_passage(&self.directory, account)?;
        own_directory(&self.directory, account, true)
    }

    /// Creates the socket's directory. Only under the lock: a server about to end removes its own.
    pub(crate) fn prepare_socket_dir(&self, account: &Account) -> Result<()> {
        own_directory(&self.socket_dir, account, false)
    }

    /// Waits for the right to start or attach: one process at a time.
    pub(crate) fn lock(&self, account: &Account) -> Result<File> {
        let path = self.directory.join("lock");
        let file = open_lock_file(&path, account)?;
        loop {
            match file.lock() {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                outcome => return outcome.at("lock", &path).map(|()| file),
            }
        }
    }

    /// Takes the lock that a living keeper holds; `None` while one does.
    pub(crate) fn try_lock_keeper(&self, account: &Account) -> Result<Option<File>> {
        try_lock(&self.directory.join("keeper"), account)
    }

    /// Takes the lock that the processes of the server hold; `None` while any of them lives.
    pub(crate) fn try_lock_server(&self, account: &Account) -> Result<Option<File>> {
        try_lock(&self.directory.join("server"), account)
    }

    /// Counts the caller among the server's users until the returned file is closed.
    pub(crate) fn hold_alive(&self, account: &Account) -> Result<File> {
        let path = self.alive();
        if !path.exists() {
            let mut mkfifo = account.command("mkfifo");
            account.output(mkfifo.arg("-m").arg("600").arg(&path))?;
        }
        // Reading and writing: an open for writing alone would wait for the keeper.
        let mut fifo = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&path)
            .at("open", &path)?;
        if !fifo.metadata().at("look at", &path)?.file_type().is_fifo() {
            let reason = format!("{} is not a FIFO", path.display());
            return Err(Error::DirectoryNotOurs {
                directory: self.directory.clone(),
                reason,
            });
        }
        // A keeper that has seen the last user go looks for this before it stops the server.
        fifo.write_all(b"\n").at("write to", &path)?;
        Ok(fifo)
    }

    /// Opens the keeper's end. Does not wait as long as the caller counts among the users.
    pub(crate) fn watch_alive(&self) -> Result<File> {
        let path = self.alive();
        File::open(&path).at("open", &path)
    }

    /// Tells the keeper to wait for a pid file, should the caller die before the server writes one.
    pub(crate) fn mark_starting(&self) -> Result<()> {
        remove_file(&self.starting)?;
        File::create_new(&self.starting)
            .at("create", &self.starting)
            .map(drop)
    }

    fn alive(&self) -> PathBuf {
        self.directory.join("alive")
    }
}

/// Reads which version wrote a cluster's data; `None` where there are none yet.
pub(crate) fn data_major(directory: &Path) -> Result<Option<Major>> {
    let path = directory.join("pgdata/PG_VERSION");
    match fs::read_to_string(&path) {
        Ok(text) => text
            .trim()
            .parse()
            .map(Major)
            .map(Some)
            .map_err(io::Error::other)
            .at("understand", &path),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).at("read", &path),
    }
}

/// Removes a file that may be gone already.
pub(crate) fn remove_file(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error).at("remove", path),
        _ => Ok(()),
    }
}

/// Makes sure that the user who stands in for root can get to a path; names what is in the way.
pub(crate) fn check_passage(target: &Path, account: &Account) -> Result<()> {
    if !account.stands_in_for_root {
        return Ok(());
    }
    for ancestor in target.ancestors().skip(1) {
        let found = fs::metadata(ancestor).at("look at", ancestor)?;
        let bit = match (found.uid() == account.uid, found.gid() == account.gid) {
            (true, _) => 0o100,
            (false, true) => 0o010,
            (false, false) => 0o001,
        };
        if found.mode() & bit == 0 {
            return Err(Error::Unreachable {
                account: account.name.clone(),
                closed: ancestor.to_owned(),
                target: target.to_owned(),
            });
        }
    }
    Ok(())
}

/// A path that is too long for a socket gets a short one in its stead.
fn socket_dir(directory: &Path) -> PathBuf {
    let own = directory.join("sock");
    if own.join(SOCKET).as_os_str().len() <= SOCKET_PATH_MAX {
        return own;
    }
    let hash = places::hash(&[directory.as_os_str().as_bytes()]);
    PathBuf::from(format!("/tmp/clipbase-{hash:016x}"))
}

fn try_lock(path: &Path, account: &Account) -> Result<Option<File>> {
    let file = open_lock_file(path, account)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error).at("lock", path),
    }
}

/// Opens a file that is only ever locked. As root it is given to the server's user, who may come in
/// person another time; by its descriptor, and only when it was made here.
fn open_lock_file(path: &Path, account: &Account) -> Result<File> {
    loop {
        match OpenOptions::new().read(true).write(true).open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            outcome => return outcome.at("open", path),
        }
        let made = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path);
        match made {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error).at("create", path),
            Ok(file) => {
                if account.stands_in_for_root {
                    fchown(&file, Some(account.uid), Some(account.gid)).at("give away", path)?;
                }
                return Ok(file);
            }
        }
    }
}

/// Creates a directory that is closed to everyone but the server's user, or adopts one that is the
/// cluster's: made here before (it has a `lock`), or empty and the caller's own.
fn own_directory(path: &Path, account: &Account, has_lock: bool) -> Result<()> {
    let mine = |uid| uid == account.uid || (account.stands_in_for_root && uid == 0);
    let not_ours = |reason: &str| {
        Err(Error::DirectoryNotOurs {
            directory: path.to_owned(),
            reason: reason.to_owned(),
        })
    };
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            return Err(error).at("create", path);
        }
        _ => {}
    }
    let found = fs::symlink_metadata(path).at("look at", path)?;
    if !found.is_dir() {
        return not_ours("it is a file or a link, not a directory");
    }
    if !mine(found.uid()) {
        return not_ours("it belongs to another user");
    }
    if has_lock && !path.join("lock").exists() {
        let empty = fs::read_dir(path).at("read", path)?.next().is_none();
        // Two first starters: the other one may have made its lock just now.
        if !empty && !path.join("lock").exists() {
            return not_ours("it holds other files");
        }
    }
    if found.uid() != account.uid {
        chown(path, Some(account.uid), Some(account.gid)).at("give away", path)?;
    }
    if found.mode() & 0o777 != 0o700 {
        fs::set_permissions(path, fs::Permissions::from_mode(0o700)).at("close", path)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_too_long_for_a_socket_gets_a_short_one() {
        let short = Path::new("/var/lib/clipbase/pg");
        assert_eq!(socket_dir(short), short.join("sock"));
        let long = Path::new("/").join("x".repeat(90));
        let other = socket_dir(&long);
        assert!(other.starts_with("/tmp"), "{}", other.display());
        assert!(other.join(SOCKET).as_os_str().len() <= SOCKET_PATH_MAX);
        assert_ne!(other, socket_dir(&Path::new("/").join("y".repeat(90))));
    }

    #[test]
    fn the_longest_socket_path_is_103_bytes() {
        let directory = |length: usize| Path::new("/").join("x".repeat(length));
        let fixed = "/".len() + "/sock/".len() + SOCKET.len();
        assert!(socket_dir(&directory(SOCKET_PATH_MAX - fixed)).ends_with("sock"));
        assert!(!socket_dir(&directory(SOCKET_PATH_MAX - fixed + 1)).ends_with("sock"));
    }
}
