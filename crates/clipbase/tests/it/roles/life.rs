//! The whole life of jobs through the library, connected as members of one group each: the API as one user, the
//! workers as another, a reader as a third. What row-level security hid would be missing here.

use std::collections::BTreeSet;
use std::time::Duration;

use clipbase::api_keys::{NewApiKey, Scope, Scopes};
use clipbase::db::statement::all;
use clipbase::jobs::{Actor, Canceled, Created, Idempotency, JobFilter, TransitionPatch};
use clipbase::{Clipbase, JobId, JobPatch, JobStatus, Priority, Settings, Source, WorkerId};
use clipbase_testkit::builders::{claim, new_job, new_jobs};
use clipbase_testkit::{Bench, run};
use metrics_util::debugging::{DebuggingRecorder, Snapshotter};

use super::Member;
use super::table::who_may;

mod worker;

/// Listens to which statements ran on this thread, and how they ended.
struct Calls {
    metrics: Snapshotter,
    _recorder: metrics::LocalRecorderGuard<'static>,
}

impl Calls {
    fn listen() -> Self {
        let recorder: &'static DebuggingRecorder = Box::leak(Box::new(DebuggingRecorder::new()));
        Self {
            metrics: recorder.snapshotter(),
            _recorder: metrics::set_default_local_recorder(recorder),
        }
    }

    /// The statements that ran since the last time, each of which must have succeeded.
    #[track_caller]
    fn succeeded(&self) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        for (key, ..) in self.metrics.snapshot().into_vec() {
            if key.key().name() == "clipbase_db_calls_total" {
                let label = |name: &str| {
                    let label = key.key().labels().find(|label| label.key() == name);
                    label.unwrap().value().to_owned()
                };
                assert_eq!(label("code"), "OK", "{}", label("statement"));
                names.insert(label("statement"));
            }
        }
        names
    }
}

/// Fails where a statement that this is about and that the role may run was not run.
#[track_caller]
fn ran_all(role: &str, ran: &BTreeSet<String>, is_about: impl Fn(&str) -> bool) {
    let left_out: Vec<&str> = all()
        .map(|statement| statement.name)
        .filter(|name| is_about(name) && who_may(name).contains(&role) && !ran.contains(*name))
        .collect();
    assert!(left_out.is_empty(), "{role} did not run {left_out:?}");
}

#[tokio::test]
async fn the_api_lives_as_a_member_of_its_group() {
    run(async |bench| {
        let member = Member::of("clipbase_api", &bench.database).await;
        let clipbase = member.clipbase(bench, Settings::default());
        let calls = Calls::listen();
        clipbase.check_schema().await.unwrap();
        clipbase.check_installation().await.unwrap();
        makes_jobs(&clipbase).await;
        looks_at_jobs(&clipbase).await;
        moves_jobs(&clipbase, bench).await;
        has_keys(&clipbase).await;
        clipbase.sample_gauges().await.unwrap();
        let ran = calls.succeeded();
        ran_all("clipbase_api", &ran, |name| {
            let mine = [
                "jobs.",
                "events.",
                "api_keys.",
                "inspect.",
                "installation.",
                "migrate.",
            ];
            let others = ["cleanup.announce_upload", "cleanup.backlog"];
            mine.iter().any(|module| name.starts_with(module)) || others.contains(&name)
        });
        drop(clipbase);
        member.leave(&bench.database).await;
    })
    .await;
}

async fn makes_jobs(clipbase: &Clipbase) {
    let (jobs, cleanup) = (clipbase.jobs(), clipbase.cleanup());
    let request = Idempotency::new("scope", "key");
    let new = new_job();
    let Source::Upload(key) = &new.source else {
        panic!("an upload")
    };
    cleanup
        .announce_upload(key, Duration::from_secs(3600))
        .await
        .unwrap();
    cleanup
        .announce_upload(key, Duration::from_secs(7200))
        .await
        .unwrap();
    assert_eq!(jobs.find_created(&new, &request).await.unwrap(), None);
    let created = jobs.create_once(&new, &request).await.unwrap();
    assert!(
        matches!(&created, Created::New(job) if job.id == new.id),
        "{created:?}"
    );
    let again = jobs.create_once(&new, &request).await.unwrap();
    assert!(
        matches!(&again, Created::Existing(job) if job.id == new.id),
        "{again:?}"
    );
    let found = jobs.find_request(&request).await.unwrap();
    assert_eq!(found.unwrap().id, new.id);
    jobs.forget_request(&request).await.unwrap();
    assert_eq!(jobs.find_request(&request).await.unwrap(), None);
    let linked = new_job();
    let Source::Upload(key) = &linked.source else {
        panic!("an upload")
    };
    cleanup
        .announce_upload_link(key, Duration::from_secs(600))
        .await
        .unwrap();
    jobs.create(&linked).await.unwrap();
    assert_eq!(jobs.create_many(&new_jobs(3)).await.unwrap().len(), 3);
}

async fn looks_at_jobs(clipbase: &Clipbase) {
    let (jobs, events) = (clipbase.jobs(), clipbase.events());
    let page = jobs.list(100, None).await.unwrap();
    assert_eq!(page.jobs.len(), 5);
    let id = page.jobs[0].id;
    assert_eq!(jobs.get(id).await.unwrap().unwrap().id, id);
    assert!(!jobs.outcome(id).await.unwrap().unwrap().is_expired);
    let queued = jobs
        .list_by_status(JobStatus::Queued, 100, None)
        .await
        .unwrap();
    assert_eq!(queued.jobs.len(), 5);
    let stats = jobs.stats().await.unwrap();
    assert_eq!(stats.statuses[0].count, 5);
    jobs.throughput(5).await.unwrap();
    assert_eq!(events.add(id, "note", None).await.unwrap(), 2);
    assert_eq!(events.list(id, 0, 10).await.unwrap().len(), 2);
    assert_eq!(events.after(id, 1, 10).await.unwrap().events.len(), 1);
    let many = events.follow_many(&[(id, 0)], 10).await.unwrap();
    assert_eq!(many[&id].events.len(), 2);
    let inspect = clipbase.inspect();
    inspect.server().await.unwrap();
    let user = inspect.user().await.unwrap();
    assert_eq!(
        (user.is_owner, user.roles.as_slice()),
        (false, &["clipbase_api".to_owned()][..])
    );
    assert_eq!(inspect.queues().await.unwrap().len(), 1);
    assert_eq!(inspect.lost_leases().await.unwrap(), 0);
    assert_eq!(inspect.audit(None, 100).await.unwrap().audited, 5);
    assert_eq!(inspect.drift().await.unwrap(), [""; 0]);
}

async fn moves_jobs(clipbase: &Clipbase, bench: &Bench) {
    let jobs = clipbase.jobs();
    let page = jobs.list(100, None).await.unwrap();
    let [first, second, third, fourth, _] = page.jobs.as_slice() else {
        panic!("{page:?}")
    };
    let patch = JobPatch {
        priority: Some(Priority::High),
        ..JobPatch::default()
    };
    let job = jobs.update(first.id, &patch).await.unwrap();
    assert_eq!(job.priority, Priority::High);
    let running = claim(&bench.clipbase, second.id, WorkerId::new()).await;
    let canceled = jobs.cancel(running.job_id()).await.unwrap();
    assert!(matches!(canceled, Canceled::Requested(_)), "{canceled:?}");
    let canceled = jobs.cancel(first.id).await.unwrap();
    assert!(matches!(canceled, Canceled::Ended(_)), "{canceled:?}");
    assert_eq!(
        jobs.retry(first.id).await.unwrap().status,
        JobStatus::Queued
    );
    let canceled = jobs.cancel_many(&[first.id, third.id]).await.unwrap();
    assert_eq!(canceled.ended.len(), 2);
    let failed = JobFilter {
        status: JobStatus::Failed,
        error_code: Some("CANCELED".to_owned()),
        created_before: None,
    };
    assert_eq!(jobs.select(&failed, 100, None).await.unwrap().ids.len(), 2);
    assert_eq!(
        jobs.retry_many(&[first.id, third.id]).await.unwrap().len(),
        2
    );
    let patch = TransitionPatch::default();
    let moved = jobs
        .transition(fourth.id, JobStatus::Failed, Actor::Operator, &patch)
        .await;
    assert_eq!(moved.unwrap().status, JobStatus::Failed);
    jobs.delete(third.id).await.unwrap();
    assert_eq!(jobs.get(third.id).await.unwrap(), None);
    assert_eq!(
        clipbase.cleanup().backlog().await.unwrap().due,
        1,
        "its source"
    );
}

async fn has_keys(clipbase: &Clipbase) {
    let keys = clipbase.api_keys();
    let scopes: Scopes = [Scope::JobsRead].into_iter().collect();
    let (key, plain) = keys
        .create(&NewApiKey::new("dashboard", scopes))
        .await
        .unwrap();
    let verifier = keys.verifier();
    let principal = verifier.authenticate(plain.expose()).await.unwrap();
    assert_eq!((principal.key, principal.rate.remaining), (key.id, 59));
    let (next, plain) = keys.rotate(key.id, Duration::ZERO).await.unwrap();
    verifier.authenticate(plain.expose()).await.unwrap();
    assert_eq!(keys.list(10, None).await.unwrap().keys.len(), 2);
    let held = verifier.still_hold(&[key.id, next.id]).await.unwrap();
    assert_eq!(held.into_keys().collect::<Vec<_>>(), [next.id]);
    keys.revoke(next.id).await.unwrap();
    assert!(!keys.get(next.id).await.unwrap().unwrap().is_active);
}

#[tokio::test]
async fn a_reader_sees_what_there_is_and_what_doctor_asks() {
    run(async |bench| {
        let member = Member::of("clipbase_reader", &bench.database).await;
        let clipbase = member.clipbase(bench, Settings::default());
        bench
            .clipbase
            .jobs()
            .create_many(&new_jobs(4))
            .await
            .unwrap();
        let gone = bench.clipbase.jobs().create(&new_job()).await.unwrap();
        bench
            .clipbase
            .events()
            .add(gone.id, "note", None)
            .await
            .unwrap();
        let calls = Calls::listen();
        clipbase.check_schema().await.unwrap();
        clipbase.check_installation().await.unwrap();
        looks(&clipbase, gone.id).await;
        bench.clipbase.jobs().delete(gone.id).await.unwrap();
        assert_eq!(clipbase.cleanup().backlog().await.unwrap().due, 1);
        clipbase.sample_gauges().await.unwrap();
        let ran = calls.succeeded();
        ran_all("clipbase_reader", &ran, |name| {
            let mine = ["jobs.", "events.", "inspect.", "installation.", "migrate."];
            mine.iter().any(|module| name.starts_with(module))
        });
        drop(clipbase);
        member.leave(&bench.database).await;
    })
    .await;
}

async fn looks(clipbase: &Clipbase, id: JobId) {
    let (jobs, events, inspect) = (clipbase.jobs(), clipbase.events(), clipbase.inspect());
    assert_eq!(jobs.list(100, None).await.unwrap().jobs.len(), 5);
    let queued = jobs
        .list_by_status(JobStatus::Queued, 100, None)
        .await
        .unwrap();
    assert_eq!(queued.jobs.len(), 5);
    assert!(jobs.get(id).await.unwrap().is_some());
    assert!(jobs.outcome(id).await.unwrap().is_some());
    jobs.throughput(5).await.unwrap();
    let filter = JobFilter {
        status: JobStatus::Queued,
        error_code: None,
        created_before: None,
    };
    assert_eq!(jobs.select(&filter, 100, None).await.unwrap().ids.len(), 5);
    assert_eq!(events.list(id, 0, 10).await.unwrap().len(), 2);
    assert_eq!(events.after(id, 0, 10).await.unwrap().events.len(), 2);
    assert_eq!(
        events.follow_many(&[(id, 0)], 10).await.unwrap()[&id]
            .events
            .len(),
        2
    );
    inspect.server().await.unwrap();
    let user = inspect.user().await.unwrap();
    assert_eq!(
        (user.is_owner, user.roles.as_slice()),
        (false, &["clipbase_reader".to_owned()][..])
    );
    assert_eq!(inspect.queues().await.unwrap().len(), 1);
    assert_eq!(inspect.lost_leases().await.unwrap(), 0);
    assert_eq!(inspect.audit(None, 100).await.unwrap().audited, 5);
    assert_eq!(inspect.drift().await.unwrap(), [""; 0]);
}
