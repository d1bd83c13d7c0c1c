//! Where clusters live when nobody says so, and the short names that long paths get.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::account::effective_uid;
use crate::error::Result;

/// A fast cluster takes 39 MB and each test's database 8 MB more; containers often have 64 MB.
const MEMORY_KIB_MIN: u64 = 512 * 1024;

/// Returns where a workspace's test cluster lives: in memory where there is room.
///
/// Every process of the same user, workspace and server gets the same answer, so that they share one
/// cluster; `bin_dir` is part of it because one cluster belongs to one major version.
pub fn default_test_directory(workspace: &Path, bin_dir: Option<&Path>) -> Result<PathBuf> {
    let uid = effective_uid()?;
    let named = bin_dir.unwrap_or(Path::new("")).as_os_str().as_bytes();
    let hash = hash(&[workspace.as_os_str().as_bytes(), named]);
    let name = format!("clipbase-test-{uid}-{hash:016x}");
    let memory = Path::new("/dev/shm");
    let in_memory = memory.join(&name);
    if in_memory.is_dir() || free_kib(memory).is_some_and(|free| free >= MEMORY_KIB_MIN) {
        return Ok(in_memory);
    }
    // A checkout of root's is often under /root, which the server's user cannot enter.
    let parent = if uid == 0 {
        PathBuf::from("/var/tmp")
    } else {
        workspace.join("target/tmp")
    };
    Ok(parent.join(name))
}

/// Returns where the product keeps its data: `/var/lib/clipbase` for root, else
/// `$XDG_DATA_HOME/clipbase`, else `~/.local/share/clipbase`. `None` when neither variable is usable.
///
/// A cluster goes into a directory of its own below it.
pub fn default_data_directory(
    uid: u32,
    xdg_data_home: Option<&OsStr>,
    home: Option<&OsStr>,
) -> Option<PathBuf> {
    if uid == 0 {
        // Not /root, whatever the variables say: the server's user cannot enter it.
        return Some(PathBuf::from("/var/lib/clipbase"));
    }
    let absolute = |value: &OsStr| Some(PathBuf::from(value)).filter(|path| path.is_absolute());
    let data = xdg_data_home.and_then(absolute).or_else(|| {
        home.and_then(absolute)
            .map(|home| home.join(".local/share"))
    })?;
    Some(data.join("clipbase"))
}

/// Asks `df`: std has no call for it.
fn free_kib(directory: &Path) -> Option<u64> {
    let answer = Command::new("df").arg("-Pk").arg(directory).output().ok()?;
    df_available(&String::from_utf8_lossy(&answer.stdout))
}

/// The fourth column of the second line.
fn df_available(text: &str) -> Option<u64> {
    text.lines().nth(1)?.split_whitespace().nth(3)?.parse().ok()
}

/// FNV-1a: the same in every process and version, which std's hashers do not promise.
pub(crate) fn hash(parts: &[&[u8]]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for part in parts {
        for &byte in part.iter().chain(&[0]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(uid: u32, xdg: &str, home: &str) -> Option<PathBuf> {
        default_data_directory(uid, Some(OsStr::new(xdg)), Some(OsStr::new(home)))
    }

    #[test]
    fn root_keeps_its_data_where_the_servers_user_can_go() {
        assert_eq!(
            data(0, "/root/.local", "/root"),
            Some("/var/lib/clipbase".into())
        );
    }

    #[test]
    fn a_relative_xdg_directory_is_ignored_as_its_standard_says() {
        assert_eq!(data(1000, "/x", "/home/a"), Some("/x/clipbase".into()));
        assert_eq!(
            data(1000, "x", "/home/a"),
            Some("/home/a/.local/share/clipbase".into())
        );
        assert_eq!(data(1000, "", ""), None);
    }

    #[test]
    fn df_is_read_in_its_portable_form() {
        let text = "Filesystem 1024-blocks Used Available Capacity Mounted on\ntmpfs 65536 0 65536 0% /dev/shm\n";
        assert_eq!(df_available(text), Some(65536));
        assert_eq!(df_available(""), None);
    }

    #[test]
    fn the_hash_never_changes_and_keeps_its_parts_apart() {
        assert_eq!(hash(&[]), 0xcbf2_9ce4_8422_2325);
        assert_ne!(hash(&[b"a", b"b"]), hash(&[b"ab", b""]));
    }

    #[test]
    fn test_clusters_of_two_servers_are_apart() {
        let place = |bin: Option<&str>| {
            default_test_directory(Path::new("/w"), bin.map(Path::new)).unwrap()
        };
        assert_eq!(place(None), place(None));
        assert_ne!(place(None), place(Some("/pg17/bin")));
    }
}
