//! Cleans up after many expired jobs, on a private PostgreSQL that syncs and the fake storage in a process of its
//! own, and tells jobs a second, storage calls and memory. `scripts/bench-storage` runs it.
#![allow(
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a measurement stops at the first surprise"
)]

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;
use clipbase::cleanup::{CleanupOptions, Report};
use clipbase::leases::{ClaimOptions, Finish};
use clipbase::storage::{StorageKey, SupabaseConfig, SupabaseStorage};
use clipbase::{
    ClipRange, Clipbase, DatabaseConfig, JobId, NewJob, Settings, Source, WorkerId, migrate,
};
use clipbase_embedded::Settings as ServerSettings;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio_postgres::{Client, NoTls};
use uuid::Uuid;

/// The id of the first job that the fake storage has objects of.
const FIRST_JOB: u128 = 0x0198_0000_0000_7000_8000_0000_0000_0000;

/// Jobs made, and finished, at a time.
const BATCH: u64 = 500;

#[derive(Parser)]
struct Arguments {
    /// Jobs that have expired
    #[arg(long, default_value_t = 100_000)]
    jobs: u64,
    /// Let every N-th bulk removal fail
    #[arg(long)]
    fail_every: Option<u64>,
    /// The program that is the fake storage
    #[arg(long)]
    storage: PathBuf,
}

#[tokio::main]
async fn main() {
    let arguments = Arguments::parse();
    let folder = tempfile::tempdir().unwrap();
    let server =
        clipbase_embedded::start(&ServerSettings::durable(folder.path().join("pg"))).unwrap();
    let database = DatabaseConfig::from_url(&server.url("postgres")).unwrap();
    migrate::migrate(&database).await.unwrap();
    let mut storage = Storage::start(&arguments);
    let clipbase = clipbase(&database, &storage);
    clipbase.bootstrap().await.unwrap();
    eprintln!("making {} jobs that have expired", arguments.jobs);
    make_jobs(&clipbase, arguments.jobs).await;
    drop(clipbase);

    // A fresh handle: nothing that the making left behind is counted.
    let clipbase = self::clipbase(&database, &storage);
    let (client, connection) = tokio_postgres::connect(&server.url("postgres"), NoTls)
        .await
        .unwrap();
    tokio::spawn(connection);
    let before = memory_kib("VmRSS:");
    let (mut early, mut late) = (0, 0);
    let started = Instant::now();
    let mut passes = 0;
    let mut total = Report::default();
    loop {
        passes += 1;
        let report = clipbase
            .cleanup()
            .run(&CleanupOptions::default(), |report| {
                let now = memory_kib("VmRSS:");
                if report.objects_removed < arguments.jobs {
                    early = early.max(now);
                } else {
                    late = late.max(now);
                }
            })
            .await
            .unwrap();
        total.jobs_deleted += report.jobs_deleted;
        total.objects_removed += report.objects_removed;
        total.objects_failed += report.objects_failed;
        let waiting = waiting(&client).await;
        if waiting == 0 {
            break;
        }
        eprintln!("{waiting} objects wait for another try; it is brought forward");
        bring_forward(&client).await;
    }
    let seconds = started.elapsed().as_secs_f64();
    let end = storage.stop();
    let calls = end["delete_many"].as_u64().unwrap();
    let line = json!({
        "jobs": total.jobs_deleted,
        "objects_removed": total.objects_removed,
        "objects_failed_at_first": total.objects_failed,
        "passes": passes,
        "seconds": seconds,
        "jobs_per_second": ratio(total.jobs_deleted, seconds),
        "storage_calls": calls,
        "objects_per_call": total.objects_removed / calls.max(1),
        "memory_kib": {"before": before, "first_third": early, "rest": late, "peak": memory_kib("VmHWM:")},
        "objects_left": end["objects_left"],
    });
    println!("{line}");
}

#[allow(clippy::cast_precision_loss, reason = "a figure for people")]
fn ratio(count: u64, seconds: f64) -> f64 {
    count as f64 / seconds
}

fn clipbase(database: &DatabaseConfig, storage: &Storage) -> Clipbase {
    let config = SupabaseConfig::from_storage_url(&storage.url, &storage.key).unwrap();
    let backend = SupabaseStorage::new(config).unwrap();
    Clipbase::new(database, Arc::new(backend), Settings::default()).unwrap()
}

async fn make_jobs(clipbase: &Clipbase, count: u64) {
    let range = ClipRange::from_millis(0, 1_000).unwrap();
    let worker = WorkerId::new();
    let mut options = ClaimOptions::new(worker, u32::try_from(BATCH).unwrap());
    options.lease_ttl = Duration::from_secs(600);
    for first in (0..count).step_by(usize::try_from(BATCH).unwrap()) {
        let jobs: Vec<NewJob> = (first..count.min(first + BATCH))
            .map(|n| {
                let id = JobId::from_uuid(Uuid::from_u128(FIRST_JOB + u128::from(n)));
                let source = Source::Upload(StorageKey::source(id, "mp4").unwrap());
                let mut job = NewJob::new(id, source, range);
                job.expires_at = Some(Timestamp::now());
                job
            })
            .collect();
        clipbase.jobs().create_many(&jobs).await.unwrap();
        let leases = clipbase.leases().claim(&options).await.unwrap();
        let finishes: Vec<Finish<'_>> = leases
            .iter()
            .map(|lease| Finish {
                with_srt: true,
                ..Finish::new(lease)
            })
            .collect();
        clipbase.leases().finish_many(&finishes).await.unwrap();
    }
}

async fn waiting(client: &Client) -> i64 {
    let row = client
        .query_one("SELECT count(*) FROM public.storage_deletions", &[])
        .await
        .unwrap();
    row.get(0)
}

/// What is tried again in a minute is tried again now.
async fn bring_forward(client: &Client) {
    client
        .execute(
            "UPDATE public.storage_deletions SET next_attempt_at = now()",
            &[],
        )
        .await
        .unwrap();
}

/// How much memory this process has, as the kernel counts it.
fn memory_kib(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// The fake storage, in a process of its own so that its objects are not counted as ours.
struct Storage {
    child: Child,
    answers: BufReader<std::process::ChildStdout>,
    url: String,
    key: String,
}

impl Storage {
    fn start(arguments: &Arguments) -> Self {
        let mut command = Command::new(&arguments.storage);
        command.args(["--seed-jobs", &arguments.jobs.to_string()]);
        if let Some(n) = arguments.fail_every {
            command.args(["--fail-every", &n.to_string()]);
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut answers = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        answers.read_line(&mut line).unwrap();
        let ready: Value = serde_json::from_str(&line).unwrap();
        let text = |name: &str| ready[name].as_str().unwrap().to_owned();
        Self {
            child,
            answers,
            url: text("url"),
            key: text("service_key"),
        }
    }

    /// Ends it, and returns what it counted.
    fn stop(&mut self) -> Value {
        drop(self.child.stdin.take());
        let mut line = String::new();
        self.answers.read_to_string(&mut line).unwrap();
        self.child.wait().unwrap();
        serde_json::from_str(&line).unwrap()
    }
}
