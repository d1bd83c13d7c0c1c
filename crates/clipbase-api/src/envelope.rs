//! What every answer looks like: [`clipbase::ServiceResult`], with the request's id where it failed.
//!
//! Owns the codes that HTTP needs beside the library's, and the one place where an error becomes bytes. A handler
//! returns an [`ApiError`]; [`seal`] writes it out, since only the outermost layer knows the request's id. Nothing
//! that a client sent, a server said or a row holds becomes part of a message, save for the names of fields.

use std::borrow::Cow;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use clipbase::{Cause, Code, Error, ServiceResult};
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde::Serialize;

use crate::access::whole_seconds;
use crate::request_id::RequestId;

macro_rules! http_codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $status:ident;)*) => {
        /// A stable reason that belongs to HTTP or to this API, beside [`clipbase::Code`]. The list only ever grows.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum HttpCode { $($(#[$doc])* $name,)* }

        impl HttpCode {
            /// Every code, by its status.
            pub const ALL: &'static [HttpCode] = &[$(HttpCode::$name,)*];

            /// Returns the code as it stands in answers: `UPPER_SNAKE_CASE`.
            pub const fn as_str(self) -> &'static str {
                match self { $(HttpCode::$name => $text,)* }
            }

            /// Returns the status that it goes with.
            pub const fn status(self) -> StatusCode {
                match self { $(HttpCode::$name => StatusCode::$status,)* }
            }
        }
    };
}

http_codes! {
    /// The request cannot be read: its body is not JSON, or it broke off.
    BadRequest = "BAD_REQUEST", BAD_REQUEST;
    /// The route does not know the method; the header `Allow` lists those that it knows.
    MethodNotAllowed = "METHOD_NOT_ALLOWED", METHOD_NOT_ALLOWED;
    /// The request's body did not arrive in time.
    RequestTimeout = "REQUEST_TIMEOUT", REQUEST_TIMEOUT;
    /// The job has no result yet.
    JobNotDone = "JOB_NOT_DONE", CONFLICT;
    /// The job failed: there will be no result unless it is retried.
    JobFailed = "JOB_FAILED", CONFLICT;
    /// The job's time is up: its result is being removed.
    ResultExpired = "RESULT_EXPIRED", GONE;
    /// An upload has to say its length.
    LengthRequired = "LENGTH_REQUIRED", LENGTH_REQUIRED;
    /// The body is larger than the route takes.
    PayloadTooLarge = "PAYLOAD_TOO_LARGE", PAYLOAD_TOO_LARGE;
    /// The body has another media type than the route takes.
    UnsupportedMediaType = "UNSUPPORTED_MEDIA_TYPE", UNSUPPORTED_MEDIA_TYPE;
    /// The object has no such part.
    RangeNotSatisfiable = "RANGE_NOT_SATISFIABLE", RANGE_NOT_SATISFIABLE;
    /// Something broke here; the log has the request's id.
    Internal = "INTERNAL", INTERNAL_SERVER_ERROR;
    /// As many streams are open as are allowed; try again later.
    Overloaded = "OVERLOADED", SERVICE_UNAVAILABLE;
    /// Something that the service needs does not work; the answer says what.
    NotReady = "NOT_READY", SERVICE_UNAVAILABLE;
    /// The answer took too long. A write may or may not have happened.
    ResponseTimeout = "RESPONSE_TIMEOUT", GATEWAY_TIMEOUT;
}

/// Any code that an answer may carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ApiCode {
    /// One of the library's.
    Library(Code),
    /// One of HTTP's.
    Http(HttpCode),
}

impl ApiCode {
    /// Returns every code, the library's first.
    pub fn all() -> impl Iterator<Item = ApiCode> {
        let library = Code::ALL.iter().copied().map(Self::Library);
        library.chain(HttpCode::ALL.iter().copied().map(Self::Http))
    }

    /// Returns the code as it stands in answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Library(code) => code.as_str(),
            Self::Http(code) => code.as_str(),
        }
    }

    /// Returns the status that it goes with.
    pub fn status(self) -> StatusCode {
        match self {
            Self::Library(code) => StatusCode::from_u16(code.http_status())
                .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            Self::Http(code) => code.status(),
        }
    }
}

impl From<Code> for ApiCode {
    fn from(code: Code) -> Self {
        Self::Library(code)
    }
}

impl From<HttpCode> for ApiCode {
    fn from(code: HttpCode) -> Self {
        Self::Http(code)
    }
}

/// A refusal on its way out.
#[derive(Clone, Debug)]
pub(crate) struct ApiError {
    pub(crate) code: ApiCode,
    pub(crate) message: Cow<'static, str>,
    pub(crate) retry_after: Option<Duration>,
    /// For the log; the client never sees it.
    pub(crate) cause: Option<Box<Cause>>,
    header: Option<Box<(HeaderName, HeaderValue)>>,
}

pub(crate) type ApiResult<T> = Result<T, ApiError>;

impl ApiError {
    pub(crate) fn new(code: impl Into<ApiCode>, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code: code.into(),
            message: message.into(),
            retry_after: None,
            cause: None,
            header: None,
        }
    }

    /// An argument is wrong: names the field and the fix.
    pub(crate) fn invalid(field: &str, problem: &str) -> Self {
        Self::new(Code::InvalidInput, format!("{field}: {problem}"))
    }

    pub(crate) fn job_not_found() -> Self {
        Error::NotFound { what: "job" }.into()
    }

    pub(crate) fn internal() -> Self {
        Self::new(
            HttpCode::Internal,
            "something broke here; tell us the request's id",
        )
    }

    pub(crate) fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.header = Some(Box::new((name, value)));
        self
    }

    pub(crate) fn retry_after(mut self, pause: Duration) -> Self {
        self.retry_after = Some(pause);
        self
    }

    /// What to say of an answer that came from below without an envelope.
    fn of_status(status: StatusCode) -> Self {
        let http = HttpCode::ALL.iter().find(|code| code.status() == status);
        let library = Code::ALL
            .iter()
            .find(|code| code.http_status() == status.as_u16());
        match (http, library) {
            (Some(code), _) => Self::new(*code, "the request was refused"),
            (None, Some(code)) => Self::new(*code, "the request was refused"),
            (None, None) => Self::internal(),
        }
    }
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        let cause = match &error {
            Error::Failed { source, .. } => source.clone(),
            _ => None,
        };
        let mut told = Self::new(error.code(), error.to_string());
        told.cause = cause.map(Box::new);
        told
    }
}

impl IntoResponse for ApiError {
    /// An empty answer that carries the error to [`seal`].
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.code.status();
        response.extensions_mut().insert(self);
        response
    }
}

/// A success on its way out: 200 with the envelope.
#[derive(Debug)]
pub(crate) struct Answer<T>(pub(crate) T);

impl<T: Serialize> IntoResponse for Answer<T> {
    fn into_response(self) -> Response {
        Json(ServiceResult::success(self.0)).into_response()
    }
}

/// The wire form of a failure.
#[derive(Serialize)]
struct Failure<'a> {
    #[serde(flatten)]
    result: ServiceResult<()>,
    request_id: &'a str,
}

/// Writes an error out, whoever raised it, and returns it for the log.
pub(crate) fn seal(response: Response, id: &RequestId) -> (Response, Option<ApiError>) {
    let status = response.status();
    let is_failure = status.is_client_error() || status.is_server_error();
    if !is_failure {
        return (response, None);
    }
    let (mut parts, body) = response.into_parts();
    let is_json = parts
        .headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind == "application/json");
    let error = match parts.extensions.remove::<ApiError>() {
        Some(error) => error,
        // An envelope already, with data of its own: `/readyz`.
        None if is_json => return (Response::from_parts(parts, body), None),
        None => ApiError::of_status(status),
    };
    let envelope = Failure {
        result: ServiceResult::failure(error.code.as_str(), error.message.clone()),
        request_id: id.as_str(),
    };
    let mut sealed = Json(envelope).into_response();
    *sealed.status_mut() = status;
    // What a layer below has set stays: `Allow`, the headers of CORS.
    for name in [header::CONTENT_LENGTH, header::CONTENT_TYPE] {
        parts.headers.remove(name);
    }
    sealed.headers_mut().extend(parts.headers);
    if let Some((name, value)) = error.header.as_deref() {
        sealed.headers_mut().insert(name.clone(), value.clone());
    }
    if let Some(pause) = error.retry_after {
        let seconds = whole_seconds(pause).max(1);
        sealed
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    (sealed, Some(error))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_code_stands_for_two_things() {
        let texts: HashSet<&str> = ApiCode::all().map(ApiCode::as_str).collect();
        assert_eq!(texts.len(), ApiCode::all().count());
        assert!(ApiCode::all().all(|code| !code.status().is_success()));
    }

    #[test]
    fn an_answer_from_below_gets_a_code_of_its_status() {
        for (status, code) in [
            (StatusCode::NOT_FOUND, "NOT_FOUND"),
            (StatusCode::PAYLOAD_TOO_LARGE, "PAYLOAD_TOO_LARGE"),
            (StatusCode::IM_A_TEAPOT, "INTERNAL"),
        ] {
            assert_eq!(ApiError::of_status(status).code.as_str(), code);
        }
    }
}
