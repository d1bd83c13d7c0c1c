//! What several tests of the job layer need: a job's whole row, its log, and time that passes.

use clipbase::leases::Lease;
use clipbase::storage::{StorageKey, byte_stream};
use clipbase::{Clipbase, Job, JobId, WorkerId};
use clipbase_testkit::Bench;
use clipbase_testkit::builders::{claim, new_job};
use serde_json::Value;
use tokio_postgres::Client;

/// Everything that a write could change: the whole row and the number of its events.
pub(crate) async fn picture(raw: &Client, id: JobId) -> Option<(Value, i64)> {
    let sql = "SELECT to_jsonb(jobs), (SELECT count(*) FROM job_events WHERE job_id = jobs.id)
                 FROM jobs WHERE id = $1";
    let row = raw.query_opt(sql, &[&id.as_uuid()]).await.unwrap();
    row.map(|row| (row.get(0), row.get(1)))
}

/// Lets a lease run out, as if nobody had beaten for an hour.
pub(crate) async fn run_out(raw: &Client, id: JobId) {
    let sql = "UPDATE jobs SET lease_expires_at = now() - interval '1 h',
                      last_heartbeat_at = now() - interval '1 h'
                WHERE id = $1 AND status = 'processing'";
    assert_eq!(raw.execute(sql, &[&id.as_uuid()]).await.unwrap(), 1);
}

/// Lets the job's backoff pass.
pub(crate) async fn make_due(raw: &Client, id: JobId) {
    let sql = "UPDATE jobs SET run_at = now() WHERE id = $1";
    raw.execute(sql, &[&id.as_uuid()]).await.unwrap();
}

/// Lets a job's time be up.
pub(crate) async fn expire(raw: &Client, id: JobId) {
    let sql = "UPDATE jobs SET expires_at = now() - interval '1 s' WHERE id = $1";
    assert_eq!(raw.execute(sql, &[&id.as_uuid()]).await.unwrap(), 1);
}

/// Makes every entry of the outbox due.
pub(crate) async fn make_deletions_due(raw: &Client) {
    let sql = "UPDATE storage_deletions SET next_attempt_at = now()";
    raw.execute(sql, &[]).await.unwrap();
}

/// A job that one worker held until its lease ran out, and another worker's lease on it.
pub(crate) async fn superseded(bench: &Bench, old: WorkerId, new: WorkerId) -> (Lease, Lease) {
    let clipbase = &bench.clipbase;
    let raw = bench.database.raw().await;
    let job = clipbase.jobs().create(&new_job()).await.unwrap();
    let stale = claim(clipbase, job.id, old).await;
    run_out(&raw, job.id).await;
    assert_eq!(clipbase.leases().reap(10).await.unwrap().len(), 1);
    make_due(&raw, job.id).await;
    let fresh = claim(clipbase, job.id, new).await;
    assert_eq!((stale.number(), fresh.number()), (1, 2));
    (stale, fresh)
}

pub(crate) async fn job(clipbase: &Clipbase, id: JobId) -> Job {
    clipbase
        .jobs()
        .get(id)
        .await
        .unwrap()
        .expect("the job exists")
}

pub(crate) async fn kinds(clipbase: &Clipbase, id: JobId) -> Vec<String> {
    let events = clipbase.events().list(id, 0, 1_000).await.unwrap();
    events.into_iter().map(|event| event.kind).collect()
}

pub(crate) async fn upload(bench: &Bench, key: &StorageKey, content: &'static str) {
    let stream = byte_stream(content);
    let storage = bench.clipbase.storage();
    storage
        .upload_stream(stream, content.len() as u64, key)
        .await
        .unwrap();
}

pub(crate) async fn exists(bench: &Bench, key: &StorageKey) -> bool {
    bench.clipbase.storage().info(key).await.unwrap().is_some()
}

/// How often the server had to break a deadlock in this database.
pub(crate) async fn deadlocks(bench: &Bench) -> i64 {
    let raw = bench.database.raw().await;
    let sql = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
    raw.query_one(sql, &[]).await.unwrap().get(0)
}
