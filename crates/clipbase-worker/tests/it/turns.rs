//! Many jobs at a time: finished together, claimed ahead, woken for, and cleaned up after.

use std::sync::Arc;
use std::time::Duration;

use clipbase::storage::{Storage as _, StorageKey};
use clipbase::{Change, JobPatch, JobStatus};
use clipbase_testkit::builders::new_jobs;
use clipbase_testkit::{run, wait_until};
use clipbase_worker::Worker;
use clipbase_worker::runtime::Silent;
use tokio_util::sync::CancellationToken;

use crate::at_work::{at_work, ends, folder, get, hasty, is_empty, job, kinds};
use crate::obedient::{Obedient, Order};

#[tokio::test]
async fn jobs_that_end_together_are_confirmed_in_one_statement() {
    run(async |bench| {
        let (folder, clipper) = (folder(), Obedient::new());
        let mut ids = Vec::new();
        for _ in 0..8 {
            ids.push(job(bench).await);
        }
        let mut options = hasty(&folder);
        options.concurrency = 8;
        let at_work = at_work(&bench.clipbase, &clipper, options);
        for _ in 0..8 {
            clipper.begun().await;
        }
        for _ in 0..8 {
            clipper.order(Order::Clip);
        }
        for id in &ids {
            ends(bench, *id).await;
        }
        assert_eq!(at_work.stop().await.done, 8);
        // One transaction has one time.
        let raw = bench.database.raw().await;
        let sql = "SELECT count(DISTINCT finished_at), count(*) FROM jobs WHERE status = 'done'";
        let row = raw.query_one(sql, &[]).await.unwrap();
        let (turns, jobs): (i64, i64) = (row.get(0), row.get(1));
        assert_eq!(jobs, 8);
        assert!(turns < jobs, "{turns} statements");
    })
    .await;
}

#[tokio::test]
async fn a_job_claimed_ahead_waits_with_a_living_lease_and_starts_next() {
    run(async |bench| {
        let (folder, clipper) = (folder(), Obedient::new());
        let ids = [job(bench).await, job(bench).await, job(bench).await];
        let mut options = hasty(&folder);
        options.prefetch = 1;
        let at_work = at_work(&bench.clipbase, &clipper, options);
        clipper.begun().await;
        wait_until("the second is claimed ahead", async || {
            get(bench, ids[1]).await.status == JobStatus::Processing
        })
        .await;
        assert_eq!(get(bench, ids[2]).await.status, JobStatus::Queued);
        let first = get(bench, ids[1]).await.lease_expires_at.unwrap();
        wait_until("it was beaten for past its first life", async || {
            assert!(bench.clipbase.leases().reap(10).await.unwrap().is_empty());
            let beat = get(bench, ids[1]).await.last_heartbeat_at;
            beat.is_some_and(|beat| beat > first)
        })
        .await;
        for id in ids {
            clipper.order(Order::Clip);
            assert_eq!(ends(bench, id).await.attempts, 1);
        }
        assert_eq!(clipper.most_at_a_time(), 1);
        assert_eq!(at_work.stop().await.done, 3);
    })
    .await;
}

#[tokio::test]
async fn a_shutdown_gives_back_what_was_claimed_ahead() {
    run(async |bench| {
        let (folder, clipper) = (folder(), Obedient::new());
        let ids = [job(bench).await, job(bench).await];
        let mut options = hasty(&folder);
        // Room for these two and no more: a claim that is under way at the stop may take again what was given back.
        options.prefetch = 1;
        // The grace is for the job at work, and not for the one that has not begun.
        options.shutdown_grace = Duration::from_secs(3_600);
        let at_work = at_work(&bench.clipbase, &clipper, options);
        clipper.begun().await;
        wait_until("the second is claimed ahead", async || {
            get(bench, ids[1]).await.status == JobStatus::Processing
        })
        .await;
        at_work.shutdown.cancel();
        wait_until("it is given back", async || {
            get(bench, ids[1]).await.status == JobStatus::Queued
        })
        .await;
        clipper.order(Order::Clip);
        let summary = at_work.stop().await;
        assert_eq!((summary.done, summary.requeued), (1, 1));
        assert_eq!(get(bench, ids[1]).await.attempts, 0);
        let events = kinds(bench, ids[1]).await;
        assert_eq!(events, ["created", "claimed", "released"]);
        assert!(is_empty(folder.path().join("scratch")));
    })
    .await;
}

#[tokio::test]
async fn a_cancel_reaches_a_job_that_was_claimed_ahead() {
    run(async |bench| {
        let (folder, clipper) = (folder(), Obedient::new());
        let ids = [job(bench).await, job(bench).await];
        let mut options = hasty(&folder);
        options.prefetch = 1;
        let at_work = at_work(&bench.clipbase, &clipper, options);
        clipper.begun().await;
        wait_until("the second is claimed ahead", async || {
            get(bench, ids[1]).await.status == JobStatus::Processing
        })
        .await;
        bench.clipbase.jobs().cancel(ids[1]).await.unwrap();
        let job = ends(bench, ids[1]).await;
        assert_eq!(job.error_code.as_deref(), Some("CANCELED"));
        clipper.order(Order::Clip);
        assert_eq!(ends(bench, ids[0]).await.status, JobStatus::Done);
        let summary = at_work.stop().await;
        assert_eq!((summary.done, summary.failed), (1, 1));
    })
    .await;
}

#[tokio::test]
async fn an_idle_worker_that_listens_does_not_wait_for_its_next_look() {
    run(async |bench| {
        let (folder, clipper) = (folder(), Obedient::new());
        let mut options = hasty(&folder);
        // No look would come in the time of this test.
        options.poll_min = Duration::from_secs(3_600);
        options.poll_max = Duration::from_secs(3_600);
        let at_work = at_work(&bench.clipbase, &clipper, options);
        let raw = bench.database.raw().await;
        wait_until("it listens", async || {
            let sql = "SELECT count(*) FROM pg_stat_activity
                        WHERE datname = current_database() AND query LIKE '%LISTEN clipbase_jobs'";
            raw.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) == 1
        })
        .await;
        for _ in 0..3 {
            let id = job(bench).await;
            clipper.begun().await;
            clipper.order(Order::Clip);
            assert_eq!(ends(bench, id).await.status, JobStatus::Done);
        }
        assert_eq!(at_work.stop().await.done, 3);
    })
    .await;
}

#[tokio::test]
async fn a_cancel_does_not_wait_for_the_next_heartbeat() {
    run(async |bench| {
        let (folder, clipper) = (folder(), Obedient::new());
        let id = job(bench).await;
        let mut options = hasty(&folder);
        // No beat would come in the time of this test, and no progress calls for one.
        options.lease_ttl = Duration::from_secs(12 * 3_600);
        options.heartbeat_interval = Duration::from_secs(3_600);
        let at_work = at_work(&bench.clipbase, &clipper, options);
        clipper.begun().await;
        bench.clipbase.jobs().cancel(id).await.unwrap();
        clipper.stopped().await;
        let job = ends(bench, id).await;
        assert_eq!(job.error_code.as_deref(), Some("CANCELED"));
        assert_eq!(at_work.stop().await.failed, 1);
    })
    .await;
}

#[tokio::test]
async fn hundreds_of_jobs_are_each_done_once() {
    run(async |bench| {
        let (folder, clipper) = (folder(), Obedient::new());
        let jobs = new_jobs(300);
        for job in &jobs {
            let key = StorageKey::source(job.id, "mp4").unwrap();
            let video = clipbase::storage::byte_stream("video");
            bench.storage.upload_stream(video, 5, &key).await.unwrap();
            clipper.order(Order::Clip);
        }
        bench.clipbase.jobs().create_many(&jobs).await.unwrap();
        let mut options = hasty(&folder);
        (options.concurrency, options.prefetch) = (16, 16);
        let worker = Worker::start(bench.clipbase.clone(), Arc::new(clipper), options).unwrap();
        let never = CancellationToken::new();
        let summary = worker.run_until_idle(&never, Arc::new(Silent)).await;
        assert_eq!(summary.unwrap().done, 300);
        for job in &jobs {
            assert_eq!(get(bench, job.id).await.attempts, 1);
        }
    })
    .await;
}

#[tokio::test]
async fn a_worker_cleans_up_beside_its_jobs() {
    run(async |bench| {
        let (folder, clipper) = (folder(), Obedient::new());
        let (kept, gone) = (job(bench).await, job(bench).await);
        let jobs = bench.clipbase.jobs();
        jobs.cancel(gone).await.unwrap();
        let patch = JobPatch {
            expires_at: Change::Set(get(bench, gone).await.created_at),
            ..JobPatch::default()
        };
        jobs.update(gone, &patch).await.unwrap();
        let mut options = hasty(&folder);
        options.cleanup_interval = Some(Duration::from_millis(10));
        let at_work = at_work(&bench.clipbase, &clipper, options);
        // The job at work is not held up, and does not hold up.
        clipper.begun().await;
        let source = StorageKey::source(gone, "mp4").unwrap();
        wait_until("the expired job and its source are gone", async || {
            jobs.get(gone).await.unwrap().is_none()
                && bench.storage.info(&source).await.unwrap().is_none()
        })
        .await;
        clipper.order(Order::Clip);
        assert_eq!(ends(bench, kept).await.status, JobStatus::Done);
        at_work.stop().await;
    })
    .await;
}
