//! Uploads that end badly: they leave what was there before.

use std::io;

use clipbase::Code;
use clipbase::storage::{ByteStream, byte_stream};
use futures_util::{FutureExt, StreamExt, future, stream};
use tokio::sync::oneshot;

use super::{Subject, video};

/// Fewer bytes than declared are a failure, not an object.
pub async fn a_short_stream_leaves_nothing(subject: &Subject) {
    let key = video();
    for (content, length) in [("four", 5), ("", 1), ("four", u64::MAX)] {
        let stream = byte_stream(content);
        let outcome = subject.storage().upload_stream(stream, length, &key).await;
        subject.refused(outcome, Code::StorageUploadFailed, &key);
        assert!(!subject.exists(&key).await);
    }
}

/// More bytes than declared are a failure too, and not cut off silently.
pub async fn a_long_stream_leaves_nothing(subject: &Subject) {
    let key = video();
    for (content, length) in [("four", 3), ("x", 0)] {
        let stream = byte_stream(content);
        let outcome = subject.storage().upload_stream(stream, length, &key).await;
        subject.refused(outcome, Code::StorageUploadFailed, &key);
        assert!(!subject.exists(&key).await);
    }
}

/// A stream that fails half-way fails the upload; its words are not repeated.
pub async fn a_broken_stream_leaves_nothing(subject: &Subject) {
    let key = video();
    let outcome = subject
        .storage()
        .upload_stream(broken_stream(&key.to_string()), 8, &key)
        .await;
    subject.refused(outcome, Code::StorageUploadFailed, &key);
    assert!(!subject.exists(&key).await);
}

/// An object survives each kind of failed upload over it.
pub async fn a_failed_overwrite_leaves_the_old_object(subject: &Subject) {
    let key = video();
    subject.store(&key, b"old").await;
    for stream in [
        byte_stream("short"),
        byte_stream("much too long"),
        broken_stream("words"),
    ] {
        let outcome = subject.storage().upload_stream(stream, 8, &key).await;
        subject.refused(outcome, Code::StorageUploadFailed, &key);
        assert_eq!(subject.content(&key).await.unwrap(), b"old");
    }
    assert!(subject.take(&key).await);
}

/// Dropping the call half-way leaves the key as it was, and free for the next upload.
pub async fn a_dropped_upload_leaves_nothing(subject: &Subject) {
    let key = video();
    let (half_way, reached) = oneshot::channel();
    let stalls = stream::once(async move {
        half_way.send(()).unwrap();
        future::pending().await
    });
    let content = byte_stream("half").chain(stalls).boxed();
    {
        let upload = subject.storage().upload_stream(content, 8, &key);
        future::select(upload, reached.boxed()).await;
    }
    assert!(!subject.exists(&key).await);
    subject.store(&key, b"again").await;
    assert_eq!(subject.content(&key).await.unwrap(), b"again");
    assert!(subject.take(&key).await);
}

/// A path that leads to no regular file cannot be stored.
pub async fn a_source_that_is_no_file_is_refused(subject: &Subject) {
    let key = video();
    for path in [subject.path("absent.mp4"), subject.path("")] {
        let outcome = subject.storage().upload(&path, &key).await;
        subject.refused(outcome, Code::StorageUploadFailed, &key);
        assert!(!subject.exists(&key).await);
    }
}

fn broken_stream(words: &str) -> ByteStream {
    let error = io::Error::other(words.to_owned());
    byte_stream("four")
        .chain(stream::iter([Err(error)]))
        .boxed()
}
