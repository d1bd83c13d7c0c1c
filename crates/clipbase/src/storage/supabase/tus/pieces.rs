//! The pieces of a resumable upload: one in memory at a time, from any offset that can be had.

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream};

use super::super::content::{Exact, Fault};
use super::super::file::LocalFile;
use super::super::upload::Stop;
use super::Source;
use crate::storage::ByteStream;

/// The size of a piece: what Supabase asks for.
const PIECE_BYTES: u64 = 6 * 1024 * 1024;

/// How much of a piece is handed to the connection at a time, so that its progress can be seen.
const SLICE_BYTES: usize = 256 * 1024;

/// Content in pieces.
pub(super) struct Pieces {
    file: Option<LocalFile>,
    content: Option<Exact>,
    length: u64,
    /// Where the current piece starts.
    start: u64,
    current: Bytes,
    /// What was read beyond the current piece.
    rest: Bytes,
}

impl Pieces {
    pub(super) fn new(source: Source, length: u64) -> Self {
        let (file, content) = match source {
            Source::File(file) => (Some(file), None),
            Source::Stream(stream) => (None, Some(Exact::new(stream, length))),
        };
        Self {
            file,
            content,
            length,
            start: 0,
            current: Bytes::new(),
            rest: Bytes::new(),
        }
    }

    /// Returns what follows an offset below the length, up to the end of a piece.
    pub(super) async fn at(&mut self, offset: u64) -> Result<Bytes, Stop> {
        if let Some(piece) = self.within(offset) {
            return Ok(piece);
        }
        let end = self.start + self.current.len() as u64;
        // The old piece goes before the new one comes.
        self.current = Bytes::new();
        if offset != end || self.content.is_none() {
            self.seek(offset).await?;
        }
        self.start = offset;
        self.current = self.fill().await?;
        Ok(self.current.clone())
    }

    /// Returns the rest of the current piece, where the offset lies in it.
    fn within(&self, offset: u64) -> Option<Bytes> {
        let skip = usize::try_from(offset.checked_sub(self.start)?).ok()?;
        (skip < self.current.len()).then(|| self.current.slice(skip..))
    }

    async fn seek(&mut self, offset: u64) -> Result<(), Stop> {
        let Some(file) = &self.file else {
            return Err(Stop::Content(Fault::Gone));
        };
        let content = file
            .read_from(offset)
            .await
            .map_err(|error| Stop::Content(Fault::Broken(error.kind())))?;
        self.content = Some(Exact::new(content, self.length - offset));
        self.rest = Bytes::new();
        Ok(())
    }

    /// Reads the next piece: a whole one, or all that is left.
    async fn fill(&mut self) -> Result<Bytes, Stop> {
        let wanted = PIECE_BYTES.min(self.length - self.start);
        let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
        let mut piece = BytesMut::with_capacity(self.rest.len().min(wanted));
        while piece.len() < wanted {
            if self.rest.is_empty() {
                self.rest = match &mut self.content {
                    Some(content) => match content.next().await {
                        Some(Ok(more)) => more,
                        Some(Err(fault)) => return Err(Stop::Content(fault)),
                        None => return Err(Stop::Content(Fault::Short)),
                    },
                    None => return Err(Stop::Content(Fault::Gone)),
                };
                // What a caller declares is not yet what it has.
                if piece.capacity() < wanted && piece.len() + self.rest.len() > SLICE_BYTES {
                    piece.reserve(wanted - piece.len());
                }
            }
            let taken = self.rest.len().min(wanted - piece.len());
            piece.extend_from_slice(&self.rest.split_to(taken));
        }
        Ok(piece.freeze())
    }
}

/// Hands a piece out in slices of it.
pub(super) fn slices(piece: Bytes) -> ByteStream {
    let cut = move |mut left: Bytes| async move {
        let slice = left.split_to(left.len().min(SLICE_BYTES));
        (!slice.is_empty()).then_some((Ok(slice), left))
    };
    stream::unfold(piece, cut).boxed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::byte_stream;

    const MIB: usize = 1024 * 1024;

    fn numbered(bytes: usize) -> Vec<u8> {
        (0..=250).cycle().take(bytes).collect()
    }

    fn stream_of(bytes: usize, piece: usize) -> (Vec<u8>, Source) {
        let content = numbered(bytes);
        let pieces: Vec<_> = content
            .chunks(piece)
            .map(|piece| Ok(Bytes::copy_from_slice(piece)))
            .collect();
        (content, Source::Stream(stream::iter(pieces).boxed()))
    }

    #[tokio::test]
    async fn a_stream_comes_in_pieces_of_six_mebibytes() {
        for piece in [77_777, 13 * MIB] {
            let (content, source) = stream_of(13 * MIB, piece);
            let mut pieces = Pieces::new(source, content.len() as u64);
            for (at, length) in [(0, 6 * MIB), (6 * MIB, 6 * MIB), (12 * MIB, MIB)] {
                let got = pieces.at(at as u64).await.ok().unwrap();
                assert_eq!(got, content[at..at + length]);
                // Again, and from within: as after a cut.
                let got = pieces.at((at + 5) as u64).await.ok().unwrap();
                assert_eq!(got, content[at + 5..at + length]);
            }
            assert!(matches!(
                pieces.at(0).await,
                Err(Stop::Content(Fault::Gone))
            ));
        }
    }

    #[tokio::test]
    async fn a_file_goes_on_from_anywhere() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("in");
        let content = numbered(7 * MIB);
        std::fs::write(&path, &content).unwrap();
        let file = LocalFile::find(&path).await.unwrap();
        let mut pieces = Pieces::new(Source::File(file), content.len() as u64);
        for at in [6 * MIB + 3, 0, 100, 6 * MIB, 7 * MIB - 1] {
            let got = pieces.at(at as u64).await.ok().unwrap();
            assert!(!got.is_empty());
            assert_eq!(got, content[at..at + got.len()]);
        }
    }

    #[tokio::test]
    async fn the_wrong_length_is_noticed_before_the_last_piece() {
        for (length, fault) in [
            (5, Fault::Short),
            (3, Fault::Long),
            (u64::MAX, Fault::Short),
        ] {
            let mut pieces = Pieces::new(Source::Stream(byte_stream("four")), length);
            match pieces.at(0).await {
                Err(Stop::Content(found)) => assert_eq!(found, fault),
                _ => panic!("accepted"),
            }
        }
    }

    #[tokio::test]
    async fn slices_add_up() {
        let piece = Bytes::from(vec![7; MIB + 1]);
        let sizes: Vec<_> = slices(piece)
            .map(|slice| slice.unwrap().len())
            .collect()
            .await;
        assert_eq!(
            sizes,
            [SLICE_BYTES, SLICE_BYTES, SLICE_BYTES, SLICE_BYTES, 1]
        );
    }
}
