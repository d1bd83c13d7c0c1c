//! What a caller may decide about a private cluster.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What the server promises about committed rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// A committed row outlives a crash of the machine.
    Durable,
    /// Nothing outlives a crash of the machine: for tests, several times faster.
    Fast,
}

/// How a private cluster is found, started and kept.
///
/// Processes that name the same directory share one server; the one that starts it decides its
/// durability and how long it lingers.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The cluster's own directory. It is created, closed to other users, and given to the user that
    /// runs the server; nothing else may live in it.
    pub directory: PathBuf,
    /// What the server promises about committed rows.
    pub durability: Durability,
    /// How long the server stays after its last user is gone.
    pub linger: Duration,
    /// The directory with `postgres` and `initdb`; none means the best one installed.
    pub bin_dir: Option<PathBuf>,
    /// The value of `PATH`, one of the places where a server is looked for.
    pub search_path: Option<OsString>,
    /// How long a start may take, crash recovery included.
    pub start_timeout: Duration,
}

impl Settings {
    /// A durable cluster that ends with its last user: for running the product.
    pub fn durable(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            durability: Durability::Durable,
            linger: Duration::ZERO,
            bin_dir: None,
            search_path: search_path(),
            start_timeout: Duration::from_secs(120),
        }
    }

    /// A fast cluster that waits 10 s for the next user: for test processes that follow each other.
    pub fn fast(directory: impl Into<PathBuf>) -> Self {
        Self {
            durability: Durability::Fast,
            linger: Duration::from_secs(10),
            ..Self::durable(directory)
        }
    }

    /// Uses the server in this directory instead of looking for one.
    #[must_use]
    pub fn bin_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.bin_dir = Some(directory.into());
        self
    }

    /// Sets how long the server stays after its last user is gone.
    #[must_use]
    pub fn linger(mut self, linger: Duration) -> Self {
        self.linger = linger;
        self
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a search for programs means the caller's PATH"
)]
fn search_path() -> Option<OsString> {
    std::env::var_os("PATH")
}

/// The server's settings, as `name=value`. On the command line they win over any file in the cluster.
pub(crate) fn server_options(durability: Durability, socket_dir: &Path) -> Vec<OsString> {
    const COMMON: [&str; 8] = [
        // No TCP at all: no port to clash over, no way in for other machines or users.
        "listen_addresses=",
        "port=5432",
        "unix_socket_permissions=0700",
        "logging_collector=off",
        "log_destination=stderr",
        "cluster_name=clipbase",
        "shared_buffers=64MB",
        // Compiling a query costs more than any query here takes.
        "jit=off",
    ];
    const DURABLE: [&str; 3] = ["fsync=on", "full_page_writes=on", "synchronous_commit=on"];
    const FAST: [&str; 8] = [
        "fsync=off",
        "full_page_writes=off",
        "synchronous_commit=off",
        "autovacuum=off",
        "wal_level=minimal",
        "max_wal_senders=0",
        "max_wal_size=4GB",
        "max_connections=200",
    ];
    let own: &[&str] = match durability {
        Durability::Durable => &DURABLE,
        Durability::Fast => &FAST,
    };
    let mut options: Vec<OsString> = COMMON.iter().chain(own).map(OsString::from).collect();
    options.push(socket_option(socket_dir));
    options
}

/// The value is a list: a comma or a space in the path must be quoted.
fn socket_option(directory: &Path) -> OsString {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let mut option = b"unix_socket_directories=\"".to_vec();
    for &byte in directory.as_os_str().as_bytes() {
        if byte == b'"' {
            option.push(b'"');
        }
        option.push(byte);
    }
    option.push(b'"');
    OsString::from_vec(option)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_directory_is_quoted_as_a_list_item() {
        let option = socket_option(Path::new("/a b,\"c"));
        assert_eq!(option, "unix_socket_directories=\"/a b,\"\"c\"");
    }

    #[test]
    fn only_a_fast_cluster_gives_up_fsync() {
        let has = |durability, option: &str| {
            server_options(durability, Path::new("/s"))
                .iter()
                .any(|each| each == option)
        };
        assert!(has(Durability::Durable, "fsync=on"));
        assert!(has(Durability::Fast, "fsync=off"));
        assert!(has(Durability::Fast, "max_connections=200"));
    }
}
