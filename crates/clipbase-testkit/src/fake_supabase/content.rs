//! What objects hold: bytes in memory, or files in a folder for objects of gigabytes.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use sha2::{Digest, Sha256};
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};
use uuid::Uuid;

use super::refusal::AnswerBody;

/// How much of a file is in memory at a time.
const PIECE_BYTES: usize = 256 * 1024;

/// Where the objects' content lies.
#[derive(Clone, Debug, Default)]
pub enum Content {
    /// In memory.
    #[default]
    Memory,
    /// In files of this folder, which must exist; the server then needs the same memory for any size. They are
    /// removed with their objects.
    Folder(PathBuf),
}

/// A file that is removed when nobody has it any more. A reader that has it open still reads it whole.
#[derive(Debug)]
pub(super) struct StoredFile(PathBuf);

impl Drop for StoredFile {
    fn drop(&mut self) {
        // A folder that is gone took the file along.
        std::fs::remove_file(&self.0).ok();
    }
}

/// One version of an object's content.
#[derive(Clone, Debug)]
pub(super) enum Stored {
    Memory(Bytes),
    File(Arc<StoredFile>),
    /// The row is there, the content is not.
    Gone,
}

impl Stored {
    /// Stores what is in memory already.
    pub(super) fn new(content: Bytes, place: &Content) -> io::Result<Self> {
        match place {
            Content::Memory => Ok(Self::Memory(content)),
            Content::Folder(folder) => {
                let path = new_path(folder);
                std::fs::write(&path, content)?;
                Ok(Self::File(Arc::new(StoredFile(path))))
            }
        }
    }

    /// Reads everything.
    pub(super) fn read(&self) -> io::Result<Option<Bytes>> {
        match self {
            Self::Memory(content) => Ok(Some(content.clone())),
            Self::File(file) => std::fs::read(&file.0).map(|content| Some(content.into())),
            Self::Gone => Ok(None),
        }
    }

    /// Hashes everything.
    pub(super) fn sha256(&self) -> io::Result<Option<[u8; 32]>> {
        match self {
            Self::Memory(content) => Ok(Some(Sha256::digest(content).into())),
            Self::File(file) => {
                let mut hash = Sha256::new();
                let mut reader = std::fs::File::open(&file.0)?;
                let mut piece = vec![0; PIECE_BYTES];
                loop {
                    let read = reader.read(&mut piece)?;
                    match piece.get(..read) {
                        Some(part) if read > 0 => hash.update(part),
                        _ => return Ok(Some(hash.finalize().into())),
                    }
                }
            }
            Self::Gone => Ok(None),
        }
    }

    /// Returns a part of it as an answer's body; `None` where the content is gone.
    pub(super) async fn body(&self, start: u64, length: u64) -> io::Result<Option<AnswerBody>> {
        match self {
            Self::Memory(content) => {
                let size = content.len();
                let from = usize::try_from(start).unwrap_or(usize::MAX).min(size);
                let end = start.saturating_add(length);
                let to = usize::try_from(end).unwrap_or(usize::MAX).min(size);
                let part = content.slice(from..to.max(from));
                let whole = stream::iter([Ok(Frame::data(part))]);
                Ok(Some(BodyExt::boxed(StreamBody::new(whole))))
            }
            Self::File(stored) => {
                let mut file = File::open(&stored.0).await?;
                file.seek(io::SeekFrom::Start(start)).await?;
                let pieces = stream::try_unfold((file, length), next_piece);
                Ok(Some(BodyExt::boxed(StreamBody::new(
                    pieces.map(|piece| piece.map(Frame::data)),
                ))))
            }
            Self::Gone => Ok(None),
        }
    }
}

async fn next_piece((mut file, left): (File, u64)) -> io::Result<Option<(Bytes, (File, u64))>> {
    if left == 0 {
        return Ok(None);
    }
    let room = usize::try_from(left)
        .unwrap_or(PIECE_BYTES)
        .min(PIECE_BYTES);
    let mut piece = BytesMut::with_capacity(room);
    let mut limited = (&mut file).take(room as u64);
    if limited.read_buf(&mut piece).await? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let left = left.saturating_sub(piece.len() as u64);
    Ok(Some((piece.freeze(), (file, left))))
}

fn new_path(folder: &Path) -> PathBuf {
    folder.join(Uuid::new_v4().simple().to_string())
}

/// Content on its way in. Dropped before it is finished, it leaves nothing.
#[derive(Debug)]
pub(super) struct Sink {
    length: u64,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Memory(BytesMut),
    File(File, StoredFile),
    Taken,
}

impl Sink {
    pub(super) async fn new(place: &Content) -> io::Result<Self> {
        let place = match place {
            Content::Memory => Place::Memory(BytesMut::new()),
            Content::Folder(folder) => {
                let path = new_path(folder);
                Place::File(File::create_new(&path).await?, StoredFile(path))
            }
        };
        Ok(Self { length: 0, place })
    }

    pub(super) const fn length(&self) -> u64 {
        self.length
    }

    pub(super) async fn write(&mut self, piece: &[u8]) -> io::Result<()> {
        match &mut self.place {
            Place::Memory(content) => content.extend_from_slice(piece),
            Place::File(file, _) => file.write_all(piece).await?,
            Place::Taken => return Err(io::Error::other("the content was finished already")),
        }
        self.length += piece.len() as u64;
        Ok(())
    }

    /// Ends the content; nothing can be written afterwards.
    pub(super) async fn finish(&mut self) -> io::Result<Stored> {
        match std::mem::replace(&mut self.place, Place::Taken) {
            Place::Memory(content) => Ok(Stored::Memory(content.freeze())),
            Place::File(mut file, stored) => {
                file.flush().await?;
                Ok(Stored::File(Arc::new(stored)))
            }
            Place::Taken => Err(io::Error::other("the content was finished already")),
        }
    }
}
