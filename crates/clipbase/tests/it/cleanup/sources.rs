//! Sources that go before their jobs.

use std::time::Duration;

use clipbase::jobs::{Actor, TransitionPatch};
use clipbase::leases::{ClaimOptions, Failure, Finish, Lease};
use clipbase::storage::StorageKey;
use clipbase::{
    Clipbase, Code, DatabaseMode, JobId, JobStatus, RETENTION_MAX, Retention, Settings, WorkerId,
};
use clipbase_testkit::builders::{claimed, new_job};
use clipbase_testkit::{Bench, run, run_in};
use tokio_postgres::Client;

use super::{clean_up, finished, objects};
use crate::seed::{SeedClient, refused};
use crate::support::{exists, job, kinds, run_out, upload};

const HOUR: Duration = Duration::from_secs(3600);

fn settings() -> Settings {
    let retention = Retention {
        sources: Some(HOUR),
        ..Retention::default()
    };
    Settings {
        retention,
        ..Settings::default()
    }
}

async fn its_time_is_up(raw: &Client, id: JobId) {
    let sql = "UPDATE jobs SET source_expires_at = now() - interval '1 s' WHERE id = $1";
    raw.execute(sql, &[&id.as_uuid()]).await.unwrap();
}

/// A job whose source was removed, failed and with its clip-less row.
async fn without_source(bench: &Bench) -> JobId {
    let raw = bench.database.raw().await;
    let id = bench.clipbase.jobs().create(&new_job()).await.unwrap().id;
    upload(bench, &StorageKey::source(id, "mp4").unwrap(), "video").await;
    bench.clipbase.jobs().cancel(id).await.unwrap();
    its_time_is_up(&raw, id).await;
    assert_eq!(clean_up(bench).await.sources_removed, 1);
    id
}

#[tokio::test]
async fn a_source_goes_alone_and_the_row_its_log_and_its_results_stay() {
    run(async |bench| {
        let raw = bench.database.raw().await;
        let lease = finished(bench).await;
        let id = lease.job_id();
        its_time_is_up(&raw, id).await;
        let report = clean_up(bench).await;
        assert_eq!((report.sources_removed, report.objects_removed), (1, 1));
        let [source, video, srt] = objects(id);
        assert!(!exists(bench, &source).await);
        assert!(exists(bench, &video).await && exists(bench, &srt).await);
        let job = job(&bench.clipbase, id).await;
        assert_eq!(job.status, JobStatus::Done);
        assert_eq!(job.source_deleted_at, Some(job.updated_at));
        let log = kinds(&bench.clipbase, id).await;
        assert_eq!(log, ["created", "claimed", "finished", "source_removed"]);
        assert_eq!(clean_up(bench).await.sources_removed, 0, "once");
        bench.clipbase.jobs().delete(id).await.unwrap();
        clean_up(bench).await;
        assert!(!exists(bench, &video).await);
    })
    .await;
}

#[tokio::test]
async fn every_edge_to_an_end_sets_the_time_and_a_retry_takes_it_back() {
    run_in(DatabaseMode::Direct, settings(), async |bench| {
        let seed = SeedClient::on(&bench.database).await;
        let raw = bench.database.raw().await;
        let (clipbase, leases) = (&bench.clipbase, bench.clipbase.leases());
        let failure = Failure::new("BAD_INPUT", "no video in it").unwrap();
        let ends: [Lease; 5] = [
            claimed(clipbase).await,
            claimed(clipbase).await,
            claimed(clipbase).await,
            claimed(clipbase).await,
            claimed(clipbase).await,
        ];
        leases.finish(Finish::new(&ends[0])).await.unwrap();
        let options = ClaimOptions::new(WorkerId::new(), 1);
        let turn = leases.turn(&[Finish::new(&ends[1])], &options).await;
        assert_eq!(turn.unwrap().finished.len(), 1);
        leases.fail(&ends[2], &failure).await.unwrap();
        let sql = "UPDATE jobs SET max_attempts = 1 WHERE id = $1";
        let lost = ends[3].job_id();
        raw.execute(sql, &[&lost.as_uuid()]).await.unwrap();
        run_out(&raw, lost).await;
        leases.reap(10).await.unwrap();
        let patch = TransitionPatch::default();
        let (id, next) = (ends[4].job_id(), JobStatus::Failed);
        let jobs = clipbase.jobs();
        jobs.transition(id, next, Actor::Operator, &patch)
            .await
            .unwrap();
        let canceled = jobs.create(&new_job()).await.unwrap().id;
        jobs.cancel(canceled).await.unwrap();
        let set = "source_expires_at = finished_at + interval '1 hour'";
        for id in ends.iter().map(Lease::job_id).chain([canceled]) {
            seed.row_is(id, &[set]).await;
        }
        for id in [canceled, lost, ends[2].job_id(), ends[4].job_id()] {
            jobs.retry(id).await.unwrap();
            seed.row_is(id, &["source_expires_at is null"]).await;
        }
        // By raw SQL too.
        jobs.cancel(canceled).await.unwrap();
        seed.set_status(canceled, JobStatus::Queued).await.unwrap();
        seed.row_is(canceled, &["source_expires_at is null"]).await;
    })
    .await;
}

#[tokio::test]
async fn a_source_in_another_folder_is_never_the_jobs_to_lose() {
    run_in(DatabaseMode::Direct, settings(), async |bench| {
        let seed = SeedClient::on(&bench.database).await;
        let raw = bench.database.raw().await;
        let owner = bench.clipbase.jobs().create(&new_job()).await.unwrap().id;
        let key = StorageKey::source(owner, "mp4").unwrap();
        upload(bench, &key, "video").await;
        let lease = claimed(&bench.clipbase).await;
        let set = format!("source_key = '{key}'");
        seed.update(lease.job_id(), &set).await.unwrap();
        bench
            .clipbase
            .leases()
            .finish(Finish::new(&lease))
            .await
            .unwrap();
        seed.row_is(lease.job_id(), &["source_expires_at is null"])
            .await;
        its_time_is_up(&raw, lease.job_id()).await;
        assert_eq!(clean_up(bench).await.sources_removed, 0);
        assert!(exists(bench, &key).await);
    })
    .await;
}

#[tokio::test]
async fn a_job_that_has_not_ended_keeps_its_source_whatever_the_row_says() {
    run(async |bench| {
        let raw = bench.database.raw().await;
        let queued = bench.clipbase.jobs().create(&new_job()).await.unwrap().id;
        let running = claimed(&bench.clipbase).await;
        for id in [queued, running.job_id()] {
            its_time_is_up(&raw, id).await;
        }
        assert_eq!(clean_up(bench).await.sources_removed, 0);
    })
    .await;
}

#[tokio::test]
async fn a_job_without_its_source_is_not_retried_by_anybody() {
    run(async |bench| {
        let seed = SeedClient::on(&bench.database).await;
        let id = without_source(bench).await;
        let jobs = bench.clipbase.jobs();
        let patch = TransitionPatch::default();
        let refusals = [
            jobs.retry(id).await,
            jobs.transition(id, JobStatus::Queued, Actor::Operator, &patch)
                .await,
        ];
        for refusal in refusals {
            let error = refusal.unwrap_err();
            assert_eq!(error.code(), Code::InvalidTransition);
            assert!(
                error.to_string().contains("its source was removed"),
                "{error}"
            );
        }
        let words = "a job whose source was removed cannot be retried";
        refused(seed.set_status(id, JobStatus::Queued).await, "CB002", words);
        // Also where the statement takes its event's number, which passes most of the guards.
        let set = "status = 'queued', event_seq = event_seq + 1";
        refused(seed.update(id, set).await, "CB002", words);
        seed.row_is(id, &["status = 'failed' and event_seq = 3"])
            .await;
    })
    .await;
}

#[tokio::test]
async fn a_client_that_names_another_source_may_try_again() {
    run(async |bench| {
        let seed = SeedClient::on(&bench.database).await;
        let id = without_source(bench).await;
        let key = StorageKey::source(id, "mov").unwrap();
        upload(bench, &key, "another").await;
        seed.update(id, &format!("source_key = '{key}'"))
            .await
            .unwrap();
        seed.row_is(id, &["source_deleted_at is null and event_seq = 4"])
            .await;
        clean_up(bench).await;
        assert!(exists(bench, &key).await);
        bench.clipbase.jobs().retry(id).await.unwrap();

        let id = without_source(bench).await;
        let key = StorageKey::source(id, "mov").unwrap();
        let set = format!("source_key = '{key}', status = 'queued'");
        seed.update(id, &set).await.unwrap();
        seed.row_is(id, &["status = 'queued' and source_deleted_at is null"])
            .await;
    })
    .await;
}

#[tokio::test]
async fn a_retention_beyond_the_databases_clock_is_refused() {
    run(async |bench| {
        for (done, sources) in [
            (Some(Duration::MAX), None),
            (None, Some(RETENTION_MAX + HOUR)),
        ] {
            let retention = Retention {
                done,
                failed: None,
                sources,
            };
            let settings = Settings {
                retention,
                ..Settings::default()
            };
            let storage = std::sync::Arc::new(bench.storage.clone());
            let refused = Clipbase::new(&bench.config(), storage, settings).unwrap_err();
            assert_eq!(refused.code(), Code::InvalidInput);
        }
    })
    .await;
}

#[tokio::test]
async fn a_mark_set_by_hand_is_in_the_log() {
    run(async |bench| {
        let seed = SeedClient::on(&bench.database).await;
        let id = seed.job_in(JobStatus::Done).await;
        seed.update(id, "source_deleted_at = now()").await.unwrap();
        let events = seed.events(id).await;
        let (kind, data) = events.last().unwrap();
        assert_eq!(kind, "4 updated");
        assert!(data.contains("\"source_deleted\": true"), "{data}");
    })
    .await;
}
