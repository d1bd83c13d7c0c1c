//! Uploads in one request: what is sent, what is tried again, and what a refusal leaves behind.

use std::time::{Duration, Instant};

use clipbase::Code;
use clipbase::JobId;
use clipbase::storage::{KeyHeaders, Storage, StorageKey, byte_stream};
use clipbase_testkit::fake_supabase::{BucketSettings, Call, Fault, Rule, SeenRequest};

use super::{Bench, config, file_of, noise, open, video};

const MIB: usize = 1024 * 1024;

fn uploads(bench: &Bench) -> Vec<SeenRequest> {
    let mut requests = bench.server.requests();
    requests.retain(|request| request.call == Call::Upload);
    requests
}

#[tokio::test]
async fn an_upload_says_how_long_it_is_and_that_it_replaces() {
    let bench = Bench::new().await;
    let (_folder, path) = file_of(b"clip");
    let empty = StorageKey::result_srt(JobId::new(), 1);
    bench.storage.upload(&path, &video()).await.unwrap();
    bench.store(&empty, "").await.unwrap();
    let seen = uploads(&bench);
    for (request, length, media_type) in [
        (&seen[0], "4", "video/mp4"),
        (&seen[1], "0", "application/x-subrip"),
    ] {
        assert_eq!(request.header("content-length"), Some(length));
        assert_eq!(request.header("transfer-encoding"), None);
        assert_eq!(request.header("x-upsert"), Some("true"));
        assert_eq!(request.header("content-type"), Some(media_type));
        assert_eq!(request.header("cache-control"), Some("no-cache"));
    }
}

#[tokio::test]
async fn the_key_travels_as_configured() {
    let bench = Bench::new().await;
    let (jwt, secret) = (bench.server.service_key(), bench.server.secret_key());
    for (key, headers, apikey, bearer) in [
        (jwt, KeyHeaders::Auto, true, true),
        (secret, KeyHeaders::Auto, true, false),
        (secret, KeyHeaders::Both, true, true),
        (jwt, KeyHeaders::Bearer, false, true),
    ] {
        let storage = open(config(&bench.server, key).with_key_headers(headers));
        assert_eq!(storage.info(&video()).await.unwrap(), None);
        let requests = bench.server.requests();
        let seen = requests.last().unwrap();
        assert_eq!(seen.header("apikey"), apikey.then_some(key));
        let expected = bearer.then(|| format!("Bearer {key}"));
        assert_eq!(seen.header("authorization"), expected.as_deref());
    }
}

#[tokio::test]
async fn an_early_refusal_does_not_block_what_comes_next() {
    let bench = Bench::new().await;
    let limits = BucketSettings {
        file_size_limit: Some(MIB as u64),
        ..BucketSettings::default()
    };
    bench.server.set_bucket("results", limits);
    let (_folder, path) = file_of(&noise(4 * MIB));
    let started = Instant::now();
    for _ in 0..5 {
        let refused = bench.storage.upload(&path, &video()).await.unwrap_err();
        assert_eq!(refused.code(), Code::StorageQuota, "{refused:?}");
        let key = video();
        bench.store(&key, "small").await.unwrap();
        assert!(bench.storage.info(&key).await.unwrap().is_some());
    }
    assert!(started.elapsed() < Duration::from_secs(20));
    let mut connections: Vec<_> = uploads(&bench).iter().map(|r| r.connection).collect();
    let sent = connections.len();
    connections.dedup();
    assert_eq!(
        (sent, connections.len()),
        (10, 10),
        "a connection was reused"
    );
}

#[tokio::test]
async fn a_file_is_opened_and_sent_anew_after_a_cut() {
    let bench = Bench::new().await;
    let content = noise(5 * MIB);
    let (_folder, path) = file_of(&content);
    let key = video();
    for after in [1, 2 * MIB as u64, 5 * MIB as u64 - 1] {
        let cut = Fault::CutUpload { after };
        bench.server.fail(Rule::next(Call::Upload, cut));
    }
    bench.storage.upload(&path, &key).await.unwrap();
    assert_eq!(bench.server.calls(Call::Upload), 4);
    assert_eq!(bench.content(&key), Some(content));
    assert_eq!(bench.server.object_count("results"), 1);
}

#[tokio::test]
async fn a_stream_is_not_sent_twice() {
    let bench = Bench::new().await;
    let key = video();
    let cut = Fault::CutUpload { after: MIB as u64 };
    bench.server.fail(Rule::next(Call::Upload, cut));
    let content = noise(2 * MIB);
    let length = content.len() as u64;
    let outcome = bench
        .storage
        .upload_stream(byte_stream(content), length, &key)
        .await;
    assert_eq!(outcome.unwrap_err().code(), Code::StorageUnavailable);
    assert_eq!(bench.server.calls(Call::Upload), 1);
    assert_eq!(bench.content(&key), None);
}

#[tokio::test]
async fn a_file_that_shrinks_meanwhile_is_not_stored() {
    let bench = Bench::with(|config| config.with_tus_threshold(100 * MIB as u64).unwrap()).await;
    let (_folder, path) = file_of(&noise(40 * MIB));
    let shrinking = path.clone();
    bench.server.on_request(move |request, moment| {
        // Before the server has read a byte: most of the file is still to be read.
        if request.call == Call::Upload
            && moment == clipbase_testkit::fake_supabase::Moment::Arrived
        {
            let file = std::fs::OpenOptions::new().write(true).open(&shrinking);
            file.unwrap().set_len(10).unwrap();
        }
    });
    let key = video();
    let refused = bench.storage.upload(&path, &key).await.unwrap_err();
    assert_eq!(refused.code(), Code::StorageUploadFailed, "{refused:?}");
    assert_eq!(bench.server.calls(Call::Upload), 1);
    assert_eq!(bench.content(&key), None);
}

#[tokio::test]
async fn a_yes_from_something_else_than_the_storage_is_none() {
    let bench = Bench::new().await;
    let (_folder, path) = file_of(b"clip");
    for fault in [
        Fault::Html { status: 200 },
        Fault::MalformedJson { status: 200 },
    ] {
        bench.server.fail(Rule::next(Call::Upload, fault));
        let refused = bench.storage.upload(&path, &video()).await.unwrap_err();
        assert_eq!(refused.code(), Code::StorageUploadFailed, "{refused:?}");
    }
}
