//! Databases, builders and contracts for clipbase's own tests.
//!
//! [`run`] gives a test its own database, made from a migrated template on a private server in memory, and
//! its own storage. When the test's body returns, every job's log is audited against its row, and the
//! database is dropped; a test that panics leaves its database for a look.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed set-up fails the test"
)]
#![allow(
    clippy::missing_panics_doc,
    reason = "everything here panics instead of returning errors"
)]

pub mod builders;
pub mod database;
pub mod fake_supabase;
pub mod fault_proxy;
pub mod logs;
pub mod pooler;
pub mod storage_contract;

use std::sync::Arc;
use std::time::{Duration, Instant};

use clipbase::storage::MemoryStorage;
use clipbase::{Clipbase, DatabaseConfig, DatabaseMode, Settings};

pub use database::TestDatabase;

/// What a test works with.
#[derive(Debug)]
pub struct Bench {
    /// The handle under test.
    pub clipbase: Clipbase,
    /// Its storage.
    pub storage: MemoryStorage,
    /// Its database.
    pub database: TestDatabase,
    mode: DatabaseMode,
}

impl Bench {
    /// Another handle on the same database and storage, as another process would have.
    pub fn another(&self, settings: Settings) -> Clipbase {
        Clipbase::new(&self.config(), Arc::new(self.storage.clone()), settings).unwrap()
    }

    /// How the handle connects.
    pub fn config(&self) -> DatabaseConfig {
        let url = match self.mode {
            DatabaseMode::Transaction => pooler::url(&self.database),
            _ => self.database.url(),
        };
        DatabaseConfig::from_url(&url)
            .unwrap()
            .with_mode(self.mode)
            .with_pool_size(16)
            .unwrap()
    }

    /// Compares every job's log with its row, and fails the test where they differ.
    pub async fn audit(&self) {
        let mut after = None;
        loop {
            let page = self.clipbase.inspect().audit(after, 1_000).await.unwrap();
            assert!(
                page.problems.is_empty(),
                "logs that do not add up: {:#?}",
                page.problems
            );
            after = page.next;
            if after.is_none() {
                return;
            }
        }
    }
}

/// Runs a test's body on a bootstrapped database of its own, by direct connections.
pub async fn run(body: impl AsyncFnOnce(&Bench)) {
    run_in(DatabaseMode::Direct, Settings::default(), body).await;
}

/// Runs an example of the documentation on a bootstrapped database of its own, and audits what it did.
pub fn example(body: impl AsyncFnOnce(&Clipbase) -> clipbase::Result<()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(run(async |bench| body(&bench.clipbase).await.unwrap()));
}

/// As [`run`], in the given mode (a transaction pooler is PgBouncer with 4 server connections) and with the
/// given rules.
pub async fn run_in(mode: DatabaseMode, settings: Settings, body: impl AsyncFnOnce(&Bench)) {
    let database = TestDatabase::new().await;
    let storage = MemoryStorage::new();
    let direct = DatabaseConfig::from_url(&database.url()).unwrap();
    let mut bench = Bench {
        clipbase: Clipbase::new(&direct, Arc::new(storage.clone()), settings).unwrap(),
        storage,
        database,
        mode,
    };
    bench.clipbase = bench.another(settings);
    bench.clipbase.bootstrap().await.unwrap();
    body(&bench).await;
    bench.audit().await;
    bench.database.drop_database().await;
}

/// Waits until the condition holds, asking again at once; fails the test after a minute.
pub async fn wait_until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !condition().await {
        assert!(
            started.elapsed() < Duration::from_secs(60),
            "timed out waiting until {what}"
        );
        tokio::task::yield_now().await;
    }
}
