//! A key's life: made, listed, used and revoked.

use clipbase::api_keys::{NewApiKey, Scope, Scopes};
use clipbase::{ApiKeyId, Clipbase, Code, DatabaseConfig, DatabaseMode, Settings};
use clipbase_testkit::{Bench, TestDatabase, run_in};

use super::{key, pass, row, set, unauthenticated};

/// Declares each test once and runs it directly and through a transaction pooler.
macro_rules! in_both_modes {
    ($($name:ident),* $(,)?) => {
        mod direct {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::run_in(super::DatabaseMode::Direct, super::Settings::default(), super::$name).await;
            })*
        }
        mod pooled {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::run_in(super::DatabaseMode::Transaction, super::Settings::default(), super::$name).await;
            })*
        }
    };
}

in_both_modes!(
    a_key_is_made_used_and_revoked,
    keys_are_listed_newest_first_page_by_page,
    the_last_use_is_written_once_a_minute,
    a_revoked_key_is_refused_by_the_next_request_of_every_process,
    scopes_are_what_the_column_says_now,
    a_verdict_ends_with_the_hash_that_it_was_about,
);

async fn a_key_is_made_used_and_revoked(bench: &Bench) {
    let keys = bench.clipbase.api_keys();
    let scopes: Scopes = "jobs:write".parse().unwrap();
    let (key, plain) = keys
        .create(&NewApiKey::new("dashboard", scopes))
        .await
        .unwrap();
    assert_eq!((key.name.as_str(), key.scopes), ("dashboard", scopes));
    assert_eq!((key.rate_limit_per_min, key.is_active), (60, true));
    assert_eq!((key.last_used_at, key.revoked_at), (None, None));
    assert_eq!(keys.get(key.id).await.unwrap(), Some(key.clone()));
    let raw = bench.database.raw().await;
    let stored = row(&raw, key.id).await;
    assert_eq!(stored["scopes"], "jobs:write");
    // The secret may have the sign that stands before it.
    let secret = plain.expose().splitn(3, '_').last().unwrap();
    assert!(!stored.to_string().contains(secret), "only a hash is kept");

    let verifier = keys.verifier();
    let first = verifier.authenticate(plain.expose()).await.unwrap();
    assert_eq!((first.key, first.name.as_str()), (key.id, "dashboard"));
    assert_eq!(first.scopes, scopes);
    assert_eq!((first.rate.limit, first.rate.remaining), (60, 59));
    assert_eq!(first.rate.retry_after, None);
    first.scopes.require(Scope::JobsWrite).unwrap();
    let error = first.scopes.require(Scope::JobsRead).unwrap_err();
    assert_eq!(error.code(), Code::Forbidden);
    let again = verifier.clone().authenticate(plain.expose()).await.unwrap();
    assert!((58..=59).contains(&again.rate.remaining), "{again:?}");
    assert_eq!(verifier.hashes_computed(), 1, "the verdict is remembered");

    let revoked = keys.revoke(key.id).await.unwrap();
    assert!(!revoked.is_active && revoked.revoked_at.is_some());
    unauthenticated(verifier.authenticate(plain.expose()).await);
    assert_eq!(
        keys.revoke(key.id).await.unwrap(),
        revoked,
        "the first time stays"
    );
    let error = keys.revoke(ApiKeyId::new()).await.unwrap_err();
    assert_eq!(error.code(), Code::NotFound);
    assert_eq!(keys.get(ApiKeyId::new()).await.unwrap(), None);
}

async fn keys_are_listed_newest_first_page_by_page(bench: &Bench) {
    let keys = bench.clipbase.api_keys();
    let mut made = Vec::new();
    for _ in 0..5 {
        made.push(key(&bench.clipbase, 60).await.0);
    }
    keys.revoke(made[1]).await.unwrap();
    made.reverse();
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let page = keys.list(2, after).await.unwrap();
        assert!(page.keys.len() <= 2);
        seen.extend(page.keys.iter().map(|key| key.id));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(seen, made, "revoked ones too");
    assert_eq!(keys.list(5, None).await.unwrap().next, None, "exactly full");
    for limit in [0, 1_001] {
        let error = keys.list(limit, None).await.unwrap_err();
        assert_eq!(error.code(), Code::InvalidInput);
    }
}

async fn the_last_use_is_written_once_a_minute(bench: &Bench) {
    let keys = bench.clipbase.api_keys();
    let (id, plain) = key(&bench.clipbase, 60).await;
    let verifier = keys.verifier();
    let last_use = async || keys.get(id).await.unwrap().unwrap().last_used_at;
    verifier.authenticate(plain.expose()).await.unwrap();
    let first = last_use().await;
    assert!(first.is_some());
    verifier.authenticate(plain.expose()).await.unwrap();
    assert_eq!(last_use().await, first);
    let raw = bench.database.raw().await;
    pass(&raw, id, std::time::Duration::from_secs(61)).await;
    verifier.authenticate(plain.expose()).await.unwrap();
    assert!(last_use().await >= first);
}

async fn a_revoked_key_is_refused_by_the_next_request_of_every_process(bench: &Bench) {
    let other = bench.another(Settings::default());
    let verifiers = [
        bench.clipbase.api_keys().verifier(),
        other.api_keys().verifier(),
    ];
    let (id, plain) = key(&bench.clipbase, 60).await;
    for verifier in &verifiers {
        verifier.authenticate(plain.expose()).await.unwrap();
    }
    other.api_keys().revoke(id).await.unwrap();
    let raw = bench.database.raw().await;
    let before = row(&raw, id).await;
    for verifier in &verifiers {
        unauthenticated(verifier.authenticate(plain.expose()).await);
        assert_eq!(verifier.hashes_computed(), 1, "it is the row that refuses");
    }
    let fresh = other.api_keys().verifier();
    unauthenticated(fresh.authenticate(plain.expose()).await);
    assert_eq!(row(&raw, id).await, before, "a refusal writes nothing");
}

async fn scopes_are_what_the_column_says_now(bench: &Bench) {
    let (id, plain) = key(&bench.clipbase, 600).await;
    let verifier = bench.clipbase.api_keys().verifier();
    let raw = bench.database.raw().await;
    for (column, scopes) in [
        ("'jobs:read jobs:write admin'", "jobs:read jobs:write admin"),
        ("'jobs:write,jobs:read'", "jobs:read jobs:write"),
        ("'jobs:read,jobs:delete, root'", "jobs:read"),
        ("'Admin'", ""),
        ("''", ""),
        ("NULL", ""),
    ] {
        set(&raw, id, &format!("scopes = {column}")).await;
        let principal = verifier.authenticate(plain.expose()).await.unwrap();
        assert_eq!(principal.scopes.to_string(), scopes, "{column}");
    }
    assert_eq!(verifier.hashes_computed(), 1);
}

async fn a_verdict_ends_with_the_hash_that_it_was_about(bench: &Bench) {
    let (id, plain) = key(&bench.clipbase, 60).await;
    let (other, _) = key(&bench.clipbase, 60).await;
    let verifier = bench.clipbase.api_keys().verifier();
    verifier.authenticate(plain.expose()).await.unwrap();
    let raw = bench.database.raw().await;
    let stolen = format!("key_hash = (SELECT key_hash FROM api_keys WHERE id = '{other}')");
    set(&raw, id, &stolen).await;
    let before = row(&raw, id).await;
    unauthenticated(verifier.authenticate(plain.expose()).await);
    assert_eq!(
        row(&raw, id).await,
        before,
        "its rate is not for this secret"
    );

    let (gone, plain) = key(&bench.clipbase, 60).await;
    verifier.authenticate(plain.expose()).await.unwrap();
    raw.execute("DELETE FROM api_keys WHERE id = $1", &[&gone.as_uuid()])
        .await
        .unwrap();
    unauthenticated(verifier.authenticate(plain.expose()).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_set_of_migrations_the_schema_is_what_is_missing() {
    let database = TestDatabase::empty().await;
    let config = DatabaseConfig::from_url(&database.url()).unwrap();
    clipbase::migrate::migrate(&config).await.unwrap();
    let storage = std::sync::Arc::new(clipbase::storage::MemoryStorage::new());
    let clipbase = Clipbase::new(&config, storage, Settings::default()).unwrap();
    let error = clipbase.api_keys().list(10, None).await.unwrap_err();
    assert_eq!(error.code(), Code::SchemaMismatch);
    let text = format!("cb_{}_abcdefghijklmnopqrst", "0".repeat(32));
    let error = clipbase
        .api_keys()
        .verifier()
        .authenticate(&text)
        .await
        .unwrap_err();
    assert_eq!(error.code(), Code::SchemaMismatch);
    drop(clipbase);
    database.drop_database().await;
}
