//! The key of a storage, and the headers that it travels in.

use std::fmt;

use reqwest::header::HeaderValue;

use super::config::config_error;
use crate::error::{Error, Result};

/// The longest credential that is taken, in bytes.
const KEY_BYTES_MAX: usize = 8 * 1024;

/// A service key: a JWT (`eyJ…`) or a secret key (`sb_secret_…`). It never prints itself.
#[derive(Clone)]
pub(super) struct ApiKey(String);

impl ApiKey {
    /// Takes what can stand in a header; whether the server knows it, the first call tells.
    pub(super) fn new(key: &str) -> Result<Self> {
        let fits = (1..=KEY_BYTES_MAX).contains(&key.len());
        if fits && key.bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(Self(key.to_owned()))
        } else {
            Err(config_error(
                "SUPABASE_SERVICE_ROLE_KEY must be one word of visible ASCII characters, as in \
                 sb_secret_… or eyJ…; look for a line break or quotes around it",
            ))
        }
    }

    fn is_jwt(&self) -> bool {
        self.0.starts_with("eyJ")
    }

    /// Returns the values of `apikey` and of `Authorization`, marked so that no library prints them.
    pub(super) fn headers(&self, which: KeyHeaders) -> (Option<HeaderValue>, Option<HeaderValue>) {
        let (apikey, bearer) = match which {
            KeyHeaders::Auto => (true, self.is_jwt()),
            KeyHeaders::ApiKey => (true, false),
            KeyHeaders::Bearer => (false, true),
            KeyHeaders::Both => (true, true),
        };
        let value = |text: String| {
            let mut value = HeaderValue::try_from(text).ok()?;
            value.set_sensitive(true);
            Some(value)
        };
        (
            apikey.then(|| value(self.0.clone())).flatten(),
            bearer
                .then(|| value(format!("Bearer {}", self.0)))
                .flatten(),
        )
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(…)")
    }
}

/// In which headers the key travels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyHeaders {
    /// `apikey` always, and `Authorization: Bearer` when the key is a JWT: what a hosted project and a
    /// server without a gateway both take.
    #[default]
    Auto,
    /// `apikey` alone.
    ApiKey,
    /// `Authorization: Bearer` alone.
    Bearer,
    /// Both, whatever the key looks like.
    Both,
}

impl std::str::FromStr for KeyHeaders {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "auto" => Ok(Self::Auto),
            "apikey" => Ok(Self::ApiKey),
            "bearer" => Ok(Self::Bearer),
            "both" => Ok(Self::Both),
            _ => Err(Error::invalid(
                "supabase-key-headers",
                "must be auto, apikey, bearer or both",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;

    #[test]
    fn a_bearer_is_sent_for_a_jwt_alone() {
        for (key, headers, expected) in [
            ("eyJ.a.b", KeyHeaders::Auto, (true, true)),
            ("sb_secret_x", KeyHeaders::Auto, (true, false)),
            ("sb_secret_x", KeyHeaders::Both, (true, true)),
            ("sb_secret_x", KeyHeaders::Bearer, (false, true)),
            ("eyJ.a.b", KeyHeaders::ApiKey, (true, false)),
        ] {
            let (apikey, bearer) = ApiKey::new(key).unwrap().headers(headers);
            assert_eq!((apikey.is_some(), bearer.is_some()), expected);
            for value in [apikey, bearer].into_iter().flatten() {
                assert!(value.is_sensitive());
            }
        }
    }

    #[test]
    fn keys_that_cannot_stand_in_a_header_are_refused_unseen() {
        for key in ["", "canary\n", "\"canary\" ", "canäry", &"k".repeat(8193)] {
            let error = ApiKey::new(key).unwrap_err();
            assert_eq!(error.code(), Code::ConfigInvalid);
            let text = format!("{error} {error:?}");
            assert!(text.contains("SUPABASE_SERVICE_ROLE_KEY") && !text.contains("can"));
        }
        assert_eq!(format!("{:?}", ApiKey::new("canary").unwrap()), "ApiKey(…)");
    }
}
