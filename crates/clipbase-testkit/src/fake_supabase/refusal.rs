//! How the server says no: the shapes, codes and labels of its refusals.
//!
//! REST refusals carry the true status as a text in the body while HTTP says 400, but for a few; the resumable
//! endpoint answers plain text with real statuses; an unknown route has a shape of its own.

use std::borrow::Cow;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::Response;
use hyper::header::CONTENT_TYPE;
use serde_json::{Value, json};

/// The body of an answer.
pub(super) type AnswerBody = BoxBody<Bytes, std::io::Error>;

/// An answer.
pub(super) type Answer = Response<AnswerBody>;

/// The `code` of a refusal, kept with the answer for the log.
#[derive(Clone)]
pub(super) struct RefusalCode(pub(super) String);

/// Why a request was not answered with what it asked for.
#[derive(Debug)]
pub(super) enum Failure {
    /// The server says no.
    Refused(Refusal),
    /// The request's body broke off: there is nobody to answer.
    Broken,
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// What a handler gives back.
pub(super) type Handled = Result<Answer, Failure>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Json,
    Plain,
    Framework,
}

/// One refusal.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    http: u16,
    status: u16,
    code: Cow<'static, str>,
    label: Cow<'static, str>,
    message: String,
    shape: Shape,
    retry_after: Option<u64>,
}

impl Refusal {
    /// A refusal in the REST shape: HTTP 400 but for the few statuses that the server lets through.
    pub(super) fn new(
        status: u16,
        code: impl Into<Cow<'static, str>>,
        label: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
    ) -> Self {
        let http = match status {
            402 | 416 | 429 | 500 | 544 => status,
            _ => 400,
        };
        Self {
            http,
            status,
            code: code.into(),
            label: label.into(),
            message: message.into(),
            shape: Shape::Json,
            retry_after: None,
        }
    }

    /// The same with another HTTP status.
    pub(super) fn with_http(mut self, http: u16) -> Self {
        self.http = http;
        self
    }

    /// The same with a `Retry-After` in seconds.
    pub(super) fn with_retry_after(mut self, seconds: Option<u64>) -> Self {
        self.retry_after = seconds;
        self
    }

    /// The same as the resumable endpoint says it: plain text with the true status.
    pub(super) fn plain(mut self) -> Self {
        self.shape = Shape::Plain;
        self.http = self.status;
        self
    }

    /// A refusal of the resumable endpoint itself.
    pub(super) fn tus(status: u16, message: &str) -> Self {
        Self::new(status, "TusError", "TusError", message).plain()
    }

    pub(super) fn missing_object() -> Self {
        Self::new(404, "NoSuchKey", "not_found", "Object not found")
    }

    pub(super) fn missing_bucket() -> Self {
        Self::new(404, "NoSuchBucket", "Bucket not found", "Bucket not found")
    }

    pub(super) fn related_missing() -> Self {
        let message = "The related resource does not exist";
        Self::new(404, "InvalidRequest", "Error", message)
    }

    pub(super) fn duplicate(code: &'static str) -> Self {
        Self::new(409, code, "Duplicate", "The resource already exists")
    }

    pub(super) fn row_level_security() -> Self {
        Self::denied("new row violates row-level security policy")
    }

    pub(super) fn denied(message: &str) -> Self {
        Self::new(403, "AccessDenied", "Unauthorized", message)
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(400, "InvalidRequest", "Error", message)
    }

    pub(super) fn invalid_jwt(message: &str) -> Self {
        Self::new(400, "InvalidJWT", "InvalidJWT", message)
    }

    pub(super) fn invalid_signature(message: &str) -> Self {
        Self::new(400, "InvalidSignature", "InvalidSignature", message)
    }

    pub(super) fn invalid_key(key: &str) -> Self {
        Self::new(
            400,
            "InvalidKey",
            "InvalidKey",
            format!("Invalid key: {key}"),
        )
    }

    pub(super) fn invalid_bucket() -> Self {
        Self::new(
            400,
            "InvalidBucketName",
            "Invalid Input",
            "Bucket name invalid",
        )
    }

    pub(super) fn too_large() -> Self {
        let message = "The object exceeded the maximum allowed size";
        Self::new(413, "EntityTooLarge", "Payload too large", message)
    }

    pub(super) fn mime(mime: &str) -> Self {
        let message = format!("mime type {mime} is not supported");
        Self::new(415, "InvalidMimeType", "invalid_mime_type", message)
    }

    pub(super) fn range() -> Self {
        Self::new(
            416,
            "InvalidRange",
            "invalid_range",
            "invalid range provided",
        )
    }

    pub(super) fn internal() -> Self {
        Self::new(500, "InternalError", "Internal", "Internal server error")
    }

    /// The whole organisation is over its quota.
    pub(super) fn restricted() -> Self {
        let message = "Service for this project is restricted";
        Self::new(402, "PaymentRequired", "Payment Required", message)
    }

    /// The gateway does not know the key.
    pub(super) fn unknown_key() -> Self {
        Self {
            shape: Shape::Framework,
            ..Self::new(401, "", "Unauthorized", "Invalid API key").with_http(401)
        }
    }

    /// No such route: the web framework's own shape.
    pub(super) fn unknown_route(method: &str, path: &str) -> Self {
        let message = format!("Route {method}:{path} not found");
        Self {
            shape: Shape::Framework,
            ..Self::new(404, "", "Not Found", message).with_http(404)
        }
    }

    /// A path that cannot be decoded: the web framework's own shape.
    pub(super) fn bad_url(path: &str) -> Self {
        let message = format!("'{path}' is not a valid url component");
        Self {
            shape: Shape::Framework,
            ..Self::new(400, "", "Bad Request", message)
        }
    }

    /// Returns the answer.
    pub(super) fn answer(self) -> Answer {
        let body = match self.shape {
            Shape::Plain => {
                let mut answer = text(self.http, "text/plain; charset=utf-8", self.message);
                answer
                    .extensions_mut()
                    .insert(RefusalCode(self.code.into_owned()));
                return answer;
            }
            Shape::Json => json!({
                "statusCode": self.status.to_string(),
                "error": self.label,
                "message": self.message,
                "code": self.code,
            }),
            Shape::Framework => json!({
                "statusCode": self.status,
                "error": self.label,
                "message": self.message,
            }),
        };
        let mut answer = json(self.http, &body);
        if let Some(seconds) = self.retry_after {
            answer.headers_mut().insert("retry-after", seconds.into());
        }
        answer
            .extensions_mut()
            .insert(RefusalCode(self.code.into_owned()));
        answer
    }
}

/// An answer with a JSON body.
pub(super) fn json(http: u16, body: &Value) -> Answer {
    text(http, "application/json; charset=utf-8", body.to_string())
}

/// An answer with a text body of the given type.
pub(super) fn text(http: u16, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = empty(http);
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, content_type.parse().expect("a fixed header"));
    *answer.body_mut() = Full::new(body.into())
        .map_err(|never| match never {})
        .boxed();
    answer
}

/// An answer without a body.
pub(super) fn empty(http: u16) -> Answer {
    let body = Full::new(Bytes::new())
        .map_err(|never| match never {})
        .boxed();
    let mut answer = Response::new(body);
    *answer.status_mut() = http.try_into().expect("a status");
    answer
}
