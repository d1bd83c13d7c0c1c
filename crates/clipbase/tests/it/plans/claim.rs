//! What a claim reads and locks: as much as it takes, however long the queue is.

use clipbase::db::Statement;
use clipbase::db::statement::all;
use clipbase::leases::LEASE_TTL;
use clipbase_testkit::TestDatabase;
use tokio_postgres::Client;
use tokio_postgres::types::Type;
use uuid::Uuid;

use super::explain::{Plan, analyzed, describe};
use super::volume::queue;

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_reads_as_many_pages_from_a_long_queue_as_from_a_short_one() {
    let database = TestDatabase::new().await;
    let client = database.raw().await;
    queue(&client, 1_000, 0).await;
    let short = pages(&client, "'{}'").await;

    queue(&client, 100_000, 1).await;
    let beside_another = pages(&client, "'{0}'").await;
    bounded(&short, &beside_another);

    queue(&client, 100_000, 2).await;
    let long = pages(&client, "'{2}'").await;
    bounded(&short, &long);
    // Statistics or none, whatever the planner believes of the queue's length.
    client.batch_execute("VACUUM ANALYZE").await.unwrap();
    let analyzed = pages(&client, "'{2}'").await;
    bounded(&short, &analyzed);
    database.drop_database().await;
}

/// Half as much again: the trees are a level deeper.
fn bounded(short: &Plan, long: &Plan) {
    assert!(
        long.buffers * 2 <= short.buffers * 3,
        "{} pages where a short queue takes {}\n{}",
        long.buffers,
        short.buffers,
        describe(long)
    );
}

/// Claims ten jobs and takes them back; the second time, when every page has been seen before.
async fn pages(client: &Client, shards: &str) -> Plan {
    let arguments = [shards, "10", "0", "gen_random_uuid()", "60"];
    analyzed(client, claim(), &arguments).await;
    analyzed(client, claim(), &arguments).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_locks_no_more_rows_than_it_takes() {
    let database = TestDatabase::new().await;
    let mut client = database.raw().await;
    let other = database.raw().await;
    for shard in 0..4 {
        queue(&client, 300, shard).await;
    }
    client.batch_execute("ANALYZE").await.unwrap();
    let mut left = 1_200;
    for (limit, rotation) in [(1, 0), (10, 1), (350, 2), (100, 3)] {
        let transaction = client.transaction().await.unwrap();
        let shards: Vec<i32> = Vec::new();
        let rows = transaction
            .query_typed(
                claim().sql,
                &[
                    (&shards, Type::INT4_ARRAY),
                    (&i64::from(limit), Type::INT8),
                    (&i64::from(rotation), Type::INT8),
                    (&Uuid::new_v4(), Type::UUID),
                    (&LEASE_TTL.as_secs_f64(), Type::FLOAT8),
                ],
            )
            .await
            .unwrap();
        assert_eq!(rows.len(), usize::try_from(limit).unwrap());
        left -= i64::from(limit);
        assert_eq!(unlocked(&other).await, left, "after a claim of {limit}");
        transaction.commit().await.unwrap();
    }
    database.drop_database().await;
}

/// How many queued jobs another session could take now.
async fn unlocked(client: &Client) -> i64 {
    let sql = "SELECT count(*) FROM (SELECT FROM public.jobs WHERE status = 'queued'
                                       FOR NO KEY UPDATE SKIP LOCKED) AS free";
    client.query_one(sql, &[]).await.unwrap().get(0)
}

fn claim() -> &'static Statement {
    all()
        .find(|statement| statement.name == "leases.claim")
        .unwrap()
}
