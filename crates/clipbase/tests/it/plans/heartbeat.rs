//! What a heartbeat writes: the row alone, and no index.

use std::collections::BTreeSet;

use clipbase::db::Statement;
use clipbase::db::statement::all;
use clipbase_testkit::TestDatabase;
use tokio_postgres::Client;
use tokio_postgres::types::Type;
use uuid::Uuid;

use super::volume::{Volume, fill};

#[tokio::test(flavor = "multi_thread")]
async fn heartbeats_write_no_index_entry() {
    let database = TestDatabase::new().await;
    let client = database.raw().await;
    let volume = Volume {
        jobs: 2_000,
        is_one_moment: false,
    };
    fill(&client, volume).await;
    let held = held(&client).await;
    let before = updates(&client).await;
    for _ in 0..3 {
        let rows = client
            .query_typed(
                heartbeat().sql,
                &[
                    (&held.ids, Type::UUID_ARRAY),
                    (&held.leases, Type::INT4_ARRAY),
                    (&held.workers, Type::UUID_ARRAY),
                    (&held.progress, Type::INT4_ARRAY),
                    (&60.0, Type::FLOAT8),
                ],
            )
            .await
            .unwrap();
        assert_eq!(rows.len(), held.ids.len());
    }
    let after = updates(&client).await;
    let (all, hot) = (after.0 - before.0, after.1 - before.1);
    assert_eq!(all, 3 * i64::try_from(held.ids.len()).unwrap());
    assert_eq!(all, hot, "all of them are heap-only");
    database.drop_database().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_index_holds_what_a_heartbeat_writes() {
    let database = TestDatabase::new().await;
    let client = database.raw().await;
    let sql =
        "SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = 'public.jobs'::regclass";
    let indexes: Vec<String> = client
        .query(sql, &[])
        .await
        .unwrap()
        .iter()
        .map(|row| row.get(0))
        .collect();
    let written = written();
    assert!(written.contains("last_heartbeat_at"), "{written:?}");
    for index in &indexes {
        for word in index.split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
            assert!(!written.contains(word), "{word} is in {index}");
        }
    }
    database.drop_database().await;
}

/// All updates of the table so far, and the heap-only ones.
async fn updates(client: &Client) -> (i64, i64) {
    client
        .query("SELECT pg_stat_force_next_flush()", &[])
        .await
        .unwrap();
    let sql = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'jobs'";
    let row = client.query_one(sql, &[]).await.unwrap();
    (row.get(0), row.get(1))
}

struct Held {
    ids: Vec<Uuid>,
    leases: Vec<i32>,
    workers: Vec<Uuid>,
    progress: Vec<Option<i32>>,
}

async fn held(client: &Client) -> Held {
    let sql =
        "SELECT id, lease, worker_id FROM public.jobs WHERE status = 'processing' ORDER BY id";
    let rows = client.query(sql, &[]).await.unwrap();
    assert!(rows.len() > 100);
    Held {
        ids: rows.iter().map(|row| row.get(0)).collect(),
        leases: rows.iter().map(|row| row.get(1)).collect(),
        workers: rows.iter().map(|row| row.get(2)).collect(),
        progress: vec![Some(40); rows.len()],
    }
}

/// The columns that the statement sets.
fn written() -> BTreeSet<&'static str> {
    let (_, rest) = heartbeat().sql.split_once(" SET ").unwrap();
    let (assignments, _) = rest.split_once("FROM held").unwrap();
    let mut words: Vec<&str> = assignments.split_whitespace().collect();
    words.dedup();
    words
        .windows(2)
        .filter(|pair| pair[1] == "=")
        .map(|pair| pair[0])
        .collect()
}

fn heartbeat() -> &'static Statement {
    all()
        .find(|statement| statement.name == "leases.heartbeat")
        .unwrap()
}
