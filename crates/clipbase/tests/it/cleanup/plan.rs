//! A dry run lists exactly what a real run then removes.

use std::collections::BTreeSet;
use std::time::Duration;

use clipbase::cleanup::{CleanupOptions, PLAN_PAGE, UPLOAD_TTL};
use clipbase::jobs::Actor;
use clipbase::leases::Lease;
use clipbase::storage::{StorageKey, UPLOAD_LINK_TTL};
use clipbase::{JobId, JobStatus, WorkerId};
use clipbase_testkit::builders::{claimed, new_job, new_jobs};
use clipbase_testkit::{Bench, run};

use super::{finished, objects};
use crate::support::{exists, expire, run_out, superseded, upload};

#[derive(Debug, Default, PartialEq)]
struct Listed {
    jobs: BTreeSet<JobId>,
    sources: BTreeSet<JobId>,
    objects: BTreeSet<String>,
}

async fn read_plan(bench: &Bench) -> Listed {
    let cleanup = bench.clipbase.cleanup();
    let mut listed = Listed::default();
    let mut after = None;
    loop {
        let page = cleanup.plan(after.as_ref()).await.unwrap();
        for job in page.jobs {
            assert!(listed.jobs.insert(job.id), "{} stands twice", job.id);
            for key in job.objects {
                assert!(listed.objects.insert(key.clone()), "{key} stands twice");
            }
        }
        for source in page.sources {
            assert!(listed.sources.insert(source.job));
            if !source.is_writable {
                assert!(listed.objects.insert(source.object_key));
            }
        }
        for entry in page.objects {
            let key = entry.object_key;
            assert!(listed.objects.insert(key.clone()), "{key} stands twice");
        }
        after = page.next;
        if after.is_none() {
            return listed;
        }
    }
}

fn keys(bench: &Bench) -> BTreeSet<String> {
    bench.storage.object_keys().into_iter().collect()
}

/// Jobs, sources, uploads and entries of every kind; what must go and what must stay.
async fn world(bench: &Bench) {
    let stale = jobs_and_sources(bench).await;
    outbox_entries(bench, &stale).await;
}

/// Returns a superseded lease of an expired job.
async fn jobs_and_sources(bench: &Bench) -> Lease {
    let raw = bench.database.raw().await;
    let clipbase = &bench.clipbase;
    let cleanup = clipbase.cleanup();
    let its_source_expires =
        "UPDATE jobs SET source_expires_at = now() - interval '1 s' WHERE id = $1";
    // Expired: done; lost under its second lease; queued; one with its source past its time as well.
    expire(&raw, finished(bench).await.job_id()).await;
    let (stale, fresh) = superseded(bench, WorkerId::new(), WorkerId::new()).await;
    for key in [stale.video_key(), fresh.video_key()] {
        upload(bench, &key, "clip").await;
    }
    expire(&raw, fresh.job_id()).await;
    run_out(&raw, fresh.job_id()).await;
    let queued = clipbase.jobs().create(&new_job()).await.unwrap().id;
    upload(bench, &StorageKey::source(queued, "mp4").unwrap(), "video").await;
    expire(&raw, queued).await;
    let both = finished(bench).await.job_id();
    expire(&raw, both).await;
    raw.execute(its_source_expires, &[&both.as_uuid()])
        .await
        .unwrap();
    // Not expired: young; under a live lease.
    finished(bench).await;
    let alive = claimed(clipbase).await;
    upload(bench, &alive.video_key(), "clip").await;
    expire(&raw, alive.job_id()).await;
    // Sources past their time: of a job that stays, of one whose link lives, of one that runs.
    let sourceless = finished(bench).await.job_id();
    let linked = new_job();
    let link = StorageKey::source(linked.id, "mp4").unwrap();
    cleanup
        .announce_upload_link(&link, UPLOAD_LINK_TTL)
        .await
        .unwrap();
    upload(bench, &link, "video").await;
    clipbase.jobs().create(&linked).await.unwrap();
    clipbase.jobs().cancel(linked.id).await.unwrap();
    let running = claimed(clipbase).await.job_id();
    for id in [sourceless, linked.id, running] {
        raw.execute(its_source_expires, &[&id.as_uuid()])
            .await
            .unwrap();
    }
    stale
}

async fn outbox_entries(bench: &Bench, stale: &Lease) {
    let raw = bench.database.raw().await;
    let clipbase = &bench.clipbase;
    let cleanup = clipbase.cleanup();
    let alive = claimed(clipbase).await;
    upload(bench, &alive.video_key(), "clip").await;
    // The outbox: a deleted job; an upload that lapsed, and one that has not; what a row names, what a live
    // lease writes, what nobody can read; a link that lives, of an expired job.
    let gone = finished(bench).await.job_id();
    clipbase.jobs().delete(gone).await.unwrap();
    for is_lapsed in [true, false] {
        let key = StorageKey::source(JobId::new(), "mp4").unwrap();
        cleanup.announce_upload(&key, UPLOAD_TTL).await.unwrap();
        upload(bench, &key, "video").await;
        if is_lapsed {
            let sql = "UPDATE storage_deletions SET next_attempt_at = now() WHERE object_key = $1";
            raw.execute(sql, &[&key.to_string()]).await.unwrap();
        }
    }
    let named = finished(bench).await;
    let sql =
        "INSERT INTO storage_deletions (object_key, job_id, reason) VALUES ($1, $2, 'unowned')";
    for (key, job) in [
        (named.video_key().to_string(), named.job_id()),
        (alive.video_key().to_string(), alive.job_id()),
        (stale.video_key().to_string(), stale.job_id()),
        ("elsewhere/x".to_owned(), JobId::new()),
    ] {
        raw.execute(sql, &[&key, &job.as_uuid()]).await.unwrap();
    }
    let expired = new_job();
    let link = StorageKey::source(expired.id, "mp4").unwrap();
    cleanup
        .announce_upload_link(&link, UPLOAD_LINK_TTL)
        .await
        .unwrap();
    upload(bench, &link, "video").await;
    clipbase.jobs().create(&expired).await.unwrap();
    expire(&raw, expired.id).await;
}

#[tokio::test]
async fn a_plan_is_what_a_run_then_does_key_by_key() {
    run(async |bench| {
        world(bench).await;
        let before = keys(bench);
        let plan = read_plan(bench).await;
        assert_eq!(read_plan(bench).await, plan, "reading it changes nothing");
        assert_eq!(keys(bench), before);
        assert_eq!((plan.jobs.len(), plan.sources.len()), (5, 2));

        let options = CleanupOptions::default();
        let report = bench
            .clipbase
            .cleanup()
            .run(&options, |_| ())
            .await
            .unwrap();
        let removed: BTreeSet<String> = before.difference(&keys(bench)).cloned().collect();
        let planned: BTreeSet<String> = plan.objects.intersection(&before).cloned().collect();
        assert_eq!(removed, planned);
        assert_eq!(report.objects_removed, plan.objects.len() as u64);
        assert_eq!(report.jobs_deleted, plan.jobs.len() as u64);
        assert_eq!(report.sources_removed, plan.sources.len() as u64);
        for id in plan.jobs {
            assert!(bench.clipbase.jobs().get(id).await.unwrap().is_none());
        }
        // What nobody could read is all that is left to plan.
        assert_eq!(read_plan(bench).await, Listed::default());
    })
    .await;
}

#[tokio::test]
async fn all_pages_are_about_one_moment_and_ties_are_no_gap() {
    run(async |bench| {
        let raw = bench.database.raw().await;
        let count = PLAN_PAGE as usize * 2 + 7;
        let jobs = new_jobs(count);
        bench.clipbase.jobs().create_many(&jobs).await.unwrap();
        // All of one moment, which is the hardest way to page.
        raw.execute("UPDATE jobs SET expires_at = now() - interval '1 h'", &[])
            .await
            .unwrap();
        assert_eq!(read_plan(bench).await.jobs.len(), count);

        let cleanup = bench.clipbase.cleanup();
        let first = cleanup.plan(None).await.unwrap();
        assert_eq!(first.jobs.len(), PLAN_PAGE as usize);
        let late = finished(bench).await.job_id();
        let sql = "UPDATE jobs SET expires_at = clock_timestamp() WHERE id = $1";
        raw.execute(sql, &[&late.as_uuid()]).await.unwrap();
        let mut after = first.next;
        while let Some(cursor) = after {
            let page = cleanup.plan(Some(&cursor)).await.unwrap();
            assert!(page.jobs.iter().all(|job| job.id != late));
            after = page.next;
        }
        // The same for what is in the outbox already, and for sources.
        raw.execute("DELETE FROM jobs WHERE id <> $1", &[&late.as_uuid()])
            .await
            .unwrap();
        let listed = read_plan(bench).await;
        assert_eq!(listed.objects.len(), count + objects(late).len());

        let jobs = new_jobs(count);
        bench.clipbase.jobs().create_many(&jobs).await.unwrap();
        let sql = "UPDATE jobs SET status = 'failed' WHERE status = 'queued'";
        raw.execute(sql, &[]).await.unwrap();
        let sql = "UPDATE jobs SET source_expires_at = now() - interval '1 h'";
        raw.execute(sql, &[]).await.unwrap();
        assert_eq!(read_plan(bench).await.sources.len(), count);
    })
    .await;
}

#[tokio::test]
async fn a_source_whose_job_is_moved_by_an_operator_is_planned_like_any_other() {
    run(async |bench| {
        let raw = bench.database.raw().await;
        let lease = claimed(&bench.clipbase).await;
        let key = StorageKey::source(lease.job_id(), "mp4").unwrap();
        upload(bench, &key, "video").await;
        let jobs = bench.clipbase.jobs();
        let patch = clipbase::jobs::TransitionPatch::default();
        let (id, next) = (lease.job_id(), JobStatus::Failed);
        jobs.transition(id, next, Actor::Operator, &patch)
            .await
            .unwrap();
        let sql =
            "UPDATE jobs SET source_expires_at = now() - $2::float8 * interval '1 s' WHERE id = $1";
        let hour = Duration::from_secs(3600).as_secs_f64();
        raw.execute(sql, &[&id.as_uuid(), &hour]).await.unwrap();
        let plan = read_plan(bench).await;
        assert_eq!(plan.objects, BTreeSet::from([key.to_string()]));
        assert!(exists(bench, &key).await);
    })
    .await;
}
