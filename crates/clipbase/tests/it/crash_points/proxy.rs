//! The fault proxy itself, and what the library makes of lost, delayed and broken answers.

use std::future;
use std::sync::Arc;
use std::time::Duration;

use clipbase::jobs::{Created, Idempotency};
use clipbase::leases::Finish;
use clipbase::{Clipbase, Code, DatabaseConfig, DatabaseMode, JobId, JobStatus};
use clipbase_testkit::builders::{claimed, new_job};
use clipbase_testkit::fault_proxy::{FaultProxy, Moment, Verdict};
use clipbase_testkit::{Bench, run};

use crate::support::{job, kinds};

/// A handle whose every word goes through the proxy, on one connection.
fn through(proxy: &FaultProxy, bench: &Bench, mode: DatabaseMode) -> Clipbase {
    let config = DatabaseConfig::from_url(&proxy.url())
        .unwrap()
        .with_wakeups(false);
    let config = config.with_mode(mode).with_pool_size(1).unwrap();
    let config = config.with_call_deadline(Duration::from_secs(5));
    let storage = Arc::new(bench.storage.clone());
    Clipbase::new(&config, storage, *bench.clipbase.settings()).unwrap()
}

/// Does this to the flight of this name at this moment, and lets all others pass.
fn only(proxy: &FaultProxy, name: &'static str, at: Moment, verdict: Verdict) {
    proxy.on_flight(move |flight, moment| {
        let hit = flight.name == name && moment == at;
        future::ready(if hit { verdict } else { Verdict::Pass })
    });
}

#[tokio::test]
async fn a_call_is_one_flight_and_one_more_to_prepare_it() {
    run(async |bench| {
        for (mode, expected) in [
            (
                DatabaseMode::Direct,
                &["start-up", "prepare jobs.get", "jobs.get", "jobs.get"][..],
            ),
            (
                DatabaseMode::Transaction,
                &["start-up", "jobs.get", "jobs.get"],
            ),
        ] {
            let proxy = FaultProxy::before(&bench.database).await;
            let clipbase = through(&proxy, bench, mode);
            for _ in 0..2 {
                assert_eq!(clipbase.jobs().get(JobId::new()).await.unwrap(), None);
            }
            assert_eq!(proxy.flights(), expected, "{mode}");
            assert_eq!(proxy.connections(), 1);
        }
    })
    .await;
}

#[tokio::test]
async fn raw_sql_passes_in_all_its_forms() {
    run(async |bench| {
        let proxy = FaultProxy::before(&bench.database).await;
        let (raw, connection) = tokio_postgres::connect(&proxy.url(), tokio_postgres::NoTls)
            .await
            .unwrap();
        tokio::spawn(connection);
        raw.batch_execute("CREATE TABLE copied (n int); SELECT 1")
            .await
            .unwrap();
        let sink = raw.copy_in("COPY copied FROM STDIN").await.unwrap();
        futures_util::pin_mut!(sink);
        let lines = bytes::Bytes::from_static(b"1\n2\n");
        futures_util::SinkExt::send(&mut sink, lines).await.unwrap();
        assert_eq!(sink.finish().await.unwrap(), 2);
        let large = raw
            .query_one("SELECT repeat('x', 1000000), count(*) FROM copied", &[])
            .await
            .unwrap();
        assert_eq!(large.get::<_, &str>(0).len(), 1_000_000);
        assert_eq!(large.get::<_, i64>(1), 2);
        raw.query("SELECT 1 / 0", &[]).await.unwrap_err();
        assert!(raw.query("SELECT 1", &[]).await.is_ok());
    })
    .await;
}

#[tokio::test]
async fn what_arrives_and_is_cut_has_not_happened_and_what_is_answered_and_cut_has() {
    run(async |bench| {
        for mode in [DatabaseMode::Direct, DatabaseMode::Transaction] {
            let proxy = FaultProxy::before(&bench.database).await;
            let clipbase = through(&proxy, bench, mode);
            let (undone, done) = (new_job(), new_job());
            for (new, at) in [(&undone, Moment::Arrived), (&done, Moment::Answered)] {
                only(&proxy, "jobs.create", at, Verdict::Cut);
                let error = clipbase.jobs().create(new).await.unwrap_err();
                assert_eq!(error.code(), Code::DbUnavailable, "{mode}");
            }
            proxy.pass_all();
            assert_eq!(clipbase.jobs().get(undone.id).await.unwrap(), None);
            assert!(clipbase.jobs().get(done.id).await.unwrap().is_some());
        }
    })
    .await;
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_no_answer_wherever_it_breaks() {
    run(async |bench| {
        let proxy = FaultProxy::before(&bench.database).await;
        let clipbase = through(&proxy, bench, DatabaseMode::Transaction);
        let id = bench.clipbase.jobs().create(&new_job()).await.unwrap().id;
        for bytes in [1, 4, 5, 6, 20, 100, 300] {
            let verdict = Verdict::CutAfter(bytes);
            only(&proxy, "jobs.get", Moment::Answered, verdict);
            let error = clipbase.jobs().get(id).await.unwrap_err();
            assert_eq!(error.code(), Code::DbUnavailable, "after {bytes} bytes");
        }
        only(
            &proxy,
            "jobs.get",
            Moment::Answered,
            Verdict::CutAfter(100_000),
        );
        assert!(
            clipbase.jobs().get(id).await.is_ok(),
            "the answer is shorter"
        );
    })
    .await;
}

#[tokio::test]
async fn calls_whose_answers_were_lost_are_repeated_without_a_second_effect() {
    run(async |bench| {
        let proxy = FaultProxy::before(&bench.database).await;
        let clipbase = through(&proxy, bench, DatabaseMode::Direct);
        let (new, request) = (new_job(), Idempotency::new("test", "key"));
        only(&proxy, "jobs.create", Moment::Answered, Verdict::Cut);
        clipbase
            .jobs()
            .create_once(&new, &request)
            .await
            .unwrap_err();
        proxy.pass_all();
        let again = clipbase.jobs().create_once(&new, &request).await.unwrap();
        assert!(matches!(again, Created::Existing(job) if job.id == new.id));

        let lease = claimed(&clipbase).await;
        only(&proxy, "leases.finish", Moment::Answered, Verdict::Cut);
        let finish = Finish::new(&lease);
        clipbase.leases().finish(finish).await.unwrap_err();
        proxy.pass_all();
        clipbase.leases().finish(finish).await.unwrap();
        let done = job(&bench.clipbase, lease.job_id()).await;
        assert_eq!(done.status, JobStatus::Done);
        let log = kinds(&bench.clipbase, lease.job_id()).await;
        assert_eq!(log, ["created", "claimed", "finished"]);
    })
    .await;
}

#[tokio::test]
async fn a_server_that_stalls_costs_a_call_its_deadline_and_no_more() {
    run(async |bench| {
        let proxy = FaultProxy::before(&bench.database).await;
        let clipbase = through(&proxy, bench, DatabaseMode::Transaction);
        clipbase.jobs().get(JobId::new()).await.unwrap();
        proxy.on_flight(|_, _| future::pending());
        tokio::time::pause();
        let error = clipbase.jobs().get(JobId::new()).await.unwrap_err();
        tokio::time::resume();
        assert_eq!(error.code(), Code::DbTimeout);
        // The connection that stalls is given up, not given to the next caller.
        proxy.pass_all();
        clipbase.jobs().get(JobId::new()).await.unwrap();
        assert_eq!(proxy.connections(), 2);
    })
    .await;
}

#[tokio::test]
async fn a_server_that_refuses_is_unavailable_until_it_does_not() {
    run(async |bench| {
        let proxy = FaultProxy::before(&bench.database).await;
        let clipbase = through(&proxy, bench, DatabaseMode::Direct);
        proxy.refuse(true);
        let error = clipbase.jobs().get(JobId::new()).await.unwrap_err();
        assert_eq!(error.code(), Code::DbUnavailable);
        proxy.refuse(false);
        clipbase.jobs().get(JobId::new()).await.unwrap();

        // All connections end while one is at work.
        let raw = bench.database.raw().await;
        let id = bench.clipbase.jobs().create(&new_job()).await.unwrap().id;
        raw.batch_execute(&format!(
            "BEGIN; SELECT FROM jobs WHERE id = '{id}' FOR UPDATE"
        ))
        .await
        .unwrap();
        let cutter = async {
            clipbase_testkit::wait_until("the cancel waits for the lock", async || {
                let sql = "SELECT count(*) FROM pg_stat_activity
                            WHERE datname = current_database() AND wait_event_type = 'Lock'";
                raw.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) > 0
            })
            .await;
            proxy.cut_all();
        };
        let jobs = clipbase.jobs();
        let (outcome, ()) = tokio::join!(jobs.cancel(id), cutter);
        assert_eq!(outcome.unwrap_err().code(), Code::DbUnavailable);
        raw.batch_execute("ROLLBACK").await.unwrap();
    })
    .await;
}
