//! The fake Supabase Storage as a process of its own, for benchmarks.
//!
//! Prints one line of JSON when it is ready, `{"url":…,"service_key":…,"secret_key":…,"powerless_key":…}`, and runs
//! until it is killed or its standard input ends; then it prints how often each kind of request came. The buckets
//! `sources` and `results` exist.
#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a tool of the tests: its line is its result, and a failed start ends it"
)]

use std::io::{Read, Write};
use std::path::PathBuf;

use clap::Parser;
use clipbase::JobId;
use clipbase_testkit::fake_supabase::{
    BucketSettings, Call, Content, FakeOptions, FakeSupabase, Fault, Rule,
};
use serde_json::json;
use uuid::Uuid;

/// The id of the first job that `--seed-jobs` makes.
const FIRST_JOB: u128 = 0x0198_0000_0000_7000_8000_0000_0000_0000;

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
    /// Begin with the source, clip and subtitles of so many jobs, whose ids count up from
    /// 01980000-0000-7000-8000-000000000000.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed_jobs: u64,
    /// Cut so many resumable uploads off, in the middle of a piece, 50 pieces apart.
    #[arg(long, value_name = "N", default_value_t = 0)]
    cut_uploads: u64,
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
    let jobs = || {
        (0..arguments.seed_jobs)
            .map(|n| JobId::from_uuid(Uuid::from_u128(FIRST_JOB + u128::from(n))))
    };
    server.put_objects(
        "sources",
        jobs().map(|job| format!("{job}/source.mp4")),
        "seed",
    );
    for file in ["clip.mp4", "clip.srt"] {
        server.put_objects("results", jobs().map(|job| format!("{job}/{file}")), "seed");
    }
    for n in 1..=arguments.cut_uploads {
        let cut = Fault::CutUpload { after: 3_000_000 };
        server.fail(Rule::nth(Call::TusPatch, n * 50, cut));
    }
    let ready = json!({
        "url": server.url(),
        "service_key": server.service_key(),
        "secret_key": server.secret_key(),
        "powerless_key": server.powerless_key(),
    });
    println!("{ready}");
    std::io::stdout().flush().expect("somebody reads the line");
    let mut rest = String::new();
    // On a thread of its own: this one serves.
    let ended =
        tokio::task::spawn_blocking(move || std::io::stdin().read_to_string(&mut rest)).await;
    ended
        .expect("the thread ends")
        .expect("standard input can be read");
    let calls = json!({
        "delete_many": server.calls(Call::DeleteMany),
        "objects_left": server.objects("sources").len() + server.objects("results").len(),
    });
    println!("{calls}");
}
