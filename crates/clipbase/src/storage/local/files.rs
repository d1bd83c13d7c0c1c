//! The files of objects: put in place, found, opened and removed without following a link.
//!
//! Owns the order of steps that makes a crash harmless: *content is flushed before the rename, the
//! folders after it*. A crash before the rename leaves a file in `.incoming` that nobody names; a crash
//! after it leaves the object whole. It knows places, not keys, and none of this library's errors.
//!
//! ```text
//! put: flush content → make folders → rename → flush folders    (starts over if a folder vanishes)
//! ```

use std::collections::BTreeSet;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use super::tree::{Place, make_folder};
use crate::storage::atomic::{Fresh, sync_folder};

/// The age at which a file in `.incoming` counts as left behind: longer than any upload may take.
pub const INCOMING_STALE_AFTER: Duration = Duration::from_secs(24 * 3_600);

/// How often a step starts over because somebody removed or replaced what it stood on. Each time, that
/// somebody got their own work done, so it ends; the bound is for a broken file system.
const RACE_ATTEMPTS_MAX: usize = 1_000;

/// Puts a finished file in its place and makes that survive a crash.
pub(super) fn put(mut fresh: Fresh, place: &Place) -> io::Result<()> {
    fresh.sync()?;
    for _ in 0..RACE_ATTEMPTS_MAX {
        // Whoever removes a sibling may take the empty folder away between these two steps.
        match make_folders(place).and_then(|()| fresh.place(&place.file)) {
            Ok(()) => {
                let folders = place.folders.iter().rev().chain([&place.bucket]);
                return folders
                    .into_iter()
                    .try_for_each(|folder| sync_folder(folder));
            }
            // Without the file or the bucket there is nothing to start over with.
            Err(error)
                if error.kind() == io::ErrorKind::NotFound
                    && fresh.exists()?
                    && stat(&place.bucket)?.is_some() => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::ResourceBusy.into())
}

/// Looks an object up; what is no regular file, or lies behind a link, is no object.
pub(super) fn find(place: &Place) -> io::Result<Option<Metadata>> {
    for folder in &place.folders {
        match stat(folder)? {
            Some(found) if found.is_dir() => {}
            _ => return Ok(None),
        }
    }
    Ok(stat(&place.file)?.filter(Metadata::is_file))
}

/// Opens an object for reading.
pub(super) fn open(place: &Place) -> io::Result<Option<(File, Metadata)>> {
    for _ in 0..RACE_ATTEMPTS_MAX {
        let Some(seen) = find(place)? else {
            return Ok(None);
        };
        let file = match File::open(&place.file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            outcome => outcome?,
        };
        let opened = file.metadata()?;
        // The same file that was looked at, so no link: else it was replaced meanwhile.
        if (seen.dev(), seen.ino()) == (opened.dev(), opened.ino()) {
            return Ok(Some((file, opened)));
        }
    }
    Err(io::ErrorKind::ResourceBusy.into())
}

/// Reads a small object of a known length.
pub(super) fn read_all(file: File, length: u64) -> io::Result<Bytes> {
    let mut content = Vec::new();
    file.take(length).read_to_end(&mut content)?;
    Ok(content.into())
}

/// Removes an object and the folders that it leaves empty; tells whether it was there. `changed`
/// collects the folders that must be flushed for it to stay removed.
pub(super) fn remove(place: &Place, changed: &mut BTreeSet<PathBuf>) -> io::Result<bool> {
    for folder in &place.folders {
        if stat(folder)?.is_some_and(|found| !found.is_dir()) {
            return Err(io::ErrorKind::NotADirectory.into());
        }
    }
    let removed = match stat(&place.file)? {
        None => false,
        // Something else lies there: saying "missing" would call the key done.
        Some(found) if !found.is_file() => return Err(io::ErrorKind::InvalidInput.into()),
        Some(_) => match fs::remove_file(&place.file) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(error),
        },
    };
    // Also when the object was gone: a crash may have come between the file and its folder.
    let mut kept = &place.bucket;
    for folder in place.folders.iter().rev() {
        if fs::remove_dir(folder).is_err() && !matches!(stat(folder), Ok(None)) {
            kept = folder;
            break;
        }
    }
    changed.insert(kept.clone());
    Ok(removed)
}

/// Removes what crashed uploads left, and nothing younger than [`INCOMING_STALE_AFTER`].
pub(super) fn remove_stale(incoming: &Path, now: SystemTime) -> io::Result<()> {
    for entry in fs::read_dir(incoming)? {
        let path = entry?.path();
        // Gone by now: its upload ended, or another process clears away too.
        let Some(found) = stat(&path)? else { continue };
        let age = now.duration_since(found.modified()?).unwrap_or_default();
        if found.is_file() && age > INCOMING_STALE_AFTER {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
    }
    Ok(())
}

/// Describes what lies at a path, a link as a link.
pub(super) fn stat(path: &Path) -> io::Result<Option<Metadata>> {
    match fs::symlink_metadata(path) {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn make_folders(place: &Place) -> io::Result<()> {
    place
        .folders
        .iter()
        .try_for_each(|folder| make_folder(folder).map(|_| ()))
}
