//! Uploads that are announced before their job exists.

use clipbase::cleanup::UPLOAD_TTL;
use clipbase::jobs::Idempotency;
use clipbase::storage::{Operation, StorageKey};
use clipbase::{Code, JobId, NewJob};
use clipbase_testkit::builders::new_job;
use clipbase_testkit::{Bench, run};
use tokio_postgres::Client;

use super::{MARKERS, clean_up, finished, outbox};
use crate::support::{exists, make_deletions_due, upload};

async fn announced(bench: &Bench) -> (NewJob, StorageKey) {
    let job = new_job();
    let key = StorageKey::source(job.id, "mp4").unwrap();
    let cleanup = bench.clipbase.cleanup();
    cleanup.announce_upload(&key, UPLOAD_TTL).await.unwrap();
    upload(bench, &key, "video").await;
    (job, key)
}

/// Every way to make a job is refused, and makes none.
async fn no_job_can_be_made(bench: &Bench, job: &NewJob, raw: &Client) {
    let jobs = bench.clipbase.jobs();
    let request = Idempotency::new("test", job.id.to_string());
    let refusals = [
        jobs.create(job).await.err(),
        jobs.create_once(job, &request).await.err(),
        jobs.create_many(&[new_job(), job.clone()]).await.err(),
    ];
    for error in refusals {
        assert_eq!(error.unwrap().code(), Code::StorageNotFound);
    }
    let sql = "SELECT (SELECT count(*) FROM jobs) + (SELECT count(*) FROM job_idempotency)";
    let count: i64 = raw.query_one(sql, &[]).await.unwrap().get(0);
    assert_eq!(count, 0);
}

#[tokio::test]
async fn a_job_adopts_its_announced_upload() {
    run(async |bench| {
        let jobs = bench.clipbase.jobs();
        let raw = bench.database.raw().await;
        let [single, keyed, batched] = [
            announced(bench).await,
            announced(bench).await,
            announced(bench).await,
        ];
        assert_eq!(outbox(bench).await, 3);
        jobs.create(&single.0).await.unwrap();
        let request = Idempotency::new("test", "key");
        jobs.create_once(&keyed.0, &request).await.unwrap();
        jobs.create_many(&[new_job(), batched.0]).await.unwrap();
        assert_eq!(outbox(bench).await, 0);
        make_deletions_due(&raw).await;
        clean_up(bench).await;
        for key in [single.1, keyed.1, batched.1] {
            assert!(exists(bench, &key).await);
        }
    })
    .await;
}

#[tokio::test]
async fn a_repeated_request_leaves_its_second_upload_to_the_clean_up() {
    run(async |bench| {
        let jobs = bench.clipbase.jobs();
        let raw = bench.database.raw().await;
        let (first, second) = (announced(bench).await, announced(bench).await);
        let request = Idempotency::new("test", "key");
        jobs.create_once(&first.0, &request).await.unwrap();
        jobs.create_once(&second.0, &request).await.unwrap();
        make_deletions_due(&raw).await;
        clean_up(bench).await;
        assert!(exists(bench, &first.1).await);
        assert!(!exists(bench, &second.1).await);
    })
    .await;
}

#[tokio::test]
async fn an_upload_without_a_job_is_removed_when_it_has_lapsed() {
    run(async |bench| {
        let raw = bench.database.raw().await;
        let (job, key) = announced(bench).await;
        clean_up(bench).await;
        assert!(exists(bench, &key).await);
        // From five minutes before its end on, it may be on its way out.
        let sql = "UPDATE storage_deletions SET next_attempt_at = now() + interval '4 min'";
        raw.execute(sql, &[]).await.unwrap();
        no_job_can_be_made(bench, &job, &raw).await;
        make_deletions_due(&raw).await;
        no_job_can_be_made(bench, &job, &raw).await;
        clean_up(bench).await;
        assert_eq!(
            (bench.storage.object_count(), outbox(bench).await),
            (MARKERS, 0)
        );
    })
    .await;
}

/// Between two attempts the pause grows beyond the five minutes; the object may be gone all the same.
#[tokio::test]
async fn an_upload_whose_removal_was_tried_is_lost_for_good() {
    run(async |bench| {
        let raw = bench.database.raw().await;
        let (job, key) = announced(bench).await;
        for _ in 0..5 {
            make_deletions_due(&raw).await;
            let lost = Code::StorageUnavailable;
            bench.storage.fail_next_answer(Operation::Remove, lost);
            assert_eq!(clean_up(bench).await.objects_failed, 1);
        }
        assert!(!exists(bench, &key).await);
        no_job_can_be_made(bench, &job, &raw).await;
        let cleanup = bench.clipbase.cleanup();
        let again = cleanup.announce_upload(&key, UPLOAD_TTL).await;
        assert_eq!(again.unwrap_err().code(), Code::DbConflict);
    })
    .await;
}

#[tokio::test]
async fn an_announcement_can_be_prolonged_until_it_is_due() {
    run(async |bench| {
        let raw = bench.database.raw().await;
        let (job, key) = announced(bench).await;
        let cleanup = bench.clipbase.cleanup();
        let longer = UPLOAD_TTL * 2;
        cleanup.announce_upload(&key, longer).await.unwrap();
        make_deletions_due(&raw).await;
        let late = cleanup.announce_upload(&key, longer).await;
        assert_eq!(late.unwrap_err().code(), Code::DbConflict);
        no_job_can_be_made(bench, &job, &raw).await;
        let result = StorageKey::result_video(JobId::new(), 1);
        let refused = cleanup.announce_upload(&result, longer).await;
        assert_eq!(refused.unwrap_err().code(), Code::InvalidInput);
    })
    .await;
}

#[tokio::test]
async fn an_upload_that_a_raw_job_names_is_kept() {
    run(async |bench| {
        let raw = bench.database.raw().await;
        let (job, key) = announced(bench).await;
        let sql = "INSERT INTO jobs (id, source_type, source_key, start_sec, end_sec)
                   VALUES ($1, 'upload', $2, 0, 5)";
        raw.execute(sql, &[&job.id.as_uuid(), &key.to_string()])
            .await
            .unwrap();
        make_deletions_due(&raw).await;
        assert_eq!(clean_up(bench).await.objects_kept, 1);
        assert!(exists(bench, &key).await);
        assert_eq!(outbox(bench).await, 0);
        bench.clipbase.jobs().delete(job.id).await.unwrap();
        assert_eq!(clean_up(bench).await.objects_removed, 1);
        assert_eq!(bench.storage.object_count(), MARKERS);
    })
    .await;
}

/// Its results would be taken for those of the job that was deleted.
#[tokio::test]
async fn a_deleted_job_is_not_made_again_while_its_objects_are_on_their_way_out() {
    run(async |bench| {
        let clipbase = &bench.clipbase;
        let raw = bench.database.raw().await;
        let lease = finished(bench).await;
        clipbase.jobs().delete(lease.job_id()).await.unwrap();
        let mut again = new_job();
        again.id = lease.job_id();
        for wait in ["1 h", "0 s"] {
            let sql =
                format!("UPDATE storage_deletions SET next_attempt_at = now() + interval '{wait}'");
            raw.execute(&sql, &[]).await.unwrap();
            no_job_can_be_made(bench, &again, &raw).await;
        }
        again.source = clipbase::Source::Youtube("https://example.com/v".to_owned());
        no_job_can_be_made(bench, &again, &raw).await;
        clean_up(bench).await;
        clipbase.jobs().create(&again).await.unwrap();
    })
    .await;
}
