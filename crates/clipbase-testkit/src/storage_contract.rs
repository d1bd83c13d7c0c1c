//! What every storage backend must do, as tests that any backend can run.
//!
//! Owns the behaviours that `clipbase::storage::Storage` promises, one function each. It never looks
//! behind the trait, needs no empty storage (other objects may come and go meanwhile), and removes
//! nothing that it did not store. Every failure that it provokes is searched for names and paths.
//!
//! ```
//! use clipbase::storage::MemoryStorage;
//! use clipbase_testkit::storage_contract::Subject;
//!
//! async fn memory() -> Subject {
//!     Subject::new(MemoryStorage::new(), ()).await
//! }
//!
//! mod contract {
//!     clipbase_testkit::storage_contract!(super::memory); // one #[tokio::test] for each behaviour
//! }
//! # fn main() {}
//! ```

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

use std::any::Any;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use clipbase::storage::{Bucket, RemoveOutcome, Storage, StorageKey, byte_stream};
use clipbase::{Code, Error, JobId, Result};
use tempfile::TempDir;

mod bulk;
mod links;
mod objects;
mod uploads;

pub use bulk::*;
pub use links::*;
pub use objects::*;
pub use uploads::*;

/// Makes one `#[tokio::test]` for each behaviour. Takes the path of an async function without arguments
/// that returns a [`Subject`]; stands in a module of its own.
///
/// `storage_contract!(run fixture, done)` runs all behaviours one after the other inside an async function, and
/// calls `done` with the name of each: for a backend that is not always there.
#[macro_export]
macro_rules! storage_contract {
    (@all {$($head:tt)*}) => {
        $crate::storage_contract! { $($head)*;
            an_uploaded_file_comes_back_byte_for_byte
            an_uploaded_stream_comes_back_byte_for_byte
            an_empty_object_is_an_object
            an_upload_replaces_what_was_there
            every_kind_of_key_has_its_own_object
            info_describes_an_object
            a_missing_object_is_none_to_info_and_not_found_to_readers
            a_download_replaces_the_file_or_leaves_it
            a_small_object_can_be_read_into_memory
            readers_see_an_overwrite_whole_or_not_at_all
            a_short_stream_leaves_nothing
            a_long_stream_leaves_nothing
            a_broken_stream_leaves_nothing
            a_failed_overwrite_leaves_the_old_object
            a_dropped_upload_leaves_nothing
            a_source_that_is_no_file_is_refused
            a_copy_is_an_object_of_its_own
            a_copy_replaces_what_was_there
            a_copy_onto_itself_changes_nothing
            a_copy_of_a_missing_object_is_not_found
            removing_tells_each_key_apart
            removing_twice_is_no_failure
            a_thousand_keys_can_be_removed_and_no_more
            removing_takes_one_object_and_leaves_its_siblings
            siblings_come_and_go_without_harm
            pages_of_any_size_list_every_object_once_in_order
            a_listing_goes_on_after_its_cursor_was_removed
            a_page_has_bounds
            a_listing_stays_in_its_bucket
            a_link_needs_its_object
            a_link_keeps_its_lifetime_and_its_secret
            many_links_tell_each_key_apart
            an_upload_link_needs_no_object
            making_buckets_again_changes_nothing
            a_probe_may_do_everything
        }
    };
    (@names; $($name:ident)*) => { &[$(stringify!($name)),*] };
    (@tests $fixture:path; $($name:ident)*) => {
        $(
            #[tokio::test]
            async fn $name() {
                let subject = $fixture().await;
                $crate::storage_contract::$name(&subject).await;
            }
        )*
    };
    (@run $fixture:path, $done:expr; $($name:ident)*) => {
        $(
            let subject = $fixture().await;
            $crate::storage_contract::$name(&subject).await;
            $done(stringify!($name));
        )*
    };
    (names) => { $crate::storage_contract! { @all {@names} } };
    (run $fixture:path, $done:expr) => {
        $crate::storage_contract! { @all {@run $fixture, $done} }
    };
    ($fixture:path) => { $crate::storage_contract! { @all {@tests $fixture} } };
}

/// The names of all behaviours, in the order in which they are listed.
pub const BEHAVIOURS: &[&str] = storage_contract!(names);

/// A backend under test with its buckets made, a folder to work in, and what must live as long.
pub struct Subject {
    storage: Arc<dyn Storage>,
    scratch: TempDir,
    _kept: Box<dyn Any + Send + Sync>,
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subject").finish_non_exhaustive()
    }
}

impl Subject {
    /// Makes the buckets of a storage; `kept` (a folder, a server) is dropped after it.
    pub async fn new(storage: impl Storage + 'static, kept: impl Any + Send + Sync) -> Self {
        let storage: Arc<dyn Storage> = Arc::new(storage);
        storage.ensure_buckets().await.expect("buckets are made");
        Self {
            storage,
            scratch: tempfile::tempdir().expect("a folder to work in"),
            _kept: Box::new(kept),
        }
    }

    /// Returns the storage.
    pub fn storage(&self) -> &dyn Storage {
        self.storage.as_ref()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    async fn store(&self, key: &StorageKey, content: &[u8]) {
        let stream = byte_stream(content.to_vec());
        self.storage()
            .upload_stream(stream, content.len() as u64, key)
            .await
            .expect("an object is stored");
    }

    async fn content(&self, key: &StorageKey) -> Option<Vec<u8>> {
        let path = self.path(&format!("read-{}", JobId::new()));
        match self.storage().download(key, &path).await {
            Ok(()) => Some(std::fs::read(path).expect("a downloaded file")),
            Err(error) if error.code() == Code::StorageNotFound => None,
            Err(error) => panic_with(&error),
        }
    }

    async fn exists(&self, key: &StorageKey) -> bool {
        self.storage().info(key).await.expect("an answer").is_some()
    }

    /// Removes one object and tells whether it was there.
    async fn take(&self, key: &StorageKey) -> bool {
        let mut removals = self
            .storage()
            .remove(std::slice::from_ref(key))
            .await
            .expect("an answer");
        match removals.pop().expect("one answer").outcome {
            RemoveOutcome::Removed => true,
            RemoveOutcome::Missing => false,
            RemoveOutcome::Failed(error) => panic_with(&error),
        }
    }

    /// Checks that a call failed with this code, and that the failure gives nothing away.
    fn refused<T>(&self, outcome: Result<T>, code: Code, key: &StorageKey) {
        let error = outcome.err().expect("the call fails");
        assert_eq!(error.code(), code, "{error:?}");
        let source = std::error::Error::source(&error);
        let shown = format!("{error} {error:?} {source:?} {source:#?}");
        let scratch = self.scratch.path().to_string_lossy().into_owned();
        let [sources, results] = Bucket::ALL.map(|bucket| bucket.name().to_owned());
        let owner = key.job().expect("a job's key").to_string();
        for secret in [sources, results, owner, key.path(), scratch] {
            assert!(!shown.contains(&secret), "{secret} is shown in: {shown}");
        }
    }
}

fn panic_with(error: &Error) -> ! {
    panic!("{error}: {error:?}")
}

fn video() -> StorageKey {
    StorageKey::result_video(JobId::new(), 1)
}

/// Bytes without a pattern that a lost or doubled block could hide in.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

#[cfg(test)]
mod tests {
    use super::BEHAVIOURS;

    #[test]
    fn no_behaviour_is_forgotten_in_the_list() {
        let written: Vec<&str> = [
            include_str!("storage_contract/objects.rs"),
            include_str!("storage_contract/uploads.rs"),
            include_str!("storage_contract/bulk.rs"),
            include_str!("storage_contract/links.rs"),
        ]
        .iter()
        .flat_map(|file| file.lines())
        .filter_map(|line| line.strip_prefix("pub async fn ")?.split('(').next())
        .collect();
        let mut listed = BEHAVIOURS.to_vec();
        let mut written = written;
        listed.sort_unstable();
        written.sort_unstable();
        assert_eq!(listed, written);
    }
}
