//! Links with which an object can be stored, and that outlive the job.

use std::time::Duration;

use clipbase::cleanup::ANNOUNCED_MAX;
use clipbase::storage::{StorageKey, UPLOAD_LINK_TTL};
use clipbase::{Code, JobId, NewJob};
use clipbase_testkit::builders::{new_job, new_jobs};
use clipbase_testkit::{Bench, run};

use super::{MARKERS, clean_up, outbox};
use crate::support::{exists, make_deletions_due, upload};

async fn linked(bench: &Bench) -> (NewJob, StorageKey) {
    let job = new_job();
    let key = StorageKey::source(job.id, "mp4").unwrap();
    let cleanup = bench.clipbase.cleanup();
    let announced = cleanup.announce_upload_link(&key, UPLOAD_LINK_TTL).await;
    announced.unwrap();
    (job, key)
}

/// Lets every link end, and every entry come due.
async fn links_end(bench: &Bench) {
    let raw = bench.database.raw().await;
    let sql = "UPDATE storage_deletions SET writable_until = now() - interval '1 s'
                WHERE writable_until IS NOT NULL";
    raw.execute(sql, &[]).await.unwrap();
    make_deletions_due(&raw).await;
}

#[tokio::test]
async fn what_arrives_by_a_link_after_its_job_was_deleted_and_drained_is_removed() {
    run(async |bench| {
        let raw = bench.database.raw().await;
        let (job, key) = linked(bench).await;
        upload(bench, &key, "video").await;
        bench.clipbase.jobs().create(&job).await.unwrap();
        bench.clipbase.jobs().delete(job.id).await.unwrap();
        // Not while the link lives, however often it is tried.
        for _ in 0..3 {
            clean_up(bench).await;
            assert!(exists(bench, &key).await);
            make_deletions_due(&raw).await;
        }
        upload(bench, &key, "late").await;
        links_end(bench).await;
        assert_eq!(clean_up(bench).await.objects_removed, 1);
        assert!(!exists(bench, &key).await);
        assert_eq!(outbox(bench).await, 0);
    })
    .await;
}

#[tokio::test]
async fn a_job_keeps_what_came_by_a_link_and_the_links_entry_goes_with_the_link() {
    run(async |bench| {
        let raw = bench.database.raw().await;
        let jobs = bench.clipbase.jobs();
        let (single, key) = linked(bench).await;
        let (batched, other) = linked(bench).await;
        for key in [&key, &other] {
            upload(bench, key, "video").await;
        }
        jobs.create(&single).await.unwrap();
        let mut batch = new_jobs(2);
        batch.push(batched);
        jobs.create_many(&batch).await.unwrap();
        let sql = "SELECT count(*) FROM storage_deletions WHERE next_attempt_at = writable_until";
        let waiting: i64 = raw.query_one(sql, &[]).await.unwrap().get(0);
        assert_eq!(waiting, 2, "until the links end");
        make_deletions_due(&raw).await;
        assert_eq!(clean_up(bench).await.objects_put_off, 2);
        links_end(bench).await;
        assert_eq!(clean_up(bench).await.objects_kept, 2);
        assert_eq!(outbox(bench).await, 0);
        assert!(exists(bench, &key).await && exists(bench, &other).await);
    })
    .await;
}

#[tokio::test]
async fn an_unused_link_is_forgotten_with_what_came_by_it() {
    run(async |bench| {
        let (_, key) = linked(bench).await;
        upload(bench, &key, "video").await;
        links_end(bench).await;
        assert_eq!(clean_up(bench).await.objects_removed, 1);
        assert_eq!(bench.storage.object_count(), MARKERS);
        assert_eq!(outbox(bench).await, 0);
    })
    .await;
}

/// A client may make the row first, and name the source last.
#[tokio::test]
async fn a_job_that_names_its_source_after_the_upload_keeps_it() {
    run(async |bench| {
        let raw = bench.database.raw().await;
        let (job, key) = linked(bench).await;
        let sql =
            "INSERT INTO jobs (id, source_type, start_sec, end_sec) VALUES ($1, 'upload', 0, 5)";
        raw.execute(sql, &[&job.id.as_uuid()]).await.unwrap();
        upload(bench, &key, "video").await;
        // While it may be named yet, it stays, also after the announcement has run out.
        links_end(bench).await;
        assert_eq!(clean_up(bench).await.objects_put_off, 1);
        let sql = "UPDATE jobs SET source_key = $2 WHERE id = $1";
        raw.execute(sql, &[&job.id.as_uuid(), &key.to_string()])
            .await
            .unwrap();
        make_deletions_due(&raw).await;
        assert_eq!(clean_up(bench).await.objects_kept, 1);
        assert!(exists(bench, &key).await);
        bench.clipbase.jobs().delete(job.id).await.unwrap();
        clean_up(bench).await;
        assert_eq!(bench.storage.object_count(), MARKERS);
    })
    .await;
}

#[tokio::test]
async fn announcing_again_never_shortens_a_link() {
    run(async |bench| {
        let raw = bench.database.raw().await;
        let (_, key) = linked(bench).await;
        let cleanup = bench.clipbase.cleanup();
        let minute = Duration::from_secs(60);
        cleanup.announce_upload(&key, minute).await.unwrap();
        cleanup.announce_upload_link(&key, minute).await.unwrap();
        cleanup.announce_upload(&key, minute).await.unwrap();
        let sql = "SELECT writable_until > now() + interval '119 min' AND next_attempt_at >= writable_until
                     FROM storage_deletions";
        let is_kept: bool = raw.query_one(sql, &[]).await.unwrap().get(0);
        assert!(is_kept);
        let result = StorageKey::result_video(JobId::new(), 1);
        let too_long = ANNOUNCED_MAX + minute;
        for refused in [
            cleanup.announce_upload_link(&result, minute).await,
            cleanup.announce_upload_link(&key, too_long).await,
            cleanup.announce_upload(&key, Duration::MAX).await,
        ] {
            assert_eq!(refused.unwrap_err().code(), Code::InvalidInput);
        }
    })
    .await;
}

#[tokio::test]
async fn a_source_that_expires_under_a_live_link_waits_for_it() {
    run(async |bench| {
        let raw = bench.database.raw().await;
        let (job, key) = linked(bench).await;
        upload(bench, &key, "video").await;
        bench.clipbase.jobs().create(&job).await.unwrap();
        bench.clipbase.jobs().cancel(job.id).await.unwrap();
        let sql = "UPDATE jobs SET source_expires_at = now() - interval '1 s' WHERE id = $1";
        raw.execute(sql, &[&job.id.as_uuid()]).await.unwrap();
        let page = bench.clipbase.cleanup().plan(None).await.unwrap();
        let page = bench.clipbase.cleanup().plan(page.next.as_ref()).await;
        assert!(page.unwrap().sources[0].is_writable);
        assert_eq!(clean_up(bench).await.sources_removed, 1);
        assert!(exists(bench, &key).await);
        links_end(bench).await;
        assert_eq!(clean_up(bench).await.objects_removed, 1);
        assert!(!exists(bench, &key).await);
    })
    .await;
}
