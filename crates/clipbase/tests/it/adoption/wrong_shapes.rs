//! Tables that are not the seed's are refused before anything changes.

use clipbase_testkit::TestDatabase;

use super::migration_is_refused;
use crate::seed::{self, SeedClient};

/// What the catalog holds, to see that nothing changed.
const CATALOG: &str = "
select string_agg(class.relname || '.' || att.attname, ' ' order by class.relname, att.attnum)
  from pg_attribute att join pg_class class on class.oid = att.attrelid
  join pg_namespace space on space.oid = class.relnamespace
 where space.nspname not in ('pg_catalog', 'information_schema', 'pg_toast') and not att.attisdropped";

async fn catalog(client: &SeedClient) -> Option<String> {
    client.sql.query_one(CATALOG, &[]).await.unwrap().get(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_of_another_shape_are_named_and_nothing_changes() {
    for (change, words) in [
        (
            "alter table jobs drop column shard",
            "jobs.shard is not int4 not null",
        ),
        (
            "alter table jobs alter column progress type bigint",
            "jobs.progress is not int4 not null",
        ),
        (
            "alter table jobs alter column created_at drop not null",
            "jobs.created_at is not timestamptz not null",
        ),
        (
            "alter table jobs alter column source_key type varchar(64)",
            "jobs.source_key is not varchar(512)",
        ),
        (
            "alter table jobs add column owner uuid not null",
            "jobs.owner is not a column of the seed",
        ),
        (
            "alter table jobs add column lease int",
            "jobs.lease is not a column of the seed",
        ),
        (
            "alter table job_events add column seq int",
            "job_events.seq is not a column of the seed",
        ),
        (
            "alter table job_events drop constraint job_events_job_id_jobs_id_fk",
            "job_events_job_id_jobs_id_fk",
        ),
        (
            "alter table job_events drop constraint job_events_pkey",
            "job_events has not the primary key id",
        ),
        (
            "create table notes (event uuid references job_events (id))",
            "notes refers to job_events.id",
        ),
        (
            "create table storage_deletions (a int)",
            "storage_deletions exists",
        ),
        (
            "alter type job_status add value 'canceled'",
            "job_status has other values",
        ),
    ] {
        let database = TestDatabase::empty().await;
        let client = SeedClient::on(&database).await;
        client.sql.batch_execute(seed::SCHEMA).await.unwrap();
        client.sql.batch_execute(change).await.unwrap();
        let before = catalog(&client).await;
        let message = migration_is_refused(&database).await;
        assert!(message.contains(words), "{change}: {message}");
        assert_eq!(catalog(&client).await, before, "{change}");
        database.drop_database().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_jobs_table_of_another_product_is_refused() {
    for sql in [
        "create table jobs (id bigint primary key, payload text)",
        "create view jobs as select 1 as id",
        "create table job_events (id int)",
    ] {
        let database = TestDatabase::empty().await;
        let client = SeedClient::on(&database).await;
        client.sql.batch_execute(sql).await.unwrap();
        let message = migration_is_refused(&database).await;
        assert!(
            message.contains("not those of the seed"),
            "{sql}: {message}"
        );
        database.drop_database().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wider_column_and_a_column_of_the_teams_own_are_welcome() {
    let database = TestDatabase::empty().await;
    let client = SeedClient::on(&database).await;
    client.sql.batch_execute(seed::SCHEMA).await.unwrap();
    let sql = "alter table jobs alter column source_url type varchar(2048), add column tenant uuid";
    client.sql.batch_execute(sql).await.unwrap();
    let config = clipbase::DatabaseConfig::from_url(&database.url()).unwrap();
    clipbase::migrate::migrate(&config).await.unwrap();
    database.drop_database().await;
}
