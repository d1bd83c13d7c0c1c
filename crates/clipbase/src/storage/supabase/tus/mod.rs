//! Resumable uploads: TUS 1.0.0 with pieces of 6 MiB, continued after a cut where the server says.
//!
//! One piece is in memory at a time. A file goes on from any offset, in another process too when the
//! resume folder knows the upload; a stream goes on within the piece that was being sent.
//!
//! ```text
//! Create → Send → Send → … → complete → info
//!   ↑        ↓ cut or conflict
//!   └─ Ask ←─┘        (Ask: HEAD tells the offset; an upload that is gone is created anew)
//! ```

mod pieces;
mod state;
mod wire;

use self::pieces::Pieces;
use self::state::ResumeFile;
use self::wire::{Wire, is_lost};
use super::Inner;
use super::address::UploadId;
use super::failure::{Failure, Meaning};
use super::file::LocalFile;
use super::retry::Retries;
use super::upload::Stop;
use crate::error::{Code, Error, Result};
use crate::storage::{ByteStream, Operation, StorageKey};

/// Where the bytes come from.
pub(super) enum Source {
    File(LocalFile),
    Stream(ByteStream),
}

/// What is to be done next.
enum Next {
    /// Begin an upload.
    Create,
    /// Ask how far the server has come.
    Ask(UploadId),
    /// Send what follows this offset.
    Send(UploadId, u64),
    /// All bytes have arrived. Whether the server has said so itself after the last piece is told too.
    Verify(UploadId, bool),
}

/// One upload on its way.
struct Upload<'a> {
    wire: Wire<'a>,
    pieces: Pieces,
    retries: Retries,
    resume: Option<ResumeFile>,
    /// How far the server has come, as far as is known.
    reached: u64,
}

impl Inner {
    pub(super) async fn upload_resumable(
        &self,
        operation: Operation,
        source: Source,
        length: u64,
        key: &StorageKey,
    ) -> Result<()> {
        let resume = match (&self.config.resume_dir, &source) {
            (Some(folder), Source::File(file)) => {
                let base = self.config.upload.as_str();
                Some(ResumeFile::new(folder, base, key, file.identity()))
            }
            _ => None,
        };
        let is_stream = matches!(source, Source::Stream(_));
        let mut upload = Upload {
            wire: Wire {
                storage: self,
                key,
                length,
            },
            pieces: Pieces::new(source, length),
            retries: self.http.retries(operation),
            resume,
            reached: 0,
        };
        if is_stream {
            // What it promises is checked, as far as one piece shows, before the server hears of it.
            upload
                .pieces
                .at(0)
                .await
                .map_err(|stop| stop.of(operation))?;
        }
        upload.run(operation).await
    }
}

impl Upload<'_> {
    async fn run(mut self, operation: Operation) -> Result<()> {
        let mut next = match &self.resume {
            Some(file) => file.load().await.map_or(Next::Create, Next::Ask),
            None => Next::Create,
        };
        loop {
            let at = next.id().cloned();
            match self.step(next).await {
                Ok(Some(following)) => next = following,
                Ok(None) => {
                    self.forget().await;
                    return Ok(());
                }
                Err(stop) => {
                    let error = stop.of(operation);
                    self.abandon(at, &error).await;
                    return Err(error);
                }
            }
        }
    }

    /// Takes one step; `None` when the object is stored.
    async fn step(&mut self, next: Next) -> Result<Option<Next>, Stop> {
        match next {
            Next::Create => match self.wire.create().await {
                Ok(id) => {
                    if let Some(file) = &self.resume {
                        file.save(&id).await;
                    }
                    self.reached = 0;
                    Ok(Some(Next::Send(id, 0)))
                }
                Err(failure) => self.later(failure, Next::Create).await,
            },
            Next::Ask(id) => match self.wire.ask(&id).await {
                Ok(offset) => {
                    self.arrived(offset);
                    Ok(Some(if offset == self.wire.length {
                        Next::Verify(id, false)
                    } else {
                        Next::Send(id, offset)
                    }))
                }
                Err(failure) if is_lost(&failure) => self.anew().await,
                Err(failure) => self.later(failure, Next::Ask(id)).await,
            },
            Next::Send(id, offset) => match self.send(&id, offset).await {
                Ok(offset) => {
                    self.arrived(offset);
                    Ok(Some(if offset == self.wire.length {
                        Next::Verify(id, true)
                    } else {
                        Next::Send(id, offset)
                    }))
                }
                Err(Stop::Server(failure)) if is_lost(&failure) => self.anew().await,
                // Another offset than ours: the answer to an earlier piece was lost, or somebody else sends.
                Err(Stop::Server(failure)) if failure.meaning() == Meaning::Conflict => {
                    self.later(failure.meaning_now(Meaning::Passing), Next::Ask(id))
                        .await
                }
                Err(Stop::Server(failure)) => self.later(failure, Next::Ask(id)).await,
                Err(stop) => Err(stop),
            },
            Next::Verify(id, told) => self.verify(&id, told).await,
        }
    }

    fn arrived(&mut self, offset: u64) {
        if offset > self.reached {
            self.reached = offset;
            self.retries.moved_on();
        }
    }

    /// Waits and goes on, or stops.
    async fn later(&mut self, failure: Failure, next: Next) -> Result<Option<Next>, Stop> {
        self.retries.after(failure).await.map_err(Stop::Server)?;
        Ok(Some(next))
    }

    /// Begins again where the server has forgotten the upload, which it does after a day.
    async fn anew(&mut self) -> Result<Option<Next>, Stop> {
        self.forget().await;
        let lost = Failure::new(Meaning::Passing, "the upload has expired");
        self.retries.after(lost).await.map_err(Stop::Server)?;
        self.pieces.at(0).await?;
        Ok(Some(Next::Create))
    }

    /// Sends the piece at an offset and returns how far the server has come.
    async fn send(&mut self, id: &UploadId, offset: u64) -> Result<u64, Stop> {
        let piece = self.pieces.at(offset).await?;
        let sent = self.wire.send(id, offset, piece).await;
        sent.map_err(Stop::Server)
    }

    /// Makes sure that the object is there.
    ///
    /// Bytes that have arrived are no object yet: the server makes its row after the last one. When the answer
    /// to the last piece was lost, `HEAD` says "complete" even though that step may have failed, and no
    /// further piece would repeat it. The row's version is this upload's, so `info` tells for certain.
    async fn verify(&mut self, id: &UploadId, told: bool) -> Result<Option<Next>, Stop> {
        let found = self
            .wire
            .storage
            .find(self.retries.operation(), self.wire.key)
            .await;
        let found = found.map_err(Stop::Server)?;
        let size_fits = found
            .as_ref()
            .is_some_and(|row| row.size() == Some(self.wire.length));
        let ours = found.as_ref().and_then(|row| {
            let (row, upload) = (row.version.as_deref()?, id.version()?);
            Some(row == upload)
        });
        if size_fits && ours != Some(false) {
            return Ok(None);
        }
        match (told, ours) {
            // The server said it was stored, and a later upload of the same key has replaced it since.
            (true, Some(false)) => Ok(None),
            (true, _) => Err(Stop::Server(Failure::malformed(
                "object of another size than sent",
            ))),
            (false, _) => self.anew().await,
        }
    }

    /// Ends an upload that failed: so that the server need not keep its pieces, unless it can be resumed.
    async fn abandon(&mut self, id: Option<UploadId>, error: &Error) {
        let keeps = self.resume.is_some() && error.code() == Code::StorageUnavailable;
        if keeps {
            return;
        }
        self.forget().await;
        if let Some(id) = id {
            self.wire.end(&id).await;
        }
    }

    async fn forget(&mut self) {
        if let Some(file) = &self.resume {
            file.remove().await;
        }
    }
}

impl Next {
    fn id(&self) -> Option<&UploadId> {
        match self {
            Self::Create => None,
            Self::Ask(id) | Self::Send(id, _) | Self::Verify(id, _) => Some(id),
        }
    }
}
