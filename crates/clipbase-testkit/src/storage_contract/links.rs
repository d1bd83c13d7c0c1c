//! Signed links: only to what exists, as long as asked, and never shown by accident.

use std::time::Duration;

use clipbase::storage::{
    DownloadName, LINK_TTL_DEFAULT, LinkTtl, SIGN_KEYS_MAX, SignOptions, StorageKey,
};
use clipbase::{Code, JobId};

use super::{Subject, video};

/// No object, no link: before it is stored and after it is removed.
pub async fn a_link_needs_its_object(subject: &Subject) {
    let key = video();
    let options = SignOptions::default();
    let refused = subject.storage().sign(&key, &options).await;
    subject.refused(refused, Code::StorageNotFound, &key);
    subject.store(&key, b"x").await;
    assert!(subject.storage().sign(&key, &options).await.is_ok());
    assert!(subject.take(&key).await);
    let refused = subject.storage().sign(&key, &options).await;
    subject.refused(refused, Code::StorageNotFound, &key);
}

/// A link lasts as long as asked for, names its object, and hides its token until it is exposed.
pub async fn a_link_keeps_its_lifetime_and_its_secret(subject: &Subject) {
    let key = video();
    subject.store(&key, b"x").await;
    let plain = subject
        .storage()
        .sign(&key, &SignOptions::default())
        .await
        .unwrap();
    assert_eq!(plain.lifetime(), LINK_TTL_DEFAULT);
    let named = SignOptions {
        ttl: LinkTtl::new(Duration::from_secs(300)).unwrap(),
        download_name: Some(DownloadName::new("my clip.mp4").unwrap()),
    };
    let named = subject.storage().sign(&key, &named).await.unwrap();
    assert_eq!(named.lifetime(), Duration::from_secs(300));
    for link in [plain, named] {
        assert!(link.expose().contains(&key.path()));
        let (_, token) = link.expose().split_once("token=").unwrap();
        assert!(token.len() >= 32);
        let shown = format!("{link} {link:?} {link:#?}");
        assert!(!shown.contains(token) && !shown.contains(&key.path()));
    }
    assert!(subject.take(&key).await);
}

/// Each key has its link or its `STORAGE_NOT_FOUND`, in the order of the keys, whatever the bucket.
pub async fn many_links_tell_each_key_apart(subject: &Subject) {
    let job = JobId::new();
    let source = StorageKey::source(job, "mp4").unwrap();
    let clip = StorageKey::result_video(job, 2);
    for key in [&source, &clip] {
        subject.store(key, b"x").await;
    }
    let keys = [
        video(),
        clip.clone(),
        StorageKey::result_srt(job, 1),
        source.clone(),
        clip.clone(),
    ];
    let options = SignOptions {
        ttl: LinkTtl::new(Duration::from_secs(300)).unwrap(),
        download_name: Some(DownloadName::new("my clip.mp4").unwrap()),
    };
    let links = subject.storage().sign_many(&keys, &options).await.unwrap();
    assert_eq!(links.len(), keys.len());
    for (key, link) in keys.iter().zip(links) {
        if *key == source || *key == clip {
            let link = link.unwrap();
            assert!(link.expose().contains(&key.path()));
            assert_eq!(link.lifetime(), Duration::from_secs(300));
        } else {
            subject.refused(link, Code::StorageNotFound, key);
        }
    }
    let none = subject.storage().sign_many(&[], &options).await.unwrap();
    assert!(none.is_empty());
    let many = vec![clip.clone(); SIGN_KEYS_MAX + 1];
    let refused = subject.storage().sign_many(&many, &options).await;
    subject.refused(refused, Code::InvalidInput, &clip);
    assert!(subject.take(&source).await);
    assert!(subject.take(&clip).await);
}

/// An upload link can be had before there is an object, and after.
pub async fn an_upload_link_needs_no_object(subject: &Subject) {
    let key = video();
    let link = subject.storage().sign_upload(&key).await.unwrap();
    assert!(link.expose().contains(&key.path()));
    assert!(!link.lifetime().is_zero());
    assert!(!subject.exists(&key).await);
    subject.store(&key, b"x").await;
    let other = subject.storage().sign_upload(&key).await.unwrap();
    let shown = format!("{other} {other:?}");
    let (_, token) = other.expose().split_once("token=").unwrap();
    assert!(!shown.contains(token));
    assert!(subject.take(&key).await);
}
