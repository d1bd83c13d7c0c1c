//! `transition()`, for every actor and outcome.

use clipbase::jobs::{Actor, TransitionPatch};
use clipbase::leases::Lease;
use clipbase::{Code, Error, JobId, JobStatus, WorkerId};
use clipbase_testkit::builders::{claim, claimed, new_job};
use clipbase_testkit::{Bench, run};
use serde_json::json;

use super::{failure, last_event};
use crate::seed::SeedClient;

fn none() -> TransitionPatch {
    TransitionPatch::default()
}

fn failed() -> TransitionPatch {
    TransitionPatch {
        failure: Some(failure()),
        ..none()
    }
}

fn results(lease: &Lease) -> TransitionPatch {
    TransitionPatch {
        result_video: Some(lease.video_key()),
        event_type: Some("transition".to_owned()),
        event_data: Some(json!({"next": "done"})),
        ..none()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_moves_its_own_job_and_merges_the_callers_event() {
    run(async |bench: &Bench| {
        let lease = claimed(&bench.clipbase).await;
        let jobs = bench.clipbase.jobs();
        let job = jobs
            .transition(
                lease.job_id(),
                JobStatus::Done,
                Actor::Lease(&lease),
                &results(&lease),
            )
            .await
            .unwrap();
        assert_eq!((job.status, job.progress), (JobStatus::Done, 100));
        let (kind, data) = last_event(bench, job.id).await;
        assert_eq!(kind, "transition");
        assert_eq!(
            (&data["next"], &data["by"]),
            (&json!("done"), &json!("worker"))
        );
        assert_eq!(data["set"]["status"], "done");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_superseded_lease_moves_nothing() {
    run(async |bench: &Bench| {
        let seed = SeedClient::on(&bench.database).await;
        let stale = claimed(&bench.clipbase).await;
        let id = stale.job_id();
        bench.clipbase.leases().release(&stale).await.unwrap();
        let fresh = claim(&bench.clipbase, id, WorkerId::new()).await;
        for (next, patch) in [
            (JobStatus::Done, results(&stale)),
            (JobStatus::Failed, failed()),
            (JobStatus::Queued, none()),
        ] {
            let outcome = bench
                .clipbase
                .jobs()
                .transition(id, next, Actor::Lease(&stale), &patch)
                .await;
            assert!(
                matches!(outcome, Err(Error::LeaseLost)),
                "{next}: {outcome:?}"
            );
        }
        let worker = format!("worker_id = '{}'", fresh.worker_id());
        seed.row_is(
            id,
            &[
                "status = 'processing' and lease = 2 and event_seq = 4",
                &worker,
            ],
        )
        .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_without_a_lease_cannot_take_a_job_out_of_processing() {
    run(async |bench: &Bench| {
        let lease = claimed(&bench.clipbase).await;
        let id = lease.job_id();
        for worker in [lease.worker_id(), WorkerId::new()] {
            for (next, patch) in [
                (JobStatus::Done, results(&lease)),
                (JobStatus::Failed, failed()),
                (JobStatus::Queued, none()),
            ] {
                let outcome = bench
                    .clipbase
                    .jobs()
                    .transition(id, next, Actor::Worker(worker), &patch)
                    .await;
                let code = outcome.unwrap_err().code();
                assert!(
                    matches!(code, Code::LeaseLost | Code::InvalidInput),
                    "{next}: {code}"
                );
            }
        }
        let job = bench.clipbase.jobs().get(id).await.unwrap().unwrap();
        assert_eq!((job.status, job.event_seq), (JobStatus::Processing, 2));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_is_no_key_to_a_job_that_a_seeds_worker_holds() {
    run(async |bench: &Bench| {
        let seed = SeedClient::on(&bench.database).await;
        let lease = claimed(&bench.clipbase).await;
        seed.update(lease.job_id(), "worker_id = null")
            .await
            .unwrap();
        let error = bench
            .clipbase
            .leases()
            .fail(&lease, &failure())
            .await
            .unwrap_err();
        assert!(matches!(error, Error::LeaseLost), "{error:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_overrides_a_lease_and_is_named() {
    run(async |bench: &Bench| {
        let jobs = bench.clipbase.jobs();
        let lease = claimed(&bench.clipbase).await;
        let id = lease.job_id();
        let job = jobs
            .transition(id, JobStatus::Queued, Actor::Operator, &none())
            .await
            .unwrap();
        assert_eq!(
            (job.status, job.worker_id, job.lease),
            (JobStatus::Queued, None, 1)
        );
        assert_eq!(last_event(bench, id).await.1["by"], "operator");
        let job = jobs
            .transition(id, JobStatus::Failed, Actor::Operator, &none())
            .await
            .unwrap();
        assert_eq!(job.error_code.as_deref(), Some("CANCELED"));
        let job = jobs
            .transition(id, JobStatus::Queued, Actor::Operator, &none())
            .await
            .unwrap();
        assert_eq!(
            (job.error_code, job.attempts, job.expires_at),
            (None, 0, None)
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operators_requeue_of_a_canceled_job_ends_it() {
    run(async |bench: &Bench| {
        let lease = claimed(&bench.clipbase).await;
        let jobs = bench.clipbase.jobs();
        jobs.cancel(lease.job_id()).await.unwrap();
        let job = jobs
            .transition(lease.job_id(), JobStatus::Queued, Actor::Operator, &none())
            .await
            .unwrap();
        assert_eq!(job.status, JobStatus::Failed);
        assert_eq!(job.error_code.as_deref(), Some("CANCELED"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_takes_a_queued_job_and_nobody_else_does() {
    run(async |bench: &Bench| {
        let jobs = bench.clipbase.jobs();
        let job = jobs.create(&new_job()).await.unwrap();
        let next = JobStatus::Processing;
        let error = jobs
            .transition(job.id, next, Actor::Operator, &none())
            .await
            .unwrap_err();
        assert_eq!(error.code(), Code::InvalidInput);
        let worker = WorkerId::new();
        let taken = jobs
            .transition(job.id, next, Actor::Worker(worker), &none())
            .await
            .unwrap();
        assert_eq!(
            (taken.worker_id, taken.lease, taken.attempts),
            (Some(worker), 1, 1)
        );
        let error = jobs
            .transition(job.id, next, Actor::Worker(worker), &none())
            .await
            .unwrap_err();
        assert_eq!(
            error.code(),
            Code::InvalidTransition,
            "an equal status is refused"
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_equal_status_is_refused_for_every_state() {
    run(async |bench: &Bench| {
        let seed = SeedClient::on(&bench.database).await;
        for status in [JobStatus::Queued, JobStatus::Failed] {
            let id = seed.job_in(status).await;
            let outcome = bench
                .clipbase
                .jobs()
                .transition(id, status, Actor::Operator, &none())
                .await;
            let error = outcome.unwrap_err();
            assert!(
                matches!(error, Error::InvalidTransition { from, to, .. } if from == status && to == status),
                "{error:?}"
            );
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_absent_job_is_not_found_and_a_lease_on_another_is_refused() {
    run(async |bench: &Bench| {
        let jobs = bench.clipbase.jobs();
        let lease = claimed(&bench.clipbase).await;
        let absent = jobs
            .transition(JobId::new(), JobStatus::Failed, Actor::Operator, &failed())
            .await;
        assert_eq!(absent.unwrap_err().code(), Code::NotFound);
        let other = jobs.create(&new_job()).await.unwrap();
        let foreign = jobs
            .transition(other.id, JobStatus::Queued, Actor::Lease(&lease), &none())
            .await;
        assert_eq!(foreign.unwrap_err().code(), Code::InvalidInput);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_patch_that_does_not_fit_the_edge_is_refused_before_anything_happens() {
    run(async |bench: &Bench| {
        let lease = claimed(&bench.clipbase).await;
        for (next, patch) in [
            (JobStatus::Done, none()),
            (JobStatus::Failed, results(&lease)),
            (JobStatus::Queued, failed()),
            (
                JobStatus::Failed,
                TransitionPatch {
                    event_data: Some(json!({"set": 1})),
                    ..failed()
                },
            ),
            (
                JobStatus::Failed,
                TransitionPatch {
                    event_type: Some("no spaces".into()),
                    ..failed()
                },
            ),
        ] {
            let outcome = bench
                .clipbase
                .jobs()
                .transition(lease.job_id(), next, Actor::Lease(&lease), &patch)
                .await;
            assert_eq!(outcome.unwrap_err().code(), Code::InvalidInput, "{patch:?}");
        }
    })
    .await;
}
