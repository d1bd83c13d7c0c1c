//! The optional set of migrations.

use clipbase::migrate::{self, API_KEYS, CORE, Migration, Sets};
use clipbase::{Clipbase, Code, Settings};
use clipbase_testkit::TestDatabase;

use crate::migrations::{config, count, push};

const KEYS: Sets = Sets::API_KEYS;

fn everything() -> Vec<Migration> {
    CORE.iter().chain(API_KEYS).copied().collect()
}

async fn has_table(database: &TestDatabase) -> bool {
    let sql = "select count(*) from pg_class where oid = to_regclass('public.api_keys')";
    count(&database.raw().await, sql).await == 1
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_is_applied_when_it_is_asked_for_and_checked_ever_after() {
    let database = TestDatabase::empty().await;
    let config = config(&database);
    assert_eq!(migrate::migrate(&config).await.unwrap(), CORE);
    assert!(!has_table(&database).await);
    migrate::check(&config).await.unwrap();
    let error = migrate::check_with(&config, KEYS).await.unwrap_err();
    assert_eq!(error.code(), Code::SchemaMismatch);
    assert!(error.to_string().contains("API keys"), "{error}");
    assert_eq!(migrate::status(&config).await.unwrap().len(), CORE.len());
    let status = migrate::status_with(&config, KEYS).await.unwrap();
    let pending: Vec<_> = status.iter().filter(|row| !row.is_applied).collect();
    assert!(
        pending
            .iter()
            .all(|row| row.set == "api_keys" && row.is_known)
    );
    assert_eq!(pending.len(), API_KEYS.len());

    assert_eq!(
        migrate::migrate_with(&config, KEYS).await.unwrap(),
        API_KEYS
    );
    assert_eq!(migrate::migrate_with(&config, KEYS).await.unwrap(), []);
    assert_eq!(migrate::migrate(&config).await.unwrap(), []);
    assert!(has_table(&database).await);
    migrate::check_with(&config, KEYS).await.unwrap();
    let status = migrate::status(&config).await.unwrap();
    assert_eq!(status.len(), everything().len(), "without asking");
    assert!(status.iter().all(|row| row.is_applied));

    let client = database.raw().await;
    let sql = "update clipbase_migrations set checksum = 'other' where set_name = 'api_keys'";
    client.batch_execute(sql).await.unwrap();
    for error in [
        migrate::migrate(&config).await.unwrap_err(),
        migrate::check(&config).await.unwrap_err(),
    ] {
        assert_eq!(error.code(), Code::SchemaMismatch);
    }
    database.drop_database().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_database_takes_both_sets_in_one_go_and_in_order() {
    let database = TestDatabase::empty().await;
    let applied = migrate::migrate_with(&config(&database), KEYS)
        .await
        .unwrap();
    assert_eq!(applied, everything());
    let sql = "select count(*) from clipbase_migrations where set_name = 'api_keys'";
    assert_eq!(count(&database.raw().await, sql).await, 1);
    database.drop_database().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn migrators_with_and_without_the_set_agree() {
    let database = TestDatabase::empty().await;
    let config = config(&database);
    let runs = (0..8).map(|number| {
        let sets = if number % 2 == 0 { KEYS } else { Sets::CORE };
        migrate::migrate_with(&config, sets)
    });
    let runs = futures_util::future::join_all(runs).await;
    let mut applied: Vec<Migration> = runs.into_iter().flat_map(Result::unwrap).collect();
    applied.sort_by_key(|migration| migration.version);
    assert_eq!(applied, everything());
    database.drop_database().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_that_supabases_command_line_pushed_is_the_databases_own() {
    let database = TestDatabase::empty().await;
    let config = config(&database);
    push(&database.raw().await, &everything()).await;
    assert_eq!(migrate::migrate(&config).await.unwrap(), []);
    migrate::check_with(&config, KEYS).await.unwrap();
    database.drop_database().await;

    let database = TestDatabase::empty().await;
    push(&database.raw().await, CORE).await;
    let config = self::config(&database);
    assert_eq!(migrate::migrate(&config).await.unwrap(), []);
    assert!(
        migrate::check_with(&config, KEYS).await.is_err(),
        "only the core was pushed"
    );
    database.drop_database().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn drift_looks_at_the_sets_that_the_database_has() {
    let database = TestDatabase::empty().await;
    let config = config(&database);
    migrate::migrate(&config).await.unwrap();
    let storage = std::sync::Arc::new(clipbase::storage::MemoryStorage::new());
    let clipbase = Clipbase::new(&config, storage, Settings::default()).unwrap();
    assert_eq!(clipbase.inspect().drift().await.unwrap(), [""; 0]);
    migrate::migrate_with(&config, KEYS).await.unwrap();
    assert_eq!(clipbase.inspect().drift().await.unwrap(), [""; 0]);
    let sql = "alter table api_keys drop column last_used_at";
    database.raw().await.batch_execute(sql).await.unwrap();
    let drift = clipbase.inspect().drift().await.unwrap();
    assert!(
        drift.iter().any(|line| line.starts_with("api_keys.take")),
        "{drift:#?}"
    );
    drop(clipbase);
    database.drop_database().await;
}
