//! Connections that break, block or are taken away, and poolers.

mod failures;
mod poolers;

use std::time::Duration;

use clipbase::leases::Finish;
use clipbase::{Clipbase, Code, DatabaseConfig, DatabaseMode, Result, Settings, WorkerId};
use clipbase_testkit::builders::new_job;
use clipbase_testkit::{Bench, pooler, run, run_in, wait_until};
use tokio::task::JoinSet;
use tokio_postgres::Client;

use crate::support::job;

/// A handle with few connections, so that the next caller gets the one that was used last.
fn narrow(bench: &Bench, change: impl FnOnce(DatabaseConfig) -> DatabaseConfig) -> Clipbase {
    let config = change(bench.config().with_pool_size(1).unwrap());
    let storage = bench.clipbase.storage().clone();
    Clipbase::new(&config, storage, Settings::default()).unwrap()
}

/// A job's life from its creation to its end.
async fn lifecycle(clipbase: &Clipbase) -> Result<()> {
    let new = new_job();
    let job = clipbase.jobs().create(&new).await?;
    assert_eq!(job.id, new.id, "this is the answer to another question");
    let ttl = Duration::from_secs(60);
    let leases = clipbase.leases();
    let lease = leases.claim_job(WorkerId::new(), job.id, ttl).await?;
    let lease = lease.expect("nobody else knows of it");
    assert_eq!(lease.job_id(), new.id);
    leases.log(&lease, "note", None).await?;
    leases.finish(Finish::new(&lease)).await?;
    let done = clipbase.jobs().get(job.id).await?.unwrap();
    assert_eq!((done.id, done.event_seq), (new.id, 4));
    Ok(())
}

/// Runs so many lifecycles on 16 tasks; none of them may fail.
async fn many_lifecycles(clipbase: &Clipbase, count: usize) {
    let mut tasks = JoinSet::new();
    for task in 0..16 {
        let clipbase = clipbase.clone();
        tasks.spawn(async move {
            for _ in (task..count).step_by(16) {
                lifecycle(&clipbase).await.unwrap();
            }
        });
    }
    tasks.join_all().await;
}

async fn wait_until_blocked(raw: &Client, count: i64) {
    wait_until("a call waits for the row", async || {
        let sql = "SELECT count(*) FROM pg_stat_activity
                    WHERE datname = current_database() AND wait_event_type = 'Lock'";
        let blocked: i64 = raw.query_one(sql, &[]).await.unwrap().get(0);
        blocked == count
    })
    .await;
}

async fn a_dropped_call_keeps_its_answer_to_itself(bench: &Bench) {
    let raw = bench.database.raw().await;
    let locker = bench.database.raw().await;
    let clipbase = narrow(bench, |config| config);
    for _ in 0..3 {
        let blocked = clipbase.jobs().create(&new_job()).await.unwrap();
        let other = clipbase.jobs().create(&new_job()).await.unwrap();
        let sql = format!(
            "BEGIN; SELECT FROM jobs WHERE id = '{}' FOR UPDATE",
            blocked.id
        );
        locker.batch_execute(&sql).await.unwrap();
        let jobs = clipbase.jobs();
        tokio::select! {
            biased;
            _ = jobs.cancel(blocked.id) => panic!("the row is locked"),
            () = wait_until_blocked(&raw, 1) => {}
        }
        for _ in 0..3 {
            assert_eq!(job(&clipbase, other.id).await.id, other.id);
        }
        locker.batch_execute("ROLLBACK").await.unwrap();
        lifecycle(&clipbase).await.unwrap();
        wait_until_blocked(&raw, 0).await;
    }
}

#[tokio::test]
async fn a_call_that_is_dropped_in_flight_never_answers_the_next_one() {
    run(a_dropped_call_keeps_its_answer_to_itself).await;
}

#[tokio::test]
async fn a_call_that_is_dropped_behind_a_pooler_never_answers_the_next_one() {
    let mode = DatabaseMode::Transaction;
    run_in(
        mode,
        Settings::default(),
        a_dropped_call_keeps_its_answer_to_itself,
    )
    .await;
}

#[tokio::test]
async fn a_call_ends_at_its_deadline_and_the_next_one_works() {
    run(async |bench| {
        let raw = bench.database.raw().await;
        let clipbase = narrow(bench, |config| {
            config.with_call_deadline(Duration::from_millis(300))
        });
        let id = clipbase.jobs().create(&new_job()).await.unwrap().id;
        let sql = format!("BEGIN; SELECT FROM jobs WHERE id = '{id}' FOR UPDATE");
        raw.batch_execute(&sql).await.unwrap();
        for _ in 0..3 {
            let late = clipbase.jobs().cancel(id).await.unwrap_err();
            assert_eq!(late.code(), Code::DbTimeout);
            assert!(late.code().is_retryable());
        }
        assert_eq!(job(&clipbase, id).await.id, id);
        raw.batch_execute("ROLLBACK").await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_job_made_in_a_transaction_of_the_caller_shares_its_fate() {
    for mode in [DatabaseMode::Direct, DatabaseMode::Transaction] {
        run_in(mode, Settings::default(), async |bench| {
            let jobs = bench.clipbase.jobs();
            let mut connection = bench.clipbase.database().connection().await.unwrap();
            let (kept, lost) = (new_job(), new_job());
            let transaction = connection.client().transaction().await.unwrap();
            jobs.create_in(&transaction, &lost).await.unwrap();
            transaction.rollback().await.unwrap();
            let transaction = connection.client().transaction().await.unwrap();
            jobs.create_in(&transaction, &kept).await.unwrap();
            assert_eq!(jobs.get(kept.id).await.unwrap(), None, "not yet");
            transaction.commit().await.unwrap();
            assert_eq!(job(&bench.clipbase, kept.id).await.event_seq, 1);
            assert_eq!(jobs.get(lost.id).await.unwrap(), None);
            let events = bench.clipbase.events();
            assert_eq!(events.list(kept.id, 0, 10).await.unwrap().len(), 1);
            assert!(events.list(lost.id, 0, 10).await.unwrap().is_empty());
        })
        .await;
    }
}

/// What a named statement meets where a pooler gives each transaction another server connection.
fn misled(bench: &Bench) -> Clipbase {
    let config = DatabaseConfig::from_url(&pooler::url(&bench.database)).unwrap();
    let config = config.with_mode(DatabaseMode::Direct);
    let config = config.with_pool_size(16).unwrap();
    let storage = bench.clipbase.storage().clone();
    Clipbase::new(&config, storage, Settings::default()).unwrap()
}
