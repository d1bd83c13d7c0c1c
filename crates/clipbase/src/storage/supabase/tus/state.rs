//! What another process needs to go on with an upload: a small private file in the resume folder.
//!
//! It holds no credential: the upload's id is worth nothing without one. A folder that cannot be read or
//! written costs the resumption, never the upload.

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::io::AsyncReadExt;

use super::super::address::UploadId;
use super::super::file::Identity;
use crate::storage::atomic::{Fresh, blocking};
use crate::storage::objects::wall_clock;
use crate::storage::{Operation, StorageKey};

/// How long a server keeps an unfinished upload: 24 h on a hosted project. An hour less, so that what is
/// resumed has time to end.
const LIFETIME: Duration = Duration::from_secs(23 * 3_600);

/// What these files are called, behind a hash.
const SUFFIX: &str = ".upload.json";

/// The largest file that is read.
const FILE_BYTES_MAX: u64 = 16 * 1024;

/// The most entries of the folder that are looked at for stale files.
const SWEEP_MAX: usize = 1_000;

/// Where the state of one upload is kept.
pub(super) struct ResumeFile {
    folder: PathBuf,
    path: PathBuf,
    key: String,
    length: u64,
    modified_ns: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    upload: String,
    key: String,
    length: u64,
    /// As text: it need not fit into a JSON number.
    modified_ns: String,
    /// Seconds since 1970.
    created_at: u64,
}

impl ResumeFile {
    /// The state of one file's upload to one key of one server.
    pub(super) fn new(folder: &Path, base: &str, key: &StorageKey, file: Identity) -> Self {
        let mut hash = Sha256::new();
        for part in [
            base.to_owned(),
            key.to_string(),
            file.length.to_string(),
            file.modified_ns.to_string(),
            file.device.to_string(),
            file.inode.to_string(),
        ] {
            hash.update(part.as_bytes());
            hash.update([0]);
        }
        let name: String = hash
            .finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Self {
            folder: folder.to_owned(),
            path: folder.join(format!("{name}{SUFFIX}")),
            key: key.to_string(),
            length: file.length,
            modified_ns: file.modified_ns.to_string(),
        }
    }

    /// Returns the upload that was begun, if it may still live.
    pub(super) async fn load(&self) -> Option<UploadId> {
        let mut text = String::new();
        let file = tokio::fs::File::open(&self.path).await.ok()?;
        file.take(FILE_BYTES_MAX)
            .read_to_string(&mut text)
            .await
            .ok()?;
        let state: State = serde_json::from_str(&text).ok()?;
        let age = now().checked_sub(state.created_at)?;
        let same = state.key == self.key
            && state.length == self.length
            && state.modified_ns == self.modified_ns;
        let lives = age < LIFETIME.as_secs();
        (same && lives)
            .then(|| UploadId::new(&state.upload))
            .flatten()
    }

    /// Keeps an upload that has begun, and clears away what has expired.
    pub(super) async fn save(&self, id: &UploadId) {
        let state = State {
            upload: id.as_str().to_owned(),
            key: self.key.clone(),
            length: self.length,
            modified_ns: self.modified_ns.clone(),
            created_at: now(),
        };
        let (folder, path) = (self.folder.clone(), self.path.clone());
        let saved = blocking(Operation::Upload, move || {
            write(&folder, &path, &state).map_err(|e| Operation::Upload.io(&e))
        })
        .await;
        if let Err(error) = saved {
            tracing::warn!(cause = ?std::error::Error::source(&error), "an upload cannot be kept for resumption");
        }
    }

    /// Removes the state: the upload has ended.
    pub(super) async fn remove(&self) {
        match tokio::fs::remove_file(&self.path).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(kind = ?error.kind(), "the state of an upload that has ended is left behind");
            }
            _ => {}
        }
    }
}

fn now() -> u64 {
    wall_clock()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

fn write(folder: &Path, path: &Path, state: &State) -> io::Result<()> {
    use std::io::Write;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    sweep(folder)?;
    let mut fresh = Fresh::create_in(folder)?;
    fresh.file().write_all(&serde_json::to_vec(state)?)?;
    fresh.replace(path)
}

/// Removes the states of uploads that the server has forgotten.
fn sweep(folder: &Path) -> io::Result<()> {
    let now = wall_clock();
    for entry in std::fs::read_dir(folder)?.take(SWEEP_MAX) {
        let entry = entry?;
        let ours = entry.file_name().to_string_lossy().ends_with(SUFFIX);
        let changed = entry.metadata().and_then(|found| found.modified());
        let stale = changed.is_ok_and(|at| now.duration_since(at).is_ok_and(|age| age > LIFETIME));
        if ours && stale {
            match std::fs::remove_file(entry.path()) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::ids::JobId;

    const FILE: Identity = Identity {
        length: 7,
        modified_ns: 1,
        device: 2,
        inode: 3,
    };

    fn id() -> UploadId {
        UploadId::new("c29tZXRoaW5n").unwrap()
    }

    #[tokio::test]
    async fn a_state_is_found_by_the_same_file_and_key_alone() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("made/when/needed");
        let key = StorageKey::result_video(JobId::new(), 1);
        let state = ResumeFile::new(&folder, "https://host", &key, FILE);
        assert!(state.load().await.is_none());
        state.save(&id()).await;
        assert!(state.load().await == Some(id()));
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&folder), mode(&state.path)), (0o700, 0o600));

        let other = StorageKey::result_video(JobId::new(), 1);
        let changed = Identity {
            modified_ns: 2,
            ..FILE
        };
        for (base, key, file) in [
            ("https://host", &other, FILE),
            ("https://host", &key, changed),
            ("https://another", &key, FILE),
        ] {
            let stranger = ResumeFile::new(&folder, base, key, file);
            assert!(stranger.load().await.is_none());
        }
        state.remove().await;
        assert!(state.load().await.is_none());
        state.remove().await;
    }

    #[tokio::test]
    async fn a_state_that_is_old_or_broken_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let key = StorageKey::result_video(JobId::new(), 1);
        let state = ResumeFile::new(folder.path(), "https://host", &key, FILE);
        state.save(&id()).await;
        let text = std::fs::read_to_string(&state.path).unwrap();
        let mut old: State = serde_json::from_str(&text).unwrap();
        for (created_at, expected) in [
            (now() - LIFETIME.as_secs() + 60, true),
            (now() - LIFETIME.as_secs(), false),
            (now() + 3_600, false),
        ] {
            old.created_at = created_at;
            std::fs::write(&state.path, serde_json::to_vec(&old).unwrap()).unwrap();
            assert_eq!(state.load().await.is_some(), expected);
        }
        for broken in ["", "{}", "[1]", &text.replace("c29t", "../x")] {
            std::fs::write(&state.path, broken).unwrap();
            assert!(state.load().await.is_none(), "{broken}");
        }
    }

    #[tokio::test]
    async fn stale_states_are_swept_and_strangers_stay() {
        let folder = tempfile::tempdir().unwrap();
        let long_ago = SystemTime::now() - LIFETIME * 2;
        for name in ["old.upload.json", "stranger.txt"] {
            let file = std::fs::File::create(folder.path().join(name)).unwrap();
            file.set_modified(long_ago).unwrap();
        }
        let key = StorageKey::result_video(JobId::new(), 1);
        let state = ResumeFile::new(folder.path(), "https://host", &key, FILE);
        state.save(&id()).await;
        assert!(!folder.path().join("old.upload.json").exists());
        assert!(folder.path().join("stranger.txt").exists());
        assert!(state.load().await.is_some());
    }

    #[tokio::test]
    async fn a_folder_that_cannot_be_made_costs_only_the_resumption() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let key = StorageKey::result_video(JobId::new(), 1);
        let state = ResumeFile::new(&file.join("below"), "https://host", &key, FILE);
        state.save(&id()).await;
        assert!(state.load().await.is_none());
        state.remove().await;
    }
}
