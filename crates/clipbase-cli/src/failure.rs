//! Why a command failed: a stable code, one line that says what and how to mend it, and an exit code by kind.

use std::borrow::Cow;

use clipbase_worker::clipper::ClipError;

/// What a command ends with when it does not succeed.
#[derive(Debug)]
pub(crate) struct Failure {
    code: Cow<'static, str>,
    message: String,
    is_told: bool,
}

impl Failure {
    pub(crate) fn new(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            message: message.into(),
            is_told: false,
        }
    }

    /// The command has printed it already, with more.
    pub(crate) fn told(mut self) -> Self {
        self.is_told = true;
        self
    }

    /// The input is wrong.
    pub(crate) fn input(message: impl Into<String>) -> Self {
        Self::new("INVALID_INPUT", message)
    }

    /// Somebody pressed Ctrl-C, or asked for it with a signal.
    pub(crate) fn interrupted() -> Self {
        Self::new(
            "INTERRUPTED",
            "interrupted; the same command goes on where this one stopped",
        )
    }

    /// Whether the command has printed it already.
    pub(crate) fn is_told(&self) -> bool {
        self.is_told
    }

    pub(crate) fn code(&self) -> &str {
        &self.code
    }

    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// Whether time may mend it.
    pub(crate) fn may_pass(&self) -> bool {
        self.exit_code() == 5
    }

    pub(crate) fn exit_code(&self) -> u8 {
        match self.code.as_ref() {
            "INVALID_INPUT"
            | "SOURCE_MISSING"
            | "NOT_A_VIDEO"
            | "UNSUPPORTED_CONTAINER"
            | "RANGE_INVALID"
            | "RANGE_BEYOND_END"
            | "NO_TEXT_TRACK"
            | "SUBTITLES_NOT_TEXT" => 3,
            "FFMPEG_MISSING" | "CONFIG_INVALID" | "STORAGE_FORBIDDEN" | "STORAGE_RESTRICTED" => 4,
            code if code.starts_with("POSTGRES_") => 4,
            "DB_UNAVAILABLE" | "DB_TIMEOUT" | "STORAGE_UNAVAILABLE" | "RATE_LIMITED" => 5,
            "NO_SPACE" | "STORAGE_QUOTA" => 6,
            "NOT_FOUND"
            | "STORAGE_NOT_FOUND"
            | "INVALID_TRANSITION"
            | "LEASE_LOST"
            | "DB_CONFLICT"
            | "IDEMPOTENCY_CONFLICT"
            | "EVENT_LIMIT" => 7,
            "SCHEMA_MISMATCH" | "INSTALLATION_MISMATCH" | "DB_INCONSISTENT" => 8,
            "INTERRUPTED" => 130,
            _ => 1,
        }
    }
}

/// What an operator may know of an error: its sentence, and its cause where it has one.
pub(crate) fn sentence(error: &clipbase::Error) -> String {
    let source = std::error::Error::source(error);
    let cause = source
        .map(|cause| format!(" ({cause})"))
        .unwrap_or_default();
    format!("{error}{cause}")
}

impl From<clipbase::Error> for Failure {
    fn from(error: clipbase::Error) -> Self {
        Self::new(error.code().as_str(), sentence(&error))
    }
}

impl From<clipbase_embedded::Error> for Failure {
    fn from(error: clipbase_embedded::Error) -> Self {
        let message = error.to_string();
        // PostgreSQL says this in English: the private server is started without a locale.
        if message.contains("No space left on device") {
            let what = "there is no space left for the private PostgreSQL; free some, or choose another disk \
                        with --data-dir";
            return Self::new("NO_SPACE", what);
        }
        Self::new(error.code(), message)
    }
}

impl From<ClipError> for Failure {
    fn from(error: ClipError) -> Self {
        Self::new(error.code().as_str(), error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_tells_the_kind() {
        for (code, exit) in [
            ("NOT_A_VIDEO", 3),
            ("POSTGRES_NOT_FOUND", 4),
            ("DB_TIMEOUT", 5),
            ("CANCELED", 1),
        ] {
            assert_eq!(Failure::new(code, "").exit_code(), exit, "{code}");
        }
    }
}
