//! Which workers of this machine are alive: each holds a lock on a file of its name, which the kernel gives
//! back however the process ends. A file that nobody holds belongs to a dead worker.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use clipbase::{Cause, Code, Error, Result, WorkerId};

const SUFFIX: &str = ".lock";

/// This worker's sign of life.
#[derive(Debug)]
pub(super) struct Presence {
    path: PathBuf,
    _lock: File,
}

impl Presence {
    pub(super) fn announce(folder: &Path, id: WorkerId) -> Result<Self> {
        let announce = || -> io::Result<Self> {
            fs::create_dir_all(folder)?;
            // Locked before it has its name: nobody ever sees it free.
            let path = folder.join(format!("{id}{SUFFIX}"));
            let draft = folder.join(format!("{id}.new"));
            let lock = File::create(&draft)?;
            lock.lock()?;
            fs::rename(&draft, &path)?;
            Ok(Self { path, _lock: lock })
        };
        announce().map_err(|error| folder_error(&error))
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        // Left behind, it would only be found free and tidied up by the next worker.
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!(kind = ?error.kind(), "a worker's sign of life stays behind");
        }
    }
}

/// Workers whose files nobody holds.
#[derive(Debug, Default)]
pub(super) struct DeadWorkers(Vec<(WorkerId, PathBuf)>);

impl DeadWorkers {
    pub(super) fn ids(&self) -> Vec<WorkerId> {
        self.0.iter().map(|(id, _)| *id).collect()
    }

    /// Removes their files, once their jobs were taken back.
    pub(super) fn forget(self) {
        for (_, path) in self.0 {
            if let Err(error) = fs::remove_file(path) {
                tracing::debug!(kind = ?error.kind(), "a dead worker's file stays behind");
            }
        }
    }
}

pub(super) fn dead_workers(folder: &Path) -> Result<DeadWorkers> {
    let find = || -> io::Result<DeadWorkers> {
        let mut dead = Vec::new();
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            let id = name
                .and_then(|name| name.strip_suffix(SUFFIX))
                .and_then(|id| id.parse().ok());
            let Some(id) = id else { continue };
            if is_free(&path)? {
                dead.push((id, path));
            }
        }
        Ok(DeadWorkers(dead))
    };
    match find() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(DeadWorkers::default()),
        other => other.map_err(|error| folder_error(&error)),
    }
}

fn is_free(path: &Path) -> io::Result<bool> {
    let file = match File::open(path) {
        // It ended well a moment ago.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        other => other?,
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn folder_error(error: &io::Error) -> Error {
    Error::caused(
        Code::ConfigInvalid,
        "the workers' folder in the data directory cannot be used; check its permissions",
        Cause::io(error),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_is_dead_once_its_file_is_free() {
        let folder = tempfile::tempdir().unwrap();
        let (alive, dead) = (WorkerId::new(), WorkerId::new());
        let _presence = Presence::announce(folder.path(), alive).unwrap();
        fs::write(folder.path().join(format!("{dead}.lock")), "").unwrap();
        fs::write(folder.path().join("notes.txt"), "").unwrap();
        let found = dead_workers(folder.path()).unwrap();
        assert_eq!(found.ids(), [dead]);
        found.forget();
        assert!(dead_workers(folder.path()).unwrap().ids().is_empty());
    }

    #[test]
    fn a_worker_that_ends_well_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        drop(Presence::announce(folder.path(), WorkerId::new()).unwrap());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        assert!(
            dead_workers(&folder.path().join("absent"))
                .unwrap()
                .ids()
                .is_empty()
        );
    }
}
