//! Resumable uploads: cut, lost, resumed by the same call and by another process.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use clipbase::storage::{RetryPolicy, Storage, StorageKey, SupabaseConfig, byte_stream};
use clipbase::{Code, JobId};
use clipbase_testkit::fake_supabase::{
    BucketSettings, Call, FakeOptions, FakeSupabase, Fault, Moment, Rule,
};

use super::{Bench, config, file_of, noise, open, video};

const MIB: usize = 1024 * 1024;
const LENGTH: usize = 13 * MIB + 17;

fn cut(after: usize) -> Fault {
    Fault::CutUpload {
        after: after as u64,
    }
}

#[tokio::test]
async fn five_cuts_cost_five_questions_and_no_content() {
    let bench = Bench::new().await;
    let content = noise(LENGTH);
    let (_folder, path) = file_of(&content);
    for after in [1, MIB, 2 * MIB + 1, 0, MIB] {
        bench.server.fail(Rule::next(Call::TusPatch, cut(after)));
    }
    let key = video();
    bench.storage.upload(&path, &key).await.unwrap();
    assert_eq!(bench.content(&key), Some(content));
    assert_eq!(bench.server.calls(Call::TusHead), 5);
    assert_eq!(bench.server.calls(Call::TusCreate), 1);
    assert_eq!(bench.server.unfinished_uploads(), 0);
}

#[tokio::test]
async fn every_request_says_that_it_replaces_and_uses_a_connection_of_its_own() {
    let bench = Bench::new().await;
    let (_folder, path) = file_of(&noise(LENGTH));
    let key = StorageKey::source(JobId::new(), "mov").unwrap();
    bench.server.fail(Rule::nth(Call::TusPatch, 2, cut(5)));
    bench.storage.upload(&path, &key).await.unwrap();
    let mut requests = bench.server.requests();
    requests.retain(|request| request.target.contains("/upload/resumable"));
    assert_eq!(requests.len(), 6);
    let mut connections: Vec<_> = requests.iter().map(|request| request.connection).collect();
    connections.dedup();
    assert_eq!(connections.len(), requests.len());
    for request in &requests {
        assert_eq!(request.header("x-upsert"), Some("true"));
        assert_eq!(request.header("tus-resumable"), Some("1.0.0"));
        assert!(request.header("content-length").is_some() || request.method == "HEAD");
    }
    let stored = bench.server.object("sources", &key.path()).unwrap();
    assert_eq!(stored.content_type, "video/quicktime");
    assert_eq!(stored.cache_control, "no-cache");
}

#[tokio::test]
async fn a_lost_answer_to_the_last_piece_is_looked_up_and_not_sent_again() {
    let bench = Bench::new().await;
    let content = noise(7 * MIB);
    let (_folder, path) = file_of(&content);
    let key = video();
    bench.store(&key, "before").await.unwrap();
    bench
        .server
        .fail(Rule::nth(Call::TusPatch, 2, Fault::LoseAnswer));
    bench.storage.upload(&path, &key).await.unwrap();
    assert_eq!(bench.server.calls(Call::TusPatch), 2);
    assert_eq!(bench.content(&key), Some(content));
}

#[tokio::test]
async fn bytes_that_arrived_without_becoming_an_object_are_sent_anew() {
    let bench = Arc::new(Bench::new().await);
    let content = noise(7 * MIB);
    let (_folder, path) = file_of(&content);
    let (patches, weak) = (AtomicUsize::new(0), Arc::downgrade(&bench));
    bench.server.on_request(move |request, moment| {
        let due = request.call == Call::TusPatch
            && moment == Moment::Processed
            && patches.fetch_add(1, Ordering::SeqCst) == 1;
        if let (true, Some(bench)) = (due, weak.upgrade()) {
            // As when the server's last step, after the bytes, came to nothing.
            bench.server.remove_bucket("results");
            bench
                .server
                .set_bucket("results", BucketSettings::default());
        }
    });
    let lost = Rule::nth(Call::TusPatch, 2, Fault::LoseAnswer);
    bench.server.fail(lost);
    let key = video();
    bench.storage.upload(&path, &key).await.unwrap();
    assert_eq!(bench.server.calls(Call::TusCreate), 2);
    assert_eq!(bench.content(&key), Some(content));
}

#[tokio::test]
async fn a_stream_goes_on_within_its_piece() {
    let bench = Bench::new().await;
    let content = noise(LENGTH);
    for after in [100, 5 * MIB] {
        bench.server.fail(Rule::next(Call::TusPatch, cut(after)));
    }
    let key = video();
    let length = content.len() as u64;
    bench
        .storage
        .upload_stream(byte_stream(content.clone()), length, &key)
        .await
        .unwrap();
    assert_eq!(bench.content(&key), Some(content));
}

#[tokio::test]
async fn another_offset_than_ours_is_asked_for() {
    let bench = Bench::new().await;
    let content = noise(LENGTH);
    let (_folder, path) = file_of(&content);
    let conflict = Fault::Plain {
        status: 409,
        text: "Upload-Offset conflict",
    };
    bench
        .server
        .fail(Rule::nth(Call::TusPatch, 2, conflict.clone()));
    let key = video();
    bench.storage.upload(&path, &key).await.unwrap();
    assert_eq!(bench.content(&key), Some(content));
    assert_eq!(bench.server.calls(Call::TusHead), 1);

    bench.server.fail(Rule::always(Call::TusPatch, conflict));
    let refused = bench.storage.upload(&path, &video()).await.unwrap_err();
    assert_eq!(refused.code(), Code::StorageUnavailable, "{refused:?}");
    assert_eq!(bench.server.calls(Call::TusPatch), 4 + 4);
}

#[tokio::test]
async fn two_uploads_of_one_key_both_succeed() {
    let bench = Bench::new().await;
    let content = noise(LENGTH);
    let (_folder, path) = file_of(&content);
    let key = video();
    let (one, two) = tokio::join!(
        bench.storage.upload(&path, &key),
        bench.storage.upload(&path, &key)
    );
    assert_eq!((one.is_ok(), two.is_ok()), (true, true), "{one:?} {two:?}");
    assert_eq!(bench.content(&key), Some(content));
}

#[tokio::test]
async fn a_location_is_rebased_onto_the_configured_address() {
    let server = FakeSupabase::start_with(FakeOptions {
        location_base: Some("https://internal.invalid/storage/v1".to_owned()),
        ..FakeOptions::default()
    })
    .await;
    let storage = super::storage(&server);
    storage.ensure_buckets().await.unwrap();
    let content = noise(7 * MIB);
    let (_folder, path) = file_of(&content);
    let key = video();
    storage.upload(&path, &key).await.unwrap();
    assert_eq!(server.content("results", &key.path()).unwrap(), content);
}

#[tokio::test]
async fn content_goes_to_the_upload_address_and_the_rest_does_not() {
    let (bench, elsewhere) = (Bench::new().await, Bench::new().await);
    let address = elsewhere.server.url();
    let storage = open(
        config(&bench.server, elsewhere.server.secret_key())
            .with_upload_url(&address)
            .unwrap(),
    );
    storage
        .upload_stream(byte_stream("x"), 1, &video())
        .await
        .unwrap();
    assert_eq!(elsewhere.server.calls(Call::Upload), 1);
    assert_eq!(bench.server.calls(Call::Upload), 0);
    // The other server does not know this key.
    let refused = storage.info(&video()).await.unwrap_err();
    assert_eq!(refused.code(), Code::StorageForbidden);
}

#[tokio::test]
async fn wrong_lengths_and_refusals_leave_no_unfinished_upload() {
    let bench = Bench::new().await;
    let content = noise(LENGTH);
    for length in [LENGTH as u64 - 1, LENGTH as u64 + 1] {
        let stream = byte_stream(content.clone());
        let refused = bench.storage.upload_stream(stream, length, &video()).await;
        assert_eq!(refused.unwrap_err().code(), Code::StorageUploadFailed);
        assert_eq!(bench.server.unfinished_uploads(), 0);
    }
    assert_eq!(bench.server.object_count("results"), 0);
    let limits = BucketSettings {
        file_size_limit: Some(7 * MIB as u64),
        allowed_mime_types: Some(vec!["video/mp4".to_owned()]),
        ..BucketSettings::default()
    };
    bench.server.set_bucket("results", limits);
    let (_folder, path) = file_of(&content);
    let refused = bench.storage.upload(&path, &video()).await.unwrap_err();
    assert_eq!(refused.code(), Code::StorageQuota, "{refused:?}");
    let subtitles = StorageKey::result_srt(JobId::new(), 1);
    let (_folder, path) = file_of(&noise(6 * MIB + 1));
    let refused = bench.storage.upload(&path, &subtitles).await.unwrap_err();
    assert_eq!(refused.code(), Code::StorageUploadFailed, "{refused:?}");
    bench.server.remove_bucket("results");
    let refused = bench.storage.upload(&path, &video()).await.unwrap_err();
    assert_eq!(refused.code(), Code::StorageUnavailable, "{refused:?}");
    assert_eq!(bench.server.unfinished_uploads(), 0);
}

#[tokio::test]
async fn an_upload_that_never_moves_ends() {
    let bench = Bench::new().await;
    let (_folder, path) = file_of(&noise(7 * MIB));
    bench.server.fail(Rule::always(Call::TusPatch, cut(0)));
    let refused = bench.storage.upload(&path, &video()).await.unwrap_err();
    assert_eq!(refused.code(), Code::StorageUnavailable, "{refused:?}");
    assert_eq!(bench.server.calls(Call::TusPatch), 4);
}

/// One try, and a folder to resume from.
fn once(config: SupabaseConfig, folder: &Path) -> SupabaseConfig {
    let retry = RetryPolicy {
        tries: 1,
        ..RetryPolicy::default()
    };
    config
        .with_resume_dir(Some(folder.to_owned()))
        .with_retry(retry)
        .unwrap()
}

fn files(folder: &Path) -> usize {
    std::fs::read_dir(folder).map_or(0, Iterator::count)
}

#[tokio::test]
async fn another_process_goes_on_where_the_first_one_ended() {
    let bench = Bench::new().await;
    let folder = tempfile::tempdir().unwrap();
    let (resume, content) = (folder.path().join("resume"), noise(LENGTH));
    let (_folder, path) = file_of(&content);
    let key = video();
    bench
        .server
        .fail(Rule::nth(Call::TusPatch, 2, cut(3 * MIB)));
    let first = bench.another(|config| once(config, &resume));
    let ended = first.upload(&path, &key).await.unwrap_err();
    assert_eq!(ended.code(), Code::StorageUnavailable);
    drop(first);
    assert_eq!((files(&resume), bench.server.unfinished_uploads()), (1, 1));

    let second = bench.another(|config| once(config, &resume));
    second.upload(&path, &key).await.unwrap();
    assert_eq!(bench.content(&key), Some(content));
    assert_eq!(bench.server.calls(Call::TusCreate), 1);
    let requests = bench.server.requests();
    let patches: Vec<_> = requests
        .iter()
        .filter(|request| request.call == Call::TusPatch)
        .map(|request| {
            request
                .header("upload-offset")
                .unwrap()
                .parse::<usize>()
                .unwrap()
        })
        .collect();
    assert_eq!(patches[..2], [0, 6 * MIB]);
    assert!((9 * MIB..LENGTH).contains(&patches[2]), "{patches:?}");
    assert_eq!((files(&resume), bench.server.unfinished_uploads()), (0, 0));
}

#[tokio::test]
async fn an_upload_that_has_expired_or_whose_file_has_changed_begins_anew() {
    let bench = Bench::new().await;
    let folder = tempfile::tempdir().unwrap();
    let storage = bench.another(|config| config.with_resume_dir(Some(folder.path().to_owned())));
    let impatient = bench.another(|config| once(config, folder.path()));
    let (_folder, path) = file_of(&noise(LENGTH));
    let key = video();
    bench.server.fail(Rule::nth(Call::TusPatch, 2, cut(MIB)));
    assert!(impatient.upload(&path, &key).await.is_err());
    bench.server.advance_clock(Duration::from_secs(25 * 3_600));
    storage.upload(&path, &key).await.unwrap();
    assert_eq!(bench.server.calls(Call::TusCreate), 2);
    assert_eq!(files(folder.path()), 0);

    let key = video();
    bench.server.fail(Rule::nth(Call::TusPatch, 2, cut(MIB)));
    assert!(impatient.upload(&path, &key).await.is_err());
    let changed = noise(LENGTH + 1);
    std::fs::write(&path, &changed).unwrap();
    storage.upload(&path, &key).await.unwrap();
    assert_eq!(bench.content(&key), Some(changed));
    assert_eq!(bench.server.calls(Call::TusCreate), 4);
}
