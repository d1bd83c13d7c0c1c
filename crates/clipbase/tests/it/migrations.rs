//! The runner of migrations.

use clipbase::migrate::{self, CORE, Migration};
use clipbase::{Code, DatabaseConfig, DatabaseMode};
use clipbase_testkit::TestDatabase;
use tokio_postgres::Client;

mod concurrent_indexes;
mod landed;
mod roles;

pub(crate) fn config(database: &TestDatabase) -> DatabaseConfig {
    DatabaseConfig::from_url(&database.url()).unwrap()
}

pub(crate) async fn count(client: &Client, sql: &str) -> i64 {
    client.query_one(sql, &[]).await.unwrap().get(0)
}

pub(crate) const EXTRA: Migration = Migration {
    set: "core",
    version: "20990101000000",
    name: "extra",
    sql: "CREATE TABLE public.extra (id int)",
};

fn core_and(extra: &[Migration]) -> Vec<Migration> {
    CORE.iter().chain(extra).copied().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_run_does_nothing() {
    let database = TestDatabase::empty().await;
    let first = migrate::migrate(&config(&database)).await.unwrap();
    assert_eq!(first, CORE);
    assert_eq!(migrate::migrate(&config(&database)).await.unwrap(), []);
    migrate::check(&config(&database)).await.unwrap();
    let status = migrate::status(&config(&database)).await.unwrap();
    assert!(status.iter().all(|row| row.is_applied && row.is_known));
    assert_eq!(status.len(), CORE.len());
    database.drop_database().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unmigrated_database_is_too_old_and_lists_everything_as_missing() {
    let database = TestDatabase::empty().await;
    let error = migrate::check(&config(&database)).await.unwrap_err();
    assert_eq!(error.code(), Code::SchemaMismatch);
    let status = migrate::status(&config(&database)).await.unwrap();
    assert!(status.iter().all(|row| !row.is_applied && row.is_known));
    database.drop_database().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_concurrent_migrators_agree() {
    let database = TestDatabase::empty().await;
    let config = config(&database);
    let runs = futures_util::future::join_all((0..8).map(|_| migrate::migrate(&config))).await;
    let mut applied: Vec<Migration> = runs.into_iter().flat_map(Result::unwrap).collect();
    applied.sort_by_key(|migration| migration.version);
    assert_eq!(applied, CORE, "each is applied once, by whomever");
    migrate::check(&config).await.unwrap();
    database.drop_database().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_applied_stands_in_supabases_books_too() {
    let database = TestDatabase::new().await;
    let client = database.raw().await;
    let sql = "select version, name, statements from supabase_migrations.schema_migrations order by version";
    let rows = client.query(sql, &[]).await.unwrap();
    let all = migrate::all();
    assert_eq!(rows.len(), all.len());
    for (row, migration) in rows.iter().zip(&all) {
        assert_eq!(row.get::<_, &str>(0), migration.version);
        assert_eq!(row.get::<_, &str>(1), migration.name);
        assert_eq!(row.get::<_, Vec<&str>>(2), [migration.sql]);
    }
    database.drop_database().await;
}

/// Runs the files as `supabase db push` does: each in a transaction, and recorded.
pub(crate) async fn push(client: &Client, files: &[Migration]) {
    let books = "create schema if not exists supabase_migrations;
        create table if not exists supabase_migrations.schema_migrations
            (version text not null primary key, statements text[], name text)";
    client.batch_execute(books).await.unwrap();
    for file in files {
        client.batch_execute(file.sql).await.unwrap();
        let sql = "insert into supabase_migrations.schema_migrations (version, statements, name)
                   values ($1, array[$2], $3)";
        client
            .execute(sql, &[&file.version, &file.sql, &file.name])
            .await
            .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_supabases_command_line_pushed_are_not_run_again() {
    let database = TestDatabase::empty().await;
    let client = database.raw().await;
    push(&client, &CORE[..3]).await;
    assert_eq!(
        migrate::migrate(&config(&database)).await.unwrap(),
        CORE[3..]
    );
    assert_eq!(migrate::migrate(&config(&database)).await.unwrap(), []);
    database.drop_database().await;

    let database = TestDatabase::empty().await;
    push(&database.raw().await, CORE).await;
    assert_eq!(migrate::migrate(&config(&database)).await.unwrap(), []);
    migrate::check(&config(&database)).await.unwrap();
    database.drop_database().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_users_own_migration_of_the_same_second_is_not_taken_for_ours() {
    let database = TestDatabase::empty().await;
    let client = database.raw().await;
    let other = Migration {
        name: "profiles",
        sql: "create table profiles (id int)",
        ..CORE[0]
    };
    push(&client, &[other]).await;
    assert_eq!(migrate::migrate(&config(&database)).await.unwrap(), CORE);
    migrate::check(&config(&database)).await.unwrap();
    database.drop_database().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn old_books_of_supabase_gain_the_columns_that_they_lack() {
    let database = TestDatabase::empty().await;
    let client = database.raw().await;
    let sql = "create schema supabase_migrations;
               create table supabase_migrations.schema_migrations (version text primary key)";
    client.batch_execute(sql).await.unwrap();
    migrate::migrate(&config(&database)).await.unwrap();
    let sql = "select count(name) from supabase_migrations.schema_migrations";
    assert_eq!(
        count(&client, sql).await,
        i64::try_from(CORE.len()).unwrap()
    );
    database.drop_database().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_that_was_changed_after_it_was_applied_is_refused() {
    let database = TestDatabase::new().await;
    let client = database.raw().await;
    let sql = "update clipbase_migrations set checksum = 'other' where version = $1";
    client.execute(sql, &[&CORE[2].version]).await.unwrap();
    for error in [
        migrate::migrate(&config(&database)).await.unwrap_err(),
        migrate::check(&config(&database)).await.unwrap_err(),
    ] {
        assert_eq!(error.code(), Code::SchemaMismatch);
        assert!(error.to_string().contains(CORE[2].name), "{error}");
    }
    database.drop_database().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_schema_is_borne_unless_it_breaks_older_binaries() {
    let database = TestDatabase::new().await;
    let client = database.raw().await;
    let sql = "insert into clipbase_migrations (version, set_name, name, checksum, is_breaking)
               values ('20990101000000', 'core', 'future', 'c', $1)";
    client.execute(sql, &[&false]).await.unwrap();
    assert_eq!(migrate::migrate(&config(&database)).await.unwrap(), []);
    migrate::check(&config(&database)).await.unwrap();
    let status = migrate::status(&config(&database)).await.unwrap();
    assert!(
        status
            .iter()
            .any(|row| row.name == "future" && !row.is_known && row.is_applied)
    );

    client
        .batch_execute("update clipbase_migrations set is_breaking = true where name = 'future'")
        .await
        .unwrap();
    let error = migrate::check(&config(&database)).await.unwrap_err();
    assert_eq!(error.code(), Code::SchemaMismatch);
    assert!(error.to_string().contains("future"), "{error}");
    let error = migrate::migrate(&config(&database)).await.unwrap_err();
    assert_eq!(error.code(), Code::SchemaMismatch);
    database.drop_database().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_pooler_is_refused_before_anything_is_sent() {
    let config = DatabaseConfig::from_url("postgres://nobody@localhost:1/none")
        .unwrap()
        .with_mode(DatabaseMode::Transaction);
    let error = migrate::migrate(&config).await.unwrap_err();
    assert_eq!(error.code(), Code::ConfigInvalid);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_that_fails_leaves_nothing_of_its_batch() {
    let database = TestDatabase::empty().await;
    let client = database.raw().await;
    let bad = Migration {
        version: "20990101000001",
        name: "bad",
        sql: "CREATE TABLE public.extra (id int)",
        ..EXTRA
    };
    let error = migrate::migrate_to(&config(&database), &core_and(&[EXTRA, bad]))
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("20990101000001_bad was taken back"),
        "{error}"
    );
    let sql = "select count(*) from pg_class c join pg_namespace n on n.oid = c.relnamespace
                where n.nspname in ('public', 'supabase_migrations')";
    assert_eq!(count(&client, sql).await, 0);
    assert_eq!(
        migrate::migrate(&config(&database)).await.unwrap(),
        CORE,
        "the lock is free again"
    );
    database.drop_database().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_in_use_is_waited_for_and_then_named_as_the_reason() {
    let database = TestDatabase::new().await;
    let mut client = database.raw().await;
    let tx = client.transaction().await.unwrap();
    tx.batch_execute("select * from jobs").await.unwrap();
    let alter = Migration {
        sql: "SET LOCAL lock_timeout = '1ms'; ALTER TABLE public.jobs ADD COLUMN x int",
        ..EXTRA
    };
    let error = migrate::migrate_to(&config(&database), &core_and(&[alter]))
        .await
        .unwrap_err();
    assert_eq!(error.code(), Code::DbTimeout);
    assert!(error.to_string().contains("in use"), "{error}");
    tx.rollback().await.unwrap();
    database.drop_database().await;
}
