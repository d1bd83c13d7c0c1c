//! Where a Supabase storage is and how to talk to it. Checked when it is made; it never prints an address
//! or a key.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use super::address::Base;
use super::credential::{ApiKey, KeyHeaders};
use super::settings::{BucketPolicy, KeyLayout, RetryPolicy, Timeouts, check_upload_link_ttl};
use crate::error::{Code, Error, Result};
use crate::storage::UPLOAD_LINK_TTL;

/// Up to this size, in bytes, an object is stored by one request, and above it in resumable pieces.
pub const TUS_THRESHOLD: u64 = 6 * 1024 * 1024;

/// What the threshold may be set to at most: the most that Supabase takes in one request.
pub const TUS_THRESHOLD_MAX: u64 = 5_000_000_000;

const STORAGE_PATH: &str = "/storage/v1";

/// The settings of a [`SupabaseStorage`](super::SupabaseStorage).
///
/// ```
/// use clipbase::storage::{KeyLayout, SupabaseConfig};
///
/// let config = SupabaseConfig::from_project_url("https://ref.supabase.co", "sb_secret_abc")?
///     .with_upload_url("https://ref.storage.supabase.co/storage/v1")?
///     .with_key_layout(KeyLayout::Bucket);
/// assert_eq!(format!("{config:?}"), "SupabaseConfig { .. }");
/// # Ok::<(), clipbase::Error>(())
/// ```
#[derive(Clone)]
pub struct SupabaseConfig {
    pub(super) storage: Base,
    pub(super) upload: Base,
    pub(super) public: Base,
    pub(super) key: ApiKey,
    pub(super) key_headers: KeyHeaders,
    pub(super) key_layout: KeyLayout,
    pub(super) timeouts: Timeouts,
    pub(super) retry: RetryPolicy,
    pub(super) policy: BucketPolicy,
    pub(super) root_certificate: Option<PathBuf>,
    pub(super) tus_threshold: u64,
    pub(super) resume_dir: Option<PathBuf>,
    pub(super) upload_link_ttl: Duration,
}

impl SupabaseConfig {
    /// A project by its own address, as `https://REF.supabase.co`; the storage lies below it, at
    /// `/storage/v1`.
    ///
    /// # Errors
    /// `CONFIG_INVALID` naming `SUPABASE_URL` or `SUPABASE_SERVICE_ROLE_KEY`, never their values.
    pub fn from_project_url(url: &str, key: &str) -> Result<Self> {
        let base = base("SUPABASE_URL", url)?;
        if base.as_str().ends_with(STORAGE_PATH) {
            return Err(config_error(
                "SUPABASE_URL must be the project's own address, without /storage/v1",
            ));
        }
        Ok(Self::new(base.below(STORAGE_PATH), ApiKey::new(key)?))
    }

    /// A storage by its own address, as `https://REF.supabase.co/storage/v1`, or that of a storage server
    /// without a gateway.
    ///
    /// # Errors
    /// `CONFIG_INVALID` naming `SUPABASE_STORAGE_URL` or `SUPABASE_SERVICE_ROLE_KEY`, never their values.
    pub fn from_storage_url(base_url: &str, key: &str) -> Result<Self> {
        let base = base("SUPABASE_STORAGE_URL", base_url)?;
        Ok(Self::new(base, ApiKey::new(key)?))
    }

    fn new(storage: Base, key: ApiKey) -> Self {
        Self {
            upload: storage.clone(),
            public: storage.clone(),
            storage,
            key,
            key_headers: KeyHeaders::default(),
            key_layout: KeyLayout::default(),
            timeouts: Timeouts::default(),
            retry: RetryPolicy::default(),
            policy: BucketPolicy::default(),
            root_certificate: None,
            tus_threshold: TUS_THRESHOLD,
            resume_dir: None,
            upload_link_ttl: UPLOAD_LINK_TTL,
        }
    }

    /// Sends content to another address than the rest, as to a project's direct storage host.
    ///
    /// # Errors
    /// `CONFIG_INVALID` naming `SUPABASE_UPLOAD_URL`.
    pub fn with_upload_url(mut self, base_url: &str) -> Result<Self> {
        self.upload = base("SUPABASE_UPLOAD_URL", base_url)?;
        Ok(self)
    }

    /// Makes signed links start with another address: the one that clients reach the storage by.
    ///
    /// # Errors
    /// `CONFIG_INVALID` naming `SUPABASE_PUBLIC_URL`.
    pub fn with_public_url(mut self, base_url: &str) -> Result<Self> {
        self.public = base("SUPABASE_PUBLIC_URL", base_url)?;
        Ok(self)
    }

    /// Trusts this authority (a PEM file) besides the public ones.
    #[must_use]
    pub fn with_root_certificate(mut self, file: PathBuf) -> Self {
        self.root_certificate = Some(file);
        self
    }

    /// Sets in which headers the key travels. The default is [`KeyHeaders::Auto`].
    #[must_use]
    pub fn with_key_headers(mut self, headers: KeyHeaders) -> Self {
        self.key_headers = headers;
        self
    }

    /// Sets where in its bucket an object lies. The default is [`KeyLayout::Bucket`].
    #[must_use]
    pub fn with_key_layout(mut self, layout: KeyLayout) -> Self {
        self.key_layout = layout;
        self
    }

    /// Sets how long the server may take.
    ///
    /// # Errors
    /// `INVALID_INPUT` when one of them is not 1 millisecond to 1 hour.
    pub fn with_timeouts(mut self, timeouts: Timeouts) -> Result<Self> {
        self.timeouts = timeouts.check()?;
        Ok(self)
    }

    /// Sets how calls are tried again.
    ///
    /// # Errors
    /// `INVALID_INPUT` when it is out of bounds.
    pub fn with_retry(mut self, retry: RetryPolicy) -> Result<Self> {
        self.retry = retry.check()?;
        Ok(self)
    }

    /// Sets what the buckets take.
    ///
    /// # Errors
    /// `INVALID_INPUT` naming what makes no sense.
    pub fn with_bucket_policy(mut self, policy: BucketPolicy) -> Result<Self> {
        self.policy = policy.check()?;
        Ok(self)
    }

    /// Sets from which size on, in bytes, objects are stored in resumable pieces. The default is
    /// [`TUS_THRESHOLD`]; an object of exactly this size still goes in one request.
    ///
    /// # Errors
    /// `INVALID_INPUT` above [`TUS_THRESHOLD_MAX`].
    pub fn with_tus_threshold(mut self, bytes: u64) -> Result<Self> {
        if bytes > TUS_THRESHOLD_MAX {
            return Err(Error::invalid(
                "tus-threshold",
                "must be at most 5000000000 bytes, which is what one request may store",
            ));
        }
        self.tus_threshold = bytes;
        Ok(self)
    }

    /// Keeps what is needed to go on with an interrupted upload of a file in this folder, so that another
    /// process can. The folder is made when it is needed. Without one, an upload is resumed only by the
    /// call that began it.
    #[must_use]
    pub fn with_resume_dir(mut self, folder: Option<PathBuf>) -> Self {
        self.resume_dir = folder;
        self
    }

    /// Sets how long an upload link lasts where its token does not say: a setting of the server, 2 hours on
    /// a hosted project.
    ///
    /// # Errors
    /// `INVALID_INPUT` when it is not 1 second to 24 hours, in whole seconds.
    pub fn with_upload_link_ttl(mut self, ttl: Duration) -> Result<Self> {
        self.upload_link_ttl = check_upload_link_ttl(ttl)?;
        Ok(self)
    }
}

impl fmt::Debug for SupabaseConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SupabaseConfig").finish_non_exhaustive()
    }
}

pub(super) fn config_error(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::failed(Code::ConfigInvalid, message)
}

/// Reads an address, without the slash at its end.
fn base(setting: &str, text: &str) -> Result<Base> {
    let refuse = |problem: &str| config_error(format!("{setting} {problem}"));
    let url = Url::parse(text).map_err(|_| {
        refuse("cannot be read; write an address such as https://REF.supabase.co/storage/v1")
    })?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(refuse("must begin with https:// or http:// and a host"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(refuse("must not hold a user name or password"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(refuse("must not hold a query or fragment (? or #)"));
    }
    Ok(Base::new(&url))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_as_it_is_or_below_the_project() {
        let project = |url| SupabaseConfig::from_project_url(url, "k").map(|c| c.storage);
        for url in ["https://ref.supabase.co", "https://ref.supabase.co/"] {
            assert_eq!(
                project(url).unwrap().as_str(),
                "https://ref.supabase.co/storage/v1"
            );
        }
        let storage = SupabaseConfig::from_storage_url("http://127.0.0.1:5000/", "k").unwrap();
        assert_eq!(storage.storage.as_str(), "http://127.0.0.1:5000");
        assert_eq!(storage.public.as_str(), storage.upload.as_str());
        assert!(project("https://ref.supabase.co/storage/v1/").is_err());
    }

    #[test]
    fn an_address_with_more_than_a_place_is_refused_unseen() {
        let good = SupabaseConfig::from_storage_url("http://host", "k").unwrap();
        for url in [
            "",
            "canary",
            "canary.supabase.co",
            "ftp://canary",
            "https://canary@host",
            "https://u:canary@host",
            "https://host/?canary",
            "https://host/#canary",
            "file:///canary",
            "https://ho st/canary",
        ] {
            for (setting, outcome) in [
                ("SUPABASE_URL", SupabaseConfig::from_project_url(url, "k")),
                (
                    "SUPABASE_STORAGE_URL",
                    SupabaseConfig::from_storage_url(url, "k"),
                ),
                ("SUPABASE_UPLOAD_URL", good.clone().with_upload_url(url)),
                ("SUPABASE_PUBLIC_URL", good.clone().with_public_url(url)),
            ] {
                let error = outcome.unwrap_err();
                assert_eq!(error.code(), Code::ConfigInvalid);
                let text = format!("{error} {error:?}");
                assert!(error.to_string().starts_with(setting), "{error}");
                assert!(!text.contains("canary"), "{text}");
            }
        }
    }

    #[test]
    fn settings_have_bounds() {
        let good = SupabaseConfig::from_storage_url("http://host", "k").unwrap();
        let long = Duration::from_secs(3_601);
        let timeouts = Timeouts {
            read: long,
            ..Timeouts::default()
        };
        assert!(good.clone().with_timeouts(timeouts).is_err());
        for retry in [
            RetryPolicy {
                tries: 0,
                ..RetryPolicy::default()
            },
            RetryPolicy {
                cap: long,
                ..RetryPolicy::default()
            },
            RetryPolicy {
                base: Duration::from_secs(6),
                ..RetryPolicy::default()
            },
        ] {
            assert!(good.clone().with_retry(retry).is_err());
        }
        assert!(
            good.clone()
                .with_tus_threshold(TUS_THRESHOLD_MAX + 1)
                .is_err()
        );
        for ttl in [Duration::ZERO, Duration::from_millis(1_500), long * 25] {
            assert!(good.clone().with_upload_link_ttl(ttl).is_err());
        }
    }
}
