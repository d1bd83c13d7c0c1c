//! Objects one at a time: what goes in comes out, and what is not there is told as such.

use std::sync::atomic::{AtomicBool, Ordering};

use clipbase::storage::{Bucket, SMALL_OBJECT_BYTES_MAX, StorageKey, byte_stream, probe};
use clipbase::{Code, JobId};
use futures_util::{StreamExt, stream};

use super::{Subject, noise, video};

/// Larger than any buffer on the way, and no multiple of one.
const LARGE_BYTES: usize = 5 * 1024 * 1024 + 17;

/// A file goes in and comes out the same, and stays where it was.
pub async fn an_uploaded_file_comes_back_byte_for_byte(subject: &Subject) {
    let (key, content) = (video(), noise(LARGE_BYTES));
    let path = subject.path("in.mp4");
    std::fs::write(&path, &content).unwrap();
    subject.storage().upload(&path, &key).await.unwrap();
    assert_eq!(subject.content(&key).await, Some(content.clone()));
    assert_eq!(std::fs::read(&path).unwrap(), content);
    assert!(subject.take(&key).await);
}

/// A stream of uneven pieces, some of them empty, comes out as one object.
pub async fn an_uploaded_stream_comes_back_byte_for_byte(subject: &Subject) {
    let (key, content) = (video(), noise(LARGE_BYTES));
    let mut pieces = vec![Ok(Vec::new().into())];
    pieces.extend(
        content
            .chunks(77_777)
            .map(|piece| Ok(piece.to_vec().into())),
    );
    pieces.push(Ok(Vec::new().into()));
    let stream = stream::iter(pieces).boxed();
    subject
        .storage()
        .upload_stream(stream, content.len() as u64, &key)
        .await
        .unwrap();
    assert_eq!(subject.content(&key).await, Some(content));
    assert!(subject.take(&key).await);
}

/// Nothing is something: an empty object exists, from a file or a stream.
pub async fn an_empty_object_is_an_object(subject: &Subject) {
    let (streamed, uploaded) = (video(), video());
    subject.store(&streamed, b"").await;
    let path = subject.path("empty.mp4");
    std::fs::write(&path, b"").unwrap();
    subject.storage().upload(&path, &uploaded).await.unwrap();
    for key in [streamed, uploaded] {
        assert_eq!(subject.content(&key).await, Some(Vec::new()));
        let info = subject.storage().info(&key).await.unwrap().unwrap();
        assert_eq!(info.size, 0);
        assert!(subject.take(&key).await);
    }
}

/// The last upload wins, also when it is shorter.
pub async fn an_upload_replaces_what_was_there(subject: &Subject) {
    let key = video();
    subject.store(&key, b"the first and longer one").await;
    subject.store(&key, b"second").await;
    assert_eq!(subject.content(&key).await.unwrap(), b"second");
    assert!(subject.take(&key).await);
    assert!(!subject.exists(&key).await);
}

/// Keys of one job do not collide: source, video, subtitles, and those of later leases.
pub async fn every_kind_of_key_has_its_own_object(subject: &Subject) {
    let job = JobId::new();
    let keys = [
        StorageKey::source(job, "mp4").unwrap(),
        StorageKey::source(job, "mov").unwrap(),
        StorageKey::result_video(job, 1),
        StorageKey::result_srt(job, 1),
        StorageKey::result_video(job, 2),
        StorageKey::result_srt(job, i32::MAX),
    ];
    for key in &keys {
        subject.store(key, key.to_string().as_bytes()).await;
    }
    for key in &keys {
        let content = subject.content(key).await.unwrap();
        assert_eq!(content, key.to_string().as_bytes());
    }
    for key in &keys {
        assert!(subject.take(key).await);
    }
}

/// Size and media type are the object's; its time does not run backwards when it is replaced.
pub async fn info_describes_an_object(subject: &Subject) {
    let key = StorageKey::result_srt(JobId::new(), 1);
    subject.store(&key, b"1\n").await;
    let first = subject.storage().info(&key).await.unwrap().unwrap();
    assert_eq!(first.size, 2);
    assert_eq!(first.content_type, "application/x-subrip");
    subject.store(&key, b"1\n2\n").await;
    let second = subject.storage().info(&key).await.unwrap().unwrap();
    assert_eq!(second.size, 4);
    assert!(second.updated_at >= first.updated_at);
    assert!(subject.take(&key).await);
}

/// Absence is an answer to a question and an error to a reader.
pub async fn a_missing_object_is_none_to_info_and_not_found_to_readers(subject: &Subject) {
    let (key, path) = (video(), subject.path("missing.mp4"));
    assert_eq!(subject.storage().info(&key).await.unwrap(), None);
    let download = subject.storage().download(&key, &path).await;
    subject.refused(download, Code::StorageNotFound, &key);
    let read = subject.storage().read_small(&key).await;
    subject.refused(read, Code::StorageNotFound, &key);
    assert!(!path.exists());
}

/// A download takes the place of a file, or leaves it as it was and nothing beside it.
pub async fn a_download_replaces_the_file_or_leaves_it(subject: &Subject) {
    let (key, folder) = (video(), subject.path("downloads"));
    std::fs::create_dir(&folder).unwrap();
    let path = folder.join("clip.mp4");
    std::fs::write(&path, "what was there before, and longer").unwrap();
    let missing = subject.storage().download(&key, &path).await;
    subject.refused(missing, Code::StorageNotFound, &key);
    assert_eq!(
        std::fs::read(&path).unwrap(),
        b"what was there before, and longer"
    );

    subject.store(&key, b"new").await;
    subject.storage().download(&key, &path).await.unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"new");
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);

    let nowhere = folder.join("absent").join("clip.mp4");
    let refused = subject.storage().download(&key, &nowhere).await;
    subject.refused(refused, Code::StorageDownloadFailed, &key);
    assert!(subject.take(&key).await);
}

/// Small objects can do without a file; larger ones are refused, not cut.
pub async fn a_small_object_can_be_read_into_memory(subject: &Subject) {
    let key = StorageKey::result_srt(JobId::new(), 1);
    let bound = usize::try_from(SMALL_OBJECT_BYTES_MAX).unwrap();
    let content = noise(bound + 1);
    subject.store(&key, &content[..bound]).await;
    let read = subject.storage().read_small(&key).await.unwrap();
    assert_eq!(read, content[..bound]);
    subject.store(&key, &content).await;
    let refused = subject.storage().read_small(&key).await;
    subject.refused(refused, Code::StorageDownloadFailed, &key);
    assert!(subject.take(&key).await);
}

/// While an object is replaced again and again, each download is one version, complete.
pub async fn readers_see_an_overwrite_whole_or_not_at_all(subject: &Subject) {
    let key = video();
    let version = |number: u8| vec![number; 300_000 + usize::from(number)];
    subject.store(&key, &version(0)).await;
    let finished = AtomicBool::new(false);
    let write = async {
        for number in 1..=20 {
            subject.store(&key, &version(number)).await;
            tokio::task::yield_now().await;
        }
        finished.store(true, Ordering::SeqCst);
    };
    let read = || async {
        let mut latest = 0;
        while !finished.load(Ordering::SeqCst) {
            let seen = subject.content(&key).await.expect("never absent");
            assert_eq!(seen, version(seen[0]));
            assert!(seen[0] >= latest, "an older version came back");
            latest = seen[0];
        }
    };
    tokio::join!(write, read(), read());
    assert_eq!(subject.content(&key).await, Some(version(20)));
    assert!(subject.take(&key).await);
}

/// A copy has the same content and is not touched by what happens to its original.
pub async fn a_copy_is_an_object_of_its_own(subject: &Subject) {
    let job = JobId::new();
    let from = StorageKey::source(job, "mp4").unwrap();
    let to = StorageKey::source(JobId::new(), "mp4").unwrap();
    let across = StorageKey::result_video(job, 7);
    let content = noise(LARGE_BYTES);
    subject.store(&from, &content).await;
    subject.storage().copy(&from, &to).await.unwrap();
    subject.storage().copy(&from, &across).await.unwrap();
    subject.store(&from, b"changed").await;
    assert!(subject.take(&from).await);
    for key in [to, across] {
        assert_eq!(subject.content(&key).await, Some(content.clone()));
        assert!(subject.take(&key).await);
    }
}

/// A copy goes over an object like an upload does.
pub async fn a_copy_replaces_what_was_there(subject: &Subject) {
    let (from, to) = (video(), video());
    subject.store(&from, b"new").await;
    subject.store(&to, b"old and longer").await;
    subject.storage().copy(&from, &to).await.unwrap();
    assert_eq!(subject.content(&to).await.unwrap(), b"new");
    assert!(subject.take(&from).await);
    assert!(subject.take(&to).await);
}

/// The same key twice is allowed and harmless.
pub async fn a_copy_onto_itself_changes_nothing(subject: &Subject) {
    let key = video();
    subject.store(&key, b"itself").await;
    subject.storage().copy(&key, &key).await.unwrap();
    assert_eq!(subject.content(&key).await.unwrap(), b"itself");
    assert!(subject.take(&key).await);
}

/// Without an original there is no copy, and what was there stays.
pub async fn a_copy_of_a_missing_object_is_not_found(subject: &Subject) {
    let (from, to) = (video(), video());
    let refused = subject.storage().copy(&from, &to).await;
    subject.refused(refused, Code::StorageNotFound, &from);
    assert!(!subject.exists(&to).await);
    subject.store(&to, b"kept").await;
    let refused = subject.storage().copy(&from, &to).await;
    subject.refused(refused, Code::StorageNotFound, &from);
    assert_eq!(subject.content(&to).await.unwrap(), b"kept");
    assert!(subject.take(&to).await);
}

/// Buckets that exist keep their objects when they are asked for again.
pub async fn making_buckets_again_changes_nothing(subject: &Subject) {
    let key = video();
    subject
        .storage()
        .upload_stream(byte_stream("kept"), 4, &key)
        .await
        .unwrap();
    let again = tokio::join!(
        subject.storage().ensure_buckets(),
        subject.storage().ensure_buckets()
    );
    for report in again.0.unwrap().into_iter().chain(again.1.unwrap()) {
        assert!(!report.is_new && report.drift.is_empty(), "{report:?}");
    }
    assert_eq!(subject.content(&key).await.unwrap(), b"kept");
    assert!(subject.take(&key).await);
    let page = subject.storage().list(Bucket::Sources, None, 1).await;
    assert!(page.is_ok());
}

/// A credential that works is seen to work, up to the removal of what it was tried with.
pub async fn a_probe_may_do_everything(subject: &Subject) {
    for bucket in Bucket::ALL {
        let report = probe(subject.storage(), bucket).await;
        assert!(report.is_good(), "{report:?}");
    }
}
