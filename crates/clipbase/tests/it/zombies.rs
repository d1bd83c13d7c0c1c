//! A worker whose lease was superseded changes nothing, whatever it writes.

use clipbase::cleanup::CleanupOptions;
use clipbase::jobs::{Actor, TransitionPatch};
use clipbase::leases::{Beat, ClaimOptions, Failure, Finish, Finished, LEASE_TTL, Lease, Verdict};
use clipbase::storage::StorageKey;
use clipbase::{Clipbase, Code, Job, JobStatus, WorkerId};
use clipbase_testkit::builders::{claim, claimed, new_job};
use clipbase_testkit::{Bench, run};

use crate::support::{exists, job, make_deletions_due, picture, run_out, superseded, upload};

/// Makes every write that a lease allows, and returns what each was answered with, all of which has to be
/// `code` or the batches' word for it.
async fn all_writes_are_refused(clipbase: &Clipbase, lease: &Lease, code: Code) {
    let leases = clipbase.leases();
    let failure = Failure::new("LATE", "too late").unwrap();
    let refusals = [
        ("finish", leases.finish(Finish::new(lease)).await.err()),
        ("fail", leases.fail(lease, &failure).await.err()),
        ("retry", leases.fail_retryable(lease, &failure).await.err()),
        ("release", leases.release(lease).await.err()),
        ("log", leases.log(lease, "late", None).await.err()),
    ];
    for (verb, error) in refusals {
        assert_eq!(error.map(|error| error.code()), Some(code), "{verb}");
    }
    let (lost, finished) = match code {
        Code::NotFound => (Verdict::Lost, Finished::Absent),
        _ => (Verdict::Lost, Finished::Lost),
    };
    for progress in [None, Some(99)] {
        let beat = Beat { lease, progress };
        let verdicts = leases.heartbeat(&[beat], LEASE_TTL).await.unwrap();
        assert_eq!(verdicts, [lost]);
    }
    let with_srt = Finish {
        with_srt: true,
        ..Finish::new(lease)
    };
    for finish in [Finish::new(lease), with_srt] {
        assert_eq!(leases.finish_many(&[finish]).await.unwrap(), [finished]);
        let options = ClaimOptions {
            shards: vec![4_711],
            ..ClaimOptions::new(lease.worker_id(), 1)
        };
        let turn = leases.turn(&[finish], &options).await.unwrap();
        assert_eq!(turn.finished, [finished]);
    }
    all_transitions_are_refused(clipbase, lease, code).await;
}

async fn all_transitions_are_refused(clipbase: &Clipbase, lease: &Lease, code: Code) {
    for next in [JobStatus::Done, JobStatus::Failed, JobStatus::Queued] {
        let patch = TransitionPatch {
            result_video: (next == JobStatus::Done).then(|| lease.video_key()),
            ..TransitionPatch::default()
        };
        let moved = clipbase
            .jobs()
            .transition(lease.job_id(), next, Actor::Lease(lease), &patch)
            .await;
        assert_eq!(moved.unwrap_err().code(), code, "to {next}");
    }
}

async fn is_powerless(bench: &Bench, lease: &Lease) {
    let raw = bench.database.raw().await;
    let before = picture(&raw, lease.job_id()).await;
    all_writes_are_refused(&bench.clipbase, lease, Code::LeaseLost).await;
    assert_eq!(picture(&raw, lease.job_id()).await, before);
}

#[tokio::test]
async fn a_superseded_lease_changes_nothing_while_another_worker_holds_the_job() {
    run(async |bench| {
        let (stale, _fresh) = superseded(bench, WorkerId::new(), WorkerId::new()).await;
        is_powerless(bench, &stale).await;
    })
    .await;
}

#[tokio::test]
async fn a_worker_that_claims_twice_cannot_use_its_first_lease() {
    run(async |bench| {
        let worker = WorkerId::new();
        let (stale, fresh) = superseded(bench, worker, worker).await;
        is_powerless(bench, &stale).await;
        let finish = Finish::new(&fresh);
        bench.clipbase.leases().finish(finish).await.unwrap();
        is_powerless(bench, &stale).await;
    })
    .await;
}

#[tokio::test]
async fn a_lease_is_powerless_in_every_state_that_came_after_it() {
    run(async |bench| {
        let clipbase = &bench.clipbase;
        let failure = Failure::new("BAD_INPUT", "no video in it").unwrap();
        // Queued again, by its own hand.
        let released = claimed(clipbase).await;
        clipbase.leases().release(&released).await.unwrap();
        is_powerless(bench, &released).await;
        // Failed by its own hand, and by an operator.
        let failed = claimed(clipbase).await;
        clipbase.leases().fail(&failed, &failure).await.unwrap();
        is_powerless(bench, &failed).await;
        let overridden = claimed(clipbase).await;
        let patch = TransitionPatch::default();
        let (id, next) = (overridden.job_id(), JobStatus::Failed);
        let jobs = clipbase.jobs();
        jobs.transition(id, next, Actor::Operator, &patch)
            .await
            .unwrap();
        is_powerless(bench, &overridden).await;
        // Done, by the next worker.
        let (stale, fresh) = superseded(bench, WorkerId::new(), WorkerId::new()).await;
        clipbase.leases().finish(Finish::new(&fresh)).await.unwrap();
        is_powerless(bench, &stale).await;
    })
    .await;
}

/// A failover may lose a claim and give its number to another worker.
#[tokio::test]
async fn the_same_lease_number_of_another_worker_is_powerless() {
    run(async |bench| {
        let lease = claimed(&bench.clipbase).await;
        let raw = bench.database.raw().await;
        for worker in [Some(WorkerId::new().as_uuid()), None] {
            let sql = "UPDATE jobs SET worker_id = $2 WHERE id = $1";
            raw.execute(sql, &[&lease.job_id().as_uuid(), &worker])
                .await
                .unwrap();
            is_powerless(bench, &lease).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_worker_without_a_lease_only_takes_queued_jobs() {
    run(async |bench| {
        let clipbase = &bench.clipbase;
        let lease = claimed(clipbase).await;
        let raw = bench.database.raw().await;
        let before = picture(&raw, lease.job_id()).await;
        for next in JobStatus::ALL {
            let patch = TransitionPatch {
                result_video: (next == JobStatus::Done).then(|| lease.video_key()),
                ..TransitionPatch::default()
            };
            let actor = Actor::Worker(lease.worker_id());
            let jobs = clipbase.jobs();
            let moved = jobs.transition(lease.job_id(), next, actor, &patch).await;
            let code = match next {
                JobStatus::Processing => Code::InvalidTransition,
                _ => Code::InvalidInput,
            };
            assert_eq!(moved.unwrap_err().code(), code, "to {next}");
        }
        assert_eq!(picture(&raw, lease.job_id()).await, before);
    })
    .await;
}

#[tokio::test]
async fn a_seed_client_takes_a_job_from_a_worker_for_good() {
    run(async |bench| {
        let lease = claimed(&bench.clipbase).await;
        let raw = bench.database.raw().await;
        for status in ["queued", "processing"] {
            let sql = format!("UPDATE jobs SET status = '{status}' WHERE id = $1");
            raw.execute(&sql, &[&lease.job_id().as_uuid()])
                .await
                .unwrap();
        }
        is_powerless(bench, &lease).await;
    })
    .await;
}

#[tokio::test]
async fn a_late_upload_is_never_what_the_row_names_and_is_collected_with_the_job() {
    run(async |bench| {
        let clipbase = &bench.clipbase;
        let (stale, fresh) = superseded(bench, WorkerId::new(), WorkerId::new()).await;
        upload(bench, &fresh.video_key(), "the clip").await;
        clipbase.leases().finish(Finish::new(&fresh)).await.unwrap();
        for key in [stale.video_key(), stale.srt_key()] {
            upload(bench, &key, "late").await;
        }
        let done = job(clipbase, fresh.job_id()).await;
        assert_eq!(content(bench, &done).await, "the clip");

        clipbase.jobs().delete(done.id).await.unwrap();
        clipbase
            .cleanup()
            .run(&CleanupOptions::limited(1_000), |_| ())
            .await
            .unwrap();
        for key in [stale.video_key(), stale.srt_key(), fresh.video_key()] {
            assert!(!exists(bench, &key).await, "{key} is left over");
        }
    })
    .await;
}

async fn content(bench: &Bench, job: &Job) -> String {
    let key: StorageKey = job.result_video_key.as_ref().unwrap().parse().unwrap();
    let bytes = bench.clipbase.storage().read_small(&key).await.unwrap();
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test]
async fn objects_of_a_job_deleted_under_a_live_lease_wait_for_the_lease_to_end() {
    run(async |bench| {
        let clipbase = &bench.clipbase;
        let lease = claimed(clipbase).await;
        clipbase.jobs().delete(lease.job_id()).await.unwrap();
        all_writes_are_refused(clipbase, &lease, Code::NotFound).await;
        // The worker has not heard of it yet, and stores its clip.
        upload(bench, &lease.video_key(), "late").await;
        clipbase
            .cleanup()
            .run(&CleanupOptions::limited(1_000), |_| ())
            .await
            .unwrap();
        assert!(exists(bench, &lease.video_key()).await);
        let raw = bench.database.raw().await;
        make_deletions_due(&raw).await;
        clipbase
            .cleanup()
            .run(&CleanupOptions::limited(1_000), |_| ())
            .await
            .unwrap();
        assert!(!exists(bench, &lease.video_key()).await);
    })
    .await;
}

#[tokio::test]
async fn an_expired_lease_still_holds_until_it_is_superseded() {
    run(async |bench| {
        let clipbase = &bench.clipbase;
        let job = clipbase.jobs().create(&new_job()).await.unwrap();
        let lease = claim(clipbase, job.id, WorkerId::new()).await;
        let raw = bench.database.raw().await;
        run_out(&raw, job.id).await;
        clipbase.leases().log(&lease, "note", None).await.unwrap();
        clipbase.leases().finish(Finish::new(&lease)).await.unwrap();
        assert!(clipbase.leases().reap(10).await.unwrap().is_empty());
    })
    .await;
}
