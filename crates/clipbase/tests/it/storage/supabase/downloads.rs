//! Downloads: cut, continued, and never half of one object and half of another.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use clipbase::Code;
use clipbase::storage::Storage;
use clipbase_testkit::fake_supabase::{Call, Fault, Moment, Rule};

use super::{Bench, noise, video};

const LENGTH: usize = 3_000_000;

fn short(bytes: u64) -> Fault {
    Fault::ShortBody { bytes }
}

#[tokio::test]
async fn a_download_goes_on_where_it_was_cut() {
    let bench = Bench::new().await;
    let (key, content) = (video(), noise(LENGTH));
    bench
        .server
        .put_object("results", &key.path(), content.clone());
    for bytes in [1_000_000, 500_000, 0, 1] {
        bench.server.fail(Rule::next(Call::Download, short(bytes)));
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("clip.mp4");
    bench.storage.download(&key, &path).await.unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), content);
    let requests = bench.server.requests();
    let ranges: Vec<_> = requests
        .iter()
        .filter(|request| request.call == Call::Download)
        .map(|request| request.header("range").map(str::to_owned))
        .collect();
    let range = |from: usize| Some(format!("bytes={from}-"));
    assert_eq!(
        ranges,
        [
            None,
            range(1_000_000),
            range(1_500_000),
            range(1_500_000),
            range(1_500_001)
        ]
    );
}

#[tokio::test]
async fn many_cuts_with_progress_between_them_end_well() {
    let bench = Bench::new().await;
    let (key, content) = (video(), noise(LENGTH));
    bench
        .server
        .put_object("results", &key.path(), content.clone());
    bench
        .server
        .fail(Rule::always(Call::Download, short(200_000)));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("clip.mp4");
    bench.storage.download(&key, &path).await.unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), content);
    assert_eq!(bench.server.calls(Call::Download), 15);
}

#[tokio::test]
async fn a_download_that_never_moves_ends_and_leaves_the_file() {
    let bench = Bench::new().await;
    let key = video();
    bench
        .server
        .put_object("results", &key.path(), noise(LENGTH));
    bench.server.fail(Rule::next(Call::Download, short(100)));
    bench.server.fail(Rule::always(Call::Download, short(0)));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("clip.mp4");
    std::fs::write(&path, "before").unwrap();
    let refused = bench.storage.download(&key, &path).await.unwrap_err();
    assert_eq!(refused.code(), Code::StorageUnavailable, "{refused:?}");
    assert_eq!(bench.server.calls(Call::Download), 4);
    assert_eq!(std::fs::read(&path).unwrap(), b"before");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

/// Does something to the server when the n-th download arrives.
fn at_download(bench: &Arc<Bench>, n: usize, act: impl Fn(&Bench) + Send + Sync + 'static) {
    let seen = AtomicUsize::new(0);
    let weak = Arc::downgrade(bench);
    bench.server.on_request(move |request, moment| {
        let due = request.call == Call::Download
            && moment == Moment::Arrived
            && seen.fetch_add(1, Ordering::SeqCst) + 1 == n;
        if let (true, Some(bench)) = (due, weak.upgrade()) {
            act(&bench);
        }
    });
}

#[tokio::test]
async fn an_object_that_is_replaced_meanwhile_is_read_anew() {
    let bench = Arc::new(Bench::new().await);
    let key = video();
    bench
        .server
        .put_object("results", &key.path(), noise(LENGTH));
    // Of the same length: nothing but its tag tells it from the old one.
    let replaced = vec![7; LENGTH];
    let (path_there, content) = (key.path(), replaced.clone());
    at_download(&bench, 2, move |bench| {
        bench
            .server
            .put_object("results", &path_there, content.clone());
    });
    bench.server.fail(Rule::next(Call::Download, short(1_000)));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("clip.mp4");
    bench.storage.download(&key, &path).await.unwrap();
    assert!(std::fs::read(&path).unwrap() == replaced);
    assert_eq!(bench.server.calls(Call::Download), 3);
}

#[tokio::test]
async fn an_object_that_is_removed_meanwhile_is_not_found() {
    let bench = Arc::new(Bench::new().await);
    let key = video();
    bench
        .server
        .put_object("results", &key.path(), noise(LENGTH));
    let path_there = key.path();
    at_download(&bench, 2, move |bench| {
        bench.server.remove_content("results", &path_there);
    });
    bench.server.fail(Rule::next(Call::Download, short(1_000)));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("clip.mp4");
    let refused = bench.storage.download(&key, &path).await.unwrap_err();
    assert_eq!(refused.code(), Code::StorageNotFound, "{refused:?}");
    assert!(!path.exists());
}

#[tokio::test]
async fn a_small_object_is_read_over_a_cut_too() {
    let bench = Bench::new().await;
    let (key, content) = (video(), noise(100_000));
    bench
        .server
        .put_object("results", &key.path(), content.clone());
    bench.server.fail(Rule::next(Call::Download, short(50_000)));
    assert_eq!(bench.storage.read_small(&key).await.unwrap(), content);
    assert_eq!(bench.server.calls(Call::Download), 2);
}
