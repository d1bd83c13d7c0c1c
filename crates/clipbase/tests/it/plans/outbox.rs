//! What taking keys from the outbox reads: one bucket's, however many the other has.

use clipbase::db::statement::all;
use clipbase_testkit::TestDatabase;
use tokio_postgres::Client;

use super::explain::{analyzed, describe};

/// Adds due entries of one bucket, older than all that are there.
async fn fill(client: &Client, bucket: &str, file: &str, count: u32) {
    let sql = format!(
        "INSERT INTO public.storage_deletions (object_key, job_id, reason, next_attempt_at)
         SELECT '{bucket}/' || id || '/{file}', id, 'job_deleted', now() - make_interval(hours => 1, secs => n)
           FROM (SELECT n, gen_random_uuid() AS id FROM generate_series(1, {count}) AS n) AS drawn"
    );
    client.batch_execute(&sql).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_keys_of_a_bulk_call_cost_the_same_beside_a_hundred_thousand_of_the_other_bucket() {
    let database = TestDatabase::new().await;
    let client = database.raw().await;
    let take = all()
        .find(|statement| statement.name == "cleanup.take_deletions")
        .unwrap();
    let arguments = ["'sources'", "100"];
    fill(&client, "sources", "source.mp4", 2_000).await;
    client.batch_execute("VACUUM ANALYZE").await.unwrap();
    analyzed(&client, take, &arguments).await;
    let alone = analyzed(&client, take, &arguments).await;
    fill(&client, "results", "clip.mp4", 100_000).await;
    analyzed(&client, take, &arguments).await;
    let beside = analyzed(&client, take, &arguments).await;
    client.batch_execute("VACUUM ANALYZE").await.unwrap();
    let known = analyzed(&client, take, &arguments).await;
    for plan in [beside, known] {
        // Half as much again: the trees are a level deeper.
        assert!(
            plan.buffers * 2 <= alone.buffers * 3,
            "{} pages where one bucket alone takes {}\n{}",
            plan.buffers,
            alone.buffers,
            describe(&plan)
        );
    }
    database.drop_database().await;
}
