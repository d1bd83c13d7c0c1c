//! Buckets: made private, compared with what is configured, mended on request.

use clipbase::Code;
use clipbase::storage::{Bucket, BucketDrift, BucketPolicy, Storage};
use clipbase_testkit::fake_supabase::{
    BucketSettings, Call, FakeOptions, FakeSupabase, Fault, Rule,
};

use super::{Bench, config, open, storage};

fn policy() -> BucketPolicy {
    BucketPolicy {
        max_bytes: Some(1_000_000),
        sources_types: Some(vec!["video/*".to_owned()]),
        results_types: None,
    }
}

#[tokio::test]
async fn missing_buckets_are_made_private_and_as_configured() {
    let server = FakeSupabase::start().await;
    let storage = open(
        config(&server, server.service_key())
            .with_bucket_policy(policy())
            .unwrap(),
    );
    let reports = storage.ensure_buckets().await.unwrap();
    assert_eq!(reports.len(), 2);
    assert!(reports.iter().all(|r| r.is_new && r.drift.is_empty()));
    let sources = server.bucket("sources").unwrap();
    assert!(!sources.public);
    assert_eq!(sources.file_size_limit, Some(1_000_000));
    assert_eq!(
        sources.allowed_mime_types.unwrap(),
        ["video/*", "text/plain"]
    );
    let results = server.bucket("results").unwrap();
    assert_eq!(results.allowed_mime_types, None);
    let again = storage.ensure_buckets().await.unwrap();
    assert!(again.iter().all(|r| !r.is_new && r.drift.is_empty()));
    assert_eq!(server.calls(Call::CreateBucket), 2);
}

#[tokio::test]
async fn a_bucket_that_differs_is_reported_and_mended_only_on_request() {
    let bench = Bench::with(|config| config.with_bucket_policy(policy()).unwrap()).await;
    let other = BucketSettings {
        public: true,
        file_size_limit: Some(5),
        allowed_mime_types: Some(vec!["image/png".to_owned()]),
    };
    for bucket in ["sources", "results"] {
        bench.server.set_bucket(bucket, other.clone());
    }
    let reports = bench.storage.ensure_buckets().await.unwrap();
    let drift = |bucket| {
        let report = reports.iter().find(|report| report.bucket == bucket);
        report.unwrap().drift.clone()
    };
    assert_eq!(
        drift(Bucket::Sources),
        [
            BucketDrift::Public,
            BucketDrift::SizeLimit,
            BucketDrift::MimeTypes
        ]
    );
    // Nothing is configured about the media types of results.
    assert_eq!(
        drift(Bucket::Results),
        [BucketDrift::Public, BucketDrift::SizeLimit]
    );
    assert_eq!(bench.server.bucket("sources").unwrap(), other);
    assert_eq!(bench.server.calls(Call::UpdateBucket), 0);

    bench.storage.mend_buckets().await.unwrap();
    let results = bench.server.bucket("results").unwrap();
    assert!(!results.public);
    assert_eq!(results.file_size_limit, Some(1_000_000));
    assert_eq!(results.allowed_mime_types.unwrap(), ["image/png"]);
    let reports = bench.storage.ensure_buckets().await.unwrap();
    assert!(reports.iter().all(|report| report.drift.is_empty()));
    bench.storage.mend_buckets().await.unwrap();
    assert_eq!(bench.server.calls(Call::UpdateBucket), 2);
}

#[tokio::test]
async fn what_is_not_configured_is_no_drift_but_public_always_is() {
    let bench = Bench::new().await;
    bench.server.set_bucket(
        "sources",
        BucketSettings {
            public: true,
            file_size_limit: Some(7),
            allowed_mime_types: Some(vec!["video/mp4".to_owned()]),
        },
    );
    let reports = bench.storage.ensure_buckets().await.unwrap();
    let drift: Vec<_> = reports.iter().map(|report| report.drift.clone()).collect();
    assert_eq!(drift, [vec![BucketDrift::Public], vec![]]);
    bench.storage.mend_buckets().await.unwrap();
    let mended = bench.server.bucket("sources").unwrap();
    assert!(!mended.public);
    assert_eq!(mended.file_size_limit, Some(7));
}

#[tokio::test]
async fn a_bucket_that_another_process_makes_meanwhile_is_a_success() {
    let server = FakeSupabase::start().await;
    let storages: Vec<_> = (0..4).map(|_| storage(&server)).collect();
    let made = futures_util::future::join_all(storages.iter().map(Storage::ensure_buckets)).await;
    let new = made
        .into_iter()
        .flat_map(|reports| reports.unwrap())
        .filter(|report| report.is_new)
        .count();
    assert_eq!(new, 2);
    // Made, and the answer lost: the second try finds it there.
    server.remove_bucket("sources");
    server.fail(Rule::next(Call::CreateBucket, Fault::LoseAnswer));
    let reports = storages[0].ensure_buckets().await.unwrap();
    assert!(reports.iter().all(|report| report.drift.is_empty()));
    assert!(server.bucket("sources").is_some());
}

#[tokio::test]
async fn a_limit_above_the_storages_own_is_a_wrong_setting() {
    let server = FakeSupabase::start_with(FakeOptions {
        size_limit: 1_000,
        ..FakeOptions::default()
    })
    .await;
    let storage = open(
        config(&server, server.service_key())
            .with_bucket_policy(policy())
            .unwrap(),
    );
    let refused = storage.ensure_buckets().await.unwrap_err();
    assert_eq!(refused.code(), Code::ConfigInvalid, "{refused:?}");
    assert!(refused.to_string().contains("bucket-max-bytes"));
}
