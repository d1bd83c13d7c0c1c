//! Migrations outside a transaction: concurrent index builds.

use clipbase::migrate::{self, Migration};
use clipbase_testkit::TestDatabase;

use super::{EXTRA, config, core_and, count};

const INDEX: Migration = Migration {
    set: "core",
    version: "20990101000001",
    name: "index",
    sql: "-- clipbase: no-transaction\nCREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS idx_extra ON public.extra (id);",
};
const AFTER: Migration = Migration {
    set: "core",
    version: "20990101000002",
    name: "after",
    sql: "COMMENT ON INDEX public.idx_extra IS 'made';",
};
const VALID: &str =
    "select count(*) from pg_index where indexrelid = to_regclass('idx_extra') and indisvalid";

#[tokio::test(flavor = "multi_thread")]
async fn an_index_is_built_outside_a_transaction_and_in_order() {
    let database = TestDatabase::new().await;
    let list = core_and(&[EXTRA, INDEX, AFTER]);
    let applied = migrate::migrate_to(&config(&database), &list)
        .await
        .unwrap();
    assert_eq!(applied, [EXTRA, INDEX, AFTER]);
    assert_eq!(
        migrate::migrate_to(&config(&database), &list)
            .await
            .unwrap(),
        []
    );
    assert_eq!(count(&database.raw().await, VALID).await, 1);
    database.drop_database().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_migrators_do_not_hold_up_an_index_build() {
    let database = TestDatabase::new().await;
    let list = core_and(&[EXTRA, INDEX, AFTER]);
    let config = config(&database);
    let runs = (0..6).map(|_| migrate::migrate_to(&config, &list));
    let runs = futures_util::future::join_all(runs).await;
    let mut applied: Vec<Migration> = runs.into_iter().flat_map(Result::unwrap).collect();
    applied.sort_by_key(|migration| migration.version);
    assert_eq!(applied, [EXTRA, INDEX, AFTER]);
    database.drop_database().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_supabases_command_line_pushed_is_not_built_again() {
    let database = TestDatabase::new().await;
    let client = database.raw().await;
    super::push(&client, &[EXTRA]).await;
    let sql = "insert into supabase_migrations.schema_migrations (version, name) values ($1, $2)";
    client
        .execute(sql, &[&INDEX.version, &INDEX.name])
        .await
        .unwrap();
    let list = core_and(&[EXTRA, INDEX]);
    assert_eq!(
        migrate::migrate_to(&config(&database), &list)
            .await
            .unwrap(),
        []
    );
    assert_eq!(count(&client, VALID).await, 0);
    database.drop_database().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_failed_is_cleared_away_and_done_again() {
    let database = TestDatabase::new().await;
    let client = database.raw().await;
    let config = config(&database);
    let list = core_and(&[EXTRA, INDEX]);
    migrate::migrate_to(&config, &core_and(&[EXTRA]))
        .await
        .unwrap();
    client
        .batch_execute("insert into extra values (1), (1)")
        .await
        .unwrap();
    let error = migrate::migrate_to(&config, &list).await.unwrap_err();
    assert!(
        error.to_string().contains("_index was taken back"),
        "{error}"
    );
    let invalid = "select count(*) from pg_index where indexrelid = to_regclass('idx_extra') and not indisvalid";
    assert_eq!(
        count(&client, invalid).await,
        1,
        "PostgreSQL leaves it behind"
    );
    client.batch_execute("delete from extra").await.unwrap();
    assert_eq!(migrate::migrate_to(&config, &list).await.unwrap(), [INDEX]);
    assert_eq!(count(&client, VALID).await, 1);
    database.drop_database().await;
}
