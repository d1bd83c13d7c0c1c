//! Keys of what goes on after its request: which of them still hold.

use std::collections::HashMap;
use std::time::Duration;

use clipbase::api_keys::{STILL_HOLD_MAX, Scope, Scopes};
use clipbase::{ApiKeyId, Code, DatabaseMode, Settings};
use clipbase_testkit::{Bench, run, run_in};

use super::{key, pass, row, set};

const HOUR: Duration = Duration::from_secs(3_600);

#[tokio::test(flavor = "multi_thread")]
async fn a_key_holds_until_it_is_revoked_or_its_grace_is_over() {
    for mode in [DatabaseMode::Direct, DatabaseMode::Transaction] {
        run_in(mode, Settings::default(), async |bench: &Bench| {
            let raw = bench.database.raw().await;
            let keys = bench.clipbase.api_keys();
            let all: Scopes = Scope::ALL.into_iter().collect();
            let mut ids = vec![ApiKeyId::new()];
            for _ in 0..5 {
                ids.push(key(&bench.clipbase, 60).await.0);
            }
            let [_, good, revoked, graced, narrowed, odd] = ids[..] else {
                panic!("six keys")
            };
            keys.revoke(revoked).await.unwrap();
            keys.rotate(graced, HOUR).await.unwrap();
            set(&raw, narrowed, "scopes = 'jobs:write'").await;
            set(&raw, odd, "scopes = 'everything'").await;
            let verifier = keys.verifier();
            let found = verifier.still_hold(&ids).await.unwrap();
            let mut expected = HashMap::from([
                (good, all),
                (graced, all),
                (narrowed, Scope::JobsWrite.into()),
                (odd, Scopes::NONE),
            ]);
            assert_eq!(found, expected);
            pass(&raw, graced, HOUR).await;
            expected.remove(&graced);
            assert_eq!(verifier.still_hold(&ids).await.unwrap(), expected);
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn asking_takes_nothing_from_a_rate() {
    run(async |bench: &Bench| {
        let raw = bench.database.raw().await;
        let (id, plain) = key(&bench.clipbase, 2).await;
        let verifier = bench.clipbase.api_keys().verifier();
        verifier.authenticate(plain.expose()).await.unwrap();
        let before = row(&raw, id).await;
        for _ in 0..5 {
            assert_eq!(verifier.still_hold(&[id, id]).await.unwrap().len(), 1);
        }
        assert_eq!(row(&raw, id).await, before);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_bounded() {
    run(async |bench: &Bench| {
        let verifier = bench.clipbase.api_keys().verifier();
        assert!(verifier.still_hold(&[]).await.unwrap().is_empty());
        let most = vec![ApiKeyId::new(); STILL_HOLD_MAX];
        assert!(verifier.still_hold(&most).await.unwrap().is_empty());
        let more = vec![ApiKeyId::new(); STILL_HOLD_MAX + 1];
        let error = verifier.still_hold(&more).await.unwrap_err();
        assert_eq!(error.code(), Code::InvalidInput);
        assert!(error.to_string().starts_with("keys:"), "{error}");
    })
    .await;
}
