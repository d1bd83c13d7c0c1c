//! How a reconciliation walks: by bounded pages, from a cursor on, in order, within its bounds.

use std::ops::ControlFlow;
use std::time::Duration;

use clipbase::cleanup::{GRACE, GRACE_MIN, ReconcileCursor, ReconcileOptions, ReconcileSource};
use clipbase::storage::{Bucket, Operation, Storage, StorageKey};
use clipbase::{Code, JobId};
use clipbase_testkit::run;

use super::reconcile::{OLD, deleting, old, reconcile};
use super::{MARKERS, clean_up, finished, objects, outbox};
use crate::support::exists;

#[tokio::test]
async fn three_thousand_objects_take_bounded_pages() {
    run(async |bench| {
        let jobs: Vec<JobId> = (0..3_000).map(|_| JobId::new()).collect();
        for job in &jobs {
            let key = StorageKey::source(*job, "mp4").unwrap();
            let storage = &bench.storage;
            storage
                .put_foreign(Bucket::Sources, key.path(), "x")
                .unwrap();
            storage.set_age(Bucket::Sources, &key.path(), OLD).unwrap();
        }
        let before = bench.storage.calls(Operation::List);
        let mut pages = 0;
        let cleanup = bench.clipbase.cleanup();
        let found = cleanup
            .reconcile(&deleting(), None, |_| {
                pages += 1;
                ControlFlow::Continue(())
            })
            .await
            .unwrap();
        assert_eq!(found.sources.enqueued, 3_000);
        assert_eq!(found.unowned_objects.len(), 100);
        // 3,001 with the marker, and one page of the other bucket.
        assert_eq!(bench.storage.calls(Operation::List) - before, 5);
        assert!((5..20).contains(&pages), "{pages}");
        assert_eq!(bench.storage.calls(Operation::SignMany), 0);
        assert_eq!(clean_up(bench).await.objects_removed, 3_000);
    })
    .await;
}

#[tokio::test]
async fn a_walk_that_is_stopped_after_each_page_finds_the_same() {
    run(async |bench| {
        let raw = bench.database.raw().await;
        for n in 0..1_100 {
            let key = StorageKey::source(JobId::new(), "mp4").unwrap();
            let storage = &bench.storage;
            storage
                .put_foreign(Bucket::Sources, key.path(), "x")
                .unwrap();
            if n % 2 == 0 {
                storage.set_age(Bucket::Sources, &key.path(), OLD).unwrap();
            }
        }
        let lost = finished(bench).await;
        let kept = finished(bench).await;
        bench.storage.remove(&objects(lost.job_id())).await.unwrap();
        let whole = reconcile(bench, &ReconcileOptions::default()).await;
        assert_eq!((whole.sources.unowned, whole.sources.young), (550, 550));

        let cleanup = bench.clipbase.cleanup();
        let options = ReconcileOptions::default();
        let mut from: Option<ReconcileCursor> = None;
        let (mut unowned, mut young, mut missing, mut walks) = (0, 0, 0, 0);
        loop {
            let part = cleanup
                .reconcile(&options, from.as_ref(), |_| ControlFlow::Break(()))
                .await
                .unwrap();
            unowned += part.sources.unowned;
            young += part.sources.young;
            missing += part.sources.missing + part.results.missing;
            walks += 1;
            let Some(next) = part.next else { break };
            // Kept as text meanwhile.
            from = Some(next.to_string().parse().unwrap());
            assert!(walks < 50);
        }
        assert!(walks >= 4, "{walks}");
        assert_eq!((unowned, young, missing), (550, 550, 3));
        assert!(exists(bench, &kept.video_key()).await);
        let rows: i64 = raw
            .query_one("SELECT count(*) FROM storage_deletions", &[])
            .await
            .unwrap()
            .get(0);
        assert_eq!(rows, 0);
    })
    .await;
}

#[tokio::test]
async fn a_listing_out_of_order_is_refused_before_anything_is_touched() {
    run(async |bench| {
        for _ in 0..3 {
            old(bench, &StorageKey::source(JobId::new(), "mp4").unwrap()).await;
        }
        bench.storage.list_backwards();
        let cleanup = bench.clipbase.cleanup();
        let refused = cleanup
            .reconcile(&deleting(), None, |_| ControlFlow::Continue(()))
            .await
            .unwrap_err();
        assert_eq!(refused.code(), Code::StorageDownloadFailed);
        assert!(refused.to_string().contains("byte order"), "{refused}");
        assert_eq!(outbox(bench).await, 0);
    })
    .await;
}

#[tokio::test]
async fn the_grace_has_bounds_and_a_storage_that_is_away_ends_the_walk() {
    run(async |bench| {
        let cleanup = bench.clipbase.cleanup();
        assert!(GRACE > GRACE_MIN);
        let short = GRACE_MIN.saturating_sub(Duration::from_secs(1));
        for grace in [Duration::ZERO, short, Duration::MAX] {
            let options = ReconcileOptions {
                grace,
                ..ReconcileOptions::default()
            };
            let refused = cleanup
                .reconcile(&options, None, |_| ControlFlow::Continue(()))
                .await
                .unwrap_err();
            assert_eq!(refused.code(), Code::InvalidInput);
        }
        let options = ReconcileOptions {
            source: ReconcileSource::Sql,
            ..ReconcileOptions::default()
        };
        let refused = cleanup
            .reconcile(&options, None, |_| ControlFlow::Continue(()))
            .await
            .unwrap_err();
        assert_eq!(refused.code(), Code::InvalidInput);
        let away = Code::StorageUnavailable;
        bench.storage.fail_next(Operation::List, away);
        let failed = cleanup
            .reconcile(&deleting(), None, |_| ControlFlow::Continue(()))
            .await
            .unwrap_err();
        assert_eq!(failed.code(), away);
    })
    .await;
}

#[tokio::test]
async fn foreign_objects_are_counted_named_up_to_a_bound_and_never_touched() {
    run(async |bench| {
        for n in 0..150 {
            let (path, storage) = (format!("theirs/{n}.mp4"), &bench.storage);
            storage
                .put_foreign(Bucket::Results, path.clone(), "x")
                .unwrap();
            storage.set_age(Bucket::Results, &path, OLD).unwrap();
        }
        let found = reconcile(bench, &deleting()).await;
        assert_eq!(
            (found.results.foreign, found.foreign_objects.len()),
            (150, 100)
        );
        clean_up(bench).await;
        assert_eq!(bench.storage.object_count(), 150 + MARKERS);
    })
    .await;
}
