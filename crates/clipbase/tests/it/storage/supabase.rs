//! Supabase Storage: the contract in every configuration that matters, on a server in this process and, where
//! there is one, on a real one.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use clipbase::storage::{
    KeyLayout, RetryPolicy, Storage, StorageKey, SupabaseConfig, SupabaseStorage, Timeouts,
    byte_stream,
};
use clipbase::{JobId, Result};
use clipbase_testkit::fake_supabase::FakeSupabase;
use clipbase_testkit::storage_contract::{BEHAVIOURS, Subject};

mod big;
mod buckets;
mod downloads;
mod faults;
mod links;
mod lists;
mod removals;
mod resumable;
mod uploads;

/// Fast pauses, and patience enough for a busy machine.
pub(super) fn config(server: &FakeSupabase, key: &str) -> SupabaseConfig {
    SupabaseConfig::from_storage_url(&server.url(), key)
        .unwrap()
        .with_retry(RetryPolicy {
            tries: 4,
            base: Duration::from_millis(2),
            cap: Duration::from_millis(10),
        })
        .unwrap()
}

pub(super) fn storage(server: &FakeSupabase) -> SupabaseStorage {
    open(config(server, server.service_key()))
}

fn open(config: SupabaseConfig) -> SupabaseStorage {
    SupabaseStorage::new(config).unwrap()
}

/// A server with its buckets and a storage on it.
struct Bench {
    server: FakeSupabase,
    storage: SupabaseStorage,
}

impl Bench {
    async fn new() -> Self {
        Self::with(|config| config).await
    }

    async fn with(change: impl FnOnce(SupabaseConfig) -> SupabaseConfig) -> Self {
        let server = FakeSupabase::start().await;
        let storage = open(change(config(&server, server.service_key())));
        storage.ensure_buckets().await.unwrap();
        Self { server, storage }
    }

    /// Another storage on the same server, as another process has it.
    fn another(&self, change: impl FnOnce(SupabaseConfig) -> SupabaseConfig) -> SupabaseStorage {
        open(change(config(&self.server, self.server.service_key())))
    }

    async fn store(&self, key: &StorageKey, content: &'static str) -> Result<()> {
        let stream = byte_stream(content);
        self.storage
            .upload_stream(stream, content.len() as u64, key)
            .await
    }

    fn content(&self, key: &StorageKey) -> Option<Vec<u8>> {
        let content = self.server.content(key.bucket().name(), &key.path());
        content.map(|content| content.to_vec())
    }
}

/// Gives up on a stuck server after this.
const PATIENCE: Duration = Duration::from_millis(300);

fn impatient(config: SupabaseConfig) -> SupabaseConfig {
    config
        .with_timeouts(Timeouts {
            connect: Duration::from_secs(10),
            control: PATIENCE,
            read: PATIENCE,
        })
        .unwrap()
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

/// A file with this content, in a folder that goes away with it.
fn file_of(content: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("in.mp4");
    std::fs::write(&path, content).unwrap();
    (folder, path)
}

mod default_contract {
    async fn subject() -> super::Subject {
        super::fake_subject(|config, _| config).await
    }
    clipbase_testkit::storage_contract!(subject);
}

mod literal_layout_contract {
    async fn subject() -> super::Subject {
        super::fake_subject(|config, _| config.with_key_layout(super::KeyLayout::Literal)).await
    }
    clipbase_testkit::storage_contract!(subject);
}

mod resumable_contract {
    async fn subject() -> super::Subject {
        super::fake_subject(|config, _| config.with_tus_threshold(0).unwrap()).await
    }
    clipbase_testkit::storage_contract!(subject);
}

mod secret_key_contract {
    async fn subject() -> super::Subject {
        super::fake_subject(|_, server| super::config(server, server.secret_key())).await
    }
    clipbase_testkit::storage_contract!(subject);
}

async fn fake_subject(
    change: impl FnOnce(SupabaseConfig, &FakeSupabase) -> SupabaseConfig,
) -> Subject {
    let server = FakeSupabase::start().await;
    let storage = open(change(config(&server, server.service_key()), &server));
    Subject::new(storage, server).await
}

/// On a real server, when there is one: `CLIPBASE_TEST_SUPABASE_URL` is its storage's base, without a gateway
/// too, and `CLIPBASE_TEST_SUPABASE_KEY` a service key.
mod real_supabase_contract {
    use super::*;

    const URL: &str = "CLIPBASE_TEST_SUPABASE_URL";
    const KEY: &str = "CLIPBASE_TEST_SUPABASE_KEY";

    #[allow(
        clippy::disallowed_methods,
        reason = "where a real server is, only the environment can tell a test"
    )]
    fn configured() -> std::result::Result<SupabaseConfig, &'static str> {
        let url = std::env::var(URL).map_err(|_| URL)?;
        let key = std::env::var(KEY).map_err(|_| KEY)?;
        Ok(SupabaseConfig::from_storage_url(&url, &key).unwrap())
    }

    /// Written past the test harness, which would keep it to itself: a run that tested nothing must not look like
    /// one that did.
    fn say(line: &str) {
        let line = format!("storage contract on a real server: {line}\n");
        std::io::stderr().write_all(line.as_bytes()).unwrap();
    }

    async fn plain() -> Subject {
        Subject::new(open(configured().unwrap()), ()).await
    }

    async fn resumable() -> Subject {
        let config = configured().unwrap().with_tus_threshold(0).unwrap();
        Subject::new(open(config), ()).await
    }

    async fn literal() -> Subject {
        let config = configured().unwrap().with_key_layout(KeyLayout::Literal);
        Subject::new(open(config), ()).await
    }

    #[tokio::test]
    async fn the_contract_holds_on_a_real_server_or_says_that_it_did_not_run() {
        if let Err(missing) = configured() {
            say(&format!("not run, {missing} is not set"));
            return;
        }
        let mut ran = 0;
        let mut done = |name: &str| {
            say(&format!("{name} ok"));
            ran += 1;
        };
        clipbase_testkit::storage_contract!(run plain, done);
        clipbase_testkit::storage_contract!(run resumable, done);
        clipbase_testkit::storage_contract!(run literal, done);
        assert_eq!(ran, BEHAVIOURS.len() * 3);
        say(&format!("{ran} behaviours ran"));
    }
}
