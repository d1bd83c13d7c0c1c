//! Expiry and the outbox: nothing that lives is removed, and nothing that is dead stays.

mod crashes;
mod installation;
mod links;
mod plan;
mod reconcile;
mod scale;
mod sources;
mod sql_source;
mod tick;
mod turn;
mod uploads;
mod walks;
mod worlds;

use clipbase::cleanup::{BATCH_MAX, CleanupOptions, Report};
use clipbase::leases::{Beat, Finish, LEASE_TTL, Lease};
use clipbase::storage::{Operation, StorageKey};
use clipbase::{Code, JobId, JobStatus};
use clipbase_testkit::builders::{claimed, new_job};
use clipbase_testkit::{Bench, run};

use crate::support::{exists, expire, make_deletions_due, run_out, upload};

/// The marker in each of the two buckets.
const MARKERS: usize = 2;

/// A finished job with a source, a clip and subtitles.
async fn finished(bench: &Bench) -> Lease {
    let lease = claimed(&bench.clipbase).await;
    for key in objects(lease.job_id()) {
        upload(bench, &key, "content").await;
    }
    let finish = Finish {
        with_srt: true,
        ..Finish::new(&lease)
    };
    bench.clipbase.leases().finish(finish).await.unwrap();
    lease
}

fn objects(job: JobId) -> [StorageKey; 3] {
    [
        StorageKey::source(job, "mp4").unwrap(),
        StorageKey::result_video(job, 1),
        StorageKey::result_srt(job, 1),
    ]
}

async fn clean_up(bench: &Bench) -> Report {
    bench
        .clipbase
        .cleanup()
        .run(&CleanupOptions::limited(10_000), |_| ())
        .await
        .unwrap()
}

async fn outbox(bench: &Bench) -> i64 {
    let raw = bench.database.raw().await;
    let sql = "SELECT count(*) FROM storage_deletions";
    raw.query_one(sql, &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn an_expired_job_goes_with_its_objects_and_no_other() {
    run(async |bench| {
        let raw = bench.database.raw().await;
        let (old, young) = (finished(bench).await, finished(bench).await);
        expire(&raw, old.job_id()).await;
        let mut calls = 0;
        let cleanup = bench.clipbase.cleanup();
        let report = cleanup
            .run(&CleanupOptions::limited(10_000), |_| calls += 1)
            .await
            .unwrap();
        assert!(calls >= 2);
        let expected = Report {
            jobs_deleted: 1,
            objects_removed: 3,
            ..Report::default()
        };
        assert_eq!(report, expected);
        assert_eq!(outbox(bench).await, 0);
        for key in objects(young.job_id()) {
            assert!(exists(bench, &key).await);
        }
        assert_eq!(bench.storage.object_count(), 3 + MARKERS);
        assert_eq!(clean_up(bench).await, Report::default());
    })
    .await;
}

#[tokio::test]
async fn no_job_under_a_live_lease_expires() {
    run(async |bench| {
        let clipbase = &bench.clipbase;
        let raw = bench.database.raw().await;
        let by_lease = claimed(clipbase).await;
        let by_seed = claimed(clipbase).await;
        let lost = claimed(clipbase).await;
        for lease in [&by_lease, &by_seed, &lost] {
            expire(&raw, lease.job_id()).await;
            run_out(&raw, lease.job_id()).await;
        }
        let progress = None;
        let lease = &by_lease;
        let beats = [Beat { lease, progress }];
        clipbase
            .leases()
            .heartbeat(&beats, LEASE_TTL)
            .await
            .unwrap();
        let sql = "UPDATE jobs SET last_heartbeat_at = now() WHERE id = $1";
        raw.execute(sql, &[&by_seed.job_id().as_uuid()])
            .await
            .unwrap();
        let queued = clipbase.jobs().create(&new_job()).await.unwrap();
        expire(&raw, queued.id).await;

        let due = clipbase.cleanup().expired(10).await.unwrap();
        let mut listed: Vec<_> = due.iter().map(|job| (job.id, job.status)).collect();
        listed.sort_unstable();
        let mut expected = vec![
            (lost.job_id(), JobStatus::Processing),
            (queued.id, JobStatus::Queued),
        ];
        expected.sort_unstable();
        assert_eq!(listed, expected);
        let mut deleted = clipbase.cleanup().expire(10).await.unwrap();
        deleted.sort_unstable();
        assert_eq!(
            deleted,
            expected.iter().map(|(id, _)| *id).collect::<Vec<_>>()
        );
        clipbase
            .leases()
            .finish(Finish::new(&by_lease))
            .await
            .unwrap();
        clipbase
            .leases()
            .finish(Finish::new(&by_seed))
            .await
            .unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_dry_run_lists_what_a_run_removes() {
    run(async |bench| {
        let raw = bench.database.raw().await;
        for age in 1..=5 {
            let lease = finished(bench).await;
            let sql =
                format!("UPDATE jobs SET expires_at = now() - interval '{age} h' WHERE id = $1");
            if age != 3 {
                raw.execute(&sql, &[&lease.job_id().as_uuid()])
                    .await
                    .unwrap();
            }
        }
        let cleanup = bench.clipbase.cleanup();
        let listed = cleanup.expired(2).await.unwrap();
        let mut ids: Vec<JobId> = listed.iter().map(|job| job.id).collect();
        ids.sort_unstable();
        let mut deleted = cleanup.expire(2).await.unwrap();
        deleted.sort_unstable();
        assert_eq!(deleted, ids);

        let due = cleanup.due_deletions(100).await.unwrap();
        assert_eq!(due.len(), 6);
        assert_eq!(cleanup.backlog().await.unwrap().due, 6);
        assert!(
            due.iter()
                .all(|due| due.reason == "job_deleted" && due.attempts == 0)
        );
        assert_eq!(cleanup.drain(100).await.unwrap().removed, 6);
        for due in due {
            let key = due.object_key.parse().unwrap();
            assert!(!exists(bench, &key).await);
        }
        assert_eq!(cleanup.expired(100).await.unwrap().len(), 2);
    })
    .await;
}

#[tokio::test]
async fn an_object_that_cannot_be_removed_is_tried_again_later() {
    run(async |bench| {
        let raw = bench.database.raw().await;
        let lease = finished(bench).await;
        bench.clipbase.jobs().delete(lease.job_id()).await.unwrap();
        let cleanup = bench.clipbase.cleanup();
        // The whole call fails, once before and once after its work; then one key among the others.
        let storage = &bench.storage;
        let away = Code::StorageUnavailable;
        for _bucket in 0..2 {
            storage.fail_next(Operation::Remove, away);
        }
        for _bucket in 0..2 {
            storage.fail_next_answer(Operation::Remove, away);
        }
        for attempts in 1..=2 {
            let drained = cleanup.drain(100).await.unwrap();
            assert_eq!((drained.removed, drained.failed), (0, 3));
            assert_eq!(cleanup.drain(100).await.unwrap().total(), 0, "not at once");
            make_deletions_due(&raw).await;
            for due in cleanup.due_deletions(100).await.unwrap() {
                let code = due.last_error_code.as_deref();
                assert_eq!(
                    (due.attempts, code),
                    (attempts, Some("STORAGE_UNAVAILABLE"))
                );
            }
        }
        storage.fail_next_removal_of(&lease.video_key(), Code::StorageRemoveFailed);
        let drained = cleanup.drain(100).await.unwrap();
        assert_eq!((drained.removed, drained.failed), (2, 1));
        make_deletions_due(&raw).await;
        let due = cleanup.due_deletions(100).await.unwrap();
        assert_eq!(due[0].object_key, lease.video_key().to_string());
        assert_eq!(
            due[0].last_error_code.as_deref(),
            Some("STORAGE_REMOVE_FAILED")
        );
        assert_eq!(cleanup.drain(100).await.unwrap().removed, 1);
        assert_eq!(storage.object_count(), MARKERS);
        assert_eq!(outbox(bench).await, 0);
    })
    .await;
}

#[tokio::test]
async fn the_pauses_between_attempts_double_up_to_an_hour() {
    run(async |bench| {
        let raw = bench.database.raw().await;
        let lease = claimed(&bench.clipbase).await;
        bench.clipbase.jobs().delete(lease.job_id()).await.unwrap();
        for minutes in [1, 2, 4, 8, 16, 32, 60, 60, 60, 60, 60, 60, 60] {
            make_deletions_due(&raw).await;
            bench
                .storage
                .fail_next(Operation::Remove, Code::StorageUnavailable);
            bench.clipbase.cleanup().drain(100).await.unwrap();
            // Up to a quarter more, the same for the whole batch.
            let sql = "SELECT DISTINCT extract(epoch FROM next_attempt_at - now())::float8 / 60
                         FROM storage_deletions";
            let rows = raw.query(sql, &[]).await.unwrap();
            assert_eq!(rows.len(), 1);
            let (pause, bound) = (rows[0].get::<_, f64>(0), f64::from(minutes));
            let most = (bound * 1.25).min(60.0);
            assert!(
                (bound - 0.1..=most).contains(&pause),
                "{pause} minutes after {minutes}"
            );
        }
    })
    .await;
}

#[tokio::test]
async fn a_key_that_nobody_can_read_stays_and_holds_up_no_other() {
    run(async |bench| {
        let raw = bench.database.raw().await;
        let lease = finished(bench).await;
        bench.clipbase.jobs().delete(lease.job_id()).await.unwrap();
        let sql = "INSERT INTO storage_deletions (object_key, job_id, reason)
                   VALUES ('elsewhere/../x', gen_random_uuid(), 'job_deleted')";
        raw.execute(sql, &[]).await.unwrap();
        let drained = bench.clipbase.cleanup().drain(100).await.unwrap();
        assert_eq!((drained.removed, drained.failed), (3, 1));
        assert_eq!(outbox(bench).await, 1);
    })
    .await;
}

#[tokio::test]
async fn a_run_stops_at_its_limit_and_goes_on_next_time() {
    run(async |bench| {
        let raw = bench.database.raw().await;
        for _ in 0..5 {
            let lease = finished(bench).await;
            expire(&raw, lease.job_id()).await;
        }
        let cleanup = bench.clipbase.cleanup();
        let report = cleanup
            .run(&CleanupOptions::limited(2), |_| ())
            .await
            .unwrap();
        assert_eq!((report.jobs_deleted, report.objects_removed), (2, 2));
        let report = clean_up(bench).await;
        assert_eq!((report.jobs_deleted, report.objects_removed), (3, 13));
        let nothing = cleanup
            .run(&CleanupOptions::limited(0), |_| ())
            .await
            .unwrap();
        assert_eq!(nothing, Report::default());
        for limit in [0, BATCH_MAX + 1] {
            assert_eq!(
                cleanup.expire(limit).await.unwrap_err().code(),
                Code::InvalidInput
            );
            assert_eq!(
                cleanup.drain(limit).await.unwrap_err().code(),
                Code::InvalidInput
            );
            assert_eq!(
                cleanup.expired(limit).await.unwrap_err().code(),
                Code::InvalidInput
            );
            let due = cleanup.due_deletions(limit).await;
            assert_eq!(due.unwrap_err().code(), Code::InvalidInput);
        }
    })
    .await;
}
