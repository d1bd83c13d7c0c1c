//! What went wrong, in our own words: a server's answer is reduced to a status and a known code.
//!
//! The server puts the truth into the body: most errors come as HTTP 400 with the real status as text and a
//! stable `code`. So the code counts first, then that status, then HTTP's. No text of a server is kept.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::time::Duration;

use reqwest::header::{HeaderMap, RETRY_AFTER};
use serde::Deserialize;
use serde_json::Value;

use crate::error::{Cause, Code, Error};
use crate::storage::Operation;

/// The longest pause that a server may ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(30);

/// What a failure means for the call that met it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// The object does not exist.
    NoObject,
    /// The bucket does not exist.
    NoBucket,
    /// There is no storage at this address.
    NoStorage,
    /// It exists already, or the offset of an upload is another one.
    Conflict,
    /// No room, or larger than allowed.
    TooLarge,
    /// The range does not lie within the object.
    Range,
    /// The provider has restricted the account.
    Restricted,
    /// The credential is refused.
    Forbidden,
    /// For the moment: the network, an overload, a database that does not answer.
    Passing,
    /// The request is refused, or the answer makes no sense. The same request would fail again.
    Refused,
}

/// A failed request.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    meaning: Meaning,
    status: Option<u16>,
    cause: Cause,
    retry_after: Option<Duration>,
}

/// The codes that the server is known to send, and what they mean.
const KNOWN: &[(&str, Meaning)] = &[
    ("NoSuchKey", Meaning::NoObject),
    ("NoSuchUpload", Meaning::NoObject),
    ("NoSuchBucket", Meaning::NoBucket),
    ("TenantNotFound", Meaning::NoStorage),
    ("KeyAlreadyExists", Meaning::Conflict),
    ("ResourceAlreadyExists", Meaning::Conflict),
    ("BucketAlreadyExists", Meaning::Conflict),
    ("EntityTooLarge", Meaning::TooLarge),
    ("InvalidRange", Meaning::Range),
    ("AccessDenied", Meaning::Forbidden),
    ("InvalidJWT", Meaning::Forbidden),
    ("InvalidSignature", Meaning::Forbidden),
    ("ExpiredToken", Meaning::Forbidden),
    ("SignatureDoesNotMatch", Meaning::Forbidden),
    ("SlowDown", Meaning::Passing),
    ("DatabaseTimeout", Meaning::Passing),
    ("DatabaseError", Meaning::Passing),
    ("DatabaseReadOnly", Meaning::Passing),
    ("LockTimeout", Meaning::Passing),
    ("ResourceLocked", Meaning::Passing),
    ("InternalError", Meaning::Passing),
    ("S3Error", Meaning::Passing),
    ("InvalidMimeType", Meaning::Refused),
    ("InvalidKey", Meaning::Refused),
    ("InvalidBucketName", Meaning::Refused),
    ("InvalidRequest", Meaning::Refused),
    ("InvalidParameter", Meaning::Refused),
    ("InvalidChecksum", Meaning::Refused),
    ("MissingParameter", Meaning::Refused),
    ("MissingContentLength", Meaning::Refused),
    ("ResourceNotEmpty", Meaning::Refused),
];

/// The body of an error. Any field may be missing or of another type.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Told {
    code: Value,
    #[serde(rename = "statusCode")]
    status: Value,
}

impl Failure {
    pub(super) fn new(meaning: Meaning, cause: impl Into<Cow<'static, str>>) -> Self {
        Self {
            meaning,
            status: None,
            cause: Cause::new(cause),
            retry_after: None,
        }
    }

    /// The answer is not what the endpoint answers.
    pub(super) fn malformed(what: &'static str) -> Self {
        Self::new(Meaning::Refused, what)
    }

    /// The server took too long.
    pub(super) fn timed_out() -> Self {
        Self::new(Meaning::Passing, "timed out")
    }

    /// Reads an answer that is no success.
    pub(super) fn of_answer(http: u16, headers: &HeaderMap, body: &[u8]) -> Self {
        let (meaning, status, code) = read(http, body);
        let kind = format!("storage {status}");
        Self {
            meaning,
            status: Some(status),
            cause: match code {
                Some(code) => Cause::with_detail(kind, code),
                None => Cause::new(kind),
            },
            retry_after: headers
                .get(RETRY_AFTER)
                .and_then(|value| value.to_str().ok()?.trim().parse().ok())
                .map(Duration::from_secs),
        }
    }

    /// Reduces an error of the HTTP library, whose own text holds the address.
    pub(super) fn of_transport(error: &reqwest::Error) -> Self {
        if is_tls(error) {
            return Self::new(Meaning::NoStorage, "tls handshake failed");
        }
        if error.is_timeout() {
            Self::timed_out()
        } else if error.is_connect() {
            Self::new(Meaning::Passing, "no connection")
        } else if error.is_builder() {
            Self::malformed("request that cannot be sent")
        } else {
            Self::new(Meaning::Passing, "connection lost")
        }
    }

    /// Returns what it means.
    pub(super) fn meaning(&self) -> Meaning {
        self.meaning
    }

    /// Returns the server's status, where a server answered.
    pub(super) fn status(&self) -> Option<u16> {
        self.status
    }

    /// Gives it another meaning, where the endpoint's own words mean more than usual.
    pub(super) fn meaning_now(mut self, meaning: Meaning) -> Self {
        self.meaning = meaning;
        self
    }

    /// Tells whether the same request may succeed in a moment.
    pub(super) fn is_passing(&self) -> bool {
        self.meaning == Meaning::Passing
    }

    /// Returns how long the server asks to be left alone, within bounds.
    pub(super) fn pause(&self) -> Duration {
        self.retry_after.unwrap_or_default().min(RETRY_AFTER_MAX)
    }

    /// Returns the error of the call that ends with this failure.
    pub(super) fn of(&self, operation: Operation) -> Error {
        let code = self.code(operation);
        operation.failed_as(code, self.cause.clone())
    }

    /// Returns the code of the call that ends with this failure.
    pub(super) fn code(&self, operation: Operation) -> Code {
        match self.meaning {
            Meaning::NoObject => Code::StorageNotFound,
            Meaning::NoBucket | Meaning::NoStorage | Meaning::Passing => Code::StorageUnavailable,
            Meaning::TooLarge => Code::StorageQuota,
            Meaning::Restricted => Code::StorageRestricted,
            Meaning::Forbidden => Code::StorageForbidden,
            Meaning::Conflict | Meaning::Range | Meaning::Refused => operation.failure_code(),
        }
    }
}

/// Looks for an error of TLS behind another one. An I/O error hides what it wraps from `source`.
fn is_tls(error: &(dyn StdError + 'static)) -> bool {
    if error.is::<rustls::Error>() {
        return true;
    }
    let wrapped = error
        .downcast_ref::<std::io::Error>()
        .and_then(std::io::Error::get_ref);
    match wrapped {
        Some(inner) => is_tls(inner),
        None => error.source().is_some_and(is_tls),
    }
}

/// Returns the meaning, the true status and the code, if it is a known one.
fn read(http: u16, body: &[u8]) -> (Meaning, u16, Option<&'static str>) {
    let told: Told = serde_json::from_slice(body).unwrap_or_default();
    let as_text = told.status.as_str().and_then(|text| text.parse().ok());
    let as_number = told
        .status
        .as_u64()
        .and_then(|number| u16::try_from(number).ok());
    let status = as_text.or(as_number).unwrap_or(http);
    let code = told
        .code
        .as_str()
        .and_then(|code| KNOWN.iter().find(|(name, _)| *name == code));
    let meaning = match code {
        // What a link for uploads says when the bucket is missing: its row refers to none.
        Some(("InvalidRequest", _)) if status == 404 => Meaning::NoBucket,
        // A restricted account is told by the status alone, whatever the code beside it.
        _ if status == 402 || http == 402 => Meaning::Restricted,
        Some((_, meaning)) => *meaning,
        // An older server names no code, but still tells the status as text. Any other 404 (a route that does
        // not exist, a gateway's page) must not look like an object that is gone.
        None if status == 404 && as_text.is_some() => Meaning::NoObject,
        None => of_status(status),
    };
    (meaning, status, code.map(|(name, _)| *name))
}

fn of_status(status: u16) -> Meaning {
    match status {
        401 | 403 => Meaning::Forbidden,
        402 => Meaning::Restricted,
        404 | 300..=399 => Meaning::NoStorage,
        408 | 423 | 429 | 500 | 502..=504 | 520..=527 | 544 => Meaning::Passing,
        409 => Meaning::Conflict,
        413 | 507 => Meaning::TooLarge,
        416 => Meaning::Range,
        _ => Meaning::Refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meaning(http: u16, body: &str) -> Meaning {
        Failure::of_answer(http, &HeaderMap::new(), body.as_bytes()).meaning
    }

    #[test]
    fn the_code_counts_before_the_status_and_that_before_http() {
        for (http, body, expected) in [
            (
                400,
                r#"{"statusCode":"404","code":"NoSuchKey"}"#,
                Meaning::NoObject,
            ),
            (
                400,
                r#"{"statusCode":"404","code":"NoSuchBucket"}"#,
                Meaning::NoBucket,
            ),
            (
                400,
                r#"{"statusCode":"404","code":"InvalidRequest"}"#,
                Meaning::NoBucket,
            ),
            (
                400,
                r#"{"statusCode":"400","code":"InvalidRequest"}"#,
                Meaning::Refused,
            ),
            (
                400,
                r#"{"statusCode":"413","code":"new"}"#,
                Meaning::TooLarge,
            ),
            (400, r#"{"statusCode":429}"#, Meaning::Passing),
            (544, r#"{"code":"DatabaseTimeout"}"#, Meaning::Passing),
            (402, r#"{"code":"AccessDenied"}"#, Meaning::Restricted),
            (400, r#"{"statusCode":"402"}"#, Meaning::Restricted),
            (403, "Invalid Compact JWS", Meaning::Forbidden),
            (409, "Upload-Offset conflict", Meaning::Conflict),
            (502, "<html>", Meaning::Passing),
            (400, "", Meaning::Refused),
            (301, "", Meaning::NoStorage),
        ] {
            assert_eq!(meaning(http, body), expected, "{http} {body}");
        }
    }

    #[test]
    fn a_404_of_something_else_does_not_look_like_an_object_that_is_gone() {
        for body in [
            "<html>not found</html>",
            "",
            r#"{"message":"Route GET:/x not found","error":"Not Found","statusCode":404}"#,
            "[]",
            "null",
            r#"{"code":7,"statusCode":[]}"#,
        ] {
            assert_eq!(meaning(404, body), Meaning::NoStorage, "{body}");
        }
        let old = r#"{"statusCode":"404","error":"Not found","message":"…"}"#;
        assert_eq!(meaning(400, old), Meaning::NoObject);
    }

    #[test]
    fn what_a_server_says_is_not_repeated() {
        let body = r#"{"statusCode":"404","code":"canary","message":"canary","error":"canary"}"#;
        let failure = Failure::of_answer(400, &HeaderMap::new(), body.as_bytes());
        let error = failure.of(Operation::Info);
        assert!(!format!("{failure:?} {error:?} {error}").contains("canary"));
        let known = r#"{"statusCode":"403","code":"AccessDenied"}"#;
        let failure = Failure::of_answer(400, &HeaderMap::new(), known.as_bytes());
        let shown = format!("{:?}", failure.of(Operation::Info));
        assert!(
            shown.contains("403") && shown.contains("AccessDenied"),
            "{shown}"
        );
    }

    #[test]
    fn a_server_may_ask_for_a_pause_within_bounds() {
        let asked = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, value.parse().unwrap());
            Failure::of_answer(429, &headers, b"").pause()
        };
        assert_eq!(asked("7"), Duration::from_secs(7));
        assert_eq!(asked("86400"), RETRY_AFTER_MAX);
        assert_eq!(asked("Wed, 21 Oct 2026 07:28:00 GMT"), Duration::ZERO);
        assert_eq!(asked("-1"), Duration::ZERO);
    }
}
