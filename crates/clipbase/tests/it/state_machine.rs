//! The state machine is one: in Rust, in the database's triggers, and on its page.

use clipbase::jobs::{Actor, TransitionPatch};
use clipbase::leases::Failure;
use clipbase::status::EDGES;
use clipbase::storage::StorageKey;
use clipbase::{Code, Error, JobId, JobStatus, WorkerId};
use clipbase_testkit::{Bench, run};

use crate::generated;
use crate::seed::{SeedClient, refused};

fn pairs() -> impl Iterator<Item = (JobStatus, JobStatus)> {
    JobStatus::ALL
        .into_iter()
        .flat_map(|from| JobStatus::ALL.into_iter().map(move |to| (from, to)))
}

#[tokio::test(flavor = "multi_thread")]
async fn raw_sql_moves_along_the_edges_and_nowhere_else() {
    run(async |bench: &Bench| {
        let seed = SeedClient::on(&bench.database).await;
        for (from, to) in pairs() {
            let id = seed.job_in(from).await;
            let before = seed.events(id).await;
            let outcome = seed.set_status(id, to).await;
            let expected = if from.can_become(to) { to } else { from };
            seed.row_is(id, &[&format!("status = '{expected}'")]).await;
            let written = seed.events(id).await.len() - before.len();
            assert_eq!(
                written,
                usize::from(from.can_become(to)),
                "{from} to {to}: an event for each edge, none for anything else"
            );
            if from == to {
                assert_eq!(outcome.unwrap(), 1, "an equal status is accepted");
            } else if !from.can_become(to) {
                let words = format!("a job cannot go from {from} to {to}");
                refused(outcome, "CB002", &words);
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_takes_its_event_number_meets_the_same_edges() {
    run(async |bench: &Bench| {
        let mut seed = SeedClient::on(&bench.database).await;
        for (from, to) in pairs().filter(|(from, to)| from != to) {
            let id = seed.job_in(from).await;
            let tx = seed.sql.transaction().await.unwrap();
            let claim = (from, to) == (JobStatus::Queued, JobStatus::Processing);
            let lease = if claim { "lease = lease + 1, " } else { "" };
            let moved = tx
                .query(
                    &format!(
                        "update jobs set status = '{to}', {lease} event_seq = event_seq + 1,
                                lease_expires_at = now(), error_code = 'X', result_video_key = 'v'
                          where id = $1 returning event_seq"
                    ),
                    &[&id.as_uuid()],
                )
                .await;
            if from.can_become(to) {
                // The triggers leave the event to the statement.
                let seq: i32 = moved.unwrap()[0].get(0);
                let sql = "select count(*) from job_events where job_id = $1";
                let count: i64 = tx.query_one(sql, &[&id.as_uuid()]).await.unwrap().get(0);
                assert_eq!(count, i64::from(seq) - 1, "{from} to {to}");
            } else {
                let words = format!("a job cannot go from {from} to {to}");
                refused(moved, "CB002", &words);
            }
            tx.rollback().await.unwrap();
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_does_not_raise_the_lease_is_refused() {
    run(async |bench: &Bench| {
        let seed = SeedClient::on(&bench.database).await;
        let id = seed.insert().await;
        let set = "status = 'processing', event_seq = event_seq + 1, lease_expires_at = now()";
        let outcome = seed.update(id, set).await;
        refused(outcome, "CB002", "a claim raises the lease by one");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn transition_refuses_the_pairs_that_the_database_refuses() {
    run(async |bench: &Bench| {
        let seed = SeedClient::on(&bench.database).await;
        for (from, to) in pairs() {
            let id = seed.job_in(from).await;
            let outcome = bench
                .clipbase
                .jobs()
                .transition(id, to, actor(to), &patch(id, to))
                .await;
            match outcome {
                Ok(job) => assert!(job.status == to && from.can_become(to), "{from} to {to}"),
                Err(error) => {
                    assert!(!from.can_become(to), "{from} to {to}: {error}");
                    assert_eq!(error.code(), Code::InvalidTransition);
                    let Error::InvalidTransition { from: f, to: t, .. } = error else {
                        panic!("{error:?}")
                    };
                    assert_eq!((f, t), (from, to), "the error names both states");
                }
            }
        }
    })
    .await;
}

fn actor(to: JobStatus) -> Actor<'static> {
    if to == JobStatus::Processing {
        Actor::Worker(WorkerId::new())
    } else {
        Actor::Operator
    }
}

fn patch(id: JobId, to: JobStatus) -> TransitionPatch {
    TransitionPatch {
        result_video: (to == JobStatus::Done).then(|| StorageKey::result_video(id, 1)),
        failure: (to == JobStatus::Failed).then(|| Failure::new("X", "why").unwrap()),
        ..TransitionPatch::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_cannot_be_inserted_in_another_state() {
    run(async |bench: &Bench| {
        let seed = SeedClient::on(&bench.database).await;
        for (column, value) in [
            ("status", "'processing'"),
            ("status", "'done'"),
            ("status", "'failed'"),
            ("lease", "1"),
            ("attempts", "1"),
            ("event_seq", "2"),
            ("worker_id", "gen_random_uuid()"),
            ("lease_expires_at", "now()"),
            ("cancel_requested_at", "now()"),
            ("started_at", "now()"),
            ("finished_at", "now()"),
            ("result_video_key", "'v'"),
            ("result_srt_key", "'s'"),
            ("error_code", "'X'"),
            ("error_message", "'x'"),
        ] {
            let sql = format!(
                "insert into jobs (source_type, source_key, start_sec, end_sec, {column})
                 values ('upload', 'k', 0, 1, {value})"
            );
            let outcome = seed.sql.batch_execute(&sql).await;
            refused(outcome, "CB003", "a new job starts queued");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn counters_are_neither_lowered_nor_jumped() {
    run(async |bench: &Bench| {
        let seed = SeedClient::on(&bench.database).await;
        let id = seed.job_in(JobStatus::Processing).await;
        for set in [
            "lease = lease - 1",
            "lease = lease + 2",
            "event_seq = event_seq - 1",
            "event_seq = event_seq + 2",
            "status = 'done', lease = 0",
        ] {
            let outcome = seed.update(id, set).await;
            refused(outcome, "CB004", "lease and event_seq only rise");
        }
        seed.row_is(id, &["lease = 1", "event_seq = 2"]).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_neither_edited_nor_deleted() {
    run(async |bench: &Bench| {
        let seed = SeedClient::on(&bench.database).await;
        let id = seed.job_in(JobStatus::Done).await;
        for sql in [
            "update job_events set type = 'other'",
            "update job_events set data = null where seq = 1",
            "delete from job_events",
            "delete from job_events where seq = 3",
            "insert into job_events (job_id, seq, type) select id, 1, 'x' from jobs
                on conflict (job_id, seq) do update set type = 'x'",
            "truncate job_events",
        ] {
            let outcome = seed.sql.batch_execute(sql).await;
            refused(outcome, "CB005", "events are append-only");
        }
        assert_eq!(seed.events(id).await.len(), 3);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_events_data_does_not_pretend_to_have_changed_the_row() {
    run(async |bench: &Bench| {
        let seed = SeedClient::on(&bench.database).await;
        let id = seed.insert().await;
        let sql = "insert into job_events (job_id, type, data)
                   values ($1, 'x', '{\"set\": {\"status\": \"done\"}}')";
        let outcome = seed.sql.execute(sql, &[&id.as_uuid()]).await;
        refused(outcome, "CB005", "reserved");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_own_objects_are_not_truncated() {
    run(async |bench: &Bench| {
        let seed = SeedClient::on(&bench.database).await;
        seed.insert().await;
        for sql in [
            "truncate jobs cascade",
            "truncate jobs, job_events, job_idempotency",
            "truncate storage_deletions",
        ] {
            let outcome = seed.sql.batch_execute(sql).await;
            let error = outcome.expect_err(sql);
            let state = error.code().expect("the server answered").code();
            assert!(matches!(state, "CB005" | "CB006"), "{sql}: {error:?}");
        }
        let count = "select count(*) from jobs";
        let count: i64 = seed.sql.query_one(count, &[]).await.unwrap().get(0);
        assert_eq!(count, 1);
    })
    .await;
}

#[test]
fn the_page_shows_the_edges() {
    let mut page = String::from(
        "# The state machine of a job\n\n\
         Made from `EDGES` in `crates/clipbase/src/status.rs`, and compared with it by a test.\n\n\
         ```mermaid\nstateDiagram-v2\n    [*] --> queued: create\n",
    );
    for edge in EDGES {
        let line = format!("    {} --> {}: {}\n", edge.from, edge.to, label(edge.by));
        page.push_str(&line);
    }
    page.push_str("    done --> [*]\n```\n\n| from | to | by | effects |\n|---|---|---|---|\n");
    for edge in EDGES {
        let line = format!(
            "| {} | {} | {} | {} |\n",
            edge.from, edge.to, edge.by, edge.effects
        );
        page.push_str(&line);
    }
    page.push_str(
        "\nEvery other pair is refused, by the library (`INVALID_TRANSITION`) and by a trigger of the database \
         (SQLSTATE `CB002`),\nwhoever asks; `done` is final. Setting the status that a job has already is no \
         transition: SQL accepts it without effect,\n`transition()` refuses it.\n\n| from \\ to |",
    );
    for to in JobStatus::ALL {
        page.push_str(&format!(" {to} |"));
    }
    page.push_str("\n|---|---|---|---|---|\n");
    for from in JobStatus::ALL {
        page.push_str(&format!("| {from} |"));
        for to in JobStatus::ALL {
            let cell = if from.can_become(to) { "yes" } else { "–" };
            page.push_str(&format!(" {cell} |"));
        }
        page.push('\n');
    }
    generated::compare("docs/STATE_MACHINE.md", &page);
}

/// Mermaid ends a label at a semicolon.
fn label(by: &str) -> String {
    by.replace(';', ",")
}
