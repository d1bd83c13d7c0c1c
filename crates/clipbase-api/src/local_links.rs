//! Signed links to the local storage, served here: what Supabase serves elsewhere.
//!
//! A link names one object and one direction, and its signature says so; nothing else of a request decides what is
//! opened. A body passes piece by piece, so memory does not grow with an object. Whatever is wrong with a link, the
//! answer is the same.

mod range;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{RawPathParams, Request, State};
use axum::response::{IntoResponse, Response};
use clipbase::Code;
use clipbase::storage::{
    ByteStream, DownloadName, LinkScope, LocalObject, LocalStorage, Storage, VerifiedLink,
};
use futures_util::{StreamExt as _, stream};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio_util::io::ReaderStream;
use utoipa::{IntoParams, ToSchema};

use self::range::{Part, asked_part};
use crate::clock;
use crate::envelope::{Answer, ApiError, ApiResult, HttpCode};
use crate::extract::Params;
use crate::limits::{broken, stalled};
use crate::openapi::Success;
use crate::router::App;
use crate::uploads::UPLOAD_TIME_MAX;

/// How much of an object is read at once.
const PIECE_BYTES: usize = 64 * 1024;

/// What may stand in a header's `filename*` besides letters and digits (RFC 5987).
const NAME_SET: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'%')
    .add(b'\'')
    .add(b'(')
    .add(b')')
    .add(b'*')
    .add(b',')
    .add(b':')
    .add(b';')
    .add(b'<')
    .add(b'=')
    .add(b'>')
    .add(b'?')
    .add(b'@')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'{')
    .add(b'}');

/// What proves that the link was signed here.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct LinkParams {
    /// As it stands in the link.
    token: String,
}

/// A stored object.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Stored {
    /// Its size in bytes.
    size: u64,
}

/// Serves a source, or a clip of a job's first attempt.
///
/// Takes a single `Range`; `HEAD` answers without the body.
#[utoipa::path(get, path = "/storage/v1/object/sign/{bucket}/{job}/{file}", operation_id = "downloadObject",
    tag = "links",
    params(("bucket" = String, Path), ("job" = String, Path), ("file" = String, Path), LinkParams,
        ("Range" = Option<String>, Header, nullable = false, description = "One part: `bytes=0-499`."),
        ("If-Range" = Option<String>, Header, nullable = false, description = "The `ETag` that the part belongs to.")),
    responses(
        (status = 200, description = "The object.", body = [u8], content_type = "*/*"),
        (status = 206, description = "The part that was asked for.", body = [u8], content_type = "*/*")))]
pub(crate) async fn download(
    State(app): State<App>,
    path: RawPathParams,
    Params(params): Params<LinkParams>,
    headers: HeaderMap,
) -> ApiResult<Response> {
    let storage = storage(&app)?;
    let link = verify(storage, &path, &params.token, LinkScope::Download)?;
    let object = storage.open_object(&link.key).await?;
    serve(object, link.download_name.as_ref(), &headers).await
}

/// Serves a clip of a later attempt.
#[utoipa::path(get, path = "/storage/v1/object/sign/{bucket}/{job}/{lease}/{file}", operation_id = "downloadLaterObject",
    tag = "links",
    params(("bucket" = String, Path), ("job" = String, Path), ("lease" = String, Path), ("file" = String, Path),
        LinkParams,
        ("Range" = Option<String>, Header, nullable = false, description = "One part: `bytes=0-499`."),
        ("If-Range" = Option<String>, Header, nullable = false, description = "The `ETag` that the part belongs to.")),
    responses(
        (status = 200, description = "The object.", body = [u8], content_type = "*/*"),
        (status = 206, description = "The part that was asked for.", body = [u8], content_type = "*/*")))]
pub(crate) async fn download_later(
    app: State<App>,
    path: RawPathParams,
    params: Params<LinkParams>,
    headers: HeaderMap,
) -> ApiResult<Response> {
    download(app, path, params, headers).await
}

/// Stores a source under a signed link: the bare file as the body, with its length.
#[utoipa::path(put, path = "/storage/v1/object/upload/sign/{bucket}/{job}/{file}", operation_id = "uploadObject",
    tag = "links",
    request_body(content = [u8], content_type = "application/octet-stream"),
    params(("bucket" = String, Path), ("job" = String, Path), ("file" = String, Path), LinkParams),
    responses((status = 200, description = "The object is stored.", body = Success<Stored>)))]
pub(crate) async fn upload(
    State(app): State<App>,
    path: RawPathParams,
    Params(params): Params<LinkParams>,
    request: Request,
) -> ApiResult<Answer<Stored>> {
    let storage = storage(&app)?;
    let link = verify(storage, &path, &params.token, LinkScope::Upload)?;
    let length = check_upload(request.headers(), app.options.upload_bytes_max)?;
    let trouble = Trouble::default();
    let content = watch(request.into_body(), app.options.idle_timeout, &trouble);
    let stored = storage.upload_stream(content, length, &link.key);
    let outcome = tokio::time::timeout(UPLOAD_TIME_MAX, stored)
        .await
        .map_err(|_| stalled())?;
    // What the client did wrong is not the storage's failure.
    outcome.map_err(|error| trouble.told().unwrap_or_else(|| error.into()))?;
    Ok(Answer(Stored { size: length }))
}

fn storage(app: &App) -> ApiResult<&LocalStorage> {
    let storage = app.options.local_storage.as_ref();
    storage.ok_or_else(|| ApiError::new(Code::NotFound, "there is no such route"))
}

fn verify(
    storage: &LocalStorage,
    path: &RawPathParams,
    token: &str,
    scope: LinkScope,
) -> ApiResult<VerifiedLink> {
    let segments: Vec<&str> = path.iter().map(|(_, value)| value).collect();
    storage
        .signer()
        .verify(&segments.join("/"), token, scope, clock::now())
        .map_err(|refusal| clipbase::Error::from(refusal).into())
}

fn check_upload(headers: &HeaderMap, most: u64) -> ApiResult<u64> {
    let kind = headers.get(header::CONTENT_TYPE);
    if kind.is_some_and(|kind| kind.as_bytes().starts_with(b"multipart/")) {
        return Err(ApiError::new(
            HttpCode::UnsupportedMediaType,
            "send the bare file as the body, not a form",
        ));
    }
    let length = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.parse().ok());
    let length: u64 = length.ok_or_else(|| {
        ApiError::new(
            HttpCode::LengthRequired,
            "an upload has to say its length; send `Content-Length`",
        )
    })?;
    if length == 0 {
        return Err(ApiError::invalid("body", "must not be empty"));
    }
    if length > most {
        return Err(ApiError::new(
            HttpCode::PayloadTooLarge,
            format!("an upload must be at most {most} bytes"),
        ));
    }
    Ok(length)
}

/// What a client did wrong while it sent a body; the storage sees only that the stream failed.
#[derive(Clone, Debug, Default)]
struct Trouble(Arc<AtomicU8>);

const STALLED: u8 = 1;
const BROKEN: u8 = 2;

impl Trouble {
    fn happened(&self, what: u8, kind: io::ErrorKind) -> io::Error {
        self.0.store(what, Ordering::Relaxed);
        kind.into()
    }

    fn told(&self) -> Option<ApiError> {
        match self.0.load(Ordering::Relaxed) {
            STALLED => Some(stalled()),
            BROKEN => Some(broken()),
            _ => None,
        }
    }
}

/// The pieces of a body, each of which has to come in time.
fn watch(body: Body, idle: Duration, trouble: &Trouble) -> ByteStream {
    let pieces = body.into_data_stream();
    let state = (pieces, trouble.clone(), false);
    stream::unfold(state, move |(mut pieces, trouble, failed)| async move {
        if failed {
            return None;
        }
        let piece = match tokio::time::timeout(idle, pieces.next()).await {
            Ok(None) => return None,
            Ok(Some(Ok(piece))) => Ok(piece),
            Ok(Some(Err(_))) => Err(trouble.happened(BROKEN, io::ErrorKind::UnexpectedEof)),
            Err(_) => Err(trouble.happened(STALLED, io::ErrorKind::TimedOut)),
        };
        let failed = piece.is_err();
        Some((piece, (pieces, trouble, failed)))
    })
    .boxed()
}

async fn serve(
    mut object: LocalObject,
    name: Option<&DownloadName>,
    asked: &HeaderMap,
) -> ApiResult<Response> {
    let size = object.info.size;
    let tag = format!("\"{:x}-{size:x}\"", object.info.updated_at.as_microsecond());
    let part = asked_part(asked, &tag, size).ok_or_else(|| {
        let error = ApiError::new(HttpCode::RangeNotSatisfiable, "the object has no such part");
        match HeaderValue::from_str(&format!("bytes */{size}")) {
            Ok(value) => error.with_header(header::CONTENT_RANGE, value),
            Err(_) => error,
        }
    })?;
    let (status, start, length) = match part {
        Part::Whole => (StatusCode::OK, 0, size),
        Part::From { start, length } => (StatusCode::PARTIAL_CONTENT, start, length),
    };
    if start > 0 {
        let seek = object.file.seek(io::SeekFrom::Start(start)).await;
        seek.map_err(|error| {
            clipbase::Error::caused(
                Code::StorageDownloadFailed,
                "the object could not be read",
                clipbase::Cause::io(&error),
            )
        })?;
    }
    let content = ReaderStream::with_capacity(object.file.take(length), PIECE_BYTES);
    let mut response = Response::new(Body::from_stream(content));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    let mut set = |name, text: &str| {
        if let Ok(value) = HeaderValue::from_str(text) {
            headers.insert(name, value);
        }
    };
    set(header::CONTENT_TYPE, &object.info.content_type);
    set(header::CONTENT_LENGTH, &length.to_string());
    set(header::ACCEPT_RANGES, "bytes");
    set(header::ETAG, &tag);
    set(header::CACHE_CONTROL, "private, no-cache");
    set(header::CONTENT_DISPOSITION, &disposition(name));
    // A page of any site may show what its visitor holds a link to; scripts in it run nowhere.
    set(
        header::HeaderName::from_static("cross-origin-resource-policy"),
        "cross-origin",
    );
    set(
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; frame-ancestors 'none'; sandbox",
    );
    if status == StatusCode::PARTIAL_CONTENT {
        let last = start + length - 1;
        set(
            header::CONTENT_RANGE,
            &format!("bytes {start}-{last}/{size}"),
        );
    }
    Ok(response.into_response())
}

/// A name in ASCII for old clients, and as it is for the others.
fn disposition(name: Option<&DownloadName>) -> String {
    let Some(name) = name.map(DownloadName::as_str) else {
        return "inline".to_owned();
    };
    let plain: String = name
        .chars()
        .map(|c| {
            if c.is_ascii_graphic() || c == ' ' {
                c
            } else {
                '_'
            }
        })
        .filter(|c| !matches!(c, '"' | '\\' | '%'))
        .collect();
    let encoded = utf8_percent_encode(name, NAME_SET);
    format!("attachment; filename=\"{plain}\"; filename*=UTF-8''{encoded}")
}

#[cfg(test)]
mod tests {
    use clipbase::storage::{DOWNLOAD_ROUTE, UPLOAD_ROUTE};
    use utoipa::Path as _;

    use super::*;

    #[test]
    fn routes_are_those_that_links_are_signed_for() {
        for path in [__path_download::path(), __path_download_later::path()] {
            assert!(path.starts_with(DOWNLOAD_ROUTE), "{path}");
        }
        assert!(__path_upload::path().starts_with(UPLOAD_ROUTE));
    }

    #[test]
    fn a_name_cannot_end_its_header() {
        let of = |name: &str| disposition(Some(&DownloadName::new(name).unwrap()));
        assert_eq!(
            of("clip.mp4"),
            "attachment; filename=\"clip.mp4\"; filename*=UTF-8''clip.mp4"
        );
        assert_eq!(
            of("Ferien ü;1.mp4"),
            "attachment; filename=\"Ferien _;1.mp4\"; filename*=UTF-8''Ferien%20%C3%BC%3B1.mp4"
        );
        assert_eq!(disposition(None), "inline");
    }
}
