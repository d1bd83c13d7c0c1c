//! Rotation: a new key for an old one, at once or with a grace.

use std::time::Duration;

use clipbase::api_keys::ROTATION_GRACE_MAX;
use clipbase::{ApiKeyId, Code, DatabaseMode, Settings};
use clipbase_testkit::{Bench, run, run_in};

use super::{key, pass, row, set, unauthenticated};

const HOUR: Duration = Duration::from_secs(3_600);

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_without_grace_ends_the_old_key() {
    for mode in [DatabaseMode::Direct, DatabaseMode::Transaction] {
        run_in(mode, Settings::default(), async |bench: &Bench| {
            let keys = bench.clipbase.api_keys();
            let verifier = keys.verifier();
            let (old, old_plain) = key(&bench.clipbase, 2).await;
            verifier.authenticate(old_plain.expose()).await.unwrap();
            let (new, plain) = keys.rotate(old, Duration::ZERO).await.unwrap();
            unauthenticated(verifier.authenticate(old_plain.expose()).await);
            let principal = verifier.authenticate(plain.expose()).await.unwrap();
            assert_eq!(
                (principal.key, principal.name.as_str()),
                (new.id, "a test's")
            );
            assert_eq!((principal.rate.limit, principal.rate.remaining), (2, 0));
            let before = keys.get(old).await.unwrap().unwrap();
            assert_eq!(
                (new.scopes, new.rate_limit_per_min, new.is_active),
                (before.scopes, 2, true)
            );
            assert!(!before.is_active);
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_grace_both_keys_work_until_it_is_over() {
    run(async |bench: &Bench| {
        let keys = bench.clipbase.api_keys();
        let verifier = keys.verifier();
        let (old, old_plain) = key(&bench.clipbase, 60).await;
        let (_, plain) = keys.rotate(old, HOUR).await.unwrap();
        verifier.authenticate(old_plain.expose()).await.unwrap();
        verifier.authenticate(plain.expose()).await.unwrap();
        let during = keys.get(old).await.unwrap().unwrap();
        assert!(during.is_active && during.revoked_at.is_some());

        // A later rotation with a longer grace does not bring it back.
        keys.rotate(old, 2 * HOUR).await.unwrap();
        assert_eq!(
            keys.get(old).await.unwrap().unwrap().revoked_at,
            during.revoked_at
        );

        let raw = bench.database.raw().await;
        pass(&raw, old, HOUR).await;
        unauthenticated(verifier.authenticate(old_plain.expose()).await);
        verifier.authenticate(plain.expose()).await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_ends_a_grace() {
    run(async |bench: &Bench| {
        let keys = bench.clipbase.api_keys();
        let (old, plain) = key(&bench.clipbase, 60).await;
        keys.rotate(old, HOUR).await.unwrap();
        assert!(!keys.revoke(old).await.unwrap().is_active);
        unauthenticated(keys.verifier().authenticate(plain.expose()).await);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_rotated_is_refused() {
    run(async |bench: &Bench| {
        let keys = bench.clipbase.api_keys();
        let (id, _) = key(&bench.clipbase, 60).await;
        let long = ROTATION_GRACE_MAX + Duration::from_secs(1);
        let error = keys.rotate(id, long).await.unwrap_err();
        assert_eq!(error.code(), Code::InvalidInput);
        keys.revoke(id).await.unwrap();
        for id in [id, ApiKeyId::new()] {
            let error = keys.rotate(id, HOUR).await.unwrap_err();
            assert_eq!(error.code(), Code::NotFound);
        }
        assert_eq!(keys.list(10, None).await.unwrap().keys.len(), 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_rotations_at_once_one_ends_the_key() {
    run(async |bench: &Bench| {
        let (id, _) = key(&bench.clipbase, 60).await;
        let keys = bench.clipbase.api_keys();
        let rotations = (0..8).map(|_| keys.rotate(id, Duration::ZERO));
        let outcomes = futures_util::future::join_all(rotations).await;
        let won = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        assert_eq!(won, 1);
        for error in outcomes.into_iter().filter_map(Result::err) {
            assert_eq!(error.code(), Code::NotFound);
        }
        assert_eq!(keys.list(10, None).await.unwrap().keys.len(), 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_the_default_rate_and_of_unknown_scopes_keeps_them() {
    run(async |bench: &Bench| {
        let (id, _) = key(&bench.clipbase, 7).await;
        let raw = bench.database.raw().await;
        set(
            &raw,
            id,
            "rate_limit_per_min = NULL, scopes = 'jobs:read,fly'",
        )
        .await;
        let (new, _) = bench.clipbase.api_keys().rotate(id, HOUR).await.unwrap();
        assert_eq!(new.rate_limit_per_min, 60);
        assert_eq!(row(&raw, new.id).await["scopes"], "jobs:read,fly");
    })
    .await;
}
