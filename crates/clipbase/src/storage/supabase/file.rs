//! A local file that is stored: read again from any offset, and refused once it has changed.

use std::fs::Metadata;
use std::io::{self, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use bytes::BytesMut;
use futures_util::StreamExt;
use futures_util::stream;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};

use crate::storage::ByteStream;

/// How much is read at a time, in bytes.
const PIECE_BYTES: usize = 256 * 1024;

/// What tells a file from another one, and from itself after a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) length: u64,
    /// Its last change in nanoseconds since 1970.
    pub(super) modified_ns: i128,
    pub(super) device: u64,
    pub(super) inode: u64,
}

impl Identity {
    fn of(found: &Metadata) -> Self {
        Self {
            length: found.len(),
            modified_ns: i128::from(found.mtime()) * 1_000_000_000 + i128::from(found.mtime_nsec()),
            device: found.dev(),
            inode: found.ino(),
        }
    }
}

/// A file as it was when its upload began.
pub(super) struct LocalFile {
    path: PathBuf,
    identity: Identity,
}

impl LocalFile {
    /// Looks at a file without opening it: to open a pipe could wait for ever.
    pub(super) async fn find(path: &Path) -> io::Result<Self> {
        let found = tokio::fs::metadata(path).await?;
        if !found.is_file() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Ok(Self {
            path: path.to_owned(),
            identity: Identity::of(&found),
        })
    }

    pub(super) fn identity(&self) -> Identity {
        self.identity
    }

    pub(super) fn length(&self) -> u64 {
        self.identity.length
    }

    /// Opens the file at an offset. The stream fails when the file is another one by then, or by its end.
    pub(super) async fn read_from(&self, offset: u64) -> io::Result<ByteStream> {
        let mut file = File::open(&self.path).await?;
        unchanged(&file, self.identity).await?;
        file.seek(SeekFrom::Start(offset)).await?;
        let identity = self.identity;
        let pieces = stream::try_unfold(file, move |mut file| async move {
            let mut piece = BytesMut::with_capacity(PIECE_BYTES);
            if file.read_buf(&mut piece).await? == 0 {
                unchanged(&file, identity).await?;
                return Ok(None);
            }
            Ok(Some((piece.freeze(), file)))
        });
        Ok(pieces.boxed())
    }
}

async fn unchanged(file: &File, identity: Identity) -> io::Result<()> {
    if Identity::of(&file.metadata().await?) == identity {
        Ok(())
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(file: &LocalFile, offset: u64) -> io::Result<Vec<u8>> {
        let mut stream = file.read_from(offset).await?;
        let mut content = Vec::new();
        while let Some(piece) = stream.next().await {
            content.extend_from_slice(&piece?);
        }
        Ok(content)
    }

    #[tokio::test]
    async fn a_file_is_read_from_an_offset_until_it_changes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("in.mp4");
        std::fs::write(&path, "0123456789").unwrap();
        let file = LocalFile::find(&path).await.unwrap();
        assert_eq!(read(&file, 0).await.unwrap(), b"0123456789");
        assert_eq!(read(&file, 7).await.unwrap(), b"789");
        assert_eq!(read(&file, 10).await.unwrap(), b"");

        let mut open = file.read_from(0).await.unwrap();
        std::fs::write(&path, "another").unwrap();
        assert!(read(&file, 0).await.is_err());
        let mut last = Ok(());
        while let Some(piece) = open.next().await {
            last = piece.map(|_| ());
        }
        assert!(last.is_err());
    }

    #[tokio::test]
    async fn only_a_regular_file_is_one() {
        let folder = tempfile::tempdir().unwrap();
        assert!(LocalFile::find(folder.path()).await.is_err());
        assert!(LocalFile::find(Path::new("/dev/null")).await.is_err());
        assert!(
            LocalFile::find(&folder.path().join("absent"))
                .await
                .is_err()
        );
    }
}
