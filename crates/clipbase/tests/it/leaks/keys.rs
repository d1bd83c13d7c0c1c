//! API keys: neither their text nor their hashes are shown anywhere.

use std::time::Duration;

use clipbase::api_keys::{NewApiKey, Scope, Scopes};
use clipbase::{ApiKeyId, Code};
use clipbase_testkit::{Bench, run};
use serde_json::Value;

use super::capture::{Capture, assert_clean, assert_discreet};

/// A secret that a search finds, and bcrypt's hash of it.
const SECRET: &str = "planted-secret-for-the-search";
const HASH: &str = "$2b$04$XWZGnevf7Ti.ykORedj17exK0pGY6D6JngJjlv9bJWmXsynw/gZOi";

#[tokio::test]
async fn no_key_is_shown_by_what_refuses_or_accepts_it() {
    let capture = Capture::start();
    run(async |bench: &Bench| {
        let keys = bench.clipbase.api_keys();
        let raw = bench.database.raw().await;
        let scopes = Scopes::from(Scope::JobsRead);
        let new = NewApiKey {
            rate_limit_per_min: Some(1),
            ..NewApiKey::new("a name", scopes)
        };
        let (key, plain) = keys.create(&new).await.unwrap();
        let secret = plain.expose().split_at(36).1;
        let texts = [
            format!("{key:?}"),
            format!("{plain:?}"),
            format!("{keys:?}"),
        ];
        assert!(texts.iter().all(|text| !text.contains(secret)));

        let set_hash = "UPDATE api_keys SET key_hash = $2 WHERE id = $1";
        let id = key.id.as_uuid();
        raw.execute(set_hash, &[&id, &HASH]).await.unwrap();
        let shown = |id: ApiKeyId| format!("cb_{}_{SECRET}", id.as_uuid().simple());
        let verifier = keys.verifier();
        let principal = verifier.authenticate(&shown(key.id)).await.unwrap();
        let answer = serde_json::to_string(&principal).unwrap();
        assert_clean(&format!("{verifier:?} {principal:?} {answer}"));
        let mut refusals = vec![(Code::RateLimited, shown(key.id))];
        let nobody = ApiKeyId::new();
        refusals.push((Code::Unauthenticated, shown(nobody)));
        refusals.push((Code::Unauthenticated, format!("planted_{SECRET}")));
        refusals.push((Code::Unauthenticated, shown(key.id) + "planted"));
        for (code, text) in &refusals {
            let error = verifier.authenticate(text).await.unwrap_err();
            assert_eq!(error.code(), *code);
            assert_discreet(&error);
        }
        assert_discreet(&principal.scopes.require(Scope::Admin).unwrap_err());
        raw.execute(set_hash, &[&id, &"planted as a hash"])
            .await
            .unwrap();
        assert_discreet(&verifier.authenticate(&shown(key.id)).await.unwrap_err());
        assert!(
            capture.logged().contains("hash is of no kind"),
            "it was warned about"
        );

        refuse_changes(bench, key.id).await;
        let row = raw
            .query_one("SELECT to_jsonb(api_keys) FROM api_keys", &[])
            .await
            .unwrap();
        assert_eq!(row.get::<_, Value>(0)["key_hash"], "planted as a hash");
        assert!(!capture.logged().contains(secret));
    })
    .await;
    capture.assert_clean();
    assert!(!capture.logged().contains("$argon2"), "no hash of ours");
}

/// What an operator may get wrong.
async fn refuse_changes(bench: &Bench, id: ApiKeyId) {
    let keys = bench.clipbase.api_keys();
    let raw = bench.database.raw().await;
    let scopes = Scopes::from(Scope::JobsRead);
    keys.revoke(id).await.unwrap();
    assert_discreet(&keys.rotate(id, Duration::ZERO).await.unwrap_err());
    assert_discreet(&"planted".parse::<Scopes>().unwrap_err());
    assert_discreet(
        &keys
            .create(&NewApiKey::new("planted\0", scopes))
            .await
            .unwrap_err(),
    );
    let refuse = "ALTER TABLE api_keys ADD CONSTRAINT no_name CHECK (name <> 'sources/planted')";
    raw.batch_execute(refuse).await.unwrap();
    let error = keys
        .create(&NewApiKey::new("sources/planted", scopes))
        .await
        .unwrap_err();
    assert_eq!(error.code(), Code::DbConflict);
    assert_discreet(&error);
}
