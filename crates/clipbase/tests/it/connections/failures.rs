//! Servers that go away, refuse or fail, and what is tried again.

use std::net::TcpListener;
use std::sync::Arc;

use clipbase::db::POOL_WAIT;
use clipbase::storage::MemoryStorage;
use clipbase::{Clipbase, Code, DatabaseConfig, JobId, Settings};
use clipbase_testkit::builders::new_job;
use clipbase_testkit::{Bench, run, wait_until};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_postgres::Client;

use super::{lifecycle, narrow};
use crate::support::job;

fn handle(url: &str) -> Clipbase {
    let config = DatabaseConfig::from_url(url).unwrap();
    let storage = Arc::new(MemoryStorage::new());
    Clipbase::new(&config, storage, Settings::default()).unwrap()
}

async fn kill_backends(raw: &Client) {
    let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                WHERE datname = current_database() AND pid <> pg_backend_pid()";
    raw.execute(sql, &[]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_recover_from_connections_that_the_server_cuts() {
    run(async |bench| {
        let raw = bench.database.raw().await;
        let mut tasks = JoinSet::new();
        for _ in 0..8 {
            let clipbase = bench.clipbase.clone();
            tasks.spawn(async move {
                let mut failed = 0;
                for _ in 0..40 {
                    if let Err(error) = lifecycle(&clipbase).await {
                        assert_eq!(error.code(), Code::DbUnavailable, "{error:?}");
                        failed += 1;
                    }
                }
                failed
            });
        }
        let mut rounds = 0;
        while !tasks.is_empty() {
            let before = count_jobs(&raw).await;
            wait_until("some work is done", async || {
                rounds >= 10 || count_jobs(&raw).await >= before + 8
            })
            .await;
            if rounds < 10 {
                kill_backends(&raw).await;
                rounds += 1;
            } else if let Some(failed) = tasks.join_next().await {
                assert!(failed.unwrap() < 40);
            }
        }
        // Idle connections that were cut are noticed before they are used.
        kill_backends(&raw).await;
        wait_until("the pool has noticed", async || {
            lifecycle(&bench.clipbase).await.is_ok()
        })
        .await;
        for _ in 0..20 {
            lifecycle(&bench.clipbase).await.unwrap();
        }
    })
    .await;
}

async fn count_jobs(raw: &Client) -> i64 {
    raw.query_one("SELECT count(*) FROM jobs", &[])
        .await
        .unwrap()
        .get(0)
}

#[tokio::test]
async fn a_caller_waits_for_a_connection_only_so_long() {
    run(async |bench| {
        let clipbase = narrow(bench, |config| config);
        let held = clipbase.database().connection().await.unwrap();
        tokio::time::pause();
        let started = Instant::now();
        let refused = clipbase.jobs().get(JobId::new()).await.unwrap_err();
        assert_eq!(refused.code(), Code::DbUnavailable);
        assert!(started.elapsed() < POOL_WAIT * 2);
        tokio::time::resume();
        drop(held);
        lifecycle(&clipbase).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_server_that_is_away_or_silent_is_unavailable() {
    // Bound and never accepted from; the second one is closed at once.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap();
    let ports = [&silent, &closed].map(|listener| listener.local_addr().unwrap().port());
    drop(closed);
    tokio::time::pause();
    for port in ports {
        let url = format!("postgresql://planted:planted@127.0.0.1:{port}/planted?sslmode=disable");
        let error = handle(&url).jobs().get(JobId::new()).await.unwrap_err();
        assert_eq!(error.code(), Code::DbUnavailable, "{error:?}");
        assert!(
            !format!("{error} {error:?}").contains("planted"),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn a_database_that_does_not_exist_is_unavailable() {
    run(async |bench| {
        let url = bench
            .database
            .url()
            .replace(bench.database.name(), "planted");
        let error = handle(&url).jobs().get(JobId::new()).await.unwrap_err();
        assert_eq!(error.code(), Code::DbUnavailable);
        assert!(
            !format!("{error} {error:?}").contains("planted"),
            "{error:?}"
        );
    })
    .await;
}

/// Lets the next updates of jobs fail with an error of the server's; counts the tries.
async fn fail_updates(raw: &Client, times: u32, state: &str) {
    let sql = format!(
        "CREATE SEQUENCE IF NOT EXISTS tries;
         SELECT setval('tries', 1, false);
         CREATE OR REPLACE FUNCTION fail_some() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN
             IF nextval('public.tries') <= {times} THEN
                 RAISE EXCEPTION USING ERRCODE = '{state}', MESSAGE = 'planted';
             END IF;
             RETURN NEW;
         END $$;
         CREATE OR REPLACE TRIGGER a_fault BEFORE UPDATE OF status ON jobs
         FOR EACH ROW EXECUTE FUNCTION fail_some();"
    );
    raw.batch_execute(&sql).await.unwrap();
}

async fn tries(raw: &Client) -> i64 {
    let sql = "SELECT last_value - CASE WHEN is_called THEN 0 ELSE 1 END FROM tries";
    raw.query_one(sql, &[]).await.unwrap().get(0)
}

async fn cancel_under(bench: &Bench, raw: &Client, times: u32, state: &str) -> Option<Code> {
    let id = bench.clipbase.jobs().create(&new_job()).await.unwrap().id;
    fail_updates(raw, times, state).await;
    let outcome = bench.clipbase.jobs().cancel(id).await;
    let seq = if outcome.is_ok() { 2 } else { 1 };
    assert_eq!(job(&bench.clipbase, id).await.event_seq, seq);
    if let Err(error) = &outcome {
        assert!(
            !format!("{error} {error:?}").contains("planted"),
            "{error:?}"
        );
    }
    outcome.err().map(|error| error.code())
}

#[tokio::test]
async fn only_what_cannot_have_happened_is_tried_again() {
    run(async |bench| {
        let raw = bench.database.raw().await;
        for state in ["40001", "40P01", "55P03"] {
            assert_eq!(cancel_under(bench, &raw, 2, state).await, None, "{state}");
            assert_eq!(tries(&raw).await, 3);
            let refused = cancel_under(bench, &raw, 100, state).await;
            assert_eq!((refused, tries(&raw).await), (Some(Code::DbConflict), 5));
        }
        for (state, code) in [
            ("57014", Code::DbTimeout),
            ("23514", Code::DbConflict),
            ("25006", Code::DbUnavailable),
            ("53300", Code::DbUnavailable),
            ("42501", Code::DbFailed),
            ("XX000", Code::DbFailed),
        ] {
            let refused = cancel_under(bench, &raw, 1, state).await;
            assert_eq!((refused, tries(&raw).await), (Some(code), 1), "{state}");
        }
        raw.batch_execute("DROP TRIGGER a_fault ON jobs")
            .await
            .unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_root_certificate_that_cannot_be_read_is_a_wrong_setting() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("planted.pem");
    std::fs::write(&empty, "").unwrap();
    let garbage = folder.path().join("planted-too.pem");
    let pem = "-----BEGIN CERTIFICATE-----\nbm90IGEgY2VydGlmaWNhdGU=\n-----END CERTIFICATE-----\n";
    std::fs::write(&garbage, pem).unwrap();
    for file in [folder.path().join("planted-absent.pem"), empty, garbage] {
        let config = DatabaseConfig::from_url("postgresql://u@127.0.0.1/db").unwrap();
        let config = config.with_root_certificate(file);
        let storage = Arc::new(MemoryStorage::new());
        let refused = Clipbase::new(&config, storage, Settings::default()).unwrap_err();
        assert_eq!(refused.code(), Code::ConfigInvalid);
        assert!(!format!("{refused} {refused:?}").contains("planted"));
    }
}

#[tokio::test]
async fn a_server_that_cannot_encrypt_is_refused_where_that_was_asked_for() {
    run(async |bench| {
        let plain = bench.database.url();
        let joint = if plain.contains('?') { '&' } else { '?' };
        for sslmode in ["require", "verify-ca", "verify-full"] {
            let url = format!("{plain}{joint}sslmode={sslmode}");
            let refused = handle(&url).jobs().get(JobId::new()).await.unwrap_err();
            assert_eq!(refused.code(), Code::DbUnavailable, "{sslmode}");
        }
    })
    .await;
}
