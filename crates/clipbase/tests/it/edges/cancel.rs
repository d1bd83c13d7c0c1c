//! Cancels, and what they win over.

use clipbase::jobs::Canceled;
use clipbase::leases::{Finish, Lease, Surrendered};
use clipbase::{Code, JobStatus};
use clipbase_testkit::builders::{claimed, new_job};
use clipbase_testkit::{Bench, run};

use super::{WEEK, expire_lease, failure, last_event};
use crate::seed::SeedClient;

#[tokio::test(flavor = "multi_thread")]
async fn a_queued_job_is_canceled_with_its_code() {
    run(async |bench: &Bench| {
        let seed = SeedClient::on(&bench.database).await;
        let job = bench.clipbase.jobs().create(&new_job()).await.unwrap();
        let outcome = bench.clipbase.jobs().cancel(job.id).await.unwrap();
        assert!(matches!(outcome, Canceled::Ended(_)));
        let conditions = [
            "status = 'failed' and error_code = 'CANCELED' and finished_at = updated_at and lease = 0",
            WEEK,
        ];
        seed.row_is(job.id, &conditions).await;
        assert_eq!(last_event(bench, job.id).await.0, "canceled");
    })
    .await;
}

/// How a worker, or the reaper, takes a job out of processing.
#[derive(Clone, Copy, Debug)]
enum Exit {
    Reap,
    Retry,
    Release,
}

async fn leave(bench: &Bench, seed: &SeedClient, lease: &Lease, exit: Exit) -> Surrendered {
    let leases = bench.clipbase.leases();
    match exit {
        Exit::Reap => {
            expire_lease(seed, lease.job_id()).await;
            leases.reap(10).await.unwrap()[0].to
        }
        Exit::Retry => leases.fail_retryable(lease, &failure()).await.unwrap(),
        Exit::Release => leases.release(lease).await.unwrap(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_requested_cancel_wins_over_reap_retry_and_release() {
    run(async |bench: &Bench| {
        let seed = SeedClient::on(&bench.database).await;
        for exit in [Exit::Reap, Exit::Retry, Exit::Release] {
            let lease = claimed(&bench.clipbase).await;
            let id = lease.job_id();
            let outcome = bench.clipbase.jobs().cancel(id).await.unwrap();
            assert!(matches!(outcome, Canceled::Requested(_)));
            seed.row_is(
                id,
                &["status = 'processing' and cancel_requested_at = updated_at"],
            )
            .await;
            assert_eq!(last_event(bench, id).await.0, "cancel_requested");
            assert_eq!(
                leave(bench, &seed, &lease, exit).await,
                Surrendered::Failed,
                "{exit:?}"
            );
            let conditions = [
                "status = 'failed' and error_code = 'CANCELED' and finished_at = updated_at",
                "attempts = 1 and lease_expires_at is null",
                WEEK,
            ];
            seed.row_is(id, &conditions).await;
            assert_eq!(last_event(bench, id).await.0, "canceled", "{exit:?}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_finishes_before_it_hears_of_the_cancel_is_done() {
    run(async |bench: &Bench| {
        let lease = claimed(&bench.clipbase).await;
        bench.clipbase.jobs().cancel(lease.job_id()).await.unwrap();
        bench
            .clipbase
            .leases()
            .finish(Finish::new(&lease))
            .await
            .unwrap();
        let job = bench
            .clipbase
            .jobs()
            .get(lease.job_id())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(job.status, JobStatus::Done);
        let error = bench.clipbase.jobs().cancel(job.id).await.unwrap_err();
        assert_eq!(error.code(), Code::InvalidTransition);
    })
    .await;
}
