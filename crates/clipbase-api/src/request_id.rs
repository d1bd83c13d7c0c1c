//! The name of a request: the client's own, where it sent a sane one, or a fresh one.

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue};
use uuid::Uuid;

/// The header that carries it, both ways.
pub(crate) const HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// The longest name that is taken from a client; a longer one is replaced.
pub const REQUEST_ID_BYTES_MAX: usize = 64;

/// The name of a request, in every answer and on every log line about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(String);

impl RequestId {
    /// Takes the client's, if it has 1 to 64 letters, digits, `-`, `_` or `.`; makes one otherwise.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let sane = |text: &&str| {
            (1..=REQUEST_ID_BYTES_MAX).contains(&text.len())
                && text
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        };
        let given = headers.get(HEADER).and_then(|value| value.to_str().ok());
        Self(
            given
                .filter(sane)
                .map_or_else(|| Uuid::now_v7().to_string(), str::to_owned),
        )
    }

    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// As a header's value; an id holds nothing that a header could not.
    pub(crate) fn to_header(&self) -> Option<HeaderValue> {
        HeaderValue::from_str(&self.0).ok()
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(value: &[u8]) -> String {
        let mut headers = HeaderMap::new();
        headers.insert(HEADER, HeaderValue::from_bytes(value).unwrap());
        RequestId::of(&headers).0
    }

    #[test]
    fn a_sane_name_is_kept() {
        for name in ["a", "order-4711_b.c", &"x".repeat(REQUEST_ID_BYTES_MAX)] {
            assert_eq!(of(name.as_bytes()), name);
        }
    }

    #[test]
    fn anything_else_is_replaced_by_a_uuid() {
        let long = "x".repeat(REQUEST_ID_BYTES_MAX + 1);
        for name in [
            b"".as_slice(),
            b"a b",
            b"a\"b",
            b"\xff\xfe",
            long.as_bytes(),
        ] {
            assert!(Uuid::try_parse(&of(name)).is_ok(), "{name:?}");
        }
        assert!(Uuid::try_parse(&RequestId::of(&HeaderMap::new()).0).is_ok());
    }
}
