//! Many objects at once: removal with an answer for each key, and listings in pages.

use std::collections::BTreeSet;

use clipbase::storage::{
    Bucket, LIST_LIMIT_MAX, ListCursor, ListedObject, REMOVE_KEYS_MAX, RemoveOutcome, StorageKey,
};
use clipbase::{Code, JobId};
use tokio::join;

use super::{Subject, video};

/// What was there is removed, what was not is missing, in the order of the keys.
pub async fn removing_tells_each_key_apart(subject: &Subject) {
    let job = JobId::new();
    let present = [
        StorageKey::source(job, "mp4").unwrap(),
        StorageKey::result_video(job, 1),
        StorageKey::result_srt(job, 3),
    ];
    for key in &present {
        subject.store(key, b"x").await;
    }
    let [source, clip, subtitles] = present;
    let keys = [
        StorageKey::source(job, "mov").unwrap(),
        source,
        clip,
        StorageKey::result_video(JobId::new(), 1),
        subtitles,
    ];
    let removals = subject.storage().remove(&keys).await.unwrap();
    let told: Vec<_> = removals.iter().map(|removal| &removal.key).collect();
    assert_eq!(told, keys.iter().collect::<Vec<_>>());
    let removed: Vec<_> = removals
        .iter()
        .map(|removal| matches!(removal.outcome, RemoveOutcome::Removed))
        .collect();
    assert_eq!(removed, [false, true, true, false, true]);
    assert!(removals.iter().all(|removal| removal.outcome.is_gone()));
    for key in &keys {
        assert!(!subject.exists(key).await);
    }
    assert!(subject.storage().remove(&[]).await.unwrap().is_empty());
}

/// The second time finds nothing and says so.
pub async fn removing_twice_is_no_failure(subject: &Subject) {
    let key = video();
    subject.store(&key, b"x").await;
    assert!(subject.take(&key).await);
    assert!(!subject.take(&key).await);
    assert!(!subject.take(&key).await);
    let (first, second) = (
        subject
            .storage()
            .remove(&[key.clone(), key.clone()])
            .await
            .unwrap(),
        subject.storage().remove(&[key]).await.unwrap(),
    );
    assert_eq!((first.len(), second.len()), (2, 1));
}

/// A full batch goes through; one key more is refused before anything is removed.
pub async fn a_thousand_keys_can_be_removed_and_no_more(subject: &Subject) {
    let mut keys: Vec<_> = (0..REMOVE_KEYS_MAX).map(|_| video()).collect();
    subject.store(&keys[0], b"x").await;
    let extra = video();
    keys.push(extra.clone());
    let refused = subject.storage().remove(&keys).await;
    subject.refused(refused, Code::InvalidInput, &keys[0]);
    assert!(subject.exists(&keys[0]).await);
    keys.pop();
    let removals = subject.storage().remove(&keys).await.unwrap();
    assert_eq!(removals.len(), REMOVE_KEYS_MAX);
    assert!(removals.iter().all(|removal| removal.outcome.is_gone()));
    assert!(!subject.exists(&keys[0]).await);
}

/// What shares a folder with a removed object stays.
pub async fn removing_takes_one_object_and_leaves_its_siblings(subject: &Subject) {
    let job = JobId::new();
    let clip = StorageKey::result_video(job, 1);
    let others = [
        StorageKey::result_srt(job, 1),
        StorageKey::result_video(job, 2),
    ];
    subject.store(&clip, b"x").await;
    for key in &others {
        subject.store(key, b"y").await;
    }
    assert!(subject.take(&clip).await);
    for key in &others {
        assert_eq!(subject.content(key).await.unwrap(), b"y");
        assert!(subject.take(key).await);
    }
}

/// Uploads succeed while the last other object of their folder is being removed.
pub async fn siblings_come_and_go_without_harm(subject: &Subject) {
    let job = JobId::new();
    let clip = StorageKey::result_video(job, 2);
    let subtitles = StorageKey::result_srt(job, 2);
    for _ in 0..25 {
        subject.store(&subtitles, b"s").await;
        let (removed, ()) = join!(subject.take(&subtitles), subject.store(&clip, b"c"));
        assert!(removed);
        assert_eq!(subject.content(&clip).await.unwrap(), b"c");
        let (removed, ()) = join!(subject.take(&clip), subject.store(&subtitles, b"s"));
        assert!(removed);
        assert!(subject.take(&subtitles).await);
    }
}

/// Whatever the page size, every object is listed once, and the paths rise.
pub async fn pages_of_any_size_list_every_object_once_in_order(subject: &Subject) {
    let mut keys = BTreeSet::new();
    for _ in 0..4 {
        let job = JobId::new();
        keys.extend([
            StorageKey::result_video(job, 1),
            StorageKey::result_srt(job, 1),
            StorageKey::result_video(job, 2),
            StorageKey::result_video(job, 10),
        ]);
    }
    for key in &keys {
        subject.store(key, b"12345").await;
    }
    for limit in [1, 3, LIST_LIMIT_MAX] {
        let listed = walk(subject, limit).await;
        assert!(
            listed.windows(2).all(|pair| pair[0].path < pair[1].path),
            "not rising"
        );
        // By their keys: how a path looks is the backend's to say.
        let listed: BTreeSet<_> = listed.into_iter().filter_map(|object| object.key).collect();
        assert!(listed.is_superset(&keys), "not listed at limit {limit}");
    }
    for key in &keys {
        assert!(subject.take(key).await);
    }
    let listed = walk(subject, LIST_LIMIT_MAX).await;
    let gone = |object: &ListedObject| object.key.as_ref().is_none_or(|key| !keys.contains(key));
    assert!(listed.iter().all(gone));
}

/// A cursor is a position: it holds when the object that it was made from is gone.
pub async fn a_listing_goes_on_after_its_cursor_was_removed(subject: &Subject) {
    let mut keys: Vec<_> = (0..3).map(|_| video()).collect();
    keys.sort_by_key(StorageKey::path);
    for key in &keys {
        subject.store(key, b"x").await;
    }
    let mut cursor: Option<ListCursor> = None;
    let mut left = keys.iter();
    let mut awaited = left.next();
    while let Some(key) = awaited {
        let page = subject
            .storage()
            .list(Bucket::Results, cursor.as_ref(), 1)
            .await
            .unwrap();
        assert_eq!(page.objects.len(), 1);
        if page.objects[0].key.as_ref() == Some(key) {
            assert!(subject.take(key).await);
            awaited = left.next();
        }
        cursor = page.next;
        assert!(cursor.is_some() || awaited.is_none(), "ended early");
    }
}

/// A page holds 1 to 1000 objects.
pub async fn a_page_has_bounds(subject: &Subject) {
    let key = video();
    for limit in [0, LIST_LIMIT_MAX + 1, usize::MAX] {
        let refused = subject.storage().list(Bucket::Results, None, limit).await;
        subject.refused(refused, Code::InvalidInput, &key);
    }
}

/// Objects of one bucket do not show in the other, and a listing tells their size.
pub async fn a_listing_stays_in_its_bucket(subject: &Subject) {
    let job = JobId::new();
    let source = StorageKey::source(job, "webm").unwrap();
    subject.store(&source, b"1234567").await;
    let mut cursor = None;
    let mut sizes = Vec::new();
    loop {
        let page = subject
            .storage()
            .list(Bucket::Sources, cursor.as_ref(), LIST_LIMIT_MAX)
            .await
            .unwrap();
        let ours = page
            .objects
            .iter()
            .filter(|object| object.key.as_ref() == Some(&source));
        sizes.extend(ours.map(|object| object.size));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(sizes, [7]);
    let results = walk(subject, LIST_LIMIT_MAX).await;
    let strayed = |object: &ListedObject| object.path.ends_with(&source.path());
    assert!(!results.iter().any(strayed));
    assert!(subject.take(&source).await);
}

/// Returns all results, page by page.
async fn walk(subject: &Subject, limit: usize) -> Vec<ListedObject> {
    let mut objects = Vec::new();
    let mut cursor: Option<ListCursor> = None;
    loop {
        let page = subject
            .storage()
            .list(Bucket::Results, cursor.as_ref(), limit)
            .await
            .unwrap();
        assert!(page.objects.len() <= limit);
        objects.extend(page.objects);
        cursor = page.next;
        if cursor.is_none() {
            return objects;
        }
    }
}
