//! The connection string of a server that listens on a unix-domain socket only.

use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Builds `postgresql:///jobs?host=%2Fpath&user=postgres`.
///
/// The host stands in the query because every driver reads it there: one before the slash is refused
/// by some, and others try it as a TCP address first, where a stranger may listen.
pub(crate) fn url(database: &str, socket_dir: &Path) -> String {
    let database = encode(database.as_bytes());
    let host = encode(socket_dir.as_os_str().as_bytes());
    format!("postgresql:///{database}?host={host}&user=postgres")
}

fn encode(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, &byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(text, "%{byte:02X}");
        }
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_the_encoded_socket_directory() {
        assert_eq!(
            url("clip base", Path::new("/run/a b/sock")),
            "postgresql:///clip%20base?host=%2Frun%2Fa%20b%2Fsock&user=postgres"
        );
    }
}
