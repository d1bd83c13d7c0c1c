//! The worker with a clipper that obeys the test: no ffmpeg, a database and a storage of its own.

use std::sync::Arc;
use std::time::Duration;

use clipbase::storage::Operation;
use clipbase::{Code, JobStatus, WorkerId};
use clipbase_testkit::{builders, run, run_in, wait_until};
use clipbase_worker::Worker;
use clipbase_worker::clipper::ClipErrorCode;
use clipbase_worker::runtime::{Ran, Silent};
use tokio_util::sync::CancellationToken;

use crate::at_work::{at_work, ends, folder, get, hasty, impatient, is_empty, job, kinds};
use crate::obedient::{Obedient, Order};

#[tokio::test]
async fn a_worker_runs_no_more_jobs_at_a_time_than_it_may() {
    run(async |bench| {
        let (folder, clipper) = (folder(), Obedient::new());
        let mut ids = Vec::new();
        for _ in 0..5 {
            ids.push(job(bench).await);
        }
        let mut options = hasty(&folder);
        options.concurrency = 2;
        let at_work = at_work(&bench.clipbase, &clipper, options);
        clipper.begun().await;
        for _ in 0..4 {
            // Two are at work now, and neither ends before it is told to.
            clipper.begun().await;
            clipper.order(Order::Clip);
        }
        clipper.order(Order::Clip);
        for id in ids {
            assert_eq!(ends(bench, id).await.status, JobStatus::Done);
        }
        assert_eq!(clipper.most_at_a_time(), 2);
        assert_eq!(at_work.stop().await.done, 5);
    })
    .await;
}

#[tokio::test]
async fn heartbeats_keep_a_lease_past_its_life_and_carry_the_progress() {
    run(async |bench| {
        let (folder, clipper) = (folder(), Obedient::new());
        let id = job(bench).await;
        let at_work = at_work(&bench.clipbase, &clipper, hasty(&folder));
        clipper.begun().await;
        clipper.order(Order::Report(50));
        wait_until("the row shows the progress", async || {
            get(bench, id).await.progress == 50
        })
        .await;
        let first = get(bench, id).await.lease_expires_at.unwrap();
        // A reaper asks all the time, and finds nothing.
        wait_until("the first lease has run out", async || {
            let reaped = bench.clipbase.leases().reap(10).await.unwrap();
            assert!(reaped.is_empty());
            let job = get(bench, id).await;
            job.last_heartbeat_at.is_some_and(|beat| beat > first)
        })
        .await;
        clipper.order(Order::Clip);
        assert_eq!(ends(bench, id).await.attempts, 1);
        assert_eq!(at_work.stop().await.done, 1);
        assert_eq!(kinds(bench, id).await, ["created", "claimed", "finished"]);
    })
    .await;
}

#[tokio::test]
async fn a_lost_lease_stops_the_clipper_and_writes_nothing() {
    run(async |bench| {
        let (folder, clipper) = (folder(), Obedient::new());
        let id = job(bench).await;
        let mut options = hasty(&folder);
        options.shards = vec![0];
        let at_work = at_work(&bench.clipbase, &clipper, options);
        clipper.begun().await;
        let raw = bench.database.raw().await;
        let worker = get(bench, id).await.worker_id.unwrap();
        let leases = bench.clipbase.leases();
        // The job is taken away into a shard that its worker does not serve, and claimed there.
        assert_eq!(leases.reap_workers(&[worker], 10).await.unwrap().len(), 1);
        let sql = "UPDATE jobs SET shard = 7, run_at = now()";
        raw.batch_execute(sql).await.unwrap();
        let other = builders::claim(&bench.clipbase, id, WorkerId::new()).await;

        clipper.stopped().await;
        assert_eq!(at_work.stop().await.lost, 1);
        assert_eq!(get(bench, id).await.worker_id, Some(other.worker_id()));
        assert_eq!(get(bench, id).await.lease, 2);
        assert_eq!(bench.storage.calls(Operation::Upload), 0);
    })
    .await;
}

#[tokio::test]
async fn a_cancel_stops_the_clipper_and_ends_the_job() {
    run(async |bench| {
        let (folder, clipper) = (folder(), Obedient::new());
        let id = job(bench).await;
        let at_work = at_work(&bench.clipbase, &clipper, hasty(&folder));
        clipper.begun().await;
        bench.clipbase.jobs().cancel(id).await.unwrap();
        clipper.stopped().await;
        assert_eq!(
            ends(bench, id).await.error_code.as_deref(),
            Some("CANCELED")
        );
        assert_eq!(at_work.stop().await.failed, 1);
        assert_eq!(bench.storage.calls(Operation::Upload), 0);
    })
    .await;
}

#[tokio::test]
async fn a_shutdown_releases_the_job_at_no_cost_of_an_attempt() {
    run(async |bench| {
        let (folder, clipper) = (folder(), Obedient::new());
        let id = job(bench).await;
        let at_work = at_work(&bench.clipbase, &clipper, hasty(&folder));
        clipper.begun().await;
        assert_eq!(at_work.stop().await.requeued, 1);
        clipper.stopped().await;
        let job = get(bench, id).await;
        assert_eq!((job.status, job.attempts), (JobStatus::Queued, 0));
        assert_eq!(kinds(bench, id).await, ["created", "claimed", "released"]);
        assert!(is_empty(folder.path().join("workers")));
        assert!(is_empty(folder.path().join("scratch")));
    })
    .await;
}

#[tokio::test]
async fn a_running_job_is_let_go_on_for_the_grace() {
    run(async |bench| {
        let (folder, clipper) = (folder(), Obedient::new());
        let id = job(bench).await;
        let mut options = hasty(&folder);
        options.shutdown_grace = Duration::from_secs(60);
        let at_work = at_work(&bench.clipbase, &clipper, options);
        clipper.begun().await;
        at_work.shutdown.cancel();
        clipper.order(Order::Clip);
        assert_eq!(at_work.stop().await.done, 1);
        assert_eq!(get(bench, id).await.status, JobStatus::Done);
    })
    .await;
}

#[tokio::test]
async fn bad_input_is_final_and_a_bad_machine_is_not() {
    run_in(clipbase::DatabaseMode::Direct, impatient(), async |bench| {
        let (folder, clipper) = (folder(), Obedient::new());
        let (bad, unlucky) = (job(bench).await, job(bench).await);
        let at_work = at_work(&bench.clipbase, &clipper, hasty(&folder));
        clipper.begun().await;
        clipper.order(Order::Fail(ClipErrorCode::NotAVideo));
        assert_eq!(ends(bench, bad).await.attempts, 1);
        clipper.begun().await;
        clipper.order(Order::Fail(ClipErrorCode::FfmpegKilled));
        clipper.begun().await;
        clipper.order(Order::Clip);
        let job = ends(bench, unlucky).await;
        assert_eq!((job.status, job.attempts), (JobStatus::Done, 2));
        let summary = at_work.stop().await;
        assert_eq!((summary.done, summary.failed, summary.requeued), (1, 1, 1));
    })
    .await;
}

#[tokio::test]
async fn a_failure_that_may_pass_is_final_after_the_last_attempt() {
    run_in(clipbase::DatabaseMode::Direct, impatient(), async |bench| {
        let (folder, clipper) = (folder(), Obedient::new());
        let id = job(bench).await;
        let at_work = at_work(&bench.clipbase, &clipper, hasty(&folder));
        for _ in 0..3 {
            clipper.begun().await;
            clipper.order(Order::Fail(ClipErrorCode::NoSpace));
        }
        let job = ends(bench, id).await;
        assert_eq!(
            (job.attempts, job.error_code.as_deref()),
            (3, Some("NO_SPACE"))
        );
        at_work.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_storage_that_fails_once_costs_one_attempt() {
    run_in(clipbase::DatabaseMode::Direct, impatient(), async |bench| {
        let (folder, clipper) = (folder(), Obedient::new());
        let id = job(bench).await;
        bench
            .storage
            .fail_next(Operation::Upload, Code::StorageUnavailable);
        let at_work = at_work(&bench.clipbase, &clipper, hasty(&folder));
        for _ in 0..2 {
            clipper.begun().await;
            clipper.order(Order::Clip);
        }
        let job = ends(bench, id).await;
        assert_eq!((job.status, job.attempts), (JobStatus::Done, 2));
        assert_eq!(
            job.result_video_key,
            Some(format!("results/{id}/2/clip.mp4"))
        );
        at_work.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_database_that_drops_its_connections_is_told_the_end_once() {
    run(async |bench| {
        let (folder, clipper) = (folder(), Obedient::new());
        let id = job(bench).await;
        let at_work = at_work(&bench.clipbase, &clipper, hasty(&folder));
        clipper.begun().await;
        let raw = bench.database.raw().await;
        let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                    WHERE datname = current_database() AND pid <> pg_backend_pid()";
        raw.execute(sql, &[]).await.unwrap();
        clipper.order(Order::Clip);
        raw.execute(sql, &[]).await.unwrap();
        wait_until("the job is done", async || {
            let count = raw.query_one("SELECT count(*) FROM jobs WHERE status = 'done'", &[]);
            count.await.unwrap().get::<_, i64>(0) == 1
        })
        .await;
        assert_eq!(at_work.stop().await.done, 1);
        assert_eq!(kinds(bench, id).await, ["created", "claimed", "finished"]);
    })
    .await;
}

#[tokio::test]
async fn a_run_until_idle_ends_when_nothing_is_left() {
    run(async |bench| {
        let (folder, clipper) = (folder(), Obedient::new());
        for _ in 0..3 {
            job(bench).await;
            clipper.order(Order::Clip);
        }
        let worker = Arc::new(clipper.clone());
        let worker = Worker::start(bench.clipbase.clone(), worker, hasty(&folder)).unwrap();
        let never = CancellationToken::new();
        let summary = worker
            .run_until_idle(&never, Arc::new(Silent))
            .await
            .unwrap();
        assert_eq!(summary.done, 3);
    })
    .await;
}

#[tokio::test]
async fn a_dead_workers_jobs_are_taken_back_at_once_with_its_scratch() {
    run(async |bench| {
        let (folder, clipper) = (folder(), Obedient::new());
        let (id, dead) = (job(bench).await, WorkerId::new());
        let mut options = hasty(&folder);
        options.lease_ttl = Duration::from_secs(3_600);
        let leases = bench.clipbase.leases();
        let lease = leases.claim_job(dead, id, options.lease_ttl).await.unwrap();
        assert!(lease.is_some());
        let left = options.scratch_dir.join(dead.to_string()).join("half");
        std::fs::create_dir_all(&left).unwrap();
        let lock = folder.path().join("workers").join(format!("{dead}.lock"));
        std::fs::create_dir_all(folder.path().join("workers")).unwrap();
        std::fs::write(&lock, "").unwrap();

        let worker = Worker::start(bench.clipbase.clone(), Arc::new(clipper), options).unwrap();
        assert_eq!(worker.reap().await.unwrap(), 1);
        assert_eq!(get(bench, id).await.status, JobStatus::Queued);
        assert!(!left.exists() && !lock.exists());
    })
    .await;
}

#[tokio::test]
async fn an_attempt_of_its_own_that_failed_is_told_to_who_runs_one_job() {
    run(async |bench| {
        let (folder, clipper) = (folder(), Obedient::new());
        let id = job(bench).await;
        clipper.order(Order::Fail(ClipErrorCode::FfmpegMissing));
        let worker = Arc::new(clipper);
        let worker = Worker::start(bench.clipbase.clone(), worker, hasty(&folder)).unwrap();
        let never = CancellationToken::new();
        let ran = worker.run_job(id, &Silent, &never).await.unwrap();
        assert!(matches!(ran, Ran::Requeued(failure) if failure.code() == "FFMPEG_MISSING"));
        let job = get(bench, id).await;
        assert_eq!((job.status, job.attempts), (JobStatus::Queued, 1));
    })
    .await;
}
