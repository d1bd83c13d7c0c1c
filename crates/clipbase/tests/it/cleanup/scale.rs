//! Many jobs at once: full bulk calls, several drainers, a storage that is away.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use clipbase::Code;
use clipbase::cleanup::{CleanupOptions, Report};
use clipbase::storage::{Bucket, Operation};
use clipbase_testkit::{Bench, run};

use super::{MARKERS, clean_up, finished, objects, outbox};
use crate::support::{exists, expire, make_deletions_due};

/// So many finished jobs past their time, each with a source and a clip in the storage.
async fn expired(bench: &Bench, jobs: u32) {
    let raw = bench.database.raw().await;
    let sql = format!(
        "BEGIN;
SET LOCAL session_replication_role = replica;
INSERT INTO public.jobs (id, status, source_type, source_key, start_sec, end_sec, event_seq, lease, attempts,
                         finished_at, expires_at, result_video_key)
SELECT id, 'done', 'upload', 'sources/' || id || '/source.mp4', 0, 10, 1, 1, 1, now(), now() - interval '1 h',
       'results/' || id || '/clip.mp4'
  FROM (SELECT ('00000000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid AS id
          FROM generate_series(1, {jobs}) AS n) AS drawn;
INSERT INTO public.job_events (job_id, seq, type, data)
SELECT id, 1, 'created',
       jsonb_build_object('set', jsonb_build_object('status', 'done', 'lease', 1, 'attempts', 1,
                                                    'result_video_key', result_video_key))
  FROM public.jobs;
COMMIT"
    );
    raw.batch_execute(&sql).await.unwrap();
    for n in 1..=jobs {
        let folder = format!("00000000-0000-7000-8000-{n:012x}");
        for (bucket, file) in [
            (Bucket::Sources, "source.mp4"),
            (Bucket::Results, "clip.mp4"),
        ] {
            let path = format!("{folder}/{file}");
            bench.storage.put_foreign(bucket, path, "x").unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_bulk_call_is_full() {
    run(async |bench| {
        let jobs = 10_000;
        expired(bench, jobs).await;
        let before = bench.storage.calls(Operation::Remove);
        let report = clean_up_all(bench).await;
        assert_eq!(report.jobs_deleted, u64::from(jobs));
        // Source, clip, and subtitles that were never made.
        assert_eq!(report.objects_removed, 3 * u64::from(jobs));
        let calls = bench.storage.calls(Operation::Remove) - before;
        assert_eq!(calls, 30, "of a thousand objects each");
        assert_eq!(bench.storage.object_count(), MARKERS);
        assert_eq!(outbox(bench).await, 0);
    })
    .await;
}

async fn clean_up_all(bench: &Bench) -> Report {
    let options = CleanupOptions::default();
    bench
        .clipbase
        .cleanup()
        .run(&options, |_| ())
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_clean_ups_share_the_work() {
    run(async |bench| {
        let jobs = 4_000;
        expired(bench, jobs).await;
        let tasks: Vec<_> = (0..2)
            .map(|_| {
                let clipbase = bench.clipbase.clone();
                let options = CleanupOptions::default();
                tokio::spawn(async move { clipbase.cleanup().run(&options, |_| ()).await })
            })
            .collect();
        let mut deleted = 0;
        let mut handled = 0;
        for task in tasks {
            let report = task.await.unwrap().unwrap();
            deleted += report.jobs_deleted;
            handled += report.objects_removed;
            assert_eq!((report.objects_failed, report.objects_kept), (0, 0));
        }
        // One may see nothing more to do while the other still works: what is left is nobody's twice.
        let rest = clean_up_all(bench).await;
        assert_eq!(deleted + rest.jobs_deleted, u64::from(jobs));
        assert_eq!(handled + rest.objects_removed, 3 * u64::from(jobs));
        assert_eq!(bench.storage.object_count(), MARKERS);
    })
    .await;
}

#[tokio::test]
async fn rows_expire_while_the_storage_is_away_and_everything_goes_when_it_is_back() {
    run(async |bench| {
        let raw = bench.database.raw().await;
        let mut dead = Vec::new();
        for _ in 0..5 {
            let lease = finished(bench).await;
            expire(&raw, lease.job_id()).await;
            dead.extend(objects(lease.job_id()));
        }
        let before = bench.storage.calls(Operation::Remove);
        for _ in 0..4 {
            let away = Code::StorageUnavailable;
            bench.storage.fail_next(Operation::Remove, away);
        }
        let report = clean_up(bench).await;
        assert_eq!((report.jobs_deleted, report.objects_failed), (5, 15));
        make_deletions_due(&raw).await;
        assert_eq!(clean_up(bench).await.objects_failed, 15);
        let calls = bench.storage.calls(Operation::Remove) - before;
        assert_eq!(calls, 4, "one that fails is enough for a bucket and a run");
        for key in &dead {
            assert!(exists(bench, key).await);
        }
        make_deletions_due(&raw).await;
        assert_eq!(clean_up(bench).await.objects_removed, 15);
        assert_eq!(bench.storage.object_count(), MARKERS);
        assert_eq!(outbox(bench).await, 0);
    })
    .await;
}

#[tokio::test]
async fn a_rate_limit_shrinks_and_spreads_the_calls() {
    run(async |bench| {
        expired(bench, 100).await;
        let before = bench.storage.calls(Operation::Remove);
        let options = CleanupOptions {
            max_deletes_per_second: NonZeroU32::new(150),
            ..CleanupOptions::default()
        };
        let started = Instant::now();
        let report = bench.clipbase.cleanup().run(&options, |_| ()).await;
        assert_eq!(report.unwrap().objects_removed, 300);
        // 100 sources, then 150 and 50 results: the last call waits for the 250 before it.
        assert_eq!(bench.storage.calls(Operation::Remove) - before, 3);
        assert!(started.elapsed() >= Duration::from_millis(1_600));
    })
    .await;
}
