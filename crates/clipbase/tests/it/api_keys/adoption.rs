//! The seed's table of keys, taken over with its rows.

use clipbase::migrate::{self, Sets};
use clipbase::{ApiKeyId, Clipbase, Code, Settings};
use clipbase_testkit::TestDatabase;

use super::foreign_hashes::{BUN_ARGON2, SECRET};
use super::unauthenticated;
use crate::migrations::{config, count};
use crate::seed;

async fn seeded() -> TestDatabase {
    let database = TestDatabase::empty().await;
    let client = database.raw().await;
    client.batch_execute(seed::SCHEMA).await.unwrap();
    database
}

#[tokio::test(flavor = "multi_thread")]
async fn the_seeds_keys_stay_and_work() {
    let database = seeded().await;
    let client = database.raw().await;
    let sql = format!(
        "insert into api_keys (name, key_hash, scopes, rate_limit_per_min, revoked_at) values
            ('works', '{BUN_ARGON2}', 'jobs:read,jobs:write', 5, null),
            ('unlimited', '{BUN_ARGON2}', 'admin', 1000000, null),
            ('none', '{BUN_ARGON2}', 'admin', 0, null),
            ('plain', '{BUN_ARGON2}', default, default, null),
            ('over', '{BUN_ARGON2}', default, default, now() - interval '1 day')"
    );
    client.batch_execute(&sql).await.unwrap();
    let config = config(&database);
    migrate::migrate(&config).await.unwrap();
    let before = "select count(*) from pg_attribute where attrelid = 'api_keys'::regclass and attname = 'rate_full_at'";
    assert_eq!(count(&client, before).await, 0, "the core leaves it alone");
    migrate::migrate_with(&config, Sets::ALL).await.unwrap();

    let storage = std::sync::Arc::new(clipbase::storage::MemoryStorage::new());
    let clipbase = Clipbase::new(&config, storage, Settings::default()).unwrap();
    let verifier = clipbase.api_keys().verifier();
    let rows = client
        .query("select name, id from api_keys", &[])
        .await
        .unwrap();
    for row in rows {
        let (name, id): (String, uuid::Uuid) = (row.get(0), row.get(1));
        let outcome = verifier
            .authenticate(&format!("cb_{}_{SECRET}", id.simple()))
            .await;
        match name.as_str() {
            "works" => {
                let principal = outcome.unwrap();
                assert_eq!(principal.scopes.to_string(), "jobs:read jobs:write");
                assert_eq!(principal.rate.limit, 5);
            }
            "unlimited" => assert_eq!(outcome.unwrap().rate.limit, 60_000),
            "none" => {
                assert_eq!(outcome.unwrap_err().code(), Code::RateLimited);
                let (keys, id) = (clipbase.api_keys(), ApiKeyId::from_uuid(id));
                let error = keys
                    .rotate(id, std::time::Duration::ZERO)
                    .await
                    .unwrap_err();
                assert_eq!(error.code(), Code::DbConflict);
                assert!(error.to_string().contains("rate_limit_per_min"), "{error}");
                assert!(!keys.revoke(id).await.unwrap().is_active);
            }
            "plain" => {
                let principal = outcome.unwrap();
                assert!(principal.scopes.is_empty());
                assert_eq!(principal.rate.limit, 60);
            }
            _ => unauthenticated(outcome),
        }
    }
    let exempt = "insert into api_keys (name, key_hash, rate_limit_per_min) values ('new', 'h', 0)";
    assert!(client.batch_execute(exempt).await.is_err(), "new rows obey");
    drop(clipbase);
    database.drop_database().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_of_the_last_use_that_is_there_is_taken_over() {
    let database = seeded().await;
    let client = database.raw().await;
    let sql = "alter table api_keys add column last_used_at timestamptz, add column owner text;
               insert into api_keys (name, key_hash, last_used_at) values ('n', 'h', '2026-01-01')";
    client.batch_execute(sql).await.unwrap();
    migrate::migrate_with(&config(&database), Sets::ALL)
        .await
        .unwrap();
    let kept = "select count(*) from api_keys where last_used_at = '2026-01-01'";
    assert_eq!(count(&client, kept).await, 1);
    database.drop_database().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_of_another_shape_stops_the_migration_unchanged() {
    for (change, complaint) in [
        (
            "alter table api_keys drop column scopes",
            "api_keys.scopes is not varchar(256)",
        ),
        (
            "alter table api_keys alter column key_hash type varchar(60)",
            "api_keys.key_hash is not varchar(128) not null",
        ),
        (
            "alter table api_keys alter column revoked_at type timestamp",
            "api_keys.revoked_at is not timestamptz",
        ),
        (
            "alter table api_keys alter column name drop not null",
            "api_keys.name is not varchar(128) not null",
        ),
        (
            "alter table api_keys add column owner text not null",
            "api_keys.owner is not a column of the seed",
        ),
        (
            "alter table api_keys add column rate_full_at timestamptz",
            "api_keys.rate_full_at is not a column",
        ),
        (
            "alter table api_keys add column last_used_at date",
            "api_keys.last_used_at is not a column",
        ),
        (
            "alter table api_keys drop constraint api_keys_pkey",
            "has not the primary key id",
        ),
        (
            "drop table api_keys; create view api_keys as select 1 as id",
            "is not an ordinary table",
        ),
    ] {
        let database = seeded().await;
        let client = database.raw().await;
        let config = config(&database);
        migrate::migrate(&config).await.unwrap();
        client.batch_execute(change).await.unwrap();
        let error = migrate::migrate_with(&config, Sets::ALL).await.unwrap_err();
        assert_eq!(error.code(), Code::DbConflict, "{change}");
        assert!(error.to_string().contains(complaint), "{change}: {error}");
        let ours =
            "select count(*) from pg_class where relname like '%api_keys%' and relrowsecurity";
        assert_eq!(count(&client, ours).await, 0, "{change}: it is as it was");
        migrate::check(&config).await.unwrap();
        assert!(migrate::check_with(&config, Sets::ALL).await.is_err());
        database.drop_database().await;
    }
}
