//! A job's whole life through the repositories, in both connection modes.

use clipbase::jobs::{Canceled, Created, Idempotency};
use clipbase::leases::{Beat, ClaimOptions, Failure, Finish, Finished, Surrendered, Verdict};
use clipbase::{Code, DatabaseMode, Error, JobPatch, JobStatus, Priority, Settings, WorkerId};
use clipbase_testkit::builders::{claim, claimed, new_job, new_jobs};
use clipbase_testkit::{Bench, run_in};
use serde_json::json;

const TTL: std::time::Duration = clipbase::leases::LEASE_TTL;

/// Declares each test once and runs it directly and through a transaction pooler.
macro_rules! in_both_modes {
    ($($name:ident),* $(,)?) => {
        mod direct {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::run_in(super::DatabaseMode::Direct, super::Settings::default(), super::$name).await;
            })*
        }
        mod pooled {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::run_in(super::DatabaseMode::Transaction, super::Settings::default(), super::$name).await;
            })*
        }
    };
}

in_both_modes!(
    a_job_is_created_claimed_and_finished,
    a_turn_finishes_and_claims,
    a_queued_job_is_canceled_at_once,
    a_retry_starts_afresh,
    a_patch_changes_a_job_and_says_so,
    the_same_request_makes_one_job,
);

async fn a_job_is_created_claimed_and_finished(bench: &Bench) {
    let clipbase = &bench.clipbase;
    let job = clipbase.jobs().create(&new_job()).await.unwrap();
    assert_eq!(
        (job.status, job.lease, job.event_seq),
        (JobStatus::Queued, 0, 1)
    );

    let worker = WorkerId::new();
    let leases = clipbase
        .leases()
        .claim(&ClaimOptions::new(worker, 10))
        .await
        .unwrap();
    let [lease] = leases.as_slice() else {
        panic!("one job, one lease: {leases:?}")
    };
    assert_eq!(
        (lease.job_id(), lease.number(), lease.work().attempt),
        (job.id, 1, 1)
    );

    let beat = Beat {
        lease,
        progress: Some(40),
    };
    assert_eq!(
        clipbase.leases().heartbeat(&[beat], TTL).await.unwrap(),
        [Verdict::GoOn]
    );
    let seq = clipbase
        .leases()
        .log(lease, "note", Some(&json!({"stage": "cut"})))
        .await
        .unwrap();
    assert_eq!(seq, 3);
    clipbase.leases().finish(Finish::new(lease)).await.unwrap();
    clipbase
        .leases()
        .finish(Finish::new(lease))
        .await
        .expect("a repeat succeeds");

    let done = clipbase.jobs().get(job.id).await.unwrap().unwrap();
    assert_eq!(
        (done.status, done.progress, done.event_seq),
        (JobStatus::Done, 100, 4)
    );
    assert_eq!(
        done.result_video_key.unwrap(),
        format!("results/{}/clip.mp4", job.id)
    );
    let kinds: Vec<String> = clipbase
        .events()
        .list(job.id, 0, 100)
        .await
        .unwrap()
        .into_iter()
        .map(|event| event.kind)
        .collect();
    assert_eq!(kinds, ["created", "claimed", "note", "finished"]);
}

async fn a_turn_finishes_and_claims(bench: &Bench) {
    let clipbase = &bench.clipbase;
    clipbase.jobs().create_many(&new_jobs(5)).await.unwrap();
    let mut options = ClaimOptions::new(WorkerId::new(), 3);
    let first = clipbase.leases().turn(&[], &options).await.unwrap();
    assert_eq!((first.finished.len(), first.claimed.len()), (0, 3));
    options.rotation = 1;
    let finishes: Vec<Finish<'_>> = first.claimed.iter().map(Finish::new).collect();
    let second = clipbase.leases().turn(&finishes, &options).await.unwrap();
    assert_eq!(second.finished, [Finished::Done; 3]);
    assert_eq!(second.claimed.len(), 2);
    let stats = clipbase.jobs().stats().await.unwrap();
    let counts: Vec<i64> = stats.statuses.iter().map(|state| state.count).collect();
    assert_eq!(counts, [0, 2, 3, 0]);
}

async fn a_queued_job_is_canceled_at_once(bench: &Bench) {
    let clipbase = &bench.clipbase;
    let job = clipbase.jobs().create(&new_job()).await.unwrap();
    let Canceled::Ended(job) = clipbase.jobs().cancel(job.id).await.unwrap() else {
        panic!("nobody holds it")
    };
    assert_eq!(job.error_code.as_deref(), Some("CANCELED"));
    assert!(matches!(
        clipbase.jobs().cancel(job.id).await.unwrap(),
        Canceled::Ended(_)
    ));

    let lease = claimed(clipbase).await;
    let canceled = clipbase.jobs().cancel(lease.job_id()).await.unwrap();
    assert!(matches!(canceled, Canceled::Requested(_)));
    let beat = Beat {
        lease: &lease,
        progress: None,
    };
    let verdicts = clipbase.leases().heartbeat(&[beat], TTL).await.unwrap();
    assert_eq!(verdicts, [Verdict::CancelRequested]);
    assert_eq!(
        clipbase.leases().release(&lease).await.unwrap(),
        Surrendered::Failed
    );
    let job = clipbase.jobs().get(lease.job_id()).await.unwrap().unwrap();
    assert_eq!(job.error_code.as_deref(), Some("CANCELED"));
}

async fn a_retry_starts_afresh(bench: &Bench) {
    let clipbase = &bench.clipbase;
    let lease = claimed(clipbase).await;
    let failure = Failure::new("BAD_INPUT", "no video in it").unwrap();
    clipbase.leases().fail(&lease, &failure).await.unwrap();
    let job = clipbase.jobs().get(lease.job_id()).await.unwrap().unwrap();
    assert_eq!(job.error_message.as_deref(), Some("no video in it"));
    assert!(job.expires_at.is_some());

    let job = clipbase.jobs().retry(lease.job_id()).await.unwrap();
    assert_eq!(
        (job.status, job.attempts, job.lease),
        (JobStatus::Queued, 0, 1)
    );
    assert_eq!((job.error_code, job.expires_at), (None, None));
    let again = claim(clipbase, job.id, WorkerId::new()).await;
    assert_eq!(again.number(), 2);
    let lost = clipbase
        .leases()
        .finish(Finish::new(&lease))
        .await
        .unwrap_err();
    assert!(matches!(lost, Error::LeaseLost));
}

async fn a_patch_changes_a_job_and_says_so(bench: &Bench) {
    let clipbase = &bench.clipbase;
    let job = clipbase.jobs().create(&new_job()).await.unwrap();
    let patch = JobPatch {
        priority: Some(Priority::High),
        ..JobPatch::default()
    };
    let job = clipbase.jobs().update(job.id, &patch).await.unwrap();
    assert_eq!(job.priority, Priority::High);
    let events = clipbase.events().list(job.id, 1, 10).await.unwrap();
    assert_eq!(
        events[0].data.as_ref().unwrap()["patch"],
        json!({"priority": "high"})
    );
    clipbase.jobs().delete(job.id).await.unwrap();
    assert_eq!(
        clipbase.jobs().delete(job.id).await.unwrap_err().code(),
        Code::NotFound
    );
    assert!(
        clipbase
            .events()
            .list(job.id, 0, 10)
            .await
            .unwrap()
            .is_empty()
    );
}

async fn the_same_request_makes_one_job(bench: &Bench) {
    let clipbase = &bench.clipbase;
    let request = Idempotency::new("test", "key");
    let first = new_job();
    let Created::New(job) = clipbase.jobs().create_once(&first, &request).await.unwrap() else {
        panic!("the first request is new")
    };
    let Created::Existing(same) = clipbase
        .jobs()
        .create_once(&new_job(), &request)
        .await
        .unwrap()
    else {
        panic!("the second is not")
    };
    assert_eq!(job, same);
    let mut other = new_job();
    other.shard = 7;
    let error = clipbase
        .jobs()
        .create_once(&other, &request)
        .await
        .unwrap_err();
    assert_eq!(error.code(), Code::IdempotencyConflict);
}
