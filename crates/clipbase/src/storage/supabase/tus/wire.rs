//! The requests of the protocol, each sent once.

use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, LOCATION};
use reqwest::{Body, Method, RequestBuilder};

use super::super::Inner;
use super::super::address::UploadId;
use super::super::content::{Exact, Flow, SizedBody};
use super::super::failure::{Failure, Meaning};
use super::super::http::{X_UPSERT, sent, within};
use super::pieces::slices;
use crate::storage::StorageKey;

const TUS_RESUMABLE: &str = "tus-resumable";
const UPLOAD_OFFSET: &str = "upload-offset";
const UPLOAD_LENGTH: &str = "upload-length";
const UPLOAD_METADATA: &str = "upload-metadata";

/// One upload, as the server knows it.
pub(super) struct Wire<'a> {
    pub(super) storage: &'a Inner,
    pub(super) key: &'a StorageKey,
    pub(super) length: u64,
}

impl Wire<'_> {
    pub(super) async fn create(&self) -> Result<UploadId, Failure> {
        let path = self.storage.config.key_layout.path(self.key);
        let metadata = [
            ("bucketName", self.key.bucket().name()),
            ("objectName", path.as_str()),
            // Without `cacheControl`, the server says `no-cache`, as our other uploads do.
            ("contentType", self.key.content_type()),
        ]
        .map(|(name, value)| format!("{name} {}", STANDARD.encode(value)))
        .join(",");
        let request = self
            .request(Method::POST, None)
            .header(UPLOAD_LENGTH, self.length)
            .header(UPLOAD_METADATA, metadata)
            .header(CONTENT_LENGTH, 0);
        let timeout = self.storage.config.timeouts.control;
        let answer = within(timeout, sent(request)).await.map_err(|failure| {
            if failure.status() == Some(404) {
                failure.meaning_now(Meaning::NoBucket)
            } else {
                failure
            }
        })?;
        let location = answer.headers().get(LOCATION);
        location
            .and_then(|location| UploadId::of_location(location.to_str().ok()?))
            .ok_or_else(|| Failure::malformed("upload without a location"))
    }

    pub(super) async fn ask(&self, id: &UploadId) -> Result<u64, Failure> {
        let timeout = self.storage.config.timeouts.control;
        let answer = within(timeout, sent(self.request(Method::HEAD, Some(id)))).await?;
        let length = number(answer.headers(), UPLOAD_LENGTH);
        match number(answer.headers(), UPLOAD_OFFSET) {
            Some(offset) if offset <= self.length && length.is_none_or(|l| l == self.length) => {
                Ok(offset)
            }
            _ => Err(Failure::malformed("upload of another length")),
        }
    }

    /// Sends a piece and returns how far the server has come.
    pub(super) async fn send(
        &self,
        id: &UploadId,
        offset: u64,
        piece: Bytes,
    ) -> Result<u64, Failure> {
        let length = piece.len() as u64;
        let flow = Arc::new(Flow::default());
        let content = Arc::new(Mutex::new(Exact::new(slices(piece), length)));
        let body = SizedBody::new(content, length, Arc::clone(&flow));
        let request = self
            .request(Method::PATCH, Some(id))
            .header(CONTENT_TYPE, "application/offset+octet-stream")
            .header(UPLOAD_OFFSET, offset)
            .body(Body::wrap(body));
        let answer = flow
            .watch(self.storage.config.timeouts.read, sent(request))
            .await?;
        match number(answer.headers(), UPLOAD_OFFSET) {
            Some(reached) if reached > offset && reached <= offset + length => Ok(reached),
            // To be asked again rather than believed.
            _ => Err(Failure::new(Meaning::Passing, "answer without the offset")),
        }
    }

    /// Ends an upload, so that the server need not keep its pieces for a day. If that fails, it does.
    pub(super) async fn end(&self, id: &UploadId) {
        let timeout = self.storage.config.timeouts.control;
        let ended = within(timeout, sent(self.request(Method::DELETE, Some(id)))).await;
        if ended.is_err() {
            tracing::debug!("an unfinished upload is left to expire");
        }
    }

    /// Starts a request of the protocol. The upsert is repeated each time: the server asks for it each time.
    fn request(&self, method: Method, id: Option<&UploadId>) -> RequestBuilder {
        let url = self.storage.config.upload.resumable(id);
        self.storage
            .http
            .upload(method, &url)
            .header(TUS_RESUMABLE, "1.0.0")
            .header(X_UPSERT, "true")
    }
}

/// Tells whether the server does not know the upload (any more).
pub(super) fn is_lost(failure: &Failure) -> bool {
    matches!(failure.status(), Some(404 | 410))
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}
