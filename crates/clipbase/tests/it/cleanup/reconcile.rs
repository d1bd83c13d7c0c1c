//! The buckets compared with the rows.

use std::ops::ControlFlow;
use std::time::Duration;

use clipbase::JobStatus::{Done, Processing, Queued};
use clipbase::cleanup::{CleanupOptions, ReconcileOptions, ReconcileReport};
use clipbase::leases::Finish;
use clipbase::storage::{Bucket, Storage, StorageKey};
use clipbase::{JobId, WorkerId};
use clipbase_testkit::builders::{claimed, new_job};
use clipbase_testkit::{Bench, run};

use super::{MARKERS, clean_up, finished, objects, outbox};
use crate::seed::SeedClient;
use crate::support::{exists, job, superseded, upload};

pub(super) const OLD: Duration = Duration::from_secs(26 * 60 * 60);

pub(super) fn deleting() -> ReconcileOptions {
    ReconcileOptions {
        delete: true,
        ..ReconcileOptions::default()
    }
}

pub(super) async fn reconcile(bench: &Bench, options: &ReconcileOptions) -> ReconcileReport {
    let cleanup = bench.clipbase.cleanup();
    cleanup
        .reconcile(options, None, |_| ControlFlow::Continue(()))
        .await
        .unwrap()
}

/// Stores an object that looks so old.
pub(super) async fn old(bench: &Bench, key: &StorageKey) {
    upload(bench, key, "content").await;
    age(bench, key);
}

fn age(bench: &Bench, key: &StorageKey) {
    let storage = &bench.storage;
    storage.set_age(key.bucket(), &key.path(), OLD).unwrap();
}

/// Lets all rows be as old.
async fn rows_age(bench: &Bench) {
    let raw = bench.database.raw().await;
    let sql = "UPDATE jobs SET created_at = now() - interval '26 h'";
    raw.execute(sql, &[]).await.unwrap();
}

#[tokio::test]
async fn what_nobody_owns_is_found_reported_and_removed_and_nothing_else() {
    run(async |bench| {
        let upload_without_job = StorageKey::source(JobId::new(), "mp4").unwrap();
        let (stale, fresh) = superseded(bench, WorkerId::new(), WorkerId::new()).await;
        let probe = StorageKey::probe(Bucket::Results);
        let unowned = [
            upload_without_job,
            stale.video_key(),
            StorageKey::result_srt(JobId::new(), 3),
            probe,
        ];
        for key in unowned.iter().chain([&fresh.video_key()]) {
            old(bench, key).await;
        }
        let done = finished(bench).await;
        for key in objects(done.job_id()) {
            age(bench, &key);
        }
        let young = StorageKey::source(JobId::new(), "mp4").unwrap();
        upload(bench, &young, "content").await;
        for path in [
            "notes.txt",
            "0198c0de-0000-7000-8000-000000000000/other.mp4",
        ] {
            let storage = &bench.storage;
            storage
                .put_foreign(Bucket::Sources, path, "theirs")
                .unwrap();
            storage.set_age(Bucket::Sources, path, OLD).unwrap();
        }
        let before = bench.storage.object_keys();

        let found = reconcile(bench, &ReconcileOptions::default()).await;
        assert_eq!((found.sources.unowned, found.results.unowned), (1, 3));
        assert_eq!((found.sources.enqueued, found.results.enqueued), (0, 0));
        assert_eq!(found.results.unowned_bytes, 3 * "content".len() as u64);
        assert_eq!((found.sources.young, found.sources.foreign), (1, 2));
        // The marker, the done job's, and what a live lease may still finish.
        assert_eq!((found.sources.owned, found.results.owned), (2, 4));
        assert_eq!((found.sources.objects, found.results.objects), (6, 7));
        let mut named: Vec<String> = unowned.iter().map(ToString::to_string).collect();
        named.sort();
        let mut reported = found.unowned_objects;
        reported.sort();
        assert_eq!(reported, named);
        assert_eq!(found.foreign_objects.len(), 2);
        assert_eq!(outbox(bench).await, 0, "only reported");

        let found = reconcile(bench, &deleting()).await;
        assert_eq!((found.sources.enqueued, found.results.enqueued), (1, 3));
        let again = reconcile(bench, &deleting()).await;
        assert_eq!((again.sources.pending, again.results.pending), (1, 3));
        assert_eq!((again.sources.unowned, again.results.unowned), (0, 0));
        assert_eq!(clean_up(bench).await.objects_removed, 4);
        for key in unowned {
            assert!(!exists(bench, &key).await, "{key}");
        }
        assert_eq!(bench.storage.object_count(), before.len() - 4);
    })
    .await;
}

#[tokio::test]
async fn a_run_reconciles_first_and_removes_what_it_found() {
    run(async |bench| {
        let key = StorageKey::result_video(JobId::new(), 1);
        old(bench, &key).await;
        let options = CleanupOptions {
            reconcile: Some(deleting()),
            ..CleanupOptions::default()
        };
        let report = bench
            .clipbase
            .cleanup()
            .run(&options, |_| ())
            .await
            .unwrap();
        assert_eq!(report.objects_removed, 1);
        assert_eq!(report.reconciled.unwrap().results.enqueued, 1);
        assert_eq!(bench.storage.object_count(), MARKERS);
    })
    .await;
}

#[tokio::test]
async fn a_stale_workers_late_object_is_never_read_and_is_collected() {
    run(async |bench| {
        let clipbase = &bench.clipbase;
        // While the job lives.
        let (stale, fresh) = superseded(bench, WorkerId::new(), WorkerId::new()).await;
        old(bench, &fresh.video_key()).await;
        clipbase.leases().finish(Finish::new(&fresh)).await.unwrap();
        old(bench, &stale.video_key()).await;
        let done = job(clipbase, fresh.job_id()).await;
        assert_eq!(done.result_video_key, Some(fresh.video_key().to_string()));
        assert_eq!(reconcile(bench, &deleting()).await.results.enqueued, 1);
        clean_up(bench).await;
        assert!(!exists(bench, &stale.video_key()).await);
        assert!(exists(bench, &fresh.video_key()).await);
        // After it is gone, and all that it owned is drained.
        clipbase.jobs().delete(done.id).await.unwrap();
        clean_up(bench).await;
        old(bench, &stale.video_key()).await;
        assert_eq!(
            clean_up(bench).await.objects_removed,
            0,
            "the outbox forgot it"
        );
        assert_eq!(reconcile(bench, &deleting()).await.results.enqueued, 1);
        clean_up(bench).await;
        assert_eq!(bench.storage.object_count(), MARKERS);
    })
    .await;
}

#[tokio::test]
async fn a_late_upload_of_a_removed_source_is_collected_while_the_job_lives() {
    run(async |bench| {
        let raw = bench.database.raw().await;
        let lease = finished(bench).await;
        let sql = "UPDATE jobs SET source_expires_at = now() - interval '1 s' WHERE id = $1";
        raw.execute(sql, &[&lease.job_id().as_uuid()])
            .await
            .unwrap();
        clean_up(bench).await;
        let [source, ..] = objects(lease.job_id());
        old(bench, &source).await;
        assert_eq!(reconcile(bench, &deleting()).await.sources.enqueued, 1);
        clean_up(bench).await;
        assert!(!exists(bench, &source).await);
    })
    .await;
}

#[tokio::test]
async fn what_is_named_between_finding_and_removing_is_kept() {
    run(async |bench| {
        let raw = bench.database.raw().await;
        let key = StorageKey::source(JobId::new(), "mp4").unwrap();
        old(bench, &key).await;
        assert_eq!(reconcile(bench, &deleting()).await.sources.enqueued, 1);
        let sql = "INSERT INTO jobs (id, source_type, source_key, start_sec, end_sec)
                   VALUES ($1, 'upload', $2, 0, 5)";
        let id = key.job().unwrap().as_uuid();
        raw.execute(sql, &[&id, &key.to_string()]).await.unwrap();
        assert_eq!(clean_up(bench).await.objects_kept, 1);
        assert!(exists(bench, &key).await);
    })
    .await;
}

#[tokio::test]
async fn results_that_a_job_may_yet_write_are_left_alone() {
    run(async |bench| {
        // A failover may lose a claim: the next one has its number again.
        let queued = bench.clipbase.jobs().create(&new_job()).await.unwrap().id;
        let running = claimed(&bench.clipbase).await;
        let keys = [
            StorageKey::result_video(queued, 1),
            running.video_key(),
            StorageKey::result_video(running.job_id(), 2),
        ];
        for key in &keys {
            old(bench, key).await;
        }
        let found = reconcile(bench, &deleting()).await;
        assert_eq!((found.results.owned, found.results.enqueued), (4, 0));
        // Nor does the drain take them, if somebody has put them there.
        let raw = bench.database.raw().await;
        for key in &keys {
            let sql = "INSERT INTO storage_deletions (object_key, job_id, reason) VALUES ($1, $2, 'unowned')";
            let job = key.job().unwrap().as_uuid();
            raw.execute(sql, &[&key.to_string(), &job]).await.unwrap();
        }
        assert_eq!(clean_up(bench).await.objects_put_off, 3);
        for key in &keys {
            assert!(exists(bench, key).await);
        }
    })
    .await;
}

/// It has no id, and stores its clip under the seed's key whatever the lease is.
#[tokio::test]
async fn what_a_worker_of_the_seed_may_be_writing_is_left_alone() {
    run(async |bench| {
        let seed = SeedClient::on(&bench.database).await;
        let id = seed.insert().await;
        for status in [Processing, Queued, Processing] {
            seed.set_status(id, status).await.unwrap();
        }
        let [first, second] = [1, 2].map(|lease| StorageKey::result_video(id, lease));
        old(bench, &first).await;
        old(bench, &second).await;
        let found = reconcile(bench, &deleting()).await;
        assert_eq!((found.results.owned, found.results.enqueued), (3, 0));
        seed.set_status(id, Done).await.unwrap();
        let found = reconcile(bench, &deleting()).await;
        assert_eq!((found.results.owned, found.results.enqueued), (2, 1));
        clean_up(bench).await;
        assert!(exists(bench, &first).await && !exists(bench, &second).await);
    })
    .await;
}

#[tokio::test]
async fn objects_that_rows_name_and_that_are_gone_are_reported() {
    run(async |bench| {
        let raw = bench.database.raw().await;
        let (lost, whole) = (finished(bench).await, finished(bench).await);
        let young = bench.clipbase.jobs().create(&new_job()).await.unwrap().id;
        let removed = finished(bench).await;
        let sql = "UPDATE jobs SET source_expires_at = now() - interval '1 s' WHERE id = $1";
        raw.execute(sql, &[&removed.job_id().as_uuid()])
            .await
            .unwrap();
        clean_up(bench).await;
        let gone = objects(lost.job_id());
        bench.storage.remove(&gone).await.unwrap();
        let found = reconcile(bench, &deleting()).await;
        // Finished before the walk began, or else older than the grace: a row that is new has time.
        assert_eq!((found.sources.missing, found.results.missing), (1, 2));
        let mut named: Vec<String> = gone.iter().map(ToString::to_string).collect();
        named.sort();
        let missing = &found.missing_objects;
        let mut reported: Vec<String> = missing.iter().map(|m| m.object_key.clone()).collect();
        reported.sort();
        assert_eq!(reported, named);
        assert!(missing.iter().all(|m| m.job == lost.job_id()));
        rows_age(bench).await;
        let found = reconcile(bench, &deleting()).await;
        assert_eq!(
            found.sources.missing, 2,
            "and the source that {young} waits for"
        );
        assert_eq!(outbox(bench).await, 0);
        assert!(exists(bench, &whole.video_key()).await);
    })
    .await;
}
