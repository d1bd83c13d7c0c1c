//! Wrong keys: what they learn, what they cost, and whom they hold up.

use std::collections::HashSet;

use clipbase::{ApiKeyId, Error};
use clipbase_testkit::{Bench, run};

use super::{at_once, key, row, unauthenticated, wrong};

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_id_and_a_wrong_secret_are_the_same() {
    run(async |bench: &Bench| {
        let (id, _) = key(&bench.clipbase, 60).await;
        let verifier = bench.clipbase.api_keys().verifier();
        for (number, id) in [(1, id), (2, ApiKeyId::new())] {
            unauthenticated(verifier.authenticate(&wrong(id, 0)).await);
            assert_eq!(verifier.hashes_computed(), number, "both cost one hash");
        }
        for id in [id, ApiKeyId::new()] {
            let text = wrong(id, 1);
            unauthenticated(verifier.authenticate(&text).await);
            let computed = verifier.hashes_computed();
            unauthenticated(verifier.authenticate(&text).await);
            assert_eq!(
                verifier.hashes_computed(),
                computed,
                "a second time it is known"
            );
        }
        unauthenticated(verifier.authenticate("").await);
        unauthenticated(verifier.authenticate("cb_").await);
        unauthenticated(verifier.authenticate(&id.to_string()).await);
        assert_eq!(
            verifier.hashes_computed(),
            4,
            "what is no key costs nothing"
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_secrets_take_nothing_from_the_owner() {
    run(async |bench: &Bench| {
        let (id, plain) = key(&bench.clipbase, 3).await;
        let raw = bench.database.raw().await;
        let before = row(&raw, id).await;
        let verifier = bench.clipbase.api_keys().verifier();
        for number in 0..10 {
            unauthenticated(verifier.authenticate(&wrong(id, number)).await);
        }
        assert_eq!(row(&raw, id).await, before);
        let principal = verifier.authenticate(plain.expose()).await.unwrap();
        assert_eq!(principal.rate.remaining, 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_who_show_the_same_new_key_cost_one_hash() {
    run(async |bench: &Bench| {
        let (id, plain) = key(&bench.clipbase, 60_000).await;
        let verifier = bench.clipbase.api_keys().verifier();
        let (passed, _) = at_once(&verifier, &plain, 200).await;
        assert_eq!((passed, verifier.hashes_computed()), (200, 1));

        let text = wrong(id, 1);
        let calls = (0..200).map(|_| verifier.authenticate(&text));
        for outcome in futures_util::future::join_all(calls).await {
            unauthenticated(outcome);
        }
        assert_eq!(verifier.hashes_computed(), 2);
    })
    .await;
}

/// What a flood of different wrong keys ends with: refused for what they are, and sent away unseen.
async fn flood(verifier: &clipbase::api_keys::Verifier, ids: Vec<ApiKeyId>) -> (u64, u64) {
    let texts: HashSet<String> = (0..)
        .zip(ids)
        .map(|(number, id)| wrong(id, number))
        .collect();
    let calls = texts.iter().map(|text| verifier.authenticate(text));
    let (mut refused, mut sent_away) = (0, 0);
    for outcome in futures_util::future::join_all(calls).await {
        match outcome.unwrap_err() {
            Error::RateLimited { retry_after, rate } => {
                assert_eq!((retry_after.as_secs(), rate), (1, None));
                sent_away += 1;
            }
            error => {
                unauthenticated(Err(error));
                refused += 1;
            }
        }
    }
    (refused, sent_away)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_wrong_keys_is_bounded_and_holds_up_nobody_who_is_known() {
    run(async |bench: &Bench| {
        let (id, plain) = key(&bench.clipbase, 60_000).await;
        let verifier = bench.clipbase.api_keys().verifier();
        verifier.authenticate(plain.expose()).await.unwrap();
        let targets = (0..300).map(|number| if number % 2 == 0 { id } else { ApiKeyId::new() });
        let attack = flood(&verifier, targets.collect());
        let owner = async {
            for _ in 0..50 {
                verifier.authenticate(plain.expose()).await.unwrap();
            }
        };
        let ((refused, sent_away), ()) = tokio::join!(attack, owner);
        assert_eq!(refused + sent_away, 300);
        assert!(sent_away > 100, "{sent_away}");
        assert_eq!(verifier.hashes_computed(), 1 + refused);
        // It leaves nothing behind: the next new key is looked at.
        let (_, other) = key(&bench.clipbase, 60).await;
        verifier.authenticate(other.expose()).await.unwrap();
    })
    .await;
}

/// On one thread, so that nothing answers a call within its first poll.
#[tokio::test]
async fn callers_who_go_away_leave_no_place_taken() {
    run(async |bench: &Bench| {
        let (_, plain) = key(&bench.clipbase, 60_000).await;
        let verifier = bench.clipbase.api_keys().verifier();
        for number in 0..100 {
            let text = wrong(ApiKeyId::new(), number);
            let call = std::pin::pin!(verifier.authenticate(&text));
            assert!(futures_util::future::poll_immediate(call).await.is_none());
        }
        let computed = verifier.hashes_computed();
        verifier.authenticate(plain.expose()).await.unwrap();
        assert_eq!(verifier.hashes_computed(), computed + 1);
        assert_eq!(computed, 0, "they had only asked for a hash");
    })
    .await;
}
