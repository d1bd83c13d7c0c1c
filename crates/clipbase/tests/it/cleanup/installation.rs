//! A database works only with its own buckets.

use std::ops::ControlFlow;
use std::sync::Arc;

use clipbase::cleanup::{CleanupOptions, ReconcileOptions, TickOptions};
use clipbase::leases::{ClaimOptions, LEASE_TTL};
use clipbase::storage::{Bucket, MemoryStorage, Operation, Storage};
use clipbase::{Clipbase, Code, Settings, WorkerId};
use clipbase_testkit::builders::new_job;
use clipbase_testkit::{Bench, TestDatabase, run};

use super::{clean_up, finished, objects, outbox};
use crate::support::{exists, expire};

const MARKER: &str = ".clipbase-installation";

/// A handle that has not looked at the installation yet, as a new process has.
fn restarted(bench: &Bench) -> Clipbase {
    bench.another(Settings::default())
}

async fn refuses_to_work(clipbase: &Clipbase) {
    let options = ClaimOptions::new(WorkerId::new(), 1);
    let id = clipbase.jobs().create(&new_job()).await.unwrap().id;
    let (leases, cleanup) = (clipbase.leases(), clipbase.cleanup());
    let one = leases.claim_job(options.worker, id, LEASE_TTL).await;
    let options_of_a_walk = ReconcileOptions::default();
    let reconciled = cleanup
        .reconcile(&options_of_a_walk, None, |_| ControlFlow::Continue(()))
        .await;
    let refusals = [
        leases.claim(&options).await.err(),
        one.err(),
        leases.turn(&[], &options).await.err(),
        cleanup.expire(10).await.err(),
        cleanup.expire_sources(10).await.err(),
        cleanup.drain(10).await.err(),
        cleanup.tick(&TickOptions::default()).await.err(),
        reconciled.err(),
        cleanup
            .run(&CleanupOptions::limited(10), |_| ())
            .await
            .err(),
        clipbase.check_installation().await.err(),
    ];
    for error in refusals {
        assert_eq!(error.unwrap().code(), Code::InstallationMismatch);
    }
    clipbase.jobs().delete(id).await.unwrap();
}

#[tokio::test]
async fn a_foreign_or_copied_database_claims_and_removes_nothing_until_it_is_adopted() {
    run(async |bench| {
        let raw = bench.database.raw().await;
        for change in [
            "id = gen_random_uuid()",
            "database_identity = '1/1'",
            "database_identity = NULL",
        ] {
            let lease = finished(bench).await;
            expire(&raw, lease.job_id()).await;
            let sql = format!("UPDATE clipbase_installation SET {change}");
            raw.execute(&sql, &[]).await.unwrap();
            let clipbase = restarted(bench);
            refuses_to_work(&clipbase).await;
            for key in objects(lease.job_id()) {
                assert!(exists(bench, &key).await, "{change}");
            }
            clipbase.adopt_installation().await.unwrap();
            clipbase.check_installation().await.unwrap();
            restarted(bench).bootstrap().await.unwrap();
            assert!(clean_up(bench).await.jobs_deleted > 0);
        }
    })
    .await;
}

#[tokio::test]
async fn a_bootstrap_does_not_mend_what_only_an_adoption_may() {
    run(async |bench| {
        let raw = bench.database.raw().await;
        for change in ["id = gen_random_uuid()", "database_identity = '1/1'"] {
            let sql = format!("UPDATE clipbase_installation SET {change}");
            raw.execute(&sql, &[]).await.unwrap();
            let refused = restarted(bench).bootstrap().await.unwrap_err();
            assert_eq!(refused.code(), Code::InstallationMismatch);
            restarted(bench).adopt_installation().await.unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn a_marker_that_is_gone_or_unreadable_stops_the_work() {
    run(async |bench| {
        for content in ["", "not an id", "0198c0de-0000-7000-8000-000000000000"] {
            let storage = &bench.storage;
            storage
                .put_foreign(Bucket::Results, MARKER, content)
                .unwrap();
            refuses_to_work(&restarted(bench)).await;
        }
        let gone = clipbase::storage::StorageKey::InstallationMarker(Bucket::Results);
        bench.storage.remove(&[gone]).await.unwrap();
        refuses_to_work(&restarted(bench)).await;
        restarted(bench).bootstrap().await.unwrap();
        restarted(bench).check_installation().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_storage_that_is_away_for_a_moment_is_asked_again() {
    run(async |bench| {
        let clipbase = restarted(bench);
        let away = Code::StorageUnavailable;
        bench.storage.fail_next(Operation::ReadSmall, away);
        let options = ClaimOptions::new(WorkerId::new(), 1);
        let refused = clipbase.leases().claim(&options).await.unwrap_err();
        assert_eq!(refused.code(), away);
        clipbase.leases().claim(&options).await.unwrap();
        let asked = bench.storage.calls(Operation::ReadSmall);
        clipbase.leases().claim(&options).await.unwrap();
        assert_eq!(bench.storage.calls(Operation::ReadSmall), asked);
    })
    .await;
}

#[tokio::test]
async fn rows_expire_where_only_the_storage_cannot_be_asked() {
    run(async |bench| {
        let lease = finished(bench).await;
        let raw = bench.database.raw().await;
        expire(&raw, lease.job_id()).await;
        let away = Code::StorageUnavailable;
        bench.storage.fail_next(Operation::ReadSmall, away);
        let mut deleted = 0;
        let options = CleanupOptions::default();
        let clipbase = restarted(bench);
        let cleanup = clipbase.cleanup();
        let outcome = cleanup.run(&options, |report| deleted = report.jobs_deleted);
        assert_eq!(outcome.await.unwrap_err().code(), away);
        assert_eq!(deleted, 1);
        assert!(outbox(bench).await > 0);
        assert_eq!(bench.storage.calls(Operation::Remove), 0);

        // A copy stays untouched, whether the storage is there or not.
        let lease = finished(bench).await;
        expire(&raw, lease.job_id()).await;
        let sql = "UPDATE clipbase_installation SET database_identity = 'elsewhere'";
        raw.execute(sql, &[]).await.unwrap();
        let clipbase = restarted(bench);
        bench.storage.fail_next(Operation::ReadSmall, away);
        let refused = clipbase.cleanup().run(&options, |_| ()).await.unwrap_err();
        assert_eq!(refused.code(), Code::InstallationMismatch);
        assert!(
            bench
                .clipbase
                .jobs()
                .get(lease.job_id())
                .await
                .unwrap()
                .is_some()
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bootstraps_at_once_agree() {
    run(async |bench| {
        let raw = bench.database.raw().await;
        let sql = "UPDATE clipbase_installation SET database_identity = NULL";
        raw.execute(sql, &[]).await.unwrap();
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
        let handle = || Clipbase::new(&bench.config(), storage.clone(), Settings::default());
        let tasks: Vec<_> = (0..8)
            .map(|_| {
                let clipbase = handle().unwrap();
                tokio::spawn(async move { clipbase.bootstrap().await })
            })
            .collect();
        for task in tasks {
            task.await.unwrap().unwrap();
        }
        handle().unwrap().check_installation().await.unwrap();
        handle().unwrap().bootstrap().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn two_databases_do_not_share_their_buckets() {
    run(async |bench| {
        let other = TestDatabase::new().await;
        let sql = "UPDATE clipbase_installation SET id = gen_random_uuid()";
        other.raw().await.execute(sql, &[]).await.unwrap();
        let config = clipbase::DatabaseConfig::from_url(&other.url()).unwrap();
        let storage = Arc::new(bench.storage.clone());
        let clipbase = Clipbase::new(&config, storage, Settings::default()).unwrap();
        let refused = clipbase.bootstrap().await.unwrap_err();
        assert_eq!(refused.code(), Code::InstallationMismatch);
        restarted(bench).check_installation().await.unwrap();
        other.drop_database().await;
    })
    .await;
}
