//! The fake Supabase Storage as a process of its own, for benchmarks.
//!
//! Prints one line of JSON when it is ready, `{"url":…,"service_key":…,"secret_key":…,"powerless_key":…}`, and runs
//! until it is killed. The buckets `sources` and `results` exist.
#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a tool of the tests: its line is its result, and a failed start ends it"
)]

use std::io::Write;
use std::path::PathBuf;

use clap::Parser;
use clipbase_testkit::fake_supabase::{
    BucketSettings, Call, Content, FakeOptions, FakeSupabase, Fault, Rule,
};
use serde_json::json;

/// A Supabase Storage server for benchmarks.
#[derive(Debug, Parser)]
struct Arguments {
    /// The port; a free one if it is missing.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Keep the objects' content in this folder instead of in memory.
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
    /// Begin with this many objects in the bucket `results`, `seed/00000000/clip.mp4` and on.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed_objects: u64,
    /// Answer every N-th bulk removal with 503.
    #[arg(long, value_name = "N")]
    fail_every: Option<u64>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments = Arguments::parse();
    let server = FakeSupabase::start_with(FakeOptions {
        port: arguments.port,
        content: arguments.folder.map_or(Content::Memory, Content::Folder),
        ..FakeOptions::default()
    })
    .await;
    for bucket in ["sources", "results"] {
        server.set_bucket(bucket, BucketSettings::default());
    }
    let seeds = (0..arguments.seed_objects).map(|n| format!("seed/{n:08}/clip.mp4"));
    server.put_objects("results", seeds, "seed");
    if let Some(n) = arguments.fail_every {
        let fault = Fault::http(503, "DatabaseConnectionLimit");
        server.fail(Rule::every(Call::DeleteMany, n, fault));
    }
    let ready = json!({
        "url": server.url(),
        "service_key": server.service_key(),
        "secret_key": server.secret_key(),
        "powerless_key": server.powerless_key(),
    });
    println!("{ready}");
    std::io::stdout().flush().expect("somebody reads the line");
    std::future::pending::<()>().await;
}
