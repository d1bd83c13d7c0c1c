//! Workers and the clean-up.

use std::ops::ControlFlow;
use std::time::Duration;

use clipbase::cleanup::{CleanupOptions, ReconcileOptions, TickOptions};
use clipbase::jobs::Idempotency;
use clipbase::leases::{Beat, ClaimOptions, Failure, Finish, LEASE_TTL, Verdict};
use clipbase::storage::{Bucket, Operation, StorageKey};
use clipbase::{Clipbase, Code, JobId, JobStatus, Retention, Settings, WorkerId};
use clipbase_testkit::builders::{new_job, new_jobs};
use clipbase_testkit::{Bench, run};

use super::super::Member;
use super::{Calls, ran_all};
use crate::support::{exists, expire, make_deletions_due, make_due, run_out, upload};

#[tokio::test]
async fn workers_and_the_clean_up_live_as_members_of_theirs() {
    run(async |bench| {
        let member = Member::of("clipbase_worker", &bench.database).await;
        let settings = Settings {
            retention: Retention {
                sources: Some(Duration::from_secs(3600)),
                ..Retention::default()
            },
            ..Settings::default()
        };
        let clipbase = member.clipbase(bench, settings);
        let ids = bench
            .clipbase
            .jobs()
            .create_many(&new_jobs(8))
            .await
            .unwrap();
        let calls = Calls::listen();
        clipbase.check_schema().await.unwrap();
        works(&clipbase, bench, &ids).await;
        cleans_up(&clipbase, bench, &ids).await;
        reconciles(&clipbase, bench).await;
        clipbase.sample_gauges().await.unwrap();
        assert_eq!(clipbase.inspect().drift().await.unwrap(), [""; 0]);
        let ran = calls.succeeded();
        ran_all("clipbase_worker", &ran, |name| {
            let mine = ["leases.", "cleanup.", "installation.", "migrate."];
            mine.iter().any(|module| name.starts_with(module))
        });
        drop(clipbase);
        member.leave(&bench.database).await;
    })
    .await;
}

async fn works(clipbase: &Clipbase, bench: &Bench, ids: &[JobId]) {
    let raw = bench.database.raw().await;
    let (leases, worker) = (clipbase.leases(), WorkerId::new());
    let held = leases.claim(&ClaimOptions::new(worker, 5)).await.unwrap();
    let [first, second, third, fourth, fifth] = held.as_slice() else {
        panic!("{held:?}")
    };
    let beat = Beat {
        lease: first,
        progress: Some(40),
    };
    assert_eq!(
        leases.heartbeat(&[beat], LEASE_TTL).await.unwrap(),
        [Verdict::GoOn]
    );
    assert_eq!(leases.log(first, "note", None).await.unwrap(), 3);
    leases.finish(Finish::new(first)).await.unwrap();
    let turn = leases
        .turn(&[Finish::new(second)], &ClaimOptions::new(worker, 1))
        .await
        .unwrap();
    assert_eq!((turn.finished.len(), turn.claimed.len()), (1, 1));
    let failure = Failure::new("FFMPEG_FAILED", "it failed").unwrap();
    leases.fail(third, &failure).await.unwrap();
    leases.fail_retryable(fourth, &failure).await.unwrap();
    leases.release(fifth).await.unwrap();
    let last = leases
        .claim_job(worker, ids[7], LEASE_TTL)
        .await
        .unwrap()
        .unwrap();
    run_out(&raw, last.job_id()).await;
    assert_eq!(leases.reap(10).await.unwrap().len(), 1);
    make_due(&raw, last.job_id()).await;
    leases
        .claim_job(worker, ids[7], LEASE_TTL)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(leases.reap_workers(&[worker], 10).await.unwrap().len(), 2);
    let jobs = clipbase.jobs();
    assert_eq!(
        jobs.get(first.job_id()).await.unwrap().unwrap().status,
        JobStatus::Done
    );
    assert_eq!(jobs.stats().await.unwrap().statuses.len(), 4);
}

async fn cleans_up(clipbase: &Clipbase, bench: &Bench, ids: &[JobId]) {
    let raw = bench.database.raw().await;
    let (cleanup, jobs) = (clipbase.cleanup(), bench.clipbase.jobs());
    expire(&raw, ids[0]).await;
    let sql = "UPDATE jobs SET source_expires_at = now() - interval '1 s' WHERE id = $1";
    raw.execute(sql, &[&ids[1].as_uuid()]).await.unwrap();
    jobs.create_once(&new_job(), &Idempotency::new("scope", "old"))
        .await
        .unwrap();
    let sql = "UPDATE job_idempotency SET expires_at = now()";
    raw.execute(sql, &[]).await.unwrap();
    assert_eq!(cleanup.expired(10).await.unwrap().len(), 1);
    let mut planned = 0;
    let mut after = None;
    loop {
        let page = cleanup.plan(after.as_ref()).await.unwrap();
        planned += page.jobs.len() + page.sources.len();
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(planned, 2, "the job, and the other one's source");
    let report = cleanup.tick(&TickOptions::default()).await.unwrap();
    assert_eq!((report.jobs_deleted, report.sources_removed), (1, 1));
    assert_eq!((report.requests_forgotten, report.objects_removed), (1, 4));
    // An object whose removal fails stays in the outbox.
    jobs.delete(ids[2]).await.unwrap();
    assert!(!cleanup.due_deletions(10).await.unwrap().is_empty());
    let code = Code::StorageUnavailable;
    bench.storage.fail_next(Operation::Remove, code);
    let report = cleanup
        .run(&CleanupOptions::default(), |_| ())
        .await
        .unwrap();
    assert!(report.objects_failed > 0, "{report:?}");
    make_deletions_due(&raw).await;
    let report = cleanup
        .run(&CleanupOptions::default(), |_| ())
        .await
        .unwrap();
    assert!(report.objects_removed > 0, "{report:?}");
}

async fn reconciles(clipbase: &Clipbase, bench: &Bench) {
    let raw = bench.database.raw().await;
    let key = StorageKey::source(JobId::new(), "mp4").unwrap();
    upload(bench, &key, "content").await;
    let old = Duration::from_secs(26 * 60 * 60);
    bench
        .storage
        .set_age(Bucket::Sources, &key.path(), old)
        .unwrap();
    // Rows so old that what they name and nobody stored is missing, not awaited.
    let sql = "UPDATE jobs SET created_at = now() - interval '26 h'";
    raw.execute(sql, &[]).await.unwrap();
    let options = ReconcileOptions {
        delete: true,
        ..ReconcileOptions::default()
    };
    let (cleanup, pause) = (clipbase.cleanup(), Duration::from_secs(3600));
    let report = cleanup
        .reconcile_in_turn(&options, pause)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(report.sources.enqueued, 1);
    assert!(report.results.missing > 0, "{report:?}");
    assert_eq!(
        cleanup.reconcile_in_turn(&options, pause).await.unwrap(),
        None
    );
    let goes_on = |_: &_| ControlFlow::Continue(());
    cleanup.reconcile(&options, None, goes_on).await.unwrap();
    assert_eq!(cleanup.drain(10).await.unwrap().removed, 1);
    assert!(!exists(bench, &key).await);
}
