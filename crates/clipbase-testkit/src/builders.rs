//! Jobs and leases where a test does not care about the details.

use clipbase::leases::{ClaimOptions, Lease};
use clipbase::storage::StorageKey;
use clipbase::{ClipRange, Clipbase, JobId, NewJob, Source, WorkerId};

/// A job for the first second of an upload.
pub fn new_job() -> NewJob {
    let id = JobId::new();
    let source = Source::Upload(StorageKey::source(id, "mp4").unwrap());
    NewJob::new(id, source, ClipRange::from_millis(0, 1_000).unwrap())
}

/// As many jobs.
pub fn new_jobs(count: usize) -> Vec<NewJob> {
    (0..count).map(|_| new_job()).collect()
}

/// Creates a job and claims it.
pub async fn claimed(clipbase: &Clipbase) -> Lease {
    let job = clipbase.jobs().create(&new_job()).await.unwrap();
    claim(clipbase, job.id, WorkerId::new()).await
}

/// Claims a job that is queued and due.
pub async fn claim(clipbase: &Clipbase, job: JobId, worker: WorkerId) -> Lease {
    let ttl = ClaimOptions::new(worker, 1).lease_ttl;
    clipbase
        .leases()
        .claim_job(worker, job, ttl)
        .await
        .unwrap()
        .expect("the job is queued and due")
}
