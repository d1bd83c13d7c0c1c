//! Many tasks at once: on one queue, on one row, on one key, on one outbox.

use std::collections::HashMap;

use clipbase::cleanup::Drained;
use clipbase::jobs::{Created, Idempotency};
use clipbase::leases::{
    Beat, ClaimOptions, Failure, Finish, Finished, LEASE_TTL, Lease, Surrendered, Verdict,
};
use clipbase::storage::{StorageKey, byte_stream};
use clipbase::{Clipbase, Code, JobId, JobPatch, JobStatus, Priority, Result, WorkerId};
use clipbase_testkit::builders::{new_job, new_jobs};
use clipbase_testkit::{Bench, run};
use tokio::task::JoinSet;

use crate::support::{deadlocks, job, run_out};

const TASKS: u32 = 32;

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_many_workers_share_loses_nothing_and_does_nothing_twice() {
    run(async |bench| {
        let jobs = new_jobs(2_000);
        bench.clipbase.jobs().create_many(&jobs).await.unwrap();
        let mut tasks = JoinSet::new();
        for task in 0..TASKS {
            let clipbase = bench.clipbase.clone();
            tasks.spawn(async move { work_off_the_queue(&clipbase, 1 + task % 7, 1).await });
        }
        let mut done: HashMap<JobId, u32> = HashMap::new();
        while let Some(finished) = tasks.join_next().await {
            for id in finished.unwrap() {
                *done.entry(id).or_default() += 1;
            }
        }
        assert_eq!(done.len(), jobs.len());
        assert!(done.values().all(|times| *times == 1));
        let raw = bench.database.raw().await;
        let sql = "SELECT count(*) FROM jobs WHERE status = 'done' AND lease = 1 AND event_seq = 3";
        let sound: i64 = raw.query_one(sql, &[]).await.unwrap().get(0);
        assert_eq!(sound, 2_000);
        assert_eq!(deadlocks(bench).await, 0);
    })
    .await;
}

/// Turns until the queue is empty, and returns what it finished.
async fn work_off_the_queue(clipbase: &Clipbase, limit: u32, number: i32) -> Vec<JobId> {
    let mut options = ClaimOptions::new(WorkerId::new(), limit);
    let mut held: Vec<Lease> = Vec::new();
    let mut done = Vec::new();
    loop {
        options.rotation += 1;
        let finishes: Vec<Finish<'_>> = held.iter().map(Finish::new).collect();
        let claimed = if limit.is_multiple_of(2) {
            let turn = clipbase.leases().turn(&finishes, &options).await.unwrap();
            assert_eq!(turn.finished, vec![Finished::Done; held.len()]);
            turn.claimed
        } else {
            let ends = clipbase.leases().finish_many(&finishes).await.unwrap();
            assert_eq!(ends, vec![Finished::Done; held.len()]);
            clipbase.leases().claim(&options).await.unwrap()
        };
        done.extend(held.iter().map(Lease::job_id));
        if claimed.is_empty() {
            return done;
        }
        assert!(claimed.iter().all(|lease| lease.number() == number));
        held = claimed;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_row_that_everybody_writes_stays_sound() {
    run(async |bench| {
        let id = bench.clipbase.jobs().create(&new_job()).await.unwrap().id;
        let mut tasks = JoinSet::new();
        for task in 0..TASKS {
            let clipbase = bench.clipbase.clone();
            tasks.spawn(async move {
                let worker = WorkerId::new();
                let mut held = None;
                for step in 0..25 {
                    let outcome =
                        hammer(&clipbase, id, worker, &mut held, task * 7 + step * 5).await;
                    if let Err(error) = outcome {
                        let code = error.code();
                        let is_fair = matches!(code, Code::LeaseLost | Code::InvalidTransition);
                        assert!(is_fair, "{error:?}");
                    }
                }
            });
        }
        tasks.join_all().await;
        let row = job(&bench.clipbase, id).await;
        let events = bench.clipbase.events().list(id, 0, 1_000).await.unwrap();
        assert_eq!(events.len(), usize::try_from(row.event_seq).unwrap());
        bench.audit().await;
        delete_under_fire(bench, id).await;
        assert_eq!(deadlocks(bench).await, 0);
    })
    .await;
}

/// One of the verbs, whichever comes next.
async fn hammer(
    clipbase: &Clipbase,
    id: JobId,
    worker: WorkerId,
    held: &mut Option<Lease>,
    step: u32,
) -> Result<()> {
    let (jobs, leases) = (clipbase.jobs(), clipbase.leases());
    let failure = Failure::new("UNLUCKY", "try again")?;
    if let Some(lease) = leases.claim_job(worker, id, LEASE_TTL).await? {
        *held = Some(lease);
    }
    match (step % 11, held.as_ref()) {
        (1, _) => jobs.cancel(id).await.map(drop),
        (2, _) => {
            let patch = JobPatch {
                priority: Some(Priority::High),
                ..JobPatch::default()
            };
            jobs.update(id, &patch).await.map(drop)
        }
        (3, _) => clipbase.events().add(id, "note", None).await.map(drop),
        (4, _) => leases.reap(10).await.map(drop),
        (5, Some(lease)) => leases.release(lease).await.map(drop),
        (6, Some(lease)) => leases.fail_retryable(lease, &failure).await.map(drop),
        (7, Some(lease)) => leases.log(lease, "note", None).await.map(drop),
        (8, Some(lease)) => leases.fail(lease, &failure).await,
        (9, Some(lease)) => {
            let progress = Some(50);
            leases
                .heartbeat(&[Beat { lease, progress }], LEASE_TTL)
                .await
                .map(drop)
        }
        // A finished job takes no more part, so that only the last task does it.
        (10, Some(lease)) if step > 330 => leases.finish(Finish::new(lease)).await,
        _ => jobs.retry(id).await.map(drop),
    }
}

async fn delete_under_fire(bench: &Bench, id: JobId) {
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let clipbase = bench.clipbase.clone();
        tasks.spawn(async move {
            let mut held = None;
            let worker = WorkerId::new();
            for step in 0..5 {
                let outcome = match task {
                    0 if step == 2 => clipbase.jobs().delete(id).await,
                    _ => hammer(&clipbase, id, worker, &mut held, task * 7 + step * 5).await,
                };
                let code = outcome.err().map(|error| error.code());
                let refused = [Code::LeaseLost, Code::InvalidTransition, Code::NotFound];
                assert!(code.is_none_or(|code| refused.contains(&code)), "{code:?}");
            }
        });
    }
    tasks.join_all().await;
    assert_eq!(bench.clipbase.jobs().get(id).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_key_makes_one_job_however_many_ask_at_once() {
    run(async |bench| {
        let raw = bench.database.raw().await;
        let mut known: Option<JobId> = None;
        for round in 0..8 {
            let mut tasks = JoinSet::new();
            for _ in 0..TASKS {
                let clipbase = bench.clipbase.clone();
                tasks.spawn(async move {
                    let mut job = new_job();
                    // Another request each round: an old fingerprint must not be compared with.
                    job.shard = round;
                    let request = Idempotency::new("race", "key");
                    clipbase.jobs().create_once(&job, &request).await.unwrap()
                });
            }
            let answers = tasks.join_all().await;
            let new = answers
                .iter()
                .filter(|answer| matches!(answer, Created::New(_)));
            assert_eq!(new.count(), 1, "round {round}");
            let ids: Vec<JobId> = answers.into_iter().map(|job| job.into_job().id).collect();
            assert!(ids.iter().all(|id| *id == ids[0] && Some(*id) != known));
            known = Some(ids[0]);
            let sql = "UPDATE job_idempotency SET expires_at = now() - interval '1 s'";
            raw.execute(sql, &[]).await.unwrap();
        }
        let jobs: i64 = raw
            .query_one("SELECT count(*) FROM jobs", &[])
            .await
            .unwrap()
            .get(0);
        assert_eq!(jobs, 8);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_in_opposite_orders_do_not_block_each_other() {
    run(async |bench| {
        bench
            .clipbase
            .jobs()
            .create_many(&new_jobs(60))
            .await
            .unwrap();
        let options = ClaimOptions::new(WorkerId::new(), 60);
        let held = bench.clipbase.leases().claim(&options).await.unwrap();
        let mut tasks = JoinSet::new();
        for task in 0..TASKS as usize {
            let clipbase = bench.clipbase.clone();
            let mut mine = held[task % 20..task % 20 + 40].to_vec();
            if task % 2 == 1 {
                mine.reverse();
            }
            tasks.spawn(async move {
                for _ in 0..10 {
                    let progress = Some(1);
                    let beats: Vec<_> = mine.iter().map(|lease| Beat { lease, progress }).collect();
                    let verdicts = clipbase
                        .leases()
                        .heartbeat(&beats, LEASE_TTL)
                        .await
                        .unwrap();
                    assert!(
                        verdicts
                            .iter()
                            .all(|verdict| *verdict != Verdict::CancelRequested)
                    );
                }
                let finishes: Vec<_> = mine.iter().map(Finish::new).collect();
                let options = ClaimOptions::new(WorkerId::new(), 3);
                let ends = if task % 3 == 0 {
                    clipbase
                        .leases()
                        .turn(&finishes, &options)
                        .await
                        .unwrap()
                        .finished
                } else {
                    clipbase.leases().finish_many(&finishes).await.unwrap()
                };
                let done = |word| ends.iter().filter(|end| **end == word).count();
                assert_eq!(done(Finished::Done) + done(Finished::Repeated), 40);
                done(Finished::Done)
            });
        }
        let done: usize = tasks.join_all().await.into_iter().sum();
        assert_eq!(done, 59, "of 60 jobs, the ranges cover all but the last");
        assert_eq!(deadlocks(bench).await, 0);
    })
    .await;
}

/// A worker may be stale on jobs that another one finishes and claims in one turn.
#[tokio::test(flavor = "multi_thread")]
async fn a_turn_and_a_stale_batch_do_not_block_each_other() {
    run(async |bench| {
        let clipbase = &bench.clipbase;
        clipbase.jobs().create_many(&new_jobs(40)).await.unwrap();
        let dead = WorkerId::new();
        let stale = clipbase
            .leases()
            .claim(&ClaimOptions::new(dead, 40))
            .await
            .unwrap();
        clipbase.leases().reap_workers(&[dead], 40).await.unwrap();
        let mut tasks = JoinSet::new();
        for task in 0..8 {
            let (clipbase, stale) = (clipbase.clone(), stale.clone());
            tasks.spawn(async move {
                if task < 4 {
                    let finishes: Vec<_> = stale.iter().map(Finish::new).collect();
                    for _ in 0..30 {
                        let ends = clipbase.leases().finish_many(&finishes).await.unwrap();
                        assert_eq!(ends, vec![Finished::Lost; 40]);
                    }
                } else {
                    work_off_the_queue(&clipbase, 2, 2).await;
                }
            });
        }
        tasks.join_all().await;
        assert_eq!(deadlocks(bench).await, 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reapers_take_each_lost_job_once() {
    run(async |bench| {
        let clipbase = &bench.clipbase;
        let raw = bench.database.raw().await;
        clipbase.jobs().create_many(&new_jobs(300)).await.unwrap();
        let options = ClaimOptions::new(WorkerId::new(), 300);
        let held = clipbase.leases().claim(&options).await.unwrap();
        for lease in held.iter().take(200) {
            run_out(&raw, lease.job_id()).await;
        }
        let mut tasks = JoinSet::new();
        for _ in 0..TASKS {
            let clipbase = clipbase.clone();
            tasks.spawn(async move {
                let mut reaped = Vec::new();
                loop {
                    let more = clipbase.leases().reap(7).await.unwrap();
                    if more.is_empty() {
                        return reaped;
                    }
                    reaped.extend(more);
                }
            });
        }
        let reaped = tasks.join_all().await.concat();
        assert_eq!(reaped.len(), 200);
        assert!(reaped.iter().all(|reaped| reaped.to == Surrendered::Queued));
        let stats = clipbase.jobs().stats().await.unwrap();
        let processing = &stats.statuses[1];
        assert_eq!(
            (processing.status, processing.count),
            (JobStatus::Processing, 100)
        );
        assert_eq!(deadlocks(bench).await, 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn drainers_share_the_outbox() {
    run(async |bench| {
        let clipbase = &bench.clipbase;
        let jobs = new_jobs(100);
        clipbase.jobs().create_many(&jobs).await.unwrap();
        for job in &jobs {
            let key = StorageKey::source(job.id, "mp4").unwrap();
            let storage = clipbase.storage();
            storage
                .upload_stream(byte_stream("x"), 1, &key)
                .await
                .unwrap();
        }
        let raw = bench.database.raw().await;
        raw.execute("DELETE FROM jobs", &[]).await.unwrap();
        let mut tasks = JoinSet::new();
        for _ in 0..TASKS {
            let clipbase = clipbase.clone();
            tasks.spawn(async move {
                let mut sum = Drained::default();
                loop {
                    let drained = clipbase.cleanup().drain(9).await.unwrap();
                    if drained.total() == 0 {
                        return sum;
                    }
                    sum.removed += drained.removed;
                    sum.failed += drained.failed;
                }
            });
        }
        let drained = tasks.join_all().await;
        let removed: u64 = drained.iter().map(|drained| drained.removed).sum();
        assert_eq!(removed, 100);
        assert!(drained.iter().all(|drained| drained.failed == 0));
        assert_eq!(bench.storage.object_count(), 2);
        assert_eq!(deadlocks(bench).await, 0);
    })
    .await;
}
