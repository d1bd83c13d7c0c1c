//! Signed links as values: how long they last, what a browser calls the file, and the link itself.
//!
//! A lifetime is checked once, by [`TtlBounds`], and then carried by [`LinkTtl`]; a backend cannot be
//! handed one out of bounds. A [`SignedUrl`] is a credential: it never prints itself.
//!
//! ```
//! use std::time::Duration;
//! use clipbase::storage::{DownloadName, LinkTtl, SignOptions, TtlBounds};
//!
//! assert!(LinkTtl::new(Duration::from_secs(299)).is_err());
//! let wider = TtlBounds::new(Duration::from_secs(60), Duration::from_secs(3_600), Duration::from_secs(900))?;
//! let options = SignOptions {
//!     ttl: wider.ttl(Duration::from_secs(60))?,
//!     download_name: Some(DownloadName::new("holiday.mp4")?),
//! };
//! # Ok::<(), clipbase::Error>(())
//! ```

use std::fmt;
use std::time::Duration;

use crate::error::{Error, Result};

/// The shortest lifetime of a link, unless configured otherwise.
pub const LINK_TTL_MIN: Duration = Duration::from_secs(300);

/// The longest lifetime of a link, unless configured otherwise.
pub const LINK_TTL_MAX: Duration = Duration::from_secs(900);

/// The lifetime of a link when nobody says otherwise.
pub const LINK_TTL_DEFAULT: Duration = Duration::from_secs(600);

/// What no configuration may exceed: a link cannot be revoked, so a long one is a published object.
pub const LINK_TTL_LIMIT: Duration = Duration::from_secs(7 * 24 * 3_600);

/// How long an upload link of the local storage lasts: as long as a hosted Supabase's.
pub const UPLOAD_LINK_TTL: Duration = Duration::from_secs(2 * 3_600);

/// The longest name a download may be given, in bytes: what file systems allow.
pub const DOWNLOAD_NAME_BYTES_MAX: usize = 255;

/// Which lifetimes an installation allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TtlBounds {
    min: Duration,
    max: Duration,
    default: Duration,
}

impl TtlBounds {
    /// Bounds with a default between them.
    ///
    /// # Errors
    /// `INVALID_INPUT` naming the field when `1 s <= min <= default <= max <= LINK_TTL_LIMIT` does not
    /// hold or one of them is not in whole seconds.
    pub fn new(min: Duration, max: Duration, default: Duration) -> Result<Self> {
        let whole = |field, value: Duration| {
            if value.subsec_nanos() == 0 {
                Ok(())
            } else {
                Err(Error::invalid(field, "must be in whole seconds"))
            }
        };
        whole("ttl_min", min)?;
        whole("ttl_max", max)?;
        whole("ttl_default", default)?;
        if min.is_zero() {
            return Err(Error::invalid("ttl_min", "must be at least 1 s"));
        }
        if max > LINK_TTL_LIMIT {
            return Err(Error::invalid("ttl_max", "must be at most 7 days"));
        }
        if max < min {
            return Err(Error::invalid("ttl_max", "must not be below the minimum"));
        }
        if default < min || default > max {
            return Err(Error::invalid(
                "ttl_default",
                "must lie between the minimum and the maximum",
            ));
        }
        Ok(Self { min, max, default })
    }

    /// Checks a lifetime.
    ///
    /// # Errors
    /// `INVALID_INPUT` naming `ttl` when it is out of bounds or not in whole seconds.
    pub fn ttl(&self, ttl: Duration) -> Result<LinkTtl> {
        if ttl.subsec_nanos() != 0 {
            return Err(Error::invalid("ttl", "must be in whole seconds"));
        }
        if ttl < self.min || ttl > self.max {
            return Err(Error::invalid(
                "ttl",
                format!(
                    "must be {} to {} seconds",
                    self.min.as_secs(),
                    self.max.as_secs()
                ),
            ));
        }
        Ok(LinkTtl(ttl))
    }

    /// Returns the lifetime for links that ask for none.
    pub const fn default_ttl(&self) -> LinkTtl {
        LinkTtl(self.default)
    }

    /// Returns the shortest lifetime.
    pub const fn min(&self) -> Duration {
        self.min
    }

    /// Returns the longest lifetime.
    pub const fn max(&self) -> Duration {
        self.max
    }
}

impl Default for TtlBounds {
    fn default() -> Self {
        Self {
            min: LINK_TTL_MIN,
            max: LINK_TTL_MAX,
            default: LINK_TTL_DEFAULT,
        }
    }
}

/// How long a link lasts: whole seconds, within the bounds that made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LinkTtl(Duration);

impl LinkTtl {
    /// A lifetime within the default bounds.
    ///
    /// # Errors
    /// `INVALID_INPUT` naming `ttl` when it is not 300 to 900 whole seconds.
    pub fn new(ttl: Duration) -> Result<Self> {
        TtlBounds::default().ttl(ttl)
    }

    /// Returns the lifetime.
    pub const fn as_duration(self) -> Duration {
        self.0
    }
}

impl Default for LinkTtl {
    fn default() -> Self {
        Self(LINK_TTL_DEFAULT)
    }
}

/// What a browser calls the file it saves. A name, not a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DownloadName(String);

impl DownloadName {
    /// Checks a name.
    ///
    /// # Errors
    /// `INVALID_INPUT` naming `download_name` when it is empty, longer than
    /// [`DOWNLOAD_NAME_BYTES_MAX`], or holds a slash, a backslash, a quote or a control character,
    /// which could end a header or leave a folder.
    pub fn new(name: &str) -> Result<Self> {
        let fits = (1..=DOWNLOAD_NAME_BYTES_MAX).contains(&name.len());
        let harmless = !name
            .chars()
            .any(|c| c.is_control() || matches!(c, '/' | '\\' | '"'));
        if fits && harmless && name != "." && name != ".." {
            Ok(Self(name.to_owned()))
        } else {
            Err(Error::invalid(
                "download_name",
                "must be 1 to 255 bytes without slashes, quotes or control characters",
            ))
        }
    }

    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// How a link is to be signed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SignOptions {
    /// How long it lasts.
    pub ttl: LinkTtl,
    /// Makes a browser save the object under this name instead of showing it.
    pub download_name: Option<DownloadName>,
}

/// A link that anyone who has it may use until it ends. It never prints itself.
#[derive(Clone, PartialEq, Eq)]
pub struct SignedUrl {
    url: String,
    lifetime: Duration,
}

impl SignedUrl {
    /// Wraps a link that a backend signed.
    pub fn new(url: String, lifetime: Duration) -> Self {
        Self { url, lifetime }
    }

    /// Returns the link's text, to hand it to the one who asked for it.
    pub fn expose(&self) -> &str {
        &self.url
    }

    /// Returns how long the link lasts from when it was signed.
    pub const fn lifetime(&self) -> Duration {
        self.lifetime
    }
}

impl fmt::Debug for SignedUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SignedUrl(…)")
    }
}

impl fmt::Display for SignedUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(signed link)")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn bounds_that_contradict_themselves_name_the_field() {
        for (min, max, default, field) in [
            (secs(0), secs(900), secs(600), "ttl_min"),
            (secs(300), secs(299), secs(300), "ttl_max"),
            (secs(300), LINK_TTL_LIMIT + secs(1), secs(600), "ttl_max"),
            (secs(300), secs(900), secs(901), "ttl_default"),
            (secs(300), secs(900), secs(299), "ttl_default"),
            (
                Duration::from_millis(1_500),
                secs(900),
                secs(600),
                "ttl_min",
            ),
        ] {
            let error = TtlBounds::new(min, max, default).unwrap_err();
            assert!(
                error.to_string().starts_with(&format!("{field}:")),
                "{error}"
            );
        }
    }

    #[test]
    fn a_link_shows_itself_only_when_asked() {
        let link = SignedUrl::new("https://host/x?token=canary".into(), secs(600));
        assert!(!format!("{link} {link:?}").contains("canary"));
        assert!(link.expose().contains("canary"));
    }

    #[test]
    fn names_that_could_leave_a_header_or_folder_are_refused() {
        for name in [
            "",
            ".",
            "..",
            "a/b",
            "a\\b",
            "a\"b",
            "a\r\nb",
            &"x".repeat(256),
        ] {
            let error = DownloadName::new(name).unwrap_err();
            assert!(error.to_string().starts_with("download_name:"), "{error}");
        }
        assert_eq!(
            DownloadName::new("Clip ü 1.mp4").unwrap().as_str(),
            "Clip ü 1.mp4"
        );
    }

    proptest! {
        #[test]
        fn a_ttl_is_accepted_exactly_within_its_bounds(
            min in 1_u64..1_000, width in 0_u64..1_000, asked in 0_u64..3_000, nanos in prop_oneof![Just(0_u32), 1_u32..1_000_000_000],
        ) {
            let bounds = TtlBounds::new(secs(min), secs(min + width), secs(min)).unwrap();
            let asked_for = Duration::new(asked, nanos);
            let fits = nanos == 0 && (min..=min + width).contains(&asked);
            match bounds.ttl(asked_for) {
                Ok(ttl) => {
                    prop_assert!(fits);
                    prop_assert_eq!(ttl.as_duration(), asked_for);
                }
                Err(error) => {
                    prop_assert!(!fits);
                    prop_assert_eq!(error.code(), crate::Code::InvalidInput);
                    prop_assert!(error.to_string().starts_with("ttl:"));
                }
            }
        }
    }
}
