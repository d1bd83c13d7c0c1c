//! Measures the API beside a bare axum handler that runs the same statement: requests a second, p50, p99, and the
//! CPU that the server's process spends on one. `--help` says what is compared with what.
//!
//! ```text
//! cargo run --release -p clipbase-api --example bench_api
//! ```
#![allow(
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a measurement stops at the first surprise"
)]

mod bare;
mod case;
mod load;
mod report;
mod server;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Parser;
use clipbase::api_keys::{NewApiKey, RATE_LIMIT_MAX, Scope};
use clipbase::migrate::{self, Sets};
use clipbase::storage::{LocalSigner, LocalStorage};
use clipbase::{ClipRange, Clipbase, DatabaseConfig, JobId, NewJob, Settings, Source};
use clipbase_embedded::Settings as ServerSettings;

use case::{Case, Maker};
use load::Sample;
use report::Line;
use server::{Kind, ServerProcess};

/// Jobs made at a time while the table is filled.
const BATCH: u32 = 1_000;

/// Measure the API beside a bare axum handler that runs the same statement.
///
/// A private PostgreSQL on disk, with fsync and synchronous_commit on, is filled with jobs. Three servers run on it, each
/// in a process of its own on a loopback port, each with a pool of 8 connections: the API without keys, the API with
/// keys, both served and logging as `clipbase serve` does, and the bare handler: axum's Router with Json, the
/// statement out of the library's registry on a plain pool, and the same fields of the row as the answer; no envelope,
/// request ids, limits, metrics, keys or checks.
///
/// This process is the load: so many callers, each with one kept connection and one request under way. Every
/// round measures each case by API, bare, bare, API, or the other way round. The ratio is the median of the rounds'
/// ratios; one server's figures are medians over its measurements. CPU is of the server's process alone, without
/// PostgreSQL's. An answer other than 2xx ends the benchmark.
///
/// Two of the cases make the API do more than the statement, and are there to tell how much: an uploaded source is
/// looked up in the storage, which is a folder here (and its key is looked for before that, where one is sent); and a
/// key costs a statement, `api_keys.take`.
#[derive(Parser)]
struct Arguments {
    /// Jobs in the table
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    jobs: u32,
    /// Requests of a measurement; a quarter of them for lists
    #[arg(long, value_name = "N", default_value_t = 4_000, value_parser = clap::value_parser!(u32).range(100..))]
    requests: u32,
    /// Rounds; each measures both sides twice
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Callers at once
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=256))]
    callers: u32,
    /// Only cases whose name contains this, as in `get` or `one key`
    #[arg(long, value_name = "TEXT", default_value = "")]
    only: String,
    /// Where the database and the uploads lie while it runs: a folder on a disk
    #[arg(long, value_name = "FOLDER", default_value = "/var/tmp")]
    folder: PathBuf,
    /// Print one JSON object instead of the table
    #[arg(long)]
    json: bool,
    /// Be one of the servers; what it needs comes on standard input
    #[arg(long, hide = true)]
    serve: Option<Kind>,
}

#[tokio::main]
async fn main() {
    let arguments = Arguments::parse();
    if let Some(kind) = arguments.serve {
        return server::run(kind).await;
    }
    let cases: Vec<Case> = case::all()
        .filter(|case| case.name().contains(&arguments.only))
        .collect();
    assert!(!cases.is_empty(), "--only: no case has this in its name");
    let folder = tempfile::tempdir_in(&arguments.folder).unwrap();
    let settings = ServerSettings::durable(folder.path().join("pg"));
    let postgres = clipbase_embedded::start(&settings).unwrap();
    let url = postgres.url("postgres");
    let storage = folder.path().join("storage");
    let world = World::make(&url, &storage, arguments.jobs).await;
    let lines = measure(&arguments, &cases, &world, &url, &storage).await;
    let text = if arguments.json {
        report::json(&lines, &world.server_version, &arguments)
    } else {
        report::table(&lines, &world.server_version, &arguments)
    };
    println!("{text}");
    drop((world, postgres));
    wait_for_the_end(&settings.directory);
    folder.close().unwrap();
}

/// Waits until the server is gone, so that nothing writes into the folder while it is removed: its keeper holds this
/// lock until then.
fn wait_for_the_end(directory: &Path) {
    let keeper = File::open(directory.join("keeper")).unwrap();
    keeper.lock().unwrap();
}

/// What there is before the servers start.
struct World {
    clipbase: Clipbase,
    jobs: Vec<JobId>,
    keys: Vec<String>,
    server_version: String,
}

impl World {
    async fn make(url: &str, storage: &Path, jobs: u32) -> Self {
        let config = DatabaseConfig::from_url(url).unwrap();
        let sets = Sets {
            api_keys: true,
            ..Sets::default()
        };
        migrate::migrate_with(&config, sets).await.unwrap();
        let signer = LocalSigner::open(storage, "http://127.0.0.1")
            .await
            .unwrap();
        let storage = LocalStorage::open(storage, signer).await.unwrap();
        let clipbase = Clipbase::new(&config, Arc::new(storage), Settings::default()).unwrap();
        clipbase.bootstrap().await.unwrap();
        eprintln!("making {jobs} jobs");
        let jobs = make_jobs(&clipbase, jobs).await;
        let mut keys = Vec::new();
        for n in 0..case::KEYS {
            let mut new = NewApiKey::new(format!("caller {n}"), Scope::Admin.into());
            new.rate_limit_per_min = Some(RATE_LIMIT_MAX);
            let (_, key) = clipbase.api_keys().create(&new).await.unwrap();
            keys.push(key.expose().to_owned());
        }
        let server_version = clipbase.inspect().server().await.unwrap().version;
        let mut connection = clipbase.database().connection().await.unwrap();
        let settled = connection.client().batch_execute("VACUUM ANALYZE").await;
        settled.unwrap();
        drop(connection);
        Self {
            clipbase,
            jobs,
            keys,
            server_version,
        }
    }
}

async fn make_jobs(clipbase: &Clipbase, count: u32) -> Vec<JobId> {
    let range = ClipRange::from_millis(0, 10_000).unwrap();
    let mut ids = Vec::new();
    while ids.len() < count as usize {
        let batch = BATCH.min(count - u32::try_from(ids.len()).unwrap());
        let jobs: Vec<NewJob> = (0..batch)
            .map(|_| NewJob::new(JobId::new(), Source::Youtube(case::VIDEO.into()), range))
            .collect();
        ids.extend(clipbase.jobs().create_many(&jobs).await.unwrap());
    }
    ids
}

async fn measure(
    arguments: &Arguments,
    cases: &[Case],
    world: &World,
    url: &str,
    storage: &Path,
) -> Vec<Line> {
    let servers =
        [Kind::Bare, Kind::Open, Kind::Keys].map(|kind| ServerProcess::start(kind, url, storage));
    let server = |kind: Kind| servers.iter().find(|server| server.kind == kind).unwrap();
    let mut lines: Vec<Line> = cases.iter().map(|case| Line::new(*case)).collect();
    let mut maker = Maker::new(world, arguments.requests);
    for round in 0..arguments.rounds {
        eprintln!("round {} of {}", round + 1, arguments.rounds);
        for line in &mut lines {
            let (mut api, mut bare) = (Vec::new(), Vec::new());
            let order = [0, 1, 1, 0].map(|side| (side + round) % 2);
            for side in order {
                let target = if side == 0 {
                    line.case.target.kind()
                } else {
                    Kind::Bare
                };
                let requests = maker.requests(&line.case, target != Kind::Bare).await;
                let sample =
                    take(server(target), arguments.callers, requests, maker.warm_up()).await;
                if side == 0 { &mut api } else { &mut bare }.push(sample);
            }
            line.add(api, bare);
        }
    }
    for server in servers {
        server.stop();
    }
    lines
}

/// One measurement, with the CPU of the server.
async fn take(
    server: &ServerProcess,
    callers: u32,
    requests: Vec<Vec<u8>>,
    warm_up: usize,
) -> Sample {
    let requests = Arc::new(requests);
    let mut load = load::Load::connect(server.address, callers).await;
    load.send(&requests, 0..warm_up).await;
    let before = server.cpu();
    let mut sample = load.send(&requests, warm_up..requests.len()).await;
    sample.cpu = server.cpu().checked_sub(before);
    sample
}
