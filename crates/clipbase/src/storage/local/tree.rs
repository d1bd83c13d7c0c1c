//! The directory itself: where a key's file lies, and the folders that must be there.
//!
//! Turns keys into places and nothing else into places. It never joins text that a key did not make,
//! and refuses a bucket that is missing or a link instead of making one up: an unmounted volume must
//! not look like an empty storage.
//!
//! ```text
//! {root}/signing.key
//! {root}/.incoming/{random}          being written
//! {root}/sources/{job}/source.mp4
//! {root}/results/{job}/clip.mp4
//! ```

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Component, Path, PathBuf};
use std::time::SystemTime;

use super::files;
use crate::error::{Cause, Code, Result};
use crate::storage::atomic::Fresh;
use crate::storage::{Bucket, BucketReport, Operation, StorageKey};

/// Where files lie while they are written: on the same file system as the buckets.
pub(in crate::storage) const INCOMING_FOLDER: &str = ".incoming";

/// The mode of every folder that this library makes: its owner's alone.
pub(in crate::storage) const FOLDER_MODE: u32 = 0o700;

/// The root, resolved once: links above it are the operator's choice, links below it are refused.
pub(super) struct Tree {
    root: PathBuf,
}

/// Where one object lies.
pub(super) struct Place {
    /// The bucket's folder.
    pub(super) bucket: PathBuf,
    /// The folders below it that lead to the file, outermost first.
    pub(super) folders: Vec<PathBuf>,
    /// The object's file.
    pub(super) file: PathBuf,
}

impl Tree {
    pub(super) fn open(root: &Path) -> Result<Self> {
        let resolved = fs::canonicalize(root).and_then(|root| {
            if root.is_dir() {
                Ok(root)
            } else {
                Err(io::ErrorKind::NotADirectory.into())
            }
        });
        let root = resolved.map_err(|e| Operation::EnsureBuckets.io(&e))?;
        Ok(Self { root })
    }

    /// Makes the folders that are missing and clears away what crashed uploads left.
    pub(super) fn ensure(&self, now: SystemTime) -> Result<Vec<BucketReport>> {
        let operation = Operation::EnsureBuckets;
        let incoming = self.root.join(INCOMING_FOLDER);
        let mut reports = Vec::with_capacity(Bucket::ALL.len());
        for bucket in Bucket::ALL {
            let folder = self.root.join(bucket.name());
            reports.push(BucketReport {
                bucket,
                is_new: make_folder(&folder).map_err(|e| operation.io(&e))?,
                drift: Vec::new(),
            });
        }
        make_folder(&incoming).map_err(|e| operation.io(&e))?;
        File::open(&self.root)
            .and_then(|root| root.sync_all())
            .and_then(|()| files::remove_stale(&incoming, now))
            .map_err(|e| operation.io(&e))?;
        Ok(reports)
    }

    /// Returns a bucket's folder, which must be there.
    pub(super) fn bucket(&self, operation: Operation, bucket: Bucket) -> Result<PathBuf> {
        let folder = self.root.join(bucket.name());
        match fs::symlink_metadata(&folder) {
            Ok(found) if found.is_dir() => Ok(folder),
            Ok(_) => Err(operation.failed_as(
                Code::StorageUnavailable,
                Cause::io(&io::ErrorKind::NotADirectory.into()),
            )),
            Err(error) => Err(operation.failed_as(Code::StorageUnavailable, Cause::io(&error))),
        }
    }

    /// Returns where a key's object lies, in a bucket that must be there.
    pub(super) fn place(&self, operation: Operation, key: &StorageKey) -> Result<Place> {
        let bucket = self.bucket(operation, key.bucket())?;
        let mut file = bucket.clone();
        let mut folders = Vec::new();
        // Keys cannot hold `..` by their types; should a new kind ever do, it ends here.
        for part in Path::new(&key.path()).components() {
            let Component::Normal(name) = part else {
                return Err(operation.failed(Cause::new("path leaves its bucket")));
            };
            file.push(name);
            folders.push(file.clone());
        }
        folders.pop();
        Ok(Place {
            bucket,
            folders,
            file,
        })
    }

    /// Starts a file that will become an object.
    pub(super) fn receive(&self) -> io::Result<Fresh> {
        Fresh::create_in(&self.root.join(INCOMING_FOLDER))
    }

    /// Takes in a whole local file.
    pub(super) fn receive_file(&self, from: &Path) -> io::Result<Fresh> {
        // Looked at before it is opened: opening a pipe would wait for its other end.
        if !fs::metadata(from)?.is_file() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut source = File::open(from)?;
        self.receive()?.copy_whole(&mut source)
    }
}

/// Makes a private folder, or finds it there: a real one. Tells whether it is new.
pub(super) fn make_folder(folder: &Path) -> io::Result<bool> {
    match DirBuilder::new().mode(FOLDER_MODE).create(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            if fs::symlink_metadata(folder)?.is_dir() {
                Ok(false)
            } else {
                Err(io::ErrorKind::NotADirectory.into())
            }
        }
        outcome => outcome.map(|()| true),
    }
}
