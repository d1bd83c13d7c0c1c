//! What the service says of itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use clipbase::storage::{Bucket, MemoryStorage, Operation, StorageKey};
use clipbase::{Clipbase, Code, DatabaseConfig, Settings};
use clipbase_api::MetricsText;
use clipbase_testkit::run;
use serde_json::{Value, json};

use crate::support::{api, get, web, web_with};

fn verdicts(body: &Value) -> Vec<(String, bool, Value)> {
    body["data"]["checks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|check| {
            let name = check["name"].as_str().unwrap().to_owned();
            (name, check["ok"] == true, check["code"].clone())
        })
        .collect()
}

#[tokio::test]
async fn a_service_that_can_work_says_so() {
    run(async |bench| {
        let web = web(bench);
        assert!(get(&web, "/healthz").await.data(200)["version"].is_string());
        let body = get(&web, "/readyz").await;
        body.data(200);
        let all = verdicts(&body.json());
        assert!(
            all.iter().all(|(_, ok, code)| *ok && code.is_null()),
            "{all:?}"
        );
        assert_eq!(all.len(), 3);
    })
    .await;
}

#[tokio::test]
async fn each_thing_that_does_not_work_is_named() {
    run(async |bench| {
        let bad = |body: &Value| -> Vec<String> {
            let all = verdicts(body).into_iter().filter(|(_, ok, _)| !ok);
            all.map(|(name, _, code)| format!("{name} {}", code.as_str().unwrap()))
                .collect()
        };
        bench
            .storage
            .fail_next(Operation::Info, Code::StorageUnavailable);
        let reply = get(&web(bench), "/readyz").await;
        assert_eq!(
            (reply.status.as_u16(), bad(&reply.json())),
            (503, vec!["storage STORAGE_UNAVAILABLE".to_owned()])
        );
        let marker = StorageKey::InstallationMarker(Bucket::Results);
        bench.clipbase.storage().remove(&[marker]).await.unwrap();
        let reply = get(&web(bench), "/readyz").await;
        assert_eq!(bad(&reply.json()), ["storage STORAGE_NOT_FOUND"]);
        bench.clipbase.bootstrap().await.unwrap();
        let raw = bench.database.raw().await;
        raw.batch_execute("DELETE FROM clipbase_migrations")
            .await
            .unwrap();
        let reply = get(&web(bench), "/readyz").await;
        assert_eq!(bad(&reply.json()), ["schema SCHEMA_MISMATCH"]);
        assert_eq!(reply.json()["code"], "NOT_READY");
    })
    .await;
}

#[tokio::test]
async fn a_database_that_cannot_be_reached_is_named_and_no_address_shown() {
    let config =
        DatabaseConfig::from_url("postgres://planted:planted@127.0.0.1:1/planted").unwrap();
    let storage = Arc::new(MemoryStorage::new());
    let clipbase = Clipbase::new(&config, storage, Settings::default()).unwrap();
    let web = api(&clipbase, |_| ()).router();
    let reply = get(&web, "/readyz").await;
    assert_eq!(reply.status, 503);
    let all = verdicts(&reply.json());
    assert!(all.iter().all(|(_, ok, _)| !ok), "{all:?}");
    assert_eq!(all[0].2, "DB_UNAVAILABLE");
    // Alive all the same: a restart would not help.
    get(&web, "/healthz").await.data(200);
    get(&web, "/v1/stats").await.refused("DB_UNAVAILABLE");
}

#[tokio::test]
async fn a_verdict_stands_for_a_second_whoever_asks() {
    run(async |bench| {
        let web = web(bench);
        let many = (0..50).map(|_| get(&web, "/readyz"));
        let replies = futures_util::future::join_all(many).await;
        assert!(replies.iter().all(|reply| reply.status == 200));
        let calls = bench.storage.calls(Operation::Info);
        // Two buckets a verdict, and at most one verdict a second.
        let verdicts = calls / 2;
        assert!(verdicts < 50, "{verdicts}");
        assert_eq!(calls % 2, 0);
    })
    .await;
}

/// A check that hangs ends by its own limit, not by the request's.
#[tokio::test]
async fn a_check_that_hangs_is_given_up() {
    run(async |bench| {
        let mut raw = bench.database.raw().await;
        let lock = raw.transaction().await.unwrap();
        lock.batch_execute("LOCK TABLE clipbase_migrations IN ACCESS EXCLUSIVE MODE")
            .await
            .unwrap();
        let web = web_with(bench, |options| {
            options.request_timeout = Duration::from_secs(600);
        });
        let reply = get(&web, "/readyz").await;
        let all = verdicts(&reply.json());
        assert_eq!(all[1], ("schema".to_owned(), false, json!("DB_TIMEOUT")));
        assert!(all[0].1 && all[2].1, "{all:?}");
        lock.rollback().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn metrics_are_what_the_caller_renders() {
    run(async |bench| {
        let calls = Arc::new(AtomicU32::new(0));
        let seen = Arc::clone(&calls);
        let web = web_with(bench, |options| {
            options.metrics = Some(MetricsText::new(move || {
                format!("calls {}\n", seen.fetch_add(1, Ordering::Relaxed))
            }));
        });
        let reply = get(&web, "/metrics").await;
        assert_eq!(
            (reply.status.as_u16(), &reply.body[..]),
            (200, b"calls 0\n".as_slice())
        );
        assert!(
            reply
                .header("content-type")
                .unwrap()
                .starts_with("text/plain")
        );
        assert_eq!(calls.load(Ordering::Relaxed), 1);
    })
    .await;
    run(async |bench| {
        get(&web(bench), "/metrics").await.refused("NOT_FOUND");
    })
    .await;
}
