//! Rows and arguments that are refused: none of them is repeated.

use std::str::FromStr;

use clipbase::jobs::{Actor, Idempotency, TransitionPatch};
use clipbase::leases::{ClaimOptions, Failure, Finish, LEASE_TTL};
use clipbase::storage::{DownloadName, SourceExtension, StorageKey};
use clipbase::{
    Change, ClipRange, Clipbase, Code, DatabaseMode, JobId, JobPatch, JobStatus, NewJob, Priority,
    Source, WorkerId,
};
use clipbase_testkit::builders::{claimed, new_job};
use clipbase_testkit::{Bench, run};
use serde_json::{Value, json};

use super::capture::{Capture, assert_discreet};

/// A job with a secret wherever a caller may write.
fn secretive() -> NewJob {
    let source = Source::Youtube("https://planted.example/planted".to_owned());
    let mut job = NewJob::new(
        JobId::new(),
        source,
        ClipRange::from_millis(0, 1_000).unwrap(),
    );
    "planted".clone_into(&mut job.subtitle_lang);
    job.event_data = Some(json!({"planted": "sources/planted"}));
    job
}

#[tokio::test]
async fn a_refused_row_is_not_repeated() {
    let capture = Capture::start();
    run(async |bench| {
        refuse_jobs(&bench.clipbase).await;
        refuse_workers(&bench.clipbase).await;
        refuse_unknown_words(bench).await;
    })
    .await;
    capture.assert_clean();
}

async fn refuse_jobs(clipbase: &Clipbase) {
    let jobs = clipbase.jobs();
    let job = secretive();
    jobs.create(&job).await.unwrap();
    let error = jobs.create(&job).await.unwrap_err();
    assert_eq!(error.code(), Code::DbConflict);
    assert_discreet(&error);
    assert_discreet(
        &jobs
            .create_many(&[secretive(), job.clone()])
            .await
            .unwrap_err(),
    );
    let patch = JobPatch {
        burn_subtitles: Some(true),
        subtitle_lang: Some("planted".to_owned()),
        ..JobPatch::default()
    };
    let error = jobs.update(job.id, &patch).await.unwrap_err();
    assert_eq!(error.code(), Code::DbConflict);
    assert_discreet(&error);
    let request = Idempotency::new("planted", "planted");
    jobs.create_once(&secretive(), &request).await.unwrap();
    let mut other = secretive();
    other.shard = 9;
    assert_discreet(&jobs.create_once(&other, &request).await.unwrap_err());
    let nul = Idempotency::new("planted", "planted\0");
    assert_discreet(&jobs.create_once(&other, &nul).await.unwrap_err());
    assert_discreet(&jobs.retry(job.id).await.unwrap_err());
    assert_discreet(&jobs.delete(JobId::new()).await.unwrap_err());
    let patch = JobPatch {
        expires_at: Change::Clear,
        ..JobPatch::default()
    };
    assert_discreet(&jobs.update(JobId::new(), &patch).await.unwrap_err());
    let events = clipbase.events();
    let data = json!({"planted": "planted".repeat(2_000)});
    assert_discreet(
        &events
            .add(job.id, "planted", Some(&data))
            .await
            .unwrap_err(),
    );
    assert_discreet(&events.add(job.id, "planted word", None).await.unwrap_err());
    let data = json!({"planted": "planted\0"});
    assert_discreet(
        &events
            .add(job.id, "planted", Some(&data))
            .await
            .unwrap_err(),
    );
    assert_discreet(
        &events
            .add(job.id, "planted", Some(&Value::from("planted")))
            .await
            .unwrap_err(),
    );
    assert_discreet(&events.add(JobId::new(), "planted", None).await.unwrap_err());
    assert_discreet(&events.list(job.id, 0, 0).await.unwrap_err());
}

async fn refuse_workers(clipbase: &Clipbase) {
    let leases = clipbase.leases();
    let lease = claimed(clipbase).await;
    let failure = Failure::new("PLANTED", "planted: /planted/sources/planted").unwrap();
    leases.fail(&lease, &failure).await.unwrap();
    assert_discreet(&leases.fail(&lease, &failure).await.unwrap_err());
    assert_discreet(&leases.finish(Finish::new(&lease)).await.unwrap_err());
    let data = json!({"planted": "planted"});
    assert_discreet(
        &leases
            .log(&lease, "planted", Some(&data))
            .await
            .unwrap_err(),
    );
    assert_discreet(&leases.release(&lease).await.unwrap_err());
    let twice = [Finish::new(&lease), Finish::new(&lease)];
    assert_discreet(&leases.finish_many(&twice).await.unwrap_err());
    assert_discreet(
        &leases
            .claim(&ClaimOptions::new(WorkerId::new(), 0))
            .await
            .unwrap_err(),
    );
    let patch = TransitionPatch {
        result_video: Some(StorageKey::result_video(lease.job_id(), 1)),
        event_type: Some("planted".to_owned()),
        event_data: Some(json!({"planted": "results/planted"})),
        ..TransitionPatch::default()
    };
    let jobs = clipbase.jobs();
    let done = jobs.transition(
        lease.job_id(),
        JobStatus::Done,
        Actor::Lease(&lease),
        &patch,
    );
    assert_discreet(&done.await.unwrap_err());
    let failed = jobs.transition(lease.job_id(), JobStatus::Failed, Actor::Operator, &patch);
    assert_discreet(&failed.await.unwrap_err());
    let absent = leases
        .claim_job(WorkerId::new(), JobId::new(), LEASE_TTL)
        .await;
    assert_eq!(absent.unwrap(), None);
}

/// Words that got into the row behind the library's back.
async fn refuse_unknown_words(bench: &Bench) {
    let jobs = bench.clipbase.jobs();
    let job = jobs.create(&new_job()).await.unwrap();
    let client = bench.database.raw().await;
    client
        .batch_execute(
            "ALTER TABLE public.jobs DROP CONSTRAINT jobs_priority_known;
             ALTER TABLE public.jobs ALTER COLUMN created_at DROP NOT NULL",
        )
        .await
        .unwrap();
    let sql = "UPDATE public.jobs SET priority = 'planted' WHERE id = $1";
    client.execute(sql, &[&job.id.as_uuid()]).await.unwrap();
    for mode in [DatabaseMode::Direct, DatabaseMode::Transaction] {
        assert_eq!(bench.config().with_mode(mode).mode(), mode);
        let error = jobs.get(job.id).await.unwrap_err();
        assert_eq!(error.code(), Code::DbInconsistent);
        assert_discreet(&error);
    }
}

#[test]
fn an_argument_that_cannot_be_read_is_not_repeated() {
    fn refused<T: std::fmt::Debug>(outcome: clipbase::Result<T>) {
        assert_discreet(&outcome.unwrap_err());
    }
    for text in [
        "planted",
        "sources/planted",
        "results/planted/clip.mp4",
        "planted\0",
        "",
    ] {
        refused(JobId::from_str(text));
        refused(WorkerId::from_str(text));
        refused(JobStatus::from_str(text));
        refused(Priority::from_str(text));
        refused(DatabaseMode::from_str(text));
        refused(StorageKey::from_str(text));
        refused(SourceExtension::new(&format!("{text}/planted")));
        refused(StorageKey::source(JobId::new(), &format!("{text}.planted")));
        refused(DownloadName::new(&format!("{text}\"/planted\n")));
        refused(Failure::new(format!("{text} planted"), text));
    }
}
