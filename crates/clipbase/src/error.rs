//! One error type and one list of codes for the whole library.
//!
//! An [`Error`] has two audiences. `Display` is one sentence that may be shown to any client: it never
//! contains a connection string, a key, a bucket's name or a row's contents, and never repeats its
//! source. The source is a [`Cause`]: what an operator needs (SQLSTATE, constraint, kind of I/O error),
//! already stripped of everything secret, so that even `{:?}` in a log gives nothing away.
//!
//! [`ServiceResult`] is the wire form of both outcomes; the API and `--json` speak it.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::api_keys::RateLimit;
use crate::status::JobStatus;

/// What every fallible call of this library returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $http:literal, $retry:literal;)*) => {
        /// A stable, machine-readable reason. The list only ever grows.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Code { $($(#[$doc])* $name,)* }

        impl Code {
            /// Every code, in the order of the documentation.
            pub const ALL: &'static [Code] = &[$(Code::$name,)*];

            /// Returns the code as it stands in answers: `UPPER_SNAKE_CASE`.
            pub const fn as_str(self) -> &'static str {
                match self { $(Code::$name => $text,)* }
            }

            /// Returns the HTTP status that an API answers with.
            pub const fn http_status(self) -> u16 {
                match self { $(Code::$name => $http,)* }
            }

            /// Tells whether the same call may succeed later without being changed.
            pub const fn is_retryable(self) -> bool {
                match self { $(Code::$name => $retry,)* }
            }
        }
    };
}

codes! {
    /// What the call acts on does not exist.
    NotFound = "NOT_FOUND", 404, false;
    /// An argument is wrong; the message names the field and the fix.
    InvalidInput = "INVALID_INPUT", 422, false;
    /// The job's state does not allow the change.
    InvalidTransition = "INVALID_TRANSITION", 409, false;
    /// Another worker holds the job now; nothing was written.
    LeaseLost = "LEASE_LOST", 409, false;
    /// A constraint of the database refused the row.
    DbConflict = "DB_CONFLICT", 409, false;
    /// The idempotency key was used before for another request.
    IdempotencyConflict = "IDEMPOTENCY_CONFLICT", 409, false;
    /// The job has as many events as a job may have; transitions still work.
    EventLimit = "EVENT_LIMIT", 409, false;
    /// The database cannot be reached or refuses connections.
    DbUnavailable = "DB_UNAVAILABLE", 503, true;
    /// The database did not answer in time. A write may or may not have happened.
    DbTimeout = "DB_TIMEOUT", 504, true;
    /// The database answered with an error that no other code describes.
    DbFailed = "DB_FAILED", 500, false;
    /// A row holds a value that this version does not know.
    DbInconsistent = "DB_INCONSISTENT", 500, false;
    /// The database's schema is too old, too new or altered for this version.
    SchemaMismatch = "SCHEMA_MISMATCH", 500, false;
    /// The database and the storage belong to different installations.
    InstallationMismatch = "INSTALLATION_MISMATCH", 409, false;
    /// A setting is missing or wrong; the message names it, never its value.
    ConfigInvalid = "CONFIG_INVALID", 500, false;
    /// The object does not exist.
    StorageNotFound = "STORAGE_NOT_FOUND", 404, false;
    /// The object could not be stored.
    StorageUploadFailed = "STORAGE_UPLOAD_FAILED", 502, false;
    /// The object could not be read.
    StorageDownloadFailed = "STORAGE_DOWNLOAD_FAILED", 502, false;
    /// A link could not be signed.
    StorageSignFailed = "STORAGE_SIGN_FAILED", 502, false;
    /// The object could not be removed.
    StorageRemoveFailed = "STORAGE_REMOVE_FAILED", 502, false;
    /// The storage cannot be reached.
    StorageUnavailable = "STORAGE_UNAVAILABLE", 503, true;
    /// No room is left, or the object is larger than allowed.
    StorageQuota = "STORAGE_QUOTA", 507, false;
    /// No valid credential came with the request.
    Unauthenticated = "UNAUTHENTICATED", 401, false;
    /// The credential, or the signature of a link, does not allow this.
    Forbidden = "FORBIDDEN", 403, false;
    /// Too many requests; try again later.
    RateLimited = "RATE_LIMITED", 429, true;
    /// The storage provider has restricted the account; nothing can be stored, read or removed.
    StorageRestricted = "STORAGE_RESTRICTED", 402, false;
    /// The storage refuses the configured credential.
    StorageForbidden = "STORAGE_FORBIDDEN", 502, false;
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Everything that can go wrong, by meaning.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// What a verb acts on does not exist. Look-ups answer `None` instead.
    #[error("{what} not found")]
    NotFound {
        /// What was looked for, as a noun: `job`.
        what: &'static str,
    },
    /// An argument is out of bounds.
    #[error("{field}: {problem}")]
    InvalidInput {
        /// The argument's name.
        field: &'static str,
        /// What is wrong and how to mend it.
        problem: Cow<'static, str>,
    },
    /// The state machine has no such edge from where the job is.
    #[error("the job is {from} and cannot become {to}: {reason}")]
    InvalidTransition {
        /// The job's state when the call came.
        from: JobStatus,
        /// The state asked for.
        to: JobStatus,
        /// Which rule refused it.
        reason: &'static str,
    },
    /// The lease was superseded or has ended; nothing was written.
    #[error("the lease on this job is lost: another worker holds the job, or it has ended")]
    LeaseLost,
    /// The idempotency key belongs to another request.
    #[error("this idempotency key was used for a different request; use a new key")]
    IdempotencyConflict,
    /// The job cannot take more log lines or updates.
    #[error("the job has {limit} events, which is the most a job may have")]
    EventLimit {
        /// The bound that was met.
        limit: i32,
    },
    /// Too many requests.
    #[error("too many requests; try again in {} s", retry_after.as_secs_f64().ceil())]
    RateLimited {
        /// How long to wait before the next request.
        retry_after: Duration,
        /// Where the key's own rate stands; `None` when the server is too busy to look at new keys.
        rate: Option<RateLimit>,
    },
    /// Everything else, told by its code.
    #[error("{message}")]
    Failed {
        /// The stable code.
        code: Code,
        /// A sentence fit for any client.
        message: Cow<'static, str>,
        /// What an operator may see.
        source: Option<Cause>,
    },
}

impl Error {
    /// An argument is wrong: names the field and the fix.
    pub fn invalid(field: &'static str, problem: impl Into<Cow<'static, str>>) -> Self {
        Self::InvalidInput {
            field,
            problem: problem.into(),
        }
    }

    /// A failure with a code and a sentence that holds no secret.
    pub fn failed(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self::Failed {
            code,
            message: message.into(),
            source: None,
        }
    }

    /// As [`Error::failed`], with its cause.
    pub fn caused(code: Code, message: impl Into<Cow<'static, str>>, cause: Cause) -> Self {
        Self::Failed {
            code,
            message: message.into(),
            source: Some(cause),
        }
    }

    /// Returns the stable code.
    pub fn code(&self) -> Code {
        match self {
            Self::NotFound { .. } => Code::NotFound,
            Self::InvalidInput { .. } => Code::InvalidInput,
            Self::InvalidTransition { .. } => Code::InvalidTransition,
            Self::LeaseLost => Code::LeaseLost,
            Self::IdempotencyConflict => Code::IdempotencyConflict,
            Self::EventLimit { .. } => Code::EventLimit,
            Self::RateLimited { .. } => Code::RateLimited,
            Self::Failed { code, .. } => *code,
        }
    }
}

/// Why a call failed, for operators: facts that are safe to log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind}{}", detail.as_deref().map(|text| format!(": {text}")).unwrap_or_default())]
pub struct Cause {
    /// The class of the failure: `sqlstate 23514`, `io ConnectionRefused`.
    pub kind: Cow<'static, str>,
    /// The constraint or other fixed name involved, where there is one.
    pub detail: Option<Cow<'static, str>>,
}

impl Cause {
    /// A cause with nothing to add.
    pub fn new(kind: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind: kind.into(),
            detail: None,
        }
    }

    /// A cause with a fixed name; never pass text that a server or a user wrote.
    pub fn with_detail(
        kind: impl Into<Cow<'static, str>>,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            kind: kind.into(),
            detail: Some(detail.into()),
        }
    }

    /// The kind of an I/O error, without the path that it happened on.
    pub fn io(error: &std::io::Error) -> Self {
        Self::new(format!("io {:?}", error.kind()))
    }
}

/// The wire form of a call's outcome: `{ok, data, code, message}`.
///
/// ```
/// use clipbase::{Error, ServiceResult};
/// let outcome: ServiceResult<()> = Err(Error::NotFound { what: "job" }).into();
/// assert_eq!(
///     serde_json::to_string(&outcome)?,
///     r#"{"ok":false,"code":"NOT_FOUND","message":"job not found"}"#
/// );
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceResult<T> {
    /// Whether the call did what it was asked.
    pub ok: bool,
    /// The answer, when it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<T>,
    /// The stable code, when it did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<Cow<'static, str>>,
    /// One sentence about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

impl<T> ServiceResult<T> {
    /// The call succeeded with this answer.
    pub fn success(data: T) -> Self {
        Self {
            ok: true,
            data: Some(data),
            code: None,
            message: None,
        }
    }

    /// The call failed with this code.
    pub fn failure(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self {
            ok: false,
            data: None,
            code: Some(code.into()),
            message: Some(message.into()),
        }
    }
}

impl<T> From<Result<T>> for ServiceResult<T> {
    fn from(outcome: Result<T>) -> Self {
        match outcome {
            Ok(data) => Self::success(data),
            Err(error) => Self::failure(error.code().as_str(), error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn codes_are_unique_and_upper_snake_case() {
        let texts: HashSet<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(texts.len(), Code::ALL.len());
        for text in texts {
            assert!(
                text.chars().all(|c| c.is_ascii_uppercase() || c == '_'),
                "{text}"
            );
        }
    }

    #[test]
    fn display_never_repeats_the_source() {
        let error = Error::caused(
            Code::DbConflict,
            "the row was refused",
            Cause::with_detail("sqlstate 23514", "jobs_range"),
        );
        assert_eq!(error.to_string(), "the row was refused");
        let source = std::error::Error::source(&error).unwrap();
        assert_eq!(source.to_string(), "sqlstate 23514: jobs_range");
    }

    #[test]
    fn only_failures_of_the_moment_are_retryable() {
        let retryable: Vec<_> = Code::ALL
            .iter()
            .filter(|code| code.is_retryable())
            .collect();
        assert_eq!(
            retryable,
            [
                &Code::DbUnavailable,
                &Code::DbTimeout,
                &Code::StorageUnavailable,
                &Code::RateLimited
            ]
        );
    }
}
