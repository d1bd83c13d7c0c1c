//! Removals: what the server does not mention is gone only where the credential has shown that it can remove.

use std::time::Duration;

use clipbase::storage::{RemoveOutcome, Storage, StorageKey};
use clipbase::{Code, JobId};
use clipbase_testkit::fake_supabase::{Call, Fault, Rule};

use super::{Bench, config, open, video};

fn source() -> StorageKey {
    StorageKey::source(JobId::new(), "mp4").unwrap()
}

async fn outcome(storage: &dyn Storage, key: &StorageKey) -> RemoveOutcome {
    let mut removals = storage.remove(std::slice::from_ref(key)).await.unwrap();
    removals.pop().unwrap().outcome
}

fn failed(outcome: &RemoveOutcome) -> Code {
    match outcome {
        RemoveOutcome::Failed(error) => error.code(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn silence_towards_a_powerless_key_is_not_gone() {
    let bench = Bench::new().await;
    let (there, absent) = (video(), video());
    bench.store(&there, "x").await.unwrap();
    let powerless = open(config(&bench.server, bench.server.powerless_key()));
    for key in [&there, &absent] {
        let outcome = outcome(&powerless, key).await;
        assert_eq!(failed(&outcome), Code::StorageRemoveFailed);
    }
    assert_eq!(bench.server.object_count("results"), 1);
}

#[tokio::test]
async fn a_probe_proves_it_for_ten_minutes_and_leaves_nothing() {
    let bench = Bench::new().await;
    let absent = video();
    assert!(matches!(
        outcome(&bench.storage, &absent).await,
        RemoveOutcome::Missing
    ));
    let counts = |bench: &Bench| {
        (
            bench.server.calls(Call::Upload),
            bench.server.calls(Call::DeleteMany),
        )
    };
    assert_eq!(counts(&bench), (1, 2));
    assert_eq!(bench.server.object_count("results"), 0);
    assert!(outcome(&bench.storage, &video()).await.is_gone());
    assert_eq!(counts(&bench), (1, 3), "proved already");
    assert!(outcome(&bench.storage, &source()).await.is_gone());
    assert_eq!(counts(&bench), (2, 5), "another bucket is proved by itself");

    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(601)).await;
    tokio::time::resume();
    assert!(outcome(&bench.storage, &video()).await.is_gone());
    assert_eq!(counts(&bench), (3, 7), "the proof had ended");
}

#[tokio::test]
async fn what_the_answer_lists_is_proof_enough() {
    let bench = Bench::new().await;
    let (there, absent) = (video(), video());
    bench.store(&there, "x").await.unwrap();
    let removals = bench.storage.remove(&[absent, there]).await.unwrap();
    assert!(matches!(removals[0].outcome, RemoveOutcome::Missing));
    assert!(matches!(removals[1].outcome, RemoveOutcome::Removed));
    assert_eq!(bench.server.calls(Call::DeleteMany), 1);
    assert_eq!(bench.server.calls(Call::Upload), 1);
}

#[tokio::test]
async fn one_bucket_that_fails_leaves_the_others_outcomes() {
    let bench = Bench::new().await;
    let (key, other) = (video(), source());
    bench.store(&key, "x").await.unwrap();
    bench.store(&other, "x").await.unwrap();
    let fault = Fault::http(544, "DatabaseTimeout");
    let in_sources = Rule::always(Call::DeleteMany, fault)
        .only(|request| request.bucket.as_deref() == Some("sources"));
    bench.server.fail(in_sources);
    let keys = [other.clone(), key];
    let removals = bench.storage.remove(&keys).await.unwrap();
    assert_eq!(failed(&removals[0].outcome), Code::StorageUnavailable);
    assert!(matches!(removals[1].outcome, RemoveOutcome::Removed));
    let refused = bench.storage.remove(&keys[..1]).await.unwrap_err();
    assert_eq!(refused.code(), Code::StorageUnavailable);

    bench.server.clear_faults();
    bench.server.remove_bucket("sources");
    let removals = bench.storage.remove(&keys).await.unwrap();
    assert_eq!(failed(&removals[0].outcome), Code::StorageUnavailable);
    assert!(removals[1].outcome.is_gone());
}

#[tokio::test]
async fn a_lost_answer_to_a_removal_ends_as_gone() {
    let bench = Bench::new().await;
    let key = video();
    bench.store(&key, "x").await.unwrap();
    bench
        .server
        .fail(Rule::next(Call::DeleteMany, Fault::LoseAnswer));
    assert!(outcome(&bench.storage, &key).await.is_gone());
    assert_eq!(bench.server.object_count("results"), 0);
}

#[tokio::test]
async fn a_bucket_that_takes_no_probe_proves_nothing() {
    let bench = Bench::new().await;
    let settings = clipbase_testkit::fake_supabase::BucketSettings {
        allowed_mime_types: Some(vec!["video/mp4".to_owned()]),
        ..Default::default()
    };
    bench.server.set_bucket("results", settings);
    let unproven = outcome(&bench.storage, &video()).await;
    assert_eq!(failed(&unproven), Code::StorageRemoveFailed);
}
