//! The text of a key: `cb_<id>_<secret>`.
//!
//! The id is the row's, as 32 hexadecimal digits: a salted hash cannot be looked up, so the key says where
//! to look. Only the secret is one.

use std::fmt;
use std::ops::RangeInclusive;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::error::{Cause, Code, Error, Result};
use crate::ids::ApiKeyId;

/// What every key starts with.
pub const KEY_PREFIX: &str = "cb_";
/// How many random bytes a secret has; its text has 43 characters of base64url.
pub const SECRET_BYTES: usize = 32;
/// How long the secret of a presented key may be, in bytes. Ours have 43; those of a team that makes its own
/// may differ, and bcrypt looks at 72.
const PRESENTED_SECRET_BYTES: RangeInclusive<usize> = 16..=72;
const ID_DIGITS: usize = 32;

/// A key that was just made, the only time that anybody sees it: `Debug` does not show it, and its memory is
/// overwritten when it is dropped.
pub struct PlainKey(Zeroizing<String>);

impl PlainKey {
    pub(super) fn new(id: ApiKeyId, secret: &str) -> Self {
        let text = format!("{KEY_PREFIX}{}_{secret}", id.as_uuid().simple());
        Self(Zeroizing::new(text))
    }

    /// Returns the key, to be handed to its owner: it cannot be had again.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PlainKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PlainKey(…)")
    }
}

/// What a caller has shown, taken apart; nothing is known about it yet.
#[derive(Clone, Copy)]
pub(super) struct Presented<'a> {
    pub(super) id: ApiKeyId,
    pub(super) secret: &'a str,
}

/// Takes a presented key apart, or returns `None` for what no key looks like.
pub(super) fn parse(text: &str) -> Option<Presented<'_>> {
    let (id, secret) = text.strip_prefix(KEY_PREFIX)?.split_once('_')?;
    let is_digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    if id.len() != ID_DIGITS || !id.bytes().all(is_digit) {
        return None;
    }
    if !PRESENTED_SECRET_BYTES.contains(&secret.len())
        || !secret.bytes().all(|b| b.is_ascii_graphic())
    {
        return None;
    }
    let id = Uuid::try_parse(id).ok()?;
    Some(Presented {
        id: ApiKeyId::from_uuid(id),
        secret,
    })
}

/// Makes the secret part of a key from the operating system's random bytes.
pub(super) fn new_secret() -> Result<Zeroizing<String>> {
    let mut bytes = Zeroizing::new([0; SECRET_BYTES]);
    getrandom::fill(bytes.as_mut_slice()).map_err(|_| {
        Error::caused(
            Code::ConfigInvalid,
            "no API key can be made here",
            Cause::new("the operating system gives no random bytes"),
        )
    })?;
    Ok(Zeroizing::new(URL_SAFE_NO_PAD.encode(bytes.as_slice())))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_new_key_reads_back() {
        let id = ApiKeyId::new();
        let secret = new_secret().unwrap();
        let key = PlainKey::new(id, &secret);
        assert_eq!(key.expose().len(), 79);
        let presented = parse(key.expose()).unwrap();
        assert_eq!((presented.id, presented.secret), (id, secret.as_str()));
        assert_ne!(*new_secret().unwrap(), *secret);
    }

    #[test]
    fn a_secret_may_hold_underscores() {
        let id = "0198c0de000070008000000000000000";
        let text = format!("cb_{id}__a_b-c_d-e_f-g_h-i_");
        assert_eq!(parse(&text).unwrap().secret, "_a_b-c_d-e_f-g_h-i_");
    }

    #[test]
    fn what_no_key_looks_like_is_refused() {
        let id = "0198c0de000070008000000000000000";
        let secret = "abcdefghijklmnop";
        assert!(parse(&format!("cb_{id}_{secret}")).is_some());
        for text in [
            String::new(),
            secret.to_owned(),
            format!("CB_{id}_{secret}"),
            format!("cb_{}_{secret}", id.to_uppercase()),
            format!("cb_{}_{secret}", &id[1..]),
            format!("cb_0{id}_{secret}"),
            format!("cb_{id}{secret}"),
            format!("cb_{id}_{}", &secret[1..]),
            format!("cb_{id}_{}", "a".repeat(73)),
            format!("cb_{id}_{secret} "),
            format!("cb_{id}_{secret}\0"),
            format!("cb_{id}_{secret}é"),
            format!(" cb_{id}_{secret}"),
            "cb_0198c0de-0000-7000-8000-00000000_abcdefghijklmnop".to_owned(),
        ] {
            assert!(parse(&text).is_none(), "{text}");
        }
    }

    #[test]
    fn debug_shows_nothing() {
        let key = PlainKey::new(ApiKeyId::new(), "planted");
        assert_eq!(format!("{key:?} {key:#?}"), "PlainKey(…) PlainKey(…)");
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in ".*") {
            let _ = parse(&text);
            let _ = parse(&format!("cb_{text}"));
        }
    }
}
