//! Resumable uploads: the TUS protocol 1.0.0 at `/upload/resumable`, with a key or with an upload link's token.
//!
//! What has arrived stays, however its request ends. Refusals are plain text with their true status; only a bad
//! key is told in JSON. The right to store is asked of every request anew.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::HeaderMap;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tokio::sync::{Mutex, watch};
use uuid::Uuid;

use super::auth::Role;
use super::content::Sink;
use super::dispatch::Asked;
use super::download::put;
use super::refusal::{Answer, Failure, Handled, Refusal, empty};
use super::route::{Call, Form, header, upload_id};
use super::store::{About, http_date};
use super::upload::{check, check_content, disk};

const VERSION: &str = "1.0.0";

/// What a client says of an upload when it creates it.
#[derive(Clone, Debug, Default)]
pub(super) struct Metadata {
    pub(super) bucket: String,
    pub(super) object: String,
    content_type: Option<String>,
    cache_control: Option<String>,
    custom: Option<String>,
}

impl Metadata {
    /// Reads `Upload-Metadata`: names, each with a text in base64.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut metadata = Self::default();
        for pair in headers.get("upload-metadata")?.to_str().ok()?.split(',') {
            let (name, value) = pair.trim().split_once(' ').unwrap_or((pair.trim(), ""));
            let value = String::from_utf8(STANDARD.decode(value.trim()).ok()?).ok()?;
            match name {
                "bucketName" => metadata.bucket = value,
                "objectName" => metadata.object = value,
                "contentType" => metadata.content_type = Some(value),
                "cacheControl" => metadata.cache_control = Some(value),
                "metadata" => metadata.custom = Some(value),
                _ => {}
            }
        }
        Some(metadata)
    }

    fn about(&self) -> About {
        let seconds = self
            .cache_control
            .as_ref()
            .filter(|text| text.parse::<i64>().is_ok());
        About {
            mime: self.mime().to_owned(),
            cache_control: seconds.map_or("no-cache".to_owned(), |s| format!("max-age={s}")),
            user_metadata: self
                .custom
                .as_ref()
                .and_then(|text| serde_json::from_str(text).ok()),
        }
    }

    fn mime(&self) -> &str {
        self.content_type
            .as_deref()
            .unwrap_or("application/octet-stream")
    }
}

/// An upload that was begun. It stays after its end, so that a client whose last answer was lost learns of it.
#[derive(Debug)]
pub(super) struct Upload {
    metadata: Metadata,
    metadata_text: String,
    /// The version that the object will have; it stands in the upload's id.
    version: Uuid,
    expires: Timestamp,
    /// A new request for the upload ends the one that still writes to it.
    turn: watch::Sender<u64>,
    progress: Mutex<Progress>,
}

#[derive(Debug)]
struct Progress {
    sink: Sink,
    length: Option<u64>,
    parts: u32,
    is_stored: bool,
}

impl Upload {
    /// Tells whether it waits for more.
    pub(super) fn is_unfinished(&self) -> bool {
        self.progress
            .try_lock()
            .map_or(true, |progress| !progress.is_stored)
    }
}

/// Answers a request of the protocol; without a role, one that brings an upload link's token.
pub(super) async fn handle(asked: &mut Asked, role: Option<Role>) -> Handled {
    let handled = answer(asked, role).await;
    let mut answer = handled.map_err(|failure| match failure {
        Failure::Refused(refusal) => Failure::Refused(refusal.plain()),
        Failure::Broken => Failure::Broken,
    })?;
    put(&mut answer, "tus-resumable", VERSION);
    Ok(answer)
}

async fn answer(asked: &mut Asked, role: Option<Role>) -> Handled {
    if header(&asked.parts, "tus-resumable") != Some(VERSION) {
        return Err(Refusal::tus(412, "Tus-Resumable Required\n").into());
    }
    if asked.route.call == Call::TusCreate {
        return create(asked, role).await;
    }
    let found = asked
        .server
        .store()
        .uploads
        .get(&asked.route.upload)
        .cloned();
    let upload = found.ok_or_else(|| Refusal::tus(404, "The file for this url was not found\n"))?;
    if upload.expires <= asked.server.now() {
        return Err(Refusal::tus(410, "The file for this url no longer exists\n").into());
    }
    match asked.route.call {
        Call::TusHead => {
            if role.is_none() {
                permit(asked, role)?;
            }
            Ok(describe(&upload).await)
        }
        Call::TusPatch => {
            permit(asked, role)?;
            patch(asked, &upload).await
        }
        _ => {
            permit(asked, role)?;
            terminate(asked, &upload).await
        }
    }
}

/// What the endpoint can do.
pub(super) fn options() -> Answer {
    let mut answer = empty(204);
    put(&mut answer, "tus-resumable", VERSION);
    put(&mut answer, "tus-version", VERSION);
    let extensions = "creation,creation-with-upload,creation-defer-length,termination,expiration";
    put(&mut answer, "tus-extension", extensions);
    answer
}

/// Refuses who may not store the upload's object, now.
fn permit(asked: &Asked, role: Option<Role>) -> Result<(), Refusal> {
    let upserts = header(&asked.parts, "x-upsert") == Some("true");
    if let Some(role) = role {
        return check(asked, role, upserts, Refusal::missing_bucket);
    }
    let token = header(&asked.parts, "x-signature").filter(|token| !token.is_empty());
    let token = token.ok_or_else(|| Refusal::invalid_signature("Missing x-signature header"))?;
    let object = format!("{}/{}", asked.route.bucket, asked.route.path);
    let now = asked.server.now().as_second();
    let claims = asked.server.keys.verify(token, &object, "upload", now)?;
    let upserts = claims.get("upsert").and_then(Value::as_bool) == Some(true);
    check(asked, Role::Service, upserts, Refusal::missing_bucket)
}

async fn create(asked: &mut Asked, role: Option<Role>) -> Handled {
    let number = |name| header(&asked.parts, name).and_then(|text| text.parse::<u64>().ok());
    let length = number("upload-length");
    let defers = header(&asked.parts, "upload-defer-length") == Some("1");
    if length.is_none() != defers {
        let message = "Upload-Length or Upload-Defer-Length header required\n";
        return Err(Refusal::tus(400, message).into());
    }
    let metadata = Metadata::of(&asked.parts.headers)
        .ok_or_else(|| Refusal::tus(400, "Upload-Metadata is invalid\n"))?;
    check_length(asked, length)?;
    permit(asked, role)?;
    check_content(asked, metadata.mime(), None)?;
    let lifetime = SignedDuration::try_from(asked.server.options.upload_lifetime);
    let expires = asked
        .server
        .now()
        .checked_add(lifetime.unwrap_or(SignedDuration::MAX));
    let progress = Progress {
        sink: Sink::new(&asked.server.options.content)
            .await
            .map_err(disk)?,
        length,
        parts: 0,
        is_stored: false,
    };
    let version = Uuid::new_v4();
    let upload = Arc::new(Upload {
        version,
        metadata,
        metadata_text: header(&asked.parts, "upload-metadata")
            .unwrap_or_default()
            .to_owned(),
        expires: expires.unwrap_or(Timestamp::MAX),
        turn: watch::Sender::new(0),
        progress: Mutex::new(progress),
    });
    let (bucket, path) = (&asked.route.bucket, &asked.route.path);
    let id = upload_id(bucket, path, &version.to_string());
    let begun = Arc::clone(&upload);
    asked.server.store().uploads.insert(id.clone(), begun);
    let mut answer = begin(asked, &upload).await?;
    let base = &asked.server.options.location_base;
    let base = base.clone().unwrap_or_else(|| asked.server.url());
    let signed = if asked.route.form == Form::Signed {
        "/sign"
    } else {
        ""
    };
    put(
        &mut answer,
        "location",
        &format!("{base}/upload/resumable{signed}/{id}"),
    );
    Ok(answer)
}

/// Takes what came with the creation, if anything did.
async fn begin(asked: &mut Asked, upload: &Upload) -> Handled {
    let has_content =
        header(&asked.parts, "content-type") == Some("application/offset+octet-stream");
    let mut progress = upload.progress.lock().await;
    let mut turn = upload.turn.subscribe();
    if has_content {
        receive(asked, &mut progress, &mut turn).await?;
    }
    let mut answer = settle(asked, upload, &mut progress).await?;
    *answer.status_mut() = hyper::StatusCode::CREATED;
    Ok(answer)
}

async fn describe(upload: &Upload) -> Answer {
    let progress = take_turn(upload).await.0;
    let mut answer = empty(200);
    put(&mut answer, "cache-control", "no-store");
    put(
        &mut answer,
        "upload-offset",
        &progress.sink.length().to_string(),
    );
    match progress.length {
        Some(length) => put(&mut answer, "upload-length", &length.to_string()),
        None => put(&mut answer, "upload-defer-length", "1"),
    }
    put(&mut answer, "upload-metadata", &upload.metadata_text);
    if !progress.is_stored {
        put(&mut answer, "upload-expires", &http_date(upload.expires));
    }
    answer
}

async fn patch(asked: &mut Asked, upload: &Upload) -> Handled {
    let Some(offset) = header(&asked.parts, "upload-offset").and_then(|text| text.parse().ok())
    else {
        return Err(Refusal::tus(403, "Upload-Offset header required\n").into());
    };
    if header(&asked.parts, "content-type") != Some("application/offset+octet-stream") {
        return Err(Refusal::tus(403, "Content-Type header required\n").into());
    }
    let (mut progress, mut turn) = take_turn(upload).await;
    if progress.sink.length() != offset {
        return Err(Refusal::tus(409, "Upload-Offset conflict\n").into());
    }
    if progress.length.is_none() {
        let length = header(&asked.parts, "upload-length").and_then(|text| text.parse().ok());
        check_length(asked, length)?;
        progress.length = length;
    }
    let promised = header(&asked.parts, "content-length").and_then(|text| text.parse::<u64>().ok());
    let end = promised.and_then(|promised| promised.checked_add(offset));
    if end
        .zip(progress.length)
        .is_some_and(|(end, length)| end > length)
    {
        return Err(Refusal::tus(413, "upload's size exceeded\n").into());
    }
    receive(asked, &mut progress, &mut turn).await?;
    settle(asked, upload, &mut progress).await
}

async fn terminate(asked: &Asked, upload: &Upload) -> Handled {
    let progress = take_turn(upload).await.0;
    if progress.is_stored {
        let message = "Cannot terminate an already completed upload";
        return Err(Refusal::tus(400, message).into());
    }
    asked.server.store().uploads.remove(&asked.route.upload);
    Ok(empty(204))
}

type Turn<'a> = (tokio::sync::MutexGuard<'a, Progress>, watch::Receiver<u64>);

/// Ends the request that holds the upload, and waits for it.
async fn take_turn(upload: &Upload) -> Turn<'_> {
    upload.turn.send_modify(|turn| *turn += 1);
    let progress = upload.progress.lock().await;
    (progress, upload.turn.subscribe())
}

/// Takes the body. What has arrived is kept, also when the rest never comes.
async fn receive(
    asked: &mut Asked,
    progress: &mut Progress,
    turn: &mut watch::Receiver<u64>,
) -> Result<(), Failure> {
    let begun = progress.sink.length();
    let received = loop {
        let piece = tokio::select! {
            piece = asked.body.piece() => piece,
            _ = turn.changed() => break Err(Failure::Broken),
        };
        let piece = match piece {
            Ok(Some(piece)) => piece,
            Ok(None) => break Ok(()),
            Err(failure) => break Err(failure),
        };
        let end = progress.sink.length().saturating_add(piece.len() as u64);
        if progress.length.is_some_and(|length| end > length) {
            break Err(Refusal::tus(413, "upload's size exceeded\n").into());
        }
        if let Err(error) = progress.sink.write(&piece).await {
            break Err(disk(error).into());
        }
    };
    progress.parts += u32::from(progress.sink.length() > begun);
    received
}

/// Tells how far the upload is, and stores the object where it is whole.
async fn settle(asked: &Asked, upload: &Upload, progress: &mut Progress) -> Handled {
    let size = progress.sink.length();
    let mut answer = empty(204);
    put(&mut answer, "upload-offset", &size.to_string());
    if progress.is_stored || progress.length != Some(size) {
        put(&mut answer, "upload-expires", &http_date(upload.expires));
        return Ok(answer);
    }
    let content = progress.sink.finish().await.map_err(disk)?;
    let about = Arc::new(upload.metadata.about());
    let now = asked.server.now();
    let content = (content, size, progress.parts);
    let stored = {
        let (bucket, path) = (&asked.route.bucket, &asked.route.path);
        let mut store = asked.server.store();
        let stored = store.put(bucket, path, content, about, now);
        if let Some(row) = store.row_mut(bucket, path) {
            row.version = upload.version;
        }
        stored
    };
    stored.ok_or_else(Refusal::missing_bucket)?;
    progress.is_stored = true;
    put(&mut answer, "tus-complete", "1");
    Ok(answer)
}

fn check_length(asked: &Asked, length: Option<u64>) -> Result<(), Refusal> {
    let store = asked.server.store();
    let bucket = store.buckets.get(&asked.route.bucket);
    let bucket = bucket.ok_or_else(Refusal::missing_bucket)?;
    let limit = asked.server.options.size_limit;
    let limit = bucket
        .settings
        .file_size_limit
        .map_or(limit, |own| own.min(limit));
    if length.is_some_and(|length| length > limit) {
        return Err(Refusal::tus(413, "Maximum size exceeded\n"));
    }
    Ok(())
}
