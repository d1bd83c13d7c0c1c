//! Calls are made from spawned tasks: their futures can be sent to another thread.

use std::time::Duration;

use clipbase::cleanup::{CleanupOptions, ReconcileOptions, TickOptions};
use clipbase::jobs::Idempotency;
use clipbase::leases::{ClaimOptions, LEASE_TTL};
use clipbase::storage::StorageKey;
use clipbase::{Clipbase, JobId, JobPatch, JobStatus, WorkerId};
use clipbase_testkit::builders::{new_job, new_jobs};

fn can_be_sent(_: &impl Send) {}

#[tokio::test(flavor = "multi_thread")]
async fn every_call_can_be_made_in_a_spawned_task() {
    clipbase_testkit::run(async |bench| {
        let clipbase = bench.clipbase.clone();
        can_be_sent(&every_call(clipbase.clone()));
        tokio::spawn(every_call(clipbase)).await.unwrap();
    })
    .await;
}

async fn every_call(clipbase: Clipbase) {
    let jobs = clipbase.jobs();
    let (job, request) = (new_job(), Idempotency::new("a", "b"));
    jobs.create(&job).await.unwrap();
    jobs.create_once(&new_job(), &request).await.unwrap();
    jobs.create_many(&new_jobs(3)).await.unwrap();
    jobs.get(job.id).await.unwrap();
    jobs.update(JobId::new(), &JobPatch::default())
        .await
        .unwrap_err();
    jobs.list_by_status(JobStatus::Queued, 10, None)
        .await
        .unwrap();
    jobs.stats().await.unwrap();
    jobs.cancel(job.id).await.unwrap();
    jobs.retry(job.id).await.unwrap();
    let leases = clipbase.leases();
    let options = ClaimOptions::new(WorkerId::new(), 10);
    let claimed = leases.claim(&options).await.unwrap();
    leases.turn(&[], &options).await.unwrap();
    leases.heartbeat(&[], LEASE_TTL).await.unwrap();
    for lease in &claimed {
        leases.log(lease, "note", None).await.unwrap();
        leases.release(lease).await.unwrap();
    }
    leases.reap(10).await.unwrap();
    clipbase.events().follow(job.id, 0).next().await.unwrap();
    clean_up(&clipbase).await;
    clipbase.inspect().audit(None, 10).await.unwrap();
    jobs.delete(job.id).await.unwrap();
}

async fn clean_up(clipbase: &Clipbase) {
    let cleanup = clipbase.cleanup();
    let key = StorageKey::source(JobId::new(), "mp4").unwrap();
    let minute = Duration::from_secs(60);
    cleanup.announce_upload_link(&key, minute).await.unwrap();
    let options = CleanupOptions {
        reconcile: Some(ReconcileOptions::default()),
        ..CleanupOptions::limited(10)
    };
    cleanup.run(&options, |_| {}).await.unwrap();
    cleanup.tick(&TickOptions::default()).await.unwrap();
    cleanup.plan(None).await.unwrap();
    cleanup.backlog().await.unwrap();
}
