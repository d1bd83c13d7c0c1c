//! What a worker's timer does, what the backlog says, and what the metrics show.

use clipbase::Code;
use clipbase::cleanup::{CleanupOptions, Report, TickOptions};
use clipbase::storage::Operation;
use clipbase_testkit::run;
use metrics_util::debugging::{DebugValue, DebuggingRecorder};

use super::{MARKERS, finished};
use crate::support::{expire, make_deletions_due};

#[tokio::test]
async fn ticks_do_bounded_pieces_until_nothing_is_left() {
    run(async |bench| {
        let raw = bench.database.raw().await;
        for _ in 0..5 {
            expire(&raw, finished(bench).await.job_id()).await;
        }
        let lease = finished(bench).await;
        let sql = "UPDATE jobs SET source_expires_at = now() - interval '1 s' WHERE id = $1";
        raw.execute(sql, &[&lease.job_id().as_uuid()])
            .await
            .unwrap();
        let cleanup = bench.clipbase.cleanup();
        let options = TickOptions {
            expire: 2,
            drain_calls: 1,
        };
        let first = cleanup.tick(&options).await.unwrap();
        assert_eq!((first.jobs_deleted, first.sources_removed), (2, 1));
        assert_eq!(first.objects_removed, 3, "one call, of one bucket");
        let mut sum = first;
        loop {
            let report = cleanup.tick(&options).await.unwrap();
            if report == Report::default() {
                break;
            }
            assert!(report.jobs_deleted <= 2);
            sum.jobs_deleted += report.jobs_deleted;
            sum.objects_removed += report.objects_removed;
        }
        assert_eq!((sum.jobs_deleted, sum.objects_removed), (5, 16));
        assert_eq!(bench.storage.object_count(), 2 + MARKERS);
        for expire in [0, 1_001] {
            let options = TickOptions {
                expire,
                ..TickOptions::default()
            };
            let refused = cleanup.tick(&options).await.unwrap_err();
            assert_eq!(refused.code(), Code::InvalidInput);
        }
    })
    .await;
}

#[tokio::test]
async fn the_backlog_tells_age_and_what_has_failed() {
    run(async |bench| {
        let raw = bench.database.raw().await;
        let lease = finished(bench).await;
        let cleanup = bench.clipbase.cleanup();
        let empty = cleanup.backlog().await.unwrap();
        assert_eq!(
            (empty.due, empty.failed, empty.oldest_age_secs),
            (0, 0, None)
        );
        bench.clipbase.jobs().delete(lease.job_id()).await.unwrap();
        bench
            .storage
            .fail_next_removal_of(&lease.video_key(), Code::StorageRemoveFailed);
        bench
            .storage
            .fail_next_removal_of(&lease.srt_key(), Code::StorageRemoveFailed);
        cleanup.drain(100).await.unwrap();
        let sql = "UPDATE storage_deletions SET next_attempt_at = now() - interval '90 s'";
        raw.execute(sql, &[]).await.unwrap();
        let lease = finished(bench).await;
        bench.clipbase.jobs().delete(lease.job_id()).await.unwrap();
        let backlog = cleanup.backlog().await.unwrap();
        assert_eq!((backlog.due, backlog.failed), (5, 2));
        assert!((90..=95).contains(&backlog.oldest_age_secs.unwrap()));
        assert_eq!(backlog.error_code.as_deref(), Some("STORAGE_REMOVE_FAILED"));
    })
    .await;
}

#[tokio::test]
async fn counters_and_gauges_show_what_was_done_and_what_waits() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _guard = metrics::set_default_local_recorder(&recorder);
    run(async |bench| {
        let raw = bench.database.raw().await;
        let away = Code::StorageUnavailable;
        expire(&raw, finished(bench).await.job_id()).await;
        bench.storage.fail_next(Operation::Remove, away);
        bench.storage.fail_next(Operation::Remove, away);
        let cleanup = bench.clipbase.cleanup();
        let options = CleanupOptions::default();
        cleanup.run(&options, |_| ()).await.unwrap();
        make_deletions_due(&raw).await;
        bench.storage.fail_next(Operation::Remove, away);
        let before = cleanup.backlog().await.unwrap();
        assert_eq!(before.due, 3);
        cleanup.run(&options, |_| ()).await.unwrap();
    })
    .await;
    let shown = snapshotter.snapshot().into_vec();
    for (name, expected) in [
        ("clipbase_cleanup_jobs_total", 1.0),
        ("clipbase_cleanup_objects_removed_total", 2.0),
        ("clipbase_cleanup_objects_failed_total", 4.0),
        ("clipbase_cleanup_backlog_objects", 0.0),
    ] {
        let found = shown.iter().find(|(key, ..)| key.key().name() == name);
        let (.., found) = found.unwrap_or_else(|| panic!("{name} is not shown"));
        #[allow(clippy::cast_precision_loss, reason = "a few")]
        let found = match found {
            DebugValue::Counter(count) => *count as f64,
            DebugValue::Gauge(gauge) => gauge.into_inner(),
            DebugValue::Histogram(_) => panic!("{name} is a histogram"),
        };
        assert!((found - expected).abs() < f64::EPSILON, "{name} is {found}");
    }
}
