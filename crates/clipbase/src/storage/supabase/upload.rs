//! Uploads in one request, and which uploads take more than one.

use std::path::Path;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::StreamExt;
use reqwest::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE};
use reqwest::{Body, Method};

use super::Inner;
use super::content::{Exact, Fault, Flow, SharedContent, SizedBody};
use super::failure::Failure;
use super::file::LocalFile;
use super::http::{X_UPSERT, done, sent};
use super::tus::Source;
use crate::error::{Error, Result};
use crate::storage::{ByteStream, Operation, StorageKey, byte_stream};

/// Objects may be replaced under their key, so nobody may keep one without asking.
const NO_CACHE: &str = "no-cache";

/// Why an upload ended.
pub(super) enum Stop {
    /// The caller's content is not what was declared. Nothing can be tried again.
    Content(Fault),
    /// The server, or the way to it.
    Server(Failure),
}

impl Stop {
    pub(super) fn of(self, operation: Operation) -> Error {
        match self {
            Self::Content(fault) => operation.failed(fault.cause()),
            Self::Server(failure) => failure.of(operation),
        }
    }
}

impl Inner {
    /// Stores a file, in one request or in resumable pieces.
    pub(super) async fn upload_file(&self, from: &Path, key: &StorageKey) -> Result<()> {
        let operation = Operation::Upload;
        let file = LocalFile::find(from).await.map_err(|e| operation.io(&e))?;
        if file.length() > self.config.tus_threshold {
            let length = file.length();
            return self
                .upload_resumable(operation, Source::File(file), length, key)
                .await;
        }
        let mut retries = self.http.retries(operation);
        loop {
            // Opened anew for each try: what was sent before is never kept.
            let content = file.read_from(0).await.map_err(|e| operation.io(&e))?;
            let content = Arc::new(Mutex::new(Exact::new(content, file.length())));
            match self.post(content, file.length(), key).await {
                Ok(()) => return Ok(()),
                Err((Stop::Server(failure), _)) => retries
                    .after(failure)
                    .await
                    .map_err(|failure| failure.of(operation))?,
                Err((stop, _)) => return Err(stop.of(operation)),
            }
        }
    }

    /// Stores a stream. One that goes in one request is tried again only until its first byte was taken.
    pub(super) async fn upload_content(
        &self,
        content: ByteStream,
        length: u64,
        key: &StorageKey,
    ) -> Result<()> {
        let operation = Operation::UploadStream;
        if length > self.config.tus_threshold {
            return self
                .upload_resumable(operation, Source::Stream(content), length, key)
                .await;
        }
        let content = Arc::new(Mutex::new(Exact::new(content, length)));
        let mut retries = self.http.retries(operation);
        loop {
            match self.post(Arc::clone(&content), length, key).await {
                Ok(()) => return Ok(()),
                Err((Stop::Server(failure), false)) => retries
                    .after(failure)
                    .await
                    .map_err(|failure| failure.of(operation))?,
                Err((stop, _)) => return Err(stop.of(operation)),
            }
        }
    }

    /// Stores a few bytes, again where that fails for the moment.
    pub(super) async fn put_small(
        &self,
        operation: Operation,
        content: &'static str,
        key: &StorageKey,
    ) -> Result<(), Failure> {
        let length = content.len() as u64;
        let mut retries = self.http.retries(operation);
        loop {
            let content = Arc::new(Mutex::new(Exact::new(byte_stream(content), length)));
            match self.post(content, length, key).await {
                Ok(()) => return Ok(()),
                Err((Stop::Server(failure), _)) => retries.after(failure).await?,
                Err((Stop::Content(_), _)) => return Err(Failure::malformed("probe")),
            }
        }
    }

    /// Sends content in one request. A failure tells whether the content was touched.
    ///
    /// The server stores the object only when all of the declared length has come, so its success is enough:
    /// no look-up needs to confirm it.
    async fn post(
        &self,
        content: SharedContent,
        length: u64,
        key: &StorageKey,
    ) -> Result<(), (Stop, bool)> {
        let flow = Arc::new(Flow::default());
        let body = if length == 0 {
            // The HTTP library would not even look at a body without bytes.
            nothing(&content)
                .await
                .map_err(|fault| (Stop::Content(fault), true))?;
            Body::from(Bytes::new())
        } else {
            Body::wrap(SizedBody::new(content, length, Arc::clone(&flow)))
        };
        let path = self.config.key_layout.path(key);
        let url = self.config.upload.object("", key.bucket(), &path);
        let request = self
            .http
            .upload(Method::POST, &url)
            .header(X_UPSERT, "true")
            .header(CONTENT_TYPE, key.content_type())
            .header(CONTENT_LENGTH, length)
            .header(CACHE_CONTROL, NO_CACHE)
            .body(body);
        let answered = async { done(sent(request).await?).await };
        let outcome = flow.watch(self.config.timeouts.read, answered).await;
        match (outcome, flow.fault()) {
            (_, Some(fault)) => Err((Stop::Content(fault), true)),
            (Err(failure), None) => Err((Stop::Server(failure), flow.is_touched())),
            (Ok(()), None) => Ok(()),
        }
    }
}

/// Makes sure that there is nothing in a stream.
async fn nothing(content: &SharedContent) -> Result<(), Fault> {
    let next = futures_util::future::poll_fn(|cx| {
        content
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .poll_next_unpin(cx)
    });
    match next.await {
        None => Ok(()),
        Some(Err(fault)) => Err(fault),
        Some(Ok(_)) => Err(Fault::Long),
    }
}
