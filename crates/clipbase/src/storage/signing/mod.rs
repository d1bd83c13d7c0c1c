//! Signed links to objects in the local directory.
//!
//! Owns the signing key and the form of a token: who holds a link may read or write the one object it
//! names until it ends, and nothing else. The key never leaves this module, neither as a value nor in a
//! `Debug` text, and the module reads no clock: the caller says what time it is.
//!
//! ```
//! use std::time::{Duration, SystemTime};
//! use clipbase::JobId;
//! use clipbase::storage::{LinkRefusal, LinkScope, LocalSigner, StorageKey};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! let signer = LocalSigner::open(folder.path(), "http://127.0.0.1:8080").await?;
//! let key = StorageKey::result_video(JobId::new(), 1);
//! let now = SystemTime::now();
//!
//! let link = signer.sign(&key, LinkScope::Download, Duration::from_secs(600), None, now)?;
//! let (_, token) = link.expose().split_once("?token=").unwrap();
//! let path = key.to_string();
//! assert_eq!(signer.verify(&path, token, LinkScope::Download, now)?.key, key);
//! assert_eq!(
//!     signer.verify(&path, token, LinkScope::Download, now + Duration::from_secs(601)),
//!     Err(LinkRefusal::Expired),
//! );
//! # Ok(())
//! # }
//! ```

mod key_file;

use std::fmt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use self::key_file::KEY_BYTES;
use super::atomic::blocking;
use super::keys::StorageKey;
use super::links::{DownloadName, SignedUrl};
use super::operation::Operation;
use crate::error::{Cause, Code, Error, Result};

/// The path, below the public base, under which signed downloads are served: `{route}{key}?token=…`.
/// The same as Supabase's, so that a client cannot tell the two apart.
pub const DOWNLOAD_ROUTE: &str = "/storage/v1/object/sign/";

/// The path, below the public base, that takes signed uploads by `PUT`.
pub const UPLOAD_ROUTE: &str = "/storage/v1/object/upload/sign/";

/// The longest token that is looked at; ours stay well below.
pub const LINK_TOKEN_BYTES_MAX: usize = 2_048;

/// Starts every signed text: a signature made for anything else never fits a link.
const PURPOSE: &str = "clipbase-link-1";

/// What a link allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkScope {
    /// To read the object.
    Download,
    /// To store the object.
    Upload,
}

impl LinkScope {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Download => "download",
            Self::Upload => "upload",
        }
    }

    const fn route(self) -> &'static str {
        match self {
            Self::Download => DOWNLOAD_ROUTE,
            Self::Upload => UPLOAD_ROUTE,
        }
    }
}

/// A link that holds: what it names and until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedLink {
    /// The object.
    pub key: StorageKey,
    /// What a browser shall call it.
    pub download_name: Option<DownloadName>,
    /// When the link ends.
    pub expires_at: SystemTime,
}

/// Why a link does not hold. For logs and metrics: as an [`Error`] all of them are one `FORBIDDEN` with
/// one sentence, so that a stranger learns nothing from trying.
///
/// `FORBIDDEN` (403) rather than `STORAGE_SIGN_FAILED` (502): it is the visitor's credential that fails,
/// not the storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LinkRefusal {
    /// It was good once.
    #[error("link expired")]
    Expired,
    /// It was never signed here, or was changed since.
    #[error("link altered")]
    Altered,
    /// It was signed for another object.
    #[error("link for another object")]
    OtherObject,
    /// It was signed for the other direction.
    #[error("link for another use")]
    OtherScope,
}

impl From<LinkRefusal> for Error {
    fn from(refusal: LinkRefusal) -> Self {
        Error::caused(
            Code::Forbidden,
            "the link is not valid or has expired; ask for a new one",
            Cause::new(refusal.to_string()),
        )
    }
}

/// Signs and verifies links with a key that all processes on one directory share.
#[derive(Clone)]
pub struct LocalSigner {
    key: [u8; KEY_BYTES],
    public_base: String,
}

impl LocalSigner {
    /// Reads the key of this directory, or makes the directory and the key; processes that do so at
    /// once end up with the same key. `public_base` is what links start with, such as
    /// `http://127.0.0.1:8080`; empty makes them relative to the host.
    ///
    /// # Errors
    /// `INVALID_INPUT` when the base could not start a link; `STORAGE_SIGN_FAILED` when the key file
    /// cannot be made or read, is open to others, or holds no key.
    pub async fn open(root: &Path, public_base: &str) -> Result<Self> {
        let public_base = public_base.trim_end_matches('/').to_owned();
        let harmless = |c: char| c.is_ascii_graphic() && !matches!(c, '?' | '#' | '"' | '<' | '>');
        if !public_base.chars().all(harmless) {
            return Err(Error::invalid(
                "public_base",
                "must be the start of a URL without query or fragment, as in https://clips.example",
            ));
        }
        let root = root.to_owned();
        let key = blocking(Operation::Sign, move || {
            key_file::load_or_create(&root).map_err(|error| {
                Error::caused(
                    Code::StorageSignFailed,
                    "the signing key cannot be read or made",
                    Cause::io(&error),
                )
            })
        })
        .await?;
        Ok(Self { key, public_base })
    }

    /// Signs a link to an object, whether or not it exists.
    ///
    /// # Errors
    /// `STORAGE_SIGN_FAILED` when `now + lifetime` is no time that a token can hold.
    pub fn sign(
        &self,
        key: &StorageKey,
        scope: LinkScope,
        lifetime: Duration,
        download_name: Option<&DownloadName>,
        now: SystemTime,
    ) -> Result<SignedUrl> {
        let expires = now
            .checked_add(lifetime)
            .and_then(|end| end.duration_since(SystemTime::UNIX_EPOCH).ok())
            .ok_or_else(|| Operation::Sign.failed(Cause::new("time out of range")))?
            .as_secs();
        let name = download_name.map_or("", DownloadName::as_str);
        // A name holds no line break and stands last, so no two links share one signed text.
        let claims = format!("{PURPOSE}\n{}\n{expires}\n{key}\n{name}", scope.as_str());
        let mac = self
            .mac(claims.as_bytes())
            .ok_or_else(|| Operation::Sign.failed(Cause::new("key length")))?;
        Ok(SignedUrl::new(
            format!(
                "{}{}{key}?token={}.{}",
                self.public_base,
                scope.route(),
                BASE64.encode(claims.as_bytes()),
                BASE64.encode(mac),
            ),
            lifetime,
        ))
    }

    /// Checks the token that came with a request for `key_path` (bucket and path, as in the link).
    ///
    /// # Errors
    /// A [`LinkRefusal`], which turns into a `FORBIDDEN` error by `?`.
    pub fn verify(
        &self,
        key_path: &str,
        token: &str,
        scope: LinkScope,
        now: SystemTime,
    ) -> Result<VerifiedLink, LinkRefusal> {
        let claims = self.authentic_claims(token).ok_or(LinkRefusal::Altered)?;
        let mut fields = claims.splitn(5, '\n');
        let mut field = || fields.next().ok_or(LinkRefusal::Altered);
        if field()? != PURPOSE {
            return Err(LinkRefusal::Altered);
        }
        if field()? != scope.as_str() {
            return Err(LinkRefusal::OtherScope);
        }
        let expires: u64 = field()?.parse().map_err(|_| LinkRefusal::Altered)?;
        if field()? != key_path {
            return Err(LinkRefusal::OtherObject);
        }
        let key = key_path.parse().map_err(|_| LinkRefusal::OtherObject)?;
        let download_name = match field()? {
            "" => None,
            name => Some(DownloadName::new(name).map_err(|_| LinkRefusal::Altered)?),
        };
        let expires_at = SystemTime::UNIX_EPOCH
            .checked_add(Duration::from_secs(expires))
            .ok_or(LinkRefusal::Altered)?;
        if now >= expires_at {
            return Err(LinkRefusal::Expired);
        }
        Ok(VerifiedLink {
            key,
            download_name,
            expires_at,
        })
    }

    /// Returns what was signed, if it was signed with this key.
    fn authentic_claims(&self, token: &str) -> Option<String> {
        if token.len() > LINK_TOKEN_BYTES_MAX {
            return None;
        }
        let (claims, given) = token.split_once('.')?;
        let claims = BASE64.decode(claims).ok()?;
        let given = BASE64.decode(given).ok()?;
        let made = self.mac(&claims)?;
        if bool::from(made.ct_eq(given.as_slice())) {
            String::from_utf8(claims).ok()
        } else {
            None
        }
    }

    fn mac(&self, text: &[u8]) -> Option<[u8; KEY_BYTES]> {
        // HMAC takes keys of any length, so this is never `None`; the type does not know it.
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).ok()?;
        mac.update(text);
        Some(mac.finalize().into_bytes().into())
    }
}

impl fmt::Debug for LocalSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalSigner").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::key_file::random_key;
    use super::*;
    use crate::ids::JobId;

    fn signer() -> LocalSigner {
        LocalSigner {
            key: random_key(),
            public_base: String::new(),
        }
    }

    fn token_of(link: &SignedUrl) -> String {
        link.expose().split_once("?token=").unwrap().1.to_owned()
    }

    #[test]
    fn every_refusal_tells_the_public_the_same() {
        let told: Vec<_> = [
            LinkRefusal::Expired,
            LinkRefusal::Altered,
            LinkRefusal::OtherObject,
            LinkRefusal::OtherScope,
        ]
        .map(|refusal| Error::from(refusal).to_string())
        .to_vec();
        assert!(told.windows(2).all(|pair| pair[0] == pair[1]), "{told:?}");
        assert_eq!(Error::from(LinkRefusal::Altered).code(), Code::Forbidden);
    }

    #[test]
    fn two_signers_do_not_share_a_key() {
        let key = StorageKey::result_srt(JobId::new(), 1);
        let now = SystemTime::UNIX_EPOCH;
        let link = signer()
            .sign(
                &key,
                LinkScope::Download,
                Duration::from_secs(300),
                None,
                now,
            )
            .unwrap();
        assert_eq!(
            signer().verify(&key.to_string(), &token_of(&link), LinkScope::Download, now),
            Err(LinkRefusal::Altered)
        );
    }

    #[test]
    fn a_signer_shows_neither_key_nor_base() {
        let signer = LocalSigner {
            key: [7; KEY_BYTES],
            public_base: "http://canary".into(),
        };
        assert_eq!(format!("{signer:?}"), "LocalSigner { .. }");
    }

    proptest! {
        #[test]
        fn a_link_holds_until_it_ends_and_not_a_moment_longer(
            start in 0_u64..4_000_000_000, ttl in 1_u64..100_000, asked in 0_u64..200_000,
            lease in 1..i32::MAX, name in proptest::option::of("[^\u{0}-\u{1f}\u{7f}-\u{9f}/\\\\\".]{1,60}"),
        ) {
            let signer = signer();
            let key = StorageKey::result_video(JobId::new(), lease);
            let name = name.map(|name| DownloadName::new(&name).unwrap());
            let now = SystemTime::UNIX_EPOCH + Duration::from_secs(start);
            let link = signer.sign(&key, LinkScope::Download, Duration::from_secs(ttl), name.as_ref(), now).unwrap();
            prop_assert!(token_of(&link).len() <= LINK_TOKEN_BYTES_MAX);
            let outcome = signer.verify(
                &key.to_string(), &token_of(&link), LinkScope::Download, now + Duration::from_secs(asked),
            );
            if asked < ttl {
                let link = outcome.unwrap();
                prop_assert_eq!(link.key, key);
                prop_assert_eq!(link.download_name, name);
                prop_assert_eq!(link.expires_at, now + Duration::from_secs(ttl));
            } else {
                prop_assert_eq!(outcome, Err(LinkRefusal::Expired));
            }
        }

        #[test]
        fn a_token_changed_anywhere_is_refused(at in 0_usize..400, to in "[A-Za-z0-9_.-]") {
            let signer = signer();
            let key = StorageKey::result_video(JobId::new(), 1);
            let now = SystemTime::UNIX_EPOCH;
            let link = signer.sign(&key, LinkScope::Download, Duration::from_secs(300), None, now).unwrap();
            let token = token_of(&link);
            let at = at % token.len();
            let changed = format!("{}{to}{}", &token[..at], &token[at + 1..]);
            prop_assume!(changed != token);
            prop_assert_eq!(
                signer.verify(&key.to_string(), &changed, LinkScope::Download, now),
                Err(LinkRefusal::Altered)
            );
        }

        #[test]
        fn nonsense_is_no_token(token in "\\PC{0,300}") {
            let key = StorageKey::result_video(JobId::new(), 1).to_string();
            prop_assert_eq!(
                signer().verify(&key, &token, LinkScope::Upload, SystemTime::UNIX_EPOCH),
                Err(LinkRefusal::Altered)
            );
        }
    }
}
