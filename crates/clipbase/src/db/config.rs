//! Where the database is and how to talk to it.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use tokio_postgres::config::{Host, SslMode};

use crate::error::{Code, Error, Result};

/// The longest that one call may take, from asking the pool to the last row.
pub const CALL_DEADLINE: Duration = Duration::from_secs(15);
/// How long a call waits for a free connection, and for a new one to be made.
pub const POOL_WAIT: Duration = Duration::from_secs(5);
/// Connections of one process, unless set: two cores saturate at four to eight.
pub const POOL_SIZE: usize = 8;
/// The most connections that a pool may be set to.
pub const POOL_SIZE_MAX: usize = 500;

/// What stands between this process and the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatabaseMode {
    /// Nothing, or nothing that matters: statements are prepared and their plans cached.
    Direct,
    /// A pooler that gives each client a session of its own (Supavisor on port 5432). As `Direct`.
    Session,
    /// A pooler that changes the server connection after each transaction (port 6543): statements run
    /// unnamed, each in one flight, and leave no state behind.
    Transaction,
}

impl std::str::FromStr for DatabaseMode {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "direct" => Ok(Self::Direct),
            "session" => Ok(Self::Session),
            "transaction" => Ok(Self::Transaction),
            _ => Err(Error::invalid(
                "database-mode",
                "must be direct, session or transaction",
            )),
        }
    }
}

impl fmt::Display for DatabaseMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Direct => "direct",
            Self::Session => "session",
            Self::Transaction => "transaction",
        })
    }
}

/// How far the server's certificate is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verify {
    /// Encrypted at best; any certificate will do.
    Nothing,
    /// The certificate comes from a known authority.
    Chain,
    /// … and names the host.
    Full,
}

/// The settings of a database connection. Its `Debug` shows no part of the address.
#[derive(Clone)]
pub struct DatabaseConfig {
    pub(crate) driver: tokio_postgres::Config,
    pub(crate) mode: DatabaseMode,
    pub(crate) verify: Verify,
    pub(crate) root_certificate: Option<PathBuf>,
    pub(crate) pool_size: usize,
    pub(crate) call_deadline: Duration,
    pub(crate) wakeups: bool,
}

impl DatabaseConfig {
    /// Reads a connection string: `postgresql://user:password@host:port/database?options`.
    ///
    /// Understood beside the driver's own options: `sslmode=verify-ca|verify-full`, `sslrootcert=FILE`,
    /// `pgbouncer=true`. Without `sslmode`, a remote host must show a valid certificate, and a local one
    /// may speak plainly. The mode follows from the port: 6543 is a transaction pooler.
    ///
    /// # Errors
    /// `CONFIG_INVALID` when the text cannot be read; the message never repeats it.
    pub fn from_url(url: &str) -> Result<Self> {
        let (rest, ours) = take_our_options(url);
        let mut driver: tokio_postgres::Config = rest.parse().map_err(|_| {
            config_error(
                "DATABASE_URL cannot be read; write postgresql://USER:PASSWORD@HOST:5432/DATABASE \
                 and percent-encode special characters in the password",
            )
        })?;
        if driver.get_hosts().is_empty() {
            return Err(config_error("DATABASE_URL names no host"));
        }
        driver.application_name("clipbase");
        driver.connect_timeout(POOL_WAIT);
        driver.keepalives_idle(Duration::from_secs(30));
        let local = driver.get_hosts().iter().all(is_local);
        let root_certificate = ours.root_certificate.map(PathBuf::from);
        let (ssl, verify) = match ours.sslmode.as_deref() {
            Some("disable") => (SslMode::Disable, Verify::Nothing),
            Some("allow" | "prefer") => (SslMode::Prefer, Verify::Nothing),
            Some("require") if root_certificate.is_none() => (SslMode::Require, Verify::Nothing),
            Some("require" | "verify-ca") => (SslMode::Require, Verify::Chain),
            Some("verify-full") => (SslMode::Require, Verify::Full),
            Some(_) => {
                return Err(config_error(
                    "sslmode in DATABASE_URL must be disable, allow, prefer, require, verify-ca or \
                     verify-full",
                ));
            }
            None if local && root_certificate.is_none() => (SslMode::Prefer, Verify::Nothing),
            None => (SslMode::Require, Verify::Full),
        };
        driver.ssl_mode(ssl);
        let pooler = ours.pgbouncer || driver.get_ports().contains(&6543);
        let mode = if pooler {
            DatabaseMode::Transaction
        } else {
            DatabaseMode::Direct
        };
        Ok(Self {
            driver,
            mode,
            verify,
            root_certificate,
            pool_size: POOL_SIZE,
            call_deadline: CALL_DEADLINE,
            wakeups: true,
        })
    }

    /// Sets the mode, whatever the port suggests.
    #[must_use]
    pub fn with_mode(mut self, mode: DatabaseMode) -> Self {
        self.mode = mode;
        self
    }

    /// Trusts this authority (a PEM file) as well: Supabase's is not a public one. A connection that does
    /// not say `sslmode` then demands a certificate from it that names the host.
    #[must_use]
    pub fn with_root_certificate(mut self, file: PathBuf) -> Self {
        if self.verify == Verify::Nothing && self.driver.get_ssl_mode() == SslMode::Prefer {
            self.driver.ssl_mode(SslMode::Require);
            self.verify = Verify::Full;
        }
        self.root_certificate = Some(file);
        self
    }

    /// Sets how many connections this process may hold, 1 to [`POOL_SIZE_MAX`].
    ///
    /// # Errors
    /// `INVALID_INPUT` outside these bounds.
    pub fn with_pool_size(mut self, size: usize) -> Result<Self> {
        if !(1..=POOL_SIZE_MAX).contains(&size) {
            return Err(Error::invalid("pool_size", "must be 1 to 500"));
        }
        self.pool_size = size;
        Ok(self)
    }

    /// Sets the deadline of a call. The default is [`CALL_DEADLINE`].
    #[must_use]
    pub fn with_call_deadline(mut self, deadline: Duration) -> Self {
        self.call_deadline = deadline;
        self
    }

    /// Sets whether this process tells idle workers of new work ([`crate::wakeups`]); it does by default.
    #[must_use]
    pub fn with_wakeups(mut self, wakeups: bool) -> Self {
        self.wakeups = wakeups;
        self
    }

    /// Returns the mode.
    pub fn mode(&self) -> DatabaseMode {
        self.mode
    }
}

impl fmt::Debug for DatabaseConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatabaseConfig")
            .field("mode", &self.mode)
            .field("pool_size", &self.pool_size)
            .finish_non_exhaustive()
    }
}

fn config_error(message: &'static str) -> Error {
    Error::failed(Code::ConfigInvalid, message)
}

fn is_local(host: &Host) -> bool {
    match host {
        Host::Tcp(name) => matches!(name.as_str(), "localhost" | "127.0.0.1" | "::1"),
        #[cfg(unix)]
        Host::Unix(_) => true,
    }
}

#[derive(Default)]
struct OurOptions {
    sslmode: Option<String>,
    root_certificate: Option<String>,
    pgbouncer: bool,
}

/// Takes out of a URL what the driver would refuse.
fn take_our_options(url: &str) -> (Cow<'_, str>, OurOptions) {
    let mut ours = OurOptions::default();
    let Some((base, query)) = url.split_once('?') else {
        return (Cow::Borrowed(url), ours);
    };
    let mut kept = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        match name {
            "sslmode" => ours.sslmode = Some(value.to_owned()),
            "sslrootcert" => ours.root_certificate = Some(percent_decoded(value)),
            "pgbouncer" => ours.pgbouncer = value == "true",
            // Prisma's and psycopg's words for what a pool setting says here.
            "connection_limit" | "pool_timeout" | "sslcert" | "sslkey" | "supa" => {}
            _ => kept.push(pair),
        }
    }
    (Cow::Owned(format!("{base}?{}", kept.join("&"))), ours)
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let escaped = (first == b'%')
            .then(|| tail.get(..2).and_then(|hex| std::str::from_utf8(hex).ok()))
            .flatten()
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        if let Some(byte) = escaped {
            bytes.push(byte);
            rest = tail.get(2..).unwrap_or_default();
        } else {
            bytes.push(first);
            rest = tail;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(url: &str) -> DatabaseConfig {
        DatabaseConfig::from_url(url).unwrap()
    }

    #[test]
    fn the_port_of_a_transaction_pooler_sets_the_mode() {
        assert_eq!(
            config("postgres://u:p@h.example/db").mode,
            DatabaseMode::Direct
        );
        assert_eq!(
            config("postgres://u:p@h.example:6543/db").mode,
            DatabaseMode::Transaction
        );
        let marked = config("postgres://u:p@h.example/db?pgbouncer=true");
        assert_eq!(marked.mode, DatabaseMode::Transaction);
        assert_eq!(
            marked.with_mode(DatabaseMode::Session).mode,
            DatabaseMode::Session
        );
    }

    #[test]
    fn a_remote_host_is_verified_unless_told_otherwise() {
        for (url, ssl, verify) in [
            ("postgres://u@h.example/db", SslMode::Require, Verify::Full),
            (
                "postgres://u@localhost/db",
                SslMode::Prefer,
                Verify::Nothing,
            ),
            (
                "postgres:///db?host=%2Ftmp&user=u",
                SslMode::Prefer,
                Verify::Nothing,
            ),
            (
                "postgres://u@h.example/db?sslmode=disable",
                SslMode::Disable,
                Verify::Nothing,
            ),
            (
                "postgres://u@h.example/db?sslmode=require",
                SslMode::Require,
                Verify::Nothing,
            ),
            (
                "postgres://u@h.example/db?sslmode=verify-ca",
                SslMode::Require,
                Verify::Chain,
            ),
            (
                "postgres://u@localhost/db?sslmode=verify-full",
                SslMode::Require,
                Verify::Full,
            ),
            (
                "postgres://u@h.example/db?sslmode=require&sslrootcert=%2Fca.pem",
                SslMode::Require,
                Verify::Chain,
            ),
        ] {
            let config = config(url);
            assert_eq!(
                (config.driver.get_ssl_mode(), config.verify),
                (ssl, verify),
                "{url}"
            );
        }
        let config = config("postgres://u@h.example/db?sslrootcert=%2Fa%20b.pem");
        assert_eq!(config.root_certificate.unwrap(), PathBuf::from("/a b.pem"));
    }

    #[test]
    fn neither_errors_nor_debug_repeat_the_address() {
        for url in [
            "postgres://planted:planted@planted:port/db",
            "planted",
            "postgres://planted@planted/planted?sslmode=planted",
            "postgres://planted@planted/planted?unknown_option=planted",
        ] {
            let error = DatabaseConfig::from_url(url).unwrap_err();
            assert_eq!(error.code(), Code::ConfigInvalid, "{url}");
            assert!(
                !format!("{error} {error:?}").contains("planted"),
                "{error:?}"
            );
        }
        let debug = format!("{:?}", config("postgres://planted:planted@planted/planted"));
        assert!(!debug.contains("planted"), "{debug}");
    }
}
