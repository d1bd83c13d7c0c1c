//! A file of 40 MiB goes up and comes down by each way, and is never held whole.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use clipbase::storage::{ByteStream, Storage, SupabaseConfig};
use clipbase_testkit::fake_supabase::{Call, Fault, Rule};
use futures_util::{StreamExt, stream};
use sha2::{Digest, Sha256};

use super::{Bench, file_of, noise, video};

const MIB: usize = 1024 * 1024;
const LENGTH: usize = 40 * MIB;
const PIECE: usize = 64 * 1024;

/// The most that may be on its way at once: a piece being sent and the next one being filled.
const HELD_MAX: usize = 2 * 6 * MIB;

/// Bytes that are counted as long as anybody holds them.
struct Counted {
    bytes: Vec<u8>,
    held: Arc<AtomicUsize>,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.held.fetch_sub(self.bytes.len(), Ordering::SeqCst);
    }
}

/// A stream of the content whose most ever held is told.
fn counted(content: Arc<Vec<u8>>, most: Arc<AtomicUsize>) -> ByteStream {
    let held = Arc::new(AtomicUsize::new(0));
    stream::iter((0..LENGTH).step_by(PIECE))
        .map(move |start| {
            let bytes = content[start..(start + PIECE).min(LENGTH)].to_vec();
            let now = held.fetch_add(bytes.len(), Ordering::SeqCst) + bytes.len();
            most.fetch_max(now, Ordering::SeqCst);
            let held = Arc::clone(&held);
            io::Result::Ok(Bytes::from_owner(Counted { bytes, held }))
        })
        .boxed()
}

async fn up_and_down(change: impl FnOnce(SupabaseConfig) -> SupabaseConfig, cuts: &[usize]) {
    let bench = Bench::with(change).await;
    let content = Arc::new(noise(LENGTH));
    let hash: [u8; 32] = Sha256::digest(content.as_slice()).into();
    let order_cuts = || {
        for after in cuts {
            let cut = Fault::CutUpload {
                after: *after as u64,
            };
            bench.server.fail(Rule::next(Call::TusPatch, cut));
        }
    };
    let (by_stream, by_file) = (video(), video());
    let most = Arc::new(AtomicUsize::new(0));
    order_cuts();
    let stream = counted(Arc::clone(&content), Arc::clone(&most));
    bench
        .storage
        .upload_stream(stream, LENGTH as u64, &by_stream)
        .await
        .unwrap();
    let most = most.load(Ordering::SeqCst);
    assert!((PIECE..=HELD_MAX).contains(&most), "{most} bytes were held");
    order_cuts();
    let (_folder, path) = file_of(&content);
    bench.storage.upload(&path, &by_file).await.unwrap();
    assert_eq!(bench.server.faults_left(), 0, "a cut did not happen");

    for key in [&by_stream, &by_file] {
        assert_eq!(bench.server.sha256("results", &key.path()), Some(hash));
    }
    for bytes in [7, 10_000_000] {
        let short = Fault::ShortBody { bytes };
        bench.server.fail(Rule::next(Call::Download, short));
    }
    let folder = tempfile::tempdir().unwrap();
    let down = folder.path().join("down.mp4");
    bench.storage.download(&by_file, &down).await.unwrap();
    let got: [u8; 32] = Sha256::digest(std::fs::read(&down).unwrap()).into();
    assert_eq!(got, hash);
}

#[tokio::test]
async fn in_one_request() {
    up_and_down(|c| c.with_tus_threshold(LENGTH as u64).unwrap(), &[]).await;
}

#[tokio::test]
async fn in_resumable_pieces() {
    up_and_down(|config| config, &[]).await;
}

#[tokio::test]
async fn in_resumable_pieces_with_five_cuts() {
    let cuts = [1, 2 * MIB, 100, 3 * MIB + 7, 0];
    up_and_down(|config| config, &cuts).await;
}
