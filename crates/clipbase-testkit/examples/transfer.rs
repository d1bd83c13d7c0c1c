//! Moves one large file up and down again through the Supabase backend, and tells how fast and in how much
//! memory. `scripts/bench-storage` runs it beside curl.
//!
//! The key comes by the environment variable `CLIPBASE_BENCH_KEY`.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a measurement stops at the first surprise"
)]

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Parser;
use clipbase::JobId;
use clipbase::storage::{Storage, StorageKey, SupabaseConfig, SupabaseStorage};
use serde_json::json;
use sha2::{Digest, Sha256};

#[derive(Parser)]
struct Arguments {
    /// The storage's base URL
    #[arg(long)]
    url: String,
    /// The file to move
    #[arg(long)]
    file: PathBuf,
    /// Where to put it when it comes back
    #[arg(long)]
    back: PathBuf,
    /// Files up to so many bytes go in one request
    #[arg(long)]
    threshold: u64,
}

#[tokio::main]
async fn main() {
    let arguments = Arguments::parse();
    let key = std::env::var("CLIPBASE_BENCH_KEY").unwrap();
    let config = SupabaseConfig::from_storage_url(&arguments.url, &key)
        .unwrap()
        .with_tus_threshold(arguments.threshold)
        .unwrap();
    let storage = SupabaseStorage::new(config).unwrap();
    storage.ensure_buckets().await.unwrap();
    let key = StorageKey::source(JobId::new(), "bin").unwrap();

    let bytes = std::fs::metadata(&arguments.file).unwrap().len();
    let started = Instant::now();
    storage.upload(&arguments.file, &key).await.unwrap();
    let up = started.elapsed().as_secs_f64();
    let started = Instant::now();
    storage.download(&key, &arguments.back).await.unwrap();
    let down = started.elapsed().as_secs_f64();
    let peak = peak_memory_kib();
    storage.remove(&[key]).await.unwrap();

    let same = digest(&arguments.file) == digest(&arguments.back);
    assert!(same, "the file came back changed");
    let line = json!({
        "bytes": bytes, "upload_seconds": up, "download_seconds": down, "peak_memory_kib": peak,
        "same_hash": same,
    });
    println!("{line}");
}

/// The most memory that this process ever had, as the kernel counts it.
fn peak_memory_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn digest(path: &Path) -> Vec<u8> {
    let mut reader = BufReader::new(File::open(path).unwrap());
    let (mut digest, mut block) = (Sha256::new(), vec![0; 1 << 20]);
    loop {
        let read = reader.read(&mut block).unwrap();
        if read == 0 {
            return digest.finalize().to_vec();
        }
        digest.update(block.get(..read).unwrap());
    }
}
