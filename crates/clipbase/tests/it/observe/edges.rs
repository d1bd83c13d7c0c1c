//! Jobs by edge: what the database said moved is counted, and what it refused is not.

use std::collections::BTreeMap;
use std::time::Duration;

use clipbase::jobs::{Actor, Idempotency, TransitionPatch};
use clipbase::leases::{ClaimOptions, Failure, Finish, Lease};
use clipbase::{Clipbase, JobId, JobStatus, WorkerId};
use clipbase_testkit::builders::{claim, claimed, new_job, new_jobs};
use clipbase_testkit::{Bench, run};
use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};

use crate::support::{make_due, run_out};

/// What was counted since the last look, save for calls: `from to reason` of each edge, and other names.
fn news(seen: &Snapshotter) -> BTreeMap<String, u64> {
    let mut news = BTreeMap::new();
    for (key, _, _, value) in seen.snapshot().into_vec() {
        let DebugValue::Counter(count) = value else {
            continue;
        };
        let (name, labels) = key.key().clone().into_parts();
        let name = name.as_str();
        if !name.starts_with("clipbase_job") || count == 0 {
            continue;
        }
        let words: Vec<&str> = labels.iter().map(metrics::Label::value).collect();
        let name = name.trim_start_matches("clipbase_");
        let name = match name {
            "job_transitions_total" => words.join(" "),
            name => name.to_owned(),
        };
        news.insert(name, count);
    }
    news
}

#[track_caller]
fn assert_news<const N: usize>(seen: &Snapshotter, expected: [(&str, u64); N]) {
    let expected: BTreeMap<String, u64> = expected
        .map(|(name, count)| (name.to_owned(), count))
        .into();
    assert_eq!(news(seen), expected);
}

/// Runs the test's body where one recorder hears all of it: on one thread.
async fn heard(body: impl AsyncFnOnce(&Bench, &Snapshotter)) {
    let recorder = DebuggingRecorder::new();
    let seen = recorder.snapshotter();
    let _guard = metrics::set_default_local_recorder(&recorder);
    run(async |bench| body(bench, &seen).await).await;
}

fn failure() -> Failure {
    Failure::new("NOT_A_VIDEO", "as ordered").unwrap()
}

/// A claimed job, whose creation and claim are looked at already.
async fn held(clipbase: &Clipbase, seen: &Snapshotter) -> Lease {
    let lease = claimed(clipbase).await;
    assert_news(
        seen,
        [("jobs_created_total", 1), ("queued processing claim", 1)],
    );
    lease
}

#[tokio::test]
async fn what_a_worker_does_is_counted_by_edge() {
    heard(async |bench, seen| {
        let leases = bench.clipbase.leases();
        let finished = held(&bench.clipbase, seen).await;
        leases.finish(Finish::new(&finished)).await.unwrap();
        assert_news(seen, [("processing done finish", 1)]);
        // The answer to the first one may have been lost: nothing moves a second time.
        leases.finish(Finish::new(&finished)).await.unwrap();
        leases.fail(&finished, &failure()).await.unwrap_err();
        assert_news(seen, []);

        let failed = held(&bench.clipbase, seen).await;
        leases.fail(&failed, &failure()).await.unwrap();
        assert_news(seen, [("processing failed fail", 1)]);

        let passing = held(&bench.clipbase, seen).await;
        leases.fail_retryable(&passing, &failure()).await.unwrap();
        assert_news(seen, [("processing queued fail", 1)]);
        leases.release(&passing).await.unwrap_err();
        assert_news(seen, []);

        let released = held(&bench.clipbase, seen).await;
        leases.release(&released).await.unwrap();
        assert_news(seen, [("processing queued release", 1)]);
    })
    .await;
}

#[tokio::test]
async fn a_turn_counts_both_of_its_halves() {
    heard(async |bench, seen| {
        let leases = bench.clipbase.leases();
        let options = ClaimOptions::new(WorkerId::new(), 2);
        bench
            .clipbase
            .jobs()
            .create_many(&new_jobs(5))
            .await
            .unwrap();
        let first = leases.claim(&options).await.unwrap();
        assert_news(
            seen,
            [("jobs_created_total", 5), ("queued processing claim", 2)],
        );
        leases.release(&first[1]).await.unwrap();
        assert_news(seen, [("processing queued release", 1)]);
        // One of the two is lost.
        let finishes = [Finish::new(&first[0]), Finish::new(&first[1])];
        let turn = leases.turn(&finishes, &options).await.unwrap();
        assert_eq!(turn.claimed.len(), 2);
        assert_news(
            seen,
            [
                ("processing done finish", 1),
                ("queued processing claim", 2),
            ],
        );
    })
    .await;
}

#[tokio::test]
async fn reaped_jobs_are_counted_by_where_they_went() {
    heard(async |bench, seen| {
        let raw = bench.database.raw().await;
        let leases = bench.clipbase.leases();
        let worker = WorkerId::new();
        let mut last_try = new_job();
        last_try.max_attempts = 1;
        let again = new_job();
        let canceled = new_job();
        let jobs = [last_try.id, again.id, canceled.id];
        let new = [last_try, again, canceled];
        bench.clipbase.jobs().create_many(&new).await.unwrap();
        for id in jobs {
            claim(&bench.clipbase, id, worker).await;
            run_out(&raw, id).await;
        }
        bench.clipbase.jobs().cancel(jobs[2]).await.unwrap();
        assert_news(
            seen,
            [
                ("jobs_created_total", 3),
                ("queued processing claim", 3),
                ("job_cancels_requested_total", 1),
            ],
        );
        assert_eq!(leases.reap(10).await.unwrap().len(), 3);
        assert_news(
            seen,
            [
                ("processing failed reap", 1),
                ("processing queued reap", 1),
                ("processing failed cancel", 1),
            ],
        );
        assert!(leases.reap(10).await.unwrap().is_empty());
        assert_news(seen, []);
    })
    .await;
}

#[tokio::test]
async fn a_cancel_that_wins_is_counted_as_one() {
    heard(async |bench, seen| {
        let (jobs, leases) = (bench.clipbase.jobs(), bench.clipbase.leases());
        let queued = jobs.create(&new_job()).await.unwrap();
        jobs.cancel(queued.id).await.unwrap();
        jobs.cancel(queued.id).await.unwrap();
        assert_news(
            seen,
            [("jobs_created_total", 1), ("queued failed cancel", 1)],
        );
        for is_released in [true, false] {
            let lease = held(&bench.clipbase, seen).await;
            jobs.cancel(lease.job_id()).await.unwrap();
            jobs.cancel(lease.job_id()).await.unwrap();
            assert_news(seen, [("job_cancels_requested_total", 1)]);
            if is_released {
                leases.release(&lease).await.unwrap();
            } else {
                leases.fail_retryable(&lease, &failure()).await.unwrap();
            }
            assert_news(seen, [("processing failed cancel", 1)]);
        }
        // A failure of its own is one, though a cancel had been asked for.
        let lease = held(&bench.clipbase, seen).await;
        jobs.cancel(lease.job_id()).await.unwrap();
        leases.fail(&lease, &failure()).await.unwrap();
        assert_news(
            seen,
            [
                ("job_cancels_requested_total", 1),
                ("processing failed fail", 1),
            ],
        );
    })
    .await;
}

#[tokio::test]
async fn what_an_operator_does_is_counted_one_by_one_and_in_bulk() {
    heard(async |bench, seen| {
        let jobs = bench.clipbase.jobs();
        let ids = jobs.create_many(&new_jobs(4)).await.unwrap();
        let lease = claim(&bench.clipbase, ids[0], WorkerId::new()).await;
        assert_news(
            seen,
            [("jobs_created_total", 4), ("queued processing claim", 1)],
        );
        jobs.cancel_many(&ids).await.unwrap();
        jobs.cancel_many(&ids).await.unwrap();
        assert_news(
            seen,
            [
                ("queued failed cancel", 3),
                ("job_cancels_requested_total", 1),
            ],
        );
        jobs.retry_many(&ids).await.unwrap();
        jobs.retry_many(&ids).await.unwrap();
        jobs.retry(ids[1]).await.unwrap_err();
        assert_news(seen, [("failed queued retry", 3)]);
        bench.clipbase.leases().release(&lease).await.unwrap();
        jobs.retry(ids[0]).await.unwrap();
        assert_news(
            seen,
            [("processing failed cancel", 1), ("failed queued retry", 1)],
        );
        jobs.delete(ids[0]).await.unwrap();
        jobs.delete(ids[0]).await.unwrap_err();
        jobs.delete(JobId::new()).await.unwrap_err();
        assert_news(seen, [("jobs_deleted_total", 1)]);
    })
    .await;
}

#[tokio::test]
async fn a_transition_is_counted_by_the_edge_it_took() {
    heard(async |bench, seen| {
        let jobs = bench.clipbase.jobs();
        let none = TransitionPatch::default();
        let job = jobs.create(&new_job()).await.unwrap();
        let to = async |next: JobStatus, actor: Actor<'_>, patch: &TransitionPatch| {
            jobs.transition(job.id, next, actor, patch).await.unwrap();
        };
        let worker = Actor::Worker(WorkerId::new());
        to(JobStatus::Processing, worker, &none).await;
        to(JobStatus::Queued, Actor::Operator, &none).await;
        let failed = TransitionPatch {
            failure: Some(failure()),
            ..TransitionPatch::default()
        };
        to(JobStatus::Failed, Actor::Operator, &failed).await;
        to(JobStatus::Queued, Actor::Operator, &none).await;
        let refused = jobs.transition(job.id, JobStatus::Queued, Actor::Operator, &none);
        refused.await.unwrap_err();
        assert_news(
            seen,
            [
                ("jobs_created_total", 1),
                ("queued processing transition", 1),
                ("processing queued transition", 1),
                ("queued failed transition", 1),
                ("failed queued transition", 1),
            ],
        );
        let lease = claim(&bench.clipbase, job.id, WorkerId::new()).await;
        let done = TransitionPatch {
            result_video: Some(lease.video_key()),
            ..TransitionPatch::default()
        };
        to(JobStatus::Done, Actor::Lease(&lease), &done).await;
        assert_news(
            seen,
            [
                ("queued processing claim", 1),
                ("processing done transition", 1),
            ],
        );
    })
    .await;
}

#[tokio::test]
async fn a_request_that_is_repeated_makes_and_counts_one_job() {
    heard(async |bench, seen| {
        let jobs = bench.clipbase.jobs();
        let request = Idempotency::new("scope", "key");
        for _ in 0..2 {
            jobs.create_once(&new_job(), &request).await.unwrap();
        }
        assert_news(seen, [("jobs_created_total", 1)]);
        let mut connection = bench.clipbase.database().connection().await.unwrap();
        let transaction = connection.client().transaction().await.unwrap();
        jobs.create_in(&transaction, &new_job()).await.unwrap();
        transaction.rollback().await.unwrap();
        assert_news(seen, []);
    })
    .await;
}

#[tokio::test]
async fn a_claim_tells_for_how_long_its_job_had_been_due() {
    heard(async |bench, seen| {
        let raw = bench.database.raw().await;
        let waits = || -> Vec<f64> {
            let all = seen.snapshot().into_vec();
            let found = all
                .into_iter()
                .find(|(key, ..)| key.key().name() == "clipbase_job_wait_seconds");
            match found {
                Some((.., DebugValue::Histogram(values))) => {
                    values.into_iter().map(f64::from).collect()
                }
                _ => Vec::new(),
            }
        };
        let id = bench.clipbase.jobs().create(&new_job()).await.unwrap().id;
        // A job that was created long before it was due has waited since it was due.
        let sql = "UPDATE jobs SET run_at = now() - interval '90 s',
                          created_at = now() - interval '1 day' WHERE id = $1";
        raw.execute(sql, &[&id.as_uuid()]).await.unwrap();
        let mut options = ClaimOptions::new(WorkerId::new(), 5);
        options.lease_ttl = Duration::from_secs(600);
        let leases = bench.clipbase.leases().claim(&options).await.unwrap();
        let waited = waits();
        assert!(
            matches!(waited[..], [wait] if (90.0..95.0).contains(&wait)),
            "{waited:?}"
        );
        bench.clipbase.leases().release(&leases[0]).await.unwrap();
        make_due(&raw, id).await;
        claim(&bench.clipbase, id, WorkerId::new()).await;
        let waited = waits();
        assert!(
            matches!(waited[..], [wait] if (0.0..5.0).contains(&wait)),
            "{waited:?}"
        );
    })
    .await;
}
