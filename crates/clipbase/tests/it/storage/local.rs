//! The local directory: what lies where, who may read it, and where it never goes.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;

use clipbase::storage::{
    Bucket, LocalSigner, LocalStorage, Operation, RemoveOutcome, SignOptions, Storage, StorageKey,
    byte_stream,
};
use clipbase::{Code, JobId};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::task::JoinSet;

use super::{Directory, all_errors, names, open, store, video};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn objects_lie_under_bucket_and_path() {
    let directory = Directory::new().await;
    let job = JobId::new();
    directory
        .store(&StorageKey::source(job, "mp4").unwrap(), "source")
        .await;
    directory
        .store(&StorageKey::result_srt(job, 2), "srt")
        .await;
    let read = |path: String| fs::read_to_string(directory.path(&path)).unwrap();
    assert_eq!(read(format!("sources/{job}/source.mp4")), "source");
    assert_eq!(read(format!("results/{job}/2/clip.srt")), "srt");
    assert_eq!(
        names(directory.root.path()),
        [".incoming", "results", "signing.key", "sources"]
    );
}

#[tokio::test]
async fn folders_and_files_are_their_owners_alone() {
    let parent = tempfile::tempdir().unwrap();
    let root = parent.path().join("made");
    let storage = open(&root).await;
    storage.ensure_buckets().await.unwrap();
    let job = JobId::new();
    let key = StorageKey::result_video(job, 3);
    store(&storage, &key, "x").await.unwrap();
    let out = parent.path().join("out.mp4");
    storage.download(&key, &out).await.unwrap();
    for folder in ["", ".incoming", "sources", "results"] {
        assert_eq!(mode(&root.join(folder)), 0o700, "{folder}");
    }
    assert_eq!(mode(&root.join(format!("results/{job}"))), 0o700);
    assert_eq!(mode(&root.join(format!("results/{job}/3"))), 0o700);
    assert_eq!(mode(&root.join(key.to_string())), 0o600);
    assert_eq!(mode(&root.join("signing.key")), 0o600);
    // What leaves the storage is the caller's: as open as any file that the caller makes.
    let own = parent.path().join("own.txt");
    fs::write(&own, "x").unwrap();
    assert_eq!(mode(&out), mode(&own));
}

#[tokio::test]
async fn removing_the_last_object_takes_its_folders_along() {
    let directory = Directory::new().await;
    let job = JobId::new();
    let (first, second) = (
        StorageKey::result_video(job, 2),
        StorageKey::result_video(job, 1),
    );
    directory.store(&first, "x").await;
    directory.store(&second, "y").await;
    directory.storage.remove(&[first]).await.unwrap();
    assert_eq!(
        names(&directory.path(&format!("results/{job}"))),
        ["clip.mp4"]
    );
    directory.storage.remove(&[second]).await.unwrap();
    assert!(names(&directory.path("results")).is_empty());
}

#[tokio::test]
async fn foreign_objects_are_listed_by_their_paths() {
    let directory = Directory::new().await;
    let key = video();
    directory.store(&key, "x").await;
    fs::create_dir_all(directory.path("results/0-notes/old")).unwrap();
    for path in ["0-notes.txt", "0-notes/a", "0-notes/old/b ü", "0-notes0"] {
        fs::write(directory.path("results").join(path), "foreign").unwrap();
    }
    let page = directory
        .storage
        .list(Bucket::Results, None, 4)
        .await
        .unwrap();
    let paths: Vec<_> = page.objects.iter().map(|o| o.path.as_str()).collect();
    // A job's folder may sort anywhere; these all begin with `0-`, which no UUID does.
    assert_eq!(
        paths,
        ["0-notes.txt", "0-notes/a", "0-notes/old/b ü", "0-notes0"]
    );
    assert!(page.objects.iter().all(|o| o.key.is_none()));
    let rest = directory
        .storage
        .list(Bucket::Results, page.next.as_ref(), 4)
        .await
        .unwrap();
    assert_eq!(rest.objects[0].key, Some(key));
    assert_eq!(rest.next, None);
}

#[tokio::test]
async fn a_folder_that_is_a_link_leads_nowhere() {
    let (directory, outside) = (Directory::new().await, tempfile::tempdir().unwrap());
    let key = video();
    let theirs = outside.path().join("clip.mp4");
    fs::write(&theirs, "theirs").unwrap();
    let folder = directory.file(&key).parent().unwrap().to_owned();
    symlink(outside.path(), &folder).unwrap();

    let storage = &directory.storage;
    assert_eq!(storage.info(&key).await.unwrap(), None);
    let read = storage.read_small(&key).await.unwrap_err();
    assert_eq!(read.code(), Code::StorageNotFound);
    let stored = store(storage, &key, "ours").await.unwrap_err();
    assert_eq!(stored.code(), Code::StorageUploadFailed);
    let removals = storage.remove(std::slice::from_ref(&key)).await.unwrap();
    assert!(matches!(&removals[0].outcome, RemoveOutcome::Failed(_)));
    let page = storage.list(Bucket::Results, None, 10).await.unwrap();
    assert!(page.objects.is_empty());
    assert_eq!(fs::read(&theirs).unwrap(), b"theirs");
    assert_eq!(names(outside.path()), ["clip.mp4"]);
}

#[tokio::test]
async fn an_object_that_is_a_link_is_replaced_and_never_followed() {
    let (directory, outside) = (Directory::new().await, tempfile::tempdir().unwrap());
    let key = video();
    directory.store(&key, "first").await;
    let theirs = outside.path().join("secret");
    fs::write(&theirs, "theirs").unwrap();
    fs::remove_file(directory.file(&key)).unwrap();
    symlink(&theirs, directory.file(&key)).unwrap();

    let storage = &directory.storage;
    let copied = storage.copy(&key, &video()).await.unwrap_err();
    assert_eq!(copied.code(), Code::StorageNotFound);
    let signed = storage
        .sign(&key, &SignOptions::default())
        .await
        .unwrap_err();
    assert_eq!(signed.code(), Code::StorageNotFound);
    let removals = storage.remove(std::slice::from_ref(&key)).await.unwrap();
    assert!(matches!(&removals[0].outcome, RemoveOutcome::Failed(_)));
    directory.store(&key, "ours").await;
    assert_eq!(directory.content(&key).await, b"ours");
    assert_eq!(fs::read(&theirs).unwrap(), b"theirs");
}

#[tokio::test]
async fn a_bucket_that_is_a_link_is_refused() {
    let (directory, outside) = (Directory::new().await, tempfile::tempdir().unwrap());
    fs::remove_dir(directory.path("results")).unwrap();
    symlink(outside.path(), directory.path("results")).unwrap();
    let refused = directory.storage.ensure_buckets().await.unwrap_err();
    assert_eq!(refused.code(), Code::StorageUnavailable);
    let stored = store(&directory.storage, &video(), "x").await.unwrap_err();
    assert_eq!(stored.code(), Code::StorageUnavailable);
    assert!(names(outside.path()).is_empty());
}

#[tokio::test]
async fn an_open_object_stays_as_it_was() {
    let directory = Directory::new().await;
    let key = video();
    directory.store(&key, "0123456789").await;
    let mut object = directory.storage.open_object(&key).await.unwrap();
    directory.store(&key, "replaced").await;
    directory.storage.remove(&[key]).await.unwrap();
    object.file.seek(std::io::SeekFrom::Start(4)).await.unwrap();
    let mut range = [0; 3];
    object.file.read_exact(&mut range).await.unwrap();
    assert_eq!((object.info.size, &range), (10, b"456"));
    assert!(!format!("{object:?}").contains("canary"));
}

/// Several processes on one directory: each has its own handle.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn folders_vanish_under_uploads_without_harm() {
    let directory = Directory::new().await;
    let job = JobId::new();
    let mut tasks = JoinSet::new();
    for lease in 2..6 {
        let storage = open(directory.root.path()).await;
        tasks.spawn(async move {
            let keys = [
                StorageKey::result_video(job, lease % 2 + 2),
                StorageKey::result_srt(job, lease),
            ];
            for _ in 0..50 {
                for key in &keys {
                    store(&storage, key, "x").await.unwrap();
                }
                for removal in storage.remove(&keys).await.unwrap() {
                    assert!(removal.outcome.is_gone(), "{removal:?}");
                }
            }
        });
    }
    while let Some(outcome) = tasks.join_next().await {
        outcome.unwrap();
    }
    assert!(names(&directory.path("results")).is_empty());
    assert!(names(&directory.path(".incoming")).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn uploads_of_one_key_at_once_leave_one_of_them_whole() {
    let directory = Directory::new().await;
    let (key, storage) = (video(), Arc::new(directory.storage.clone()));
    let mut tasks = JoinSet::new();
    for letter in b'a'..=b'h' {
        let (key, storage) = (key.clone(), Arc::clone(&storage));
        tasks.spawn(async move {
            let content = vec![letter; 100_000];
            storage
                .upload_stream(byte_stream(content), 100_000, &key)
                .await
        });
    }
    while let Some(outcome) = tasks.join_next().await {
        outcome.unwrap().unwrap();
    }
    let content = directory.content(&key).await;
    assert_eq!(content, vec![content[0]; 100_000]);
    assert!(names(&directory.path(".incoming")).is_empty());
}

#[tokio::test]
async fn no_failure_shows_where_things_lie() {
    let directory = Directory::new().await;
    let key = video();
    let folder = directory.file(&key).parent().unwrap().to_owned();
    let job = key.job().unwrap().to_string();
    let mut errors = all_errors(&directory.storage, &video()).await;
    // A file where a folder should be, and then nothing to write into.
    fs::write(folder, "in the way").unwrap();
    errors.extend(all_errors(&directory.storage, &key).await);
    let removals = directory.storage.remove(&[key]).await.unwrap();
    errors.extend(removals.into_iter().map(|removal| match removal.outcome {
        RemoveOutcome::Failed(error) => Some(error),
        other => unreachable!("{other:?}"),
    }));
    fs::remove_dir(directory.path(".incoming")).unwrap();
    errors.extend(all_errors(&directory.storage, &video()).await);
    errors.push(
        LocalStorage::open(
            &directory.path("absent"),
            directory.storage.signer().clone(),
        )
        .await
        .err(),
    );
    let errors: Vec<_> = errors.into_iter().flatten().collect();
    assert!(errors.len() > 10);
    for error in errors {
        let shown = format!("{error} {error:?} {error:#?}");
        for secret in ["canary", "results", "sources", "incoming", "clip.mp4", &job] {
            assert!(!shown.contains(secret), "{secret} in {shown}");
        }
    }
    let shown = format!("{:?} {:?}", directory.storage, Operation::Upload);
    assert!(!shown.contains("canary"));
}

#[tokio::test]
async fn a_root_that_is_a_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let signer = LocalSigner::open(folder.path(), "").await.unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let refused = LocalStorage::open(&file, signer).await.unwrap_err();
    assert_eq!(refused.code(), Code::StorageUnavailable);
    let refused = LocalSigner::open(&file, "").await.unwrap_err();
    assert_eq!(refused.code(), Code::StorageSignFailed);
}
