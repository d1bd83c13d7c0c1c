//! The signing key's file: made once, by whichever process comes first.
//!
//! Owns `signing.key` under the root: 32 random bytes, readable by its owner alone. It never writes to a
//! key that exists, never uses one that others can read, and returns the bytes to the signer only.
//!
//! ```text
//! write `.incoming/{random}` → flush → link as `signing.key`, unless there is one → read `signing.key`
//! ```

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::storage::atomic::FILE_MODE;
use crate::storage::local::{FOLDER_MODE, INCOMING_FOLDER};

/// The length of a key: that of the hash it is used with.
pub(super) const KEY_BYTES: usize = 32;

const KEY_FILE: &str = "signing.key";

/// The first process to link its key file into place decides; everybody reads that file.
pub(super) fn load_or_create(root: &Path) -> io::Result<[u8; KEY_BYTES]> {
    let path = root.join(KEY_FILE);
    match read_key(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        outcome => return outcome,
    }
    let incoming = root.join(INCOMING_FOLDER);
    DirBuilder::new()
        .recursive(true)
        .mode(FOLDER_MODE)
        .create(&incoming)?;
    let candidate = incoming.join(Uuid::new_v4().simple().to_string());
    let linked = write_key(&candidate).and_then(|()| fs::hard_link(&candidate, &path));
    // A crash before this line leaves a file that `ensure_buckets` removes a day later.
    fs::remove_file(&candidate).ok();
    match linked {
        Ok(()) => File::open(root)?.sync_all()?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    read_key(&path)
}

fn write_key(path: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(FILE_MODE)
        .open(path)?;
    file.write_all(&random_key())?;
    file.sync_all()
}

fn read_key(path: &Path) -> io::Result<[u8; KEY_BYTES]> {
    let found = fs::symlink_metadata(path)?;
    if !found.is_file() || found.len() != KEY_BYTES as u64 {
        return Err(io::ErrorKind::InvalidData.into());
    }
    // A key that others can read is no key, and making it private again would not take it back.
    if found.mode() & 0o077 != 0 {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    let mut key = [0; KEY_BYTES];
    File::open(path)?.read_exact(&mut key)?;
    Ok(key)
}

/// 32 bytes from the operating system's generator: four UUIDs bring 488 random bits, and the hash takes
/// the fixed ones out.
pub(super) fn random_key() -> [u8; KEY_BYTES] {
    let mut hash = Sha256::new();
    for _ in 0..4 {
        hash.update(Uuid::new_v4().as_bytes());
    }
    hash.finalize().into()
}
