//! How long things may take: a request as a whole, and a client that owes the next piece of a body.

use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;

use crate::envelope::{ApiError, ApiResult, HttpCode};

/// Ends a request that takes too long. What it has begun in the database ends there by its own deadline.
pub(crate) async fn deadline(limit: Duration, answer: impl Future<Output = Response>) -> Response {
    tokio::time::timeout(limit, answer)
        .await
        .unwrap_or_else(|_| {
            ApiError::new(
                HttpCode::ResponseTimeout,
                "the answer took too long; a write may or may not have happened",
            )
            .into_response()
        })
}

/// Reads a whole body of at most `most` bytes, with at most `idle` between its pieces.
pub(crate) async fn read_body(mut body: Body, most: usize, idle: Duration) -> ApiResult<Bytes> {
    let too_large = || {
        ApiError::new(
            HttpCode::PayloadTooLarge,
            format!("the body must be at most {most} bytes"),
        )
    };
    // What the client has announced decides before a byte is read.
    if http_body::Body::size_hint(&body).lower() > most as u64 {
        return Err(too_large());
    }
    let mut content = BytesMut::new();
    loop {
        let frame = tokio::time::timeout(idle, body.frame())
            .await
            .map_err(|_| stalled())?;
        let Some(frame) = frame else {
            return Ok(content.freeze());
        };
        let frame = frame.map_err(|_| broken())?;
        if let Some(piece) = frame.data_ref() {
            if content.len() + piece.len() > most {
                return Err(too_large());
            }
            content.extend_from_slice(piece);
        }
    }
}

/// The client sent nothing for too long.
pub(crate) fn stalled() -> ApiError {
    ApiError::new(
        HttpCode::RequestTimeout,
        "the request's body did not arrive in time",
    )
}

/// The body ended before its time.
pub(crate) fn broken() -> ApiError {
    ApiError::new(HttpCode::BadRequest, "the request's body broke off")
}
