//! Files that appear whole or not at all: written under a random name, flushed, renamed into place.
//!
//! Owns the step that every backend needs for downloads and the local one for uploads as well. Content
//! passes through in constant memory. A file that is never put in place removes itself; only a crash
//! leaves it behind, as `.{random}.part`. It knows nothing of keys or buckets.
//!
//! ```text
//! Fresh::create_in(folder) → copy_whole | write_exactly → Fresh::replace(path)
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use futures_util::StreamExt;
use tokio::io::AsyncWriteExt;
use uuid::Uuid;

use super::{ByteStream, Operation};
use crate::error::{Cause, Result};

/// The mode of every file that this library makes: its owner's alone.
pub(super) const FILE_MODE: u32 = 0o600;

/// The mode of a file that leaves the storage, before the caller's umask.
const DOWNLOAD_MODE: u32 = 0o666;

/// A file that is not yet where it belongs.
pub(super) struct Fresh {
    guard: Guard,
    file: File,
}

/// Removes the file at its path unless that was put in place.
struct Guard {
    path: PathBuf,
    placed: bool,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if !self.placed {
            // Nobody to tell; what stays in `.incoming` is cleared away as stale.
            fs::remove_file(&self.path).ok();
        }
    }
}

impl Fresh {
    /// Starts a private file under a random name.
    pub(super) fn create_in(folder: &Path) -> io::Result<Self> {
        Self::create(folder, FILE_MODE)
    }

    fn create(folder: &Path, mode: u32) -> io::Result<Self> {
        let path = folder.join(format!(".{}.part", Uuid::new_v4().simple()));
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&path)?;
        Ok(Self {
            guard: Guard {
                path,
                placed: false,
            },
            file,
        })
    }

    /// Starts a file that will replace `to`: in its folder, since a rename stays on one file system. It is
    /// the caller's file, open to whom the caller's umask says.
    pub(super) fn beside(to: &Path) -> io::Result<Self> {
        Self::create(folder_of(to), DOWNLOAD_MODE)
    }

    /// Returns the file, to be written.
    pub(super) fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Copies all of an open file (by `copy_file_range` where there is one). A source that changes its
    /// size meanwhile is refused: nobody could say what was stored.
    pub(super) fn copy_whole(mut self, source: &mut File) -> io::Result<Self> {
        let length = source.metadata()?.len();
        let copied = io::copy(&mut source.take(length), &mut self.file)?;
        if copied == length && source.metadata()?.len() == length {
            Ok(self)
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    }

    /// Writes all of a stream, which must have exactly this length.
    pub(super) async fn write_exactly(
        self,
        operation: Operation,
        mut content: ByteStream,
        length: u64,
    ) -> Result<Self> {
        let mut file = tokio::fs::File::from_std(self.file);
        let mut left = length;
        while let Some(piece) = content.next().await {
            let piece = piece.map_err(|e| operation.failed(Cause::io(&e)))?;
            left = u64::try_from(piece.len())
                .ok()
                .and_then(|bytes| left.checked_sub(bytes))
                .ok_or_else(|| operation.failed(Cause::new("stream longer than declared")))?;
            file.write_all(&piece).await.map_err(|e| operation.io(&e))?;
        }
        if left > 0 {
            return Err(operation.failed(Cause::new("stream shorter than declared")));
        }
        // The last write runs in the background: only a flush tells whether it went well.
        file.flush().await.map_err(|e| operation.io(&e))?;
        Ok(Self {
            guard: self.guard,
            file: file.into_std().await,
        })
    }

    /// Flushes the content to the disk. Without it, a crash after the rename could leave an empty file.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    /// Renames the file into place, over what is there. To be called again after a failure.
    pub(super) fn place(&mut self, to: &Path) -> io::Result<()> {
        fs::rename(&self.guard.path, to)?;
        self.guard.placed = true;
        Ok(())
    }

    /// Tells whether the file is still there: not cleared away as stale.
    pub(super) fn exists(&self) -> io::Result<bool> {
        self.guard.path.try_exists()
    }

    /// Flushes the content, renames the file into place and flushes the folder.
    pub(super) fn replace(mut self, to: &Path) -> io::Result<()> {
        self.sync()?;
        self.place(to)?;
        sync_folder(folder_of(to))
    }
}

/// Writes a stream of a known length to a file, whole or not at all.
pub(super) async fn write_file(
    operation: Operation,
    content: ByteStream,
    length: u64,
    to: &Path,
) -> Result<()> {
    let path = to.to_owned();
    let fresh = blocking(operation, move || {
        Fresh::beside(&path).map_err(|e| operation.io(&e))
    })
    .await?
    .write_exactly(operation, content, length)
    .await?;
    let path = to.to_owned();
    blocking(operation, move || {
        fresh.replace(&path).map_err(|e| operation.io(&e))
    })
    .await
}

/// Runs work that blocks away from the runtime's own threads.
pub(super) async fn blocking<T: Send + 'static>(
    operation: Operation,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(_) => Err(operation.failed(Cause::new("file work was cut off"))),
    }
}

/// Flushes a folder; one that is gone was flushed away by whoever removed it.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    match File::open(folder) {
        Ok(folder) => folder.sync_all(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// The folder that a file lies in; a bare name lies in the working directory.
fn folder_of(file: &Path) -> &Path {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::super::byte_stream;
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    #[tokio::test]
    async fn a_stream_of_the_wrong_length_leaves_the_old_file_alone() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("clip.mp4");
        fs::write(&target, "old").unwrap();
        for length in [2, 4] {
            let outcome =
                write_file(Operation::Download, byte_stream("new"), length, &target).await;
            assert!(outcome.is_err());
            assert_eq!(fs::read(&target).unwrap(), b"old");
            assert_eq!(names(folder.path()), ["clip.mp4"]);
        }
        write_file(Operation::Download, byte_stream("new"), 3, &target)
            .await
            .unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"new");
        assert_eq!(names(folder.path()), ["clip.mp4"]);
    }

    #[test]
    fn a_bare_name_lies_in_the_working_directory() {
        assert_eq!(folder_of(Path::new("clip.mp4")), Path::new("."));
        assert_eq!(folder_of(Path::new("out/clip.mp4")), Path::new("out"));
    }
}
