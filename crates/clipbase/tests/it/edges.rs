//! The table of edges and effects, row by row and column by column, through the library.

use clipbase::leases::{Failure, Finish, Surrendered};
use clipbase::transitions::RELEASES_MAX;
use clipbase::{Error, JobId, JobPatch, JobStatus, Retention, Settings, WorkerId};
use clipbase_testkit::builders::{claim, claimed, new_job};
use clipbase_testkit::{Bench, run, run_in};

use crate::seed::SeedClient;

mod cancel;
mod transition;

const WEEK: &str = "expires_at = finished_at + interval '7 days'";

pub(crate) fn failure() -> Failure {
    Failure::new("FFMPEG_FAILED", "it did not work").unwrap()
}

/// Lets a lease run out, as if its worker had been silent for long enough.
async fn expire_lease(seed: &SeedClient, id: JobId) {
    let set = "lease_expires_at = now() - interval '1 second', \
               last_heartbeat_at = now() - interval '61 seconds'";
    seed.update(id, set).await.unwrap();
}

/// The type and data of a job's last event.
async fn last_event(bench: &Bench, id: JobId) -> (String, serde_json::Value) {
    let events = bench.clipbase.events().list(id, 0, 1_000).await.unwrap();
    let event = events.into_iter().next_back().unwrap();
    (event.kind, event.data.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn create_makes_a_queued_job_with_its_event() {
    run(async |bench: &Bench| {
        let seed = SeedClient::on(&bench.database).await;
        let job = bench.clipbase.jobs().create(&new_job()).await.unwrap();
        let conditions = [
            "status = 'queued' and lease = 0 and attempts = 0 and progress = 0 and event_seq = 1",
            "run_at = created_at and updated_at = created_at and max_attempts = 3 and expires_at is null",
            "start_sec = 0 and end_sec = 1 and start_ms = 0 and end_ms = 1000 and priority_rank = 1",
        ];
        seed.row_is(job.id, &conditions).await;
        let (kind, data) = last_event(bench, job.id).await;
        assert_eq!(kind, "created");
        assert_eq!(data, serde_json::json!({"by": "client", "set": {"status": "queued"}}));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_takes_lease_attempt_worker_and_times() {
    run(async |bench: &Bench| {
        let seed = SeedClient::on(&bench.database).await;
        let job = bench.clipbase.jobs().create(&new_job()).await.unwrap();
        seed.update(job.id, "progress = 40").await.unwrap();
        let lease = claim(&bench.clipbase, job.id, WorkerId::new()).await;
        let worker = format!("worker_id = '{}'", lease.worker_id());
        let conditions = [
            "status = 'processing' and lease = 1 and attempts = 1 and progress = 0",
            worker.as_str(),
            "started_at > created_at and lease_expires_at = started_at + interval '60 seconds'",
            "last_heartbeat_at = started_at and updated_at = started_at and finished_at is null",
            "event_seq = 2",
        ];
        seed.row_is(job.id, &conditions).await;
        let (kind, data) = last_event(bench, job.id).await;
        assert_eq!(
            (kind.as_str(), &data["from"]),
            ("claimed", &"queued".into())
        );
        assert_eq!(data["set"]["worker_id"], lease.worker_id().to_string());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finish_stores_results_and_the_retentions_expiry() {
    run(async |bench: &Bench| {
        let seed = SeedClient::on(&bench.database).await;
        let lease = claimed(&bench.clipbase).await;
        let id = lease.job_id();
        let mut finish = Finish::new(&lease);
        finish.with_srt = true;
        bench.clipbase.leases().finish(finish).await.unwrap();
        let (video, srt) = (
            format!("result_video_key = 'results/{id}/clip.mp4'"),
            format!("result_srt_key = 'results/{id}/clip.srt'"),
        );
        let conditions = [
            "status = 'done' and progress = 100 and lease = 1 and attempts = 1 and event_seq = 3",
            video.as_str(),
            srt.as_str(),
            "finished_at = updated_at and lease_expires_at is null and worker_id is not null",
            WEEK,
        ];
        seed.row_is(id, &conditions).await;
        assert_eq!(last_event(bench, id).await.0, "finished");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expiry_that_a_caller_chose_is_kept_through_every_end() {
    run(async |bench: &Bench| {
        let seed = SeedClient::on(&bench.database).await;
        let set = "expires_at = '2099-01-01T00:00:00Z'";
        let done = claimed(&bench.clipbase).await;
        seed.update(done.job_id(), set).await.unwrap();
        bench
            .clipbase
            .leases()
            .finish(Finish::new(&done))
            .await
            .unwrap();
        seed.row_is(done.job_id(), &[set]).await;

        let failed = claimed(&bench.clipbase).await;
        seed.update(failed.job_id(), set).await.unwrap();
        bench
            .clipbase
            .leases()
            .fail(&failed, &failure())
            .await
            .unwrap();
        seed.row_is(failed.job_id(), &[set]).await;
        bench.clipbase.jobs().retry(failed.job_id()).await.unwrap();
        seed.row_is(failed.job_id(), &[set]).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_retention_ended_jobs_never_expire() {
    let settings = Settings {
        retention: Retention {
            done: None,
            failed: None,
            sources: None,
        },
        ..Settings::default()
    };
    run_in(
        clipbase::DatabaseMode::Direct,
        settings,
        async |bench: &Bench| {
            let seed = SeedClient::on(&bench.database).await;
            let done = claimed(&bench.clipbase).await;
            bench
                .clipbase
                .leases()
                .finish(Finish::new(&done))
                .await
                .unwrap();
            let failed = claimed(&bench.clipbase).await;
            bench
                .clipbase
                .leases()
                .fail(&failed, &failure())
                .await
                .unwrap();
            seed.row_is(done.job_id(), &["expires_at is null"]).await;
            seed.row_is(failed.job_id(), &["expires_at is null"]).await;
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fatal_failure_ends_the_job_with_its_code() {
    run(async |bench: &Bench| {
        let seed = SeedClient::on(&bench.database).await;
        let lease = claimed(&bench.clipbase).await;
        bench.clipbase.leases().fail(&lease, &failure()).await.unwrap();
        let conditions = [
            "status = 'failed' and error_code = 'FFMPEG_FAILED' and error_message = 'it did not work'",
            "finished_at = updated_at and lease_expires_at is null and attempts = 1 and lease = 1",
            WEEK,
        ];
        seed.row_is(lease.job_id(), &conditions).await;
        assert_eq!(last_event(bench, lease.job_id()).await.0, "failed");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retryable_failure_goes_back_with_a_backoff_until_no_attempt_is_left() {
    run(async |bench: &Bench| {
        let seed = SeedClient::on(&bench.database).await;
        let job = bench.clipbase.jobs().create(&new_job()).await.unwrap();
        let leases = bench.clipbase.leases();
        for attempt in 1..=2 {
            seed.update(job.id, "run_at = now()").await.unwrap();
            let lease = claim(&bench.clipbase, job.id, WorkerId::new()).await;
            let outcome = leases.fail_retryable(&lease, &failure()).await.unwrap();
            assert_eq!(outcome, Surrendered::Queued);
            let bound = format!(
                "lease = {attempt} and attempts = {attempt} and run_at >= updated_at
                 and run_at <= updated_at + interval '5 seconds' * 2 ^ ({attempt} - 1)"
            );
            let conditions = [
                "status = 'queued' and progress = 0 and worker_id is null and lease_expires_at is null",
                "error_code is null and finished_at is null and expires_at is null",
                bound.as_str(),
            ];
            seed.row_is(job.id, &conditions).await;
            let (kind, data) = last_event(bench, job.id).await;
            assert_eq!((kind.as_str(), &data["cause"]), ("requeued", &"FFMPEG_FAILED".into()));
        }
        seed.update(job.id, "run_at = now()").await.unwrap();
        let lease = claim(&bench.clipbase, job.id, WorkerId::new()).await;
        let outcome = leases.fail_retryable(&lease, &failure()).await.unwrap();
        assert_eq!(outcome, Surrendered::Failed);
        let conditions = ["status = 'failed' and attempts = 3 and error_code = 'FFMPEG_FAILED'", WEEK];
        seed.row_is(job.id, &conditions).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reaped_job_goes_back_and_in_the_end_fails_as_worker_lost() {
    run(async |bench: &Bench| {
        let seed = SeedClient::on(&bench.database).await;
        let lease = claimed(&bench.clipbase).await;
        let id = lease.job_id();
        let leases = bench.clipbase.leases();
        assert_eq!(leases.reap(10).await.unwrap(), [], "its lease is live");
        expire_lease(&seed, id).await;
        assert_eq!(leases.reap(10).await.unwrap()[0].to, Surrendered::Queued);
        let conditions = [
            "status = 'queued' and worker_id is null and lease_expires_at is null and progress = 0",
            "lease = 1 and attempts = 1 and run_at between updated_at and updated_at + interval '5 seconds'",
        ];
        seed.row_is(id, &conditions).await;
        let (kind, data) = last_event(bench, id).await;
        assert_eq!((kind.as_str(), &data["cause"]), ("requeued", &"WORKER_LOST".into()));
        assert_eq!(data["by"], "reaper");

        seed.update(id, "max_attempts = 2, run_at = now()").await.unwrap();
        claim(&bench.clipbase, id, WorkerId::new()).await;
        expire_lease(&seed, id).await;
        assert_eq!(leases.reap(10).await.unwrap()[0].to, Surrendered::Failed);
        let conditions = ["status = 'failed' and error_code = 'WORKER_LOST' and attempts = 2", WEEK];
        seed.row_is(id, &conditions).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn releases_give_the_attempt_back_twenty_times_and_then_count() {
    run(async |bench: &Bench| {
        let seed = SeedClient::on(&bench.database).await;
        let job = bench.clipbase.jobs().create(&new_job()).await.unwrap();
        let release = async || {
            seed.update(job.id, "run_at = now()").await.unwrap();
            let lease = claim(&bench.clipbase, job.id, WorkerId::new()).await;
            bench.clipbase.leases().release(&lease).await.unwrap()
        };
        for number in 1..=RELEASES_MAX {
            assert_eq!(release().await, Surrendered::Queued);
            let lease = format!("lease = {number} and attempts = 0 and run_at = updated_at");
            seed.row_is(
                job.id,
                &[
                    "status = 'queued' and worker_id is null and progress = 0",
                    &lease,
                ],
            )
            .await;
            assert_eq!(last_event(bench, job.id).await.0, "released");
        }
        for attempts in 1..=2 {
            assert_eq!(release().await, Surrendered::Queued);
            let counted = format!("attempts = {attempts}");
            seed.row_is(job.id, &[&counted]).await;
            assert_eq!(last_event(bench, job.id).await.0, "requeued");
        }
        assert_eq!(release().await, Surrendered::Failed);
        seed.row_is(job.id, &["error_code = 'RELEASE_LIMIT' and attempts = 3"])
            .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_clears_what_the_failure_left_and_keeps_the_lease_number() {
    run(async |bench: &Bench| {
        let seed = SeedClient::on(&bench.database).await;
        let lease = claimed(&bench.clipbase).await;
        let id = lease.job_id();
        bench.clipbase.jobs().cancel(id).await.unwrap();
        bench.clipbase.leases().release(&lease).await.unwrap();
        seed.update(id, "result_video_key = 'left', result_srt_key = 'over'").await.unwrap();
        bench.clipbase.jobs().retry(id).await.unwrap();
        let conditions = [
            "status = 'queued' and attempts = 0 and lease = 1 and progress = 0 and run_at = updated_at",
            "error_code is null and error_message is null and cancel_requested_at is null",
            "result_video_key is null and result_srt_key is null and worker_id is null",
            "finished_at is null and expires_at is null and lease_expires_at is null",
        ];
        seed.row_is(id, &conditions).await;
        assert_eq!(last_event(bench, id).await.0, "retried");
        let error = bench.clipbase.jobs().retry(id).await.unwrap_err();
        assert!(matches!(error, Error::InvalidTransition { from: JobStatus::Queued, .. }));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_patch_moves_nothing_and_is_an_event() {
    run(async |bench: &Bench| {
        let seed = SeedClient::on(&bench.database).await;
        let lease = claimed(&bench.clipbase).await;
        let patch = JobPatch {
            max_attempts: Some(9),
            ..JobPatch::default()
        };
        bench
            .clipbase
            .jobs()
            .update(lease.job_id(), &patch)
            .await
            .unwrap();
        let conditions =
            ["status = 'processing' and max_attempts = 9 and event_seq = 3 and lease = 1"];
        seed.row_is(lease.job_id(), &conditions).await;
        assert_eq!(last_event(bench, lease.job_id()).await.0, "updated");
    })
    .await;
}
