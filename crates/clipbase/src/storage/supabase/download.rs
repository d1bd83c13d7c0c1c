//! Downloads: continued where they were cut, as long as the object is the same one.
//!
//! What makes it the same is its `ETag`. An object that was replaced meanwhile is read anew from its start,
//! so that a reader never has half of one and half of another.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream};
use reqwest::header::{ACCEPT_ENCODING, CONTENT_RANGE, ETAG, HeaderValue, RANGE};
use reqwest::{Method, Response, StatusCode};

use super::Inner;
use super::failure::{Failure, Meaning};
use super::http::{sent, within};
use super::retry::Retries;
use crate::error::{Cause, Error, Result};
use crate::storage::atomic::write_file;
use crate::storage::{ByteStream, Operation, SMALL_OBJECT_BYTES_MAX, StorageKey};

/// Why an object's bytes stopped coming.
enum End {
    /// It is another object now.
    Changed,
    Failed(Failure),
}

type Ended = Arc<Mutex<Option<End>>>;

/// An object that is being read.
struct Reader {
    storage: Arc<Inner>,
    url: String,
    tag: Option<HeaderValue>,
    length: u64,
    read: u64,
    response: Option<Response>,
    retries: Retries,
    ended: Ended,
}

impl Inner {
    /// Writes an object to a file, whole or not at all.
    pub(super) async fn download_file(self: Arc<Self>, key: &StorageKey, to: &Path) -> Result<()> {
        let operation = Operation::Download;
        let mut changes = self.http.retries(operation);
        loop {
            let reader = Arc::clone(&self).reader(operation, key).await?;
            let (ended, length) = (Arc::clone(&reader.ended), reader.length);
            match write_file(operation, reader.into_stream(), length, to).await {
                Ok(()) => return Ok(()),
                Err(error) => again(operation, &mut changes, &ended, error).await?,
            }
        }
    }

    /// Reads an object into memory, if it is small.
    pub(super) async fn read_whole(self: Arc<Self>, key: &StorageKey) -> Result<Bytes> {
        let operation = Operation::ReadSmall;
        let mut changes = self.http.retries(operation);
        loop {
            let reader = Arc::clone(&self).reader(operation, key).await?;
            if reader.length > SMALL_OBJECT_BYTES_MAX {
                return Err(operation.failed(Cause::new("larger than a small object")));
            }
            let ended = Arc::clone(&reader.ended);
            match collect(reader.into_stream()).await {
                Ok(content) => return Ok(content),
                Err(error) => again(operation, &mut changes, &ended, operation.io(&error)).await?,
            }
        }
    }

    async fn reader(self: Arc<Self>, operation: Operation, key: &StorageKey) -> Result<Reader> {
        let path = self.config.key_layout.path(key);
        let url = self.config.storage.object("", key.bucket(), &path);
        let mut retries = self.http.retries(operation);
        let response = loop {
            match self.get(&url, 0).await {
                Ok(response) => break response,
                Err(failure) if failure.meaning() == Meaning::NoObject => {
                    self.bucket_is_there(operation, key.bucket())
                        .await
                        .map_err(|failure| failure.of(operation))?;
                    return Err(failure.of(operation));
                }
                Err(failure) => retries
                    .after(failure)
                    .await
                    .map_err(|failure| failure.of(operation))?,
            }
        };
        let length = match response.content_length() {
            Some(length) => length,
            // A proxy between may not tell it. Without it, nobody could tell a cut from an end.
            None => self.size(operation, key).await?,
        };
        Ok(Reader {
            tag: response.headers().get(ETAG).cloned(),
            url,
            length,
            read: 0,
            response: Some(response),
            retries,
            ended: Ended::default(),
            storage: self,
        })
    }

    async fn size(&self, operation: Operation, key: &StorageKey) -> Result<u64> {
        let found = self.find(operation, key).await;
        let found = found.map_err(|failure| failure.of(operation))?;
        let row = found.ok_or_else(|| operation.missing())?;
        row.size()
            .ok_or_else(|| Failure::malformed("object without size").of(operation))
    }

    async fn get(&self, url: &str, from: u64) -> Result<Response, Failure> {
        let mut request = self
            .http
            .control(Method::GET, url)
            .header(ACCEPT_ENCODING, "identity");
        if from > 0 {
            request = request.header(RANGE, format!("bytes={from}-"));
        }
        within(self.config.timeouts.read, sent(request)).await
    }
}

/// Goes on with a new attempt where the object was replaced meanwhile, a bounded number of times.
async fn again(
    operation: Operation,
    changes: &mut Retries,
    ended: &Ended,
    error: Error,
) -> Result<()> {
    let end = ended.lock().unwrap_or_else(PoisonError::into_inner).take();
    match end {
        Some(End::Changed) => {
            let replaced = Failure::new(Meaning::Passing, "object replaced while it was read");
            let waited = changes.after(replaced).await;
            waited.map_err(|failure| failure.of(operation))
        }
        Some(End::Failed(failure)) => Err(failure.of(operation)),
        None => Err(error),
    }
}

async fn collect(mut content: ByteStream) -> io::Result<Bytes> {
    let mut whole = BytesMut::new();
    while let Some(piece) = content.next().await {
        whole.extend_from_slice(&piece?);
    }
    Ok(whole.freeze())
}

impl Reader {
    fn into_stream(self) -> ByteStream {
        stream::unfold(Some(self), |reader| async move {
            let mut reader = reader?;
            match reader.next().await {
                Ok(piece) => piece.map(|piece| (Ok(piece), Some(reader))),
                Err(end) => {
                    let mut ended = reader.ended.lock().unwrap_or_else(PoisonError::into_inner);
                    *ended = Some(end);
                    drop(ended);
                    Some((Err(io::ErrorKind::ConnectionAborted.into()), None))
                }
            }
        })
        .boxed()
    }

    /// Returns the next piece; `None` when all have come.
    async fn next(&mut self) -> Result<Option<Bytes>, End> {
        loop {
            if self.read == self.length {
                return Ok(None);
            }
            let failure = match self.receive().await {
                Ok(piece) => {
                    self.retries.moved_on();
                    return Ok(Some(piece));
                }
                Err(failure) => failure,
            };
            self.response = None;
            self.retries.after(failure).await.map_err(End::Failed)?;
            if let Err(failure) = self.reopen().await? {
                self.retries.after(failure).await.map_err(End::Failed)?;
            }
        }
    }

    async fn receive(&mut self) -> Result<Bytes, Failure> {
        let Some(response) = &mut self.response else {
            return Err(Failure::new(Meaning::Passing, "connection lost"));
        };
        let patience = self.storage.config.timeouts.read;
        let piece = within(patience, async {
            let piece = response.chunk().await;
            piece.map_err(|error| Failure::of_transport(&error))
        });
        let piece = piece
            .await?
            .ok_or_else(|| Failure::new(Meaning::Passing, "object cut short"))?;
        self.read += piece.len() as u64;
        if self.read > self.length {
            return Err(Failure::malformed("object longer than said"));
        }
        Ok(piece)
    }

    /// Asks for the rest. The inner failure is one of the server; another object is an end.
    async fn reopen(&mut self) -> Result<Result<(), Failure>, End> {
        if self.tag.is_none() && self.read > 0 {
            // Nothing would tell this object from another one.
            return Err(End::Changed);
        }
        let response = match self.storage.get(&self.url, self.read).await {
            Ok(response) => response,
            Err(failure) if failure.meaning() == Meaning::Range => return Err(End::Changed),
            Err(failure) => return Ok(Err(failure)),
        };
        if self.continues(&response) {
            self.response = Some(response);
            Ok(Ok(()))
        } else {
            Err(End::Changed)
        }
    }

    /// Tells whether an answer is the rest of the same object.
    fn continues(&self, response: &Response) -> bool {
        if response.headers().get(ETAG) != self.tag.as_ref() {
            return false;
        }
        if self.read == 0 {
            return response.status() == StatusCode::OK
                && response.content_length().is_none_or(|l| l == self.length);
        }
        let expected = format!("bytes {}-{}/{}", self.read, self.length - 1, self.length);
        response.status() == StatusCode::PARTIAL_CONTENT
            && response
                .headers()
                .get(CONTENT_RANGE)
                .is_some_and(|range| range.as_bytes() == expected.as_bytes())
    }
}
