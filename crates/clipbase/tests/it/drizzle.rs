//! The Drizzle schema for TypeScript teams is the database's, and a client that uses it keeps the rules.
//!
//! `clients/typescript` is compiled once for each form of its files, in a scratch folder below `target/tmp`, with
//! the packages of its lock file. It needs node and npm: `scripts/setup --test` installs them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use clipbase::leases::{ClaimOptions, Finish};
use clipbase::{JobId, JobStatus, WorkerId};
use clipbase_testkit::database::workspace;
use clipbase_testkit::{Bench, pooler, run};
use sha2::{Digest, Sha256};

/// The tables that every database has.
const CORE: &str = "jobs job_events job_idempotency storage_deletions clipbase_installation";

#[tokio::test(flavor = "multi_thread")]
async fn the_schema_has_every_column_of_the_database() {
    run(async |bench: &Bench| {
        let compared = succeeds(&check("structure", &bench.database.url()));
        assert_eq!(compared.trim(), format!("{CORE} api_keys"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_optional_keys_are_not_missed_where_they_are_not() {
    run(async |bench: &Bench| {
        let sql = bench.database.raw().await;
        sql.batch_execute("DROP TABLE api_keys").await.unwrap();
        let compared = succeeds(&check("structure", &bench.database.url()));
        assert_eq!(compared.trim(), CORE);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_difference_is_named_with_the_line_that_is_missing() {
    run(async |bench: &Bench| {
        let changes = "
            ALTER TABLE jobs ADD thumbnail_key varchar(512), ADD thumbnail_at timestamptz NOT NULL DEFAULT now(),
                ALTER shard DROP DEFAULT;
            ALTER TABLE storage_deletions ALTER last_error_code TYPE varchar(65);
            ALTER TABLE clipbase_installation ALTER created_at DROP NOT NULL;
            ALTER TABLE job_idempotency DROP fingerprint;
            DROP INDEX idx_job_events_job_id_ts;
            ALTER TABLE job_events DISABLE ROW LEVEL SECURITY;
            ALTER TYPE job_status ADD VALUE 'paused'";
        let sql = bench.database.raw().await;
        for change in changes.split(';') {
            sql.batch_execute(change).await.unwrap();
        }
        let output = check("structure", &bench.database.url());
        assert_eq!(output.status.code(), Some(1));
        let said = String::from_utf8(output.stderr).unwrap();
        for line in [
            "job_status is queued, processing, done, failed in schema.ts, and queued, processing, done, failed, paused in the database",
            "jobs.thumbnail_key (varchar(512) nullable, no default) is missing in schema.ts; add: thumbnailKey: varchar('thumbnail_key', { length: 512 }),",
            "jobs.thumbnail_at (timestamp with time zone not null, default now) is missing in schema.ts; add: thumbnailAt: time('thumbnail_at').notNull().default(sql`now()`),",
            "jobs.shard is integer not null, default 0 in schema.ts, and integer not null, no default in the database",
            "storage_deletions.last_error_code is varchar(64) nullable, no default in schema.ts, and varchar(65) nullable, no default in the database",
            "clipbase_installation.created_at is timestamp with time zone not null, default now in schema.ts, and timestamp with time zone nullable, default now in the database",
            "job_idempotency.fingerprint is in schema.ts, and not in the database",
            "job_events: idx_job_events_job_id_ts is index (job_id, ts) in schema.ts, and missing in the database",
            "job_events: row-level security is on in schema.ts, and missing in the database",
        ] {
            assert!(said.lines().any(|said| said == line), "not said: {line}\n{said}");
        }
        assert!(said.contains("differences: 9"), "{said}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_typescript_client_keeps_the_rules() {
    run(async |bench: &Bench| is_at_home(bench, &bench.database.url()).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_typescript_client_works_through_a_transaction_pooler() {
    run(async |bench: &Bench| is_at_home(bench, &pooler::url(&bench.database)).await).await;
}

/// Runs the client's own checks, and looks at what it left with the library.
async fn is_at_home(bench: &Bench, url: &str) {
    let said = succeeds(&check("client", url));
    let ids: serde_json::Value = serde_json::from_str(&said).unwrap();
    let id = |name: &str| ids[name].as_str().unwrap().parse::<JobId>().unwrap();
    let jobs = bench.clipbase.jobs();

    let walked = jobs.get(id("walked")).await.unwrap().unwrap();
    assert_eq!((walked.status, walked.lease), (JobStatus::Done, 3));

    let mut options = ClaimOptions::new(WorkerId::new(), 10);
    options.shards = vec![7];
    let leases = bench.clipbase.leases().claim(&options).await.unwrap();
    let work = leases[0].work();
    assert_eq!((leases.len(), leases[0].job_id()), (1, id("left")));
    assert_eq!((work.start_ms, work.end_ms), (3_250, 8_500));
    let finish = Finish::new(&leases[0]);
    bench.clipbase.leases().finish(finish).await.unwrap();
}

/// Runs the compiled program on a database.
fn check(command: &str, url: &str) -> Output {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    let program = PROGRAM.get_or_init(compile).join("dist/check/main.js");
    let mut node = Command::new("node");
    node.arg(program).arg(command).env("DATABASE_URL", url);
    tokio::task::block_in_place(|| output(&mut node))
}

/// Returns a folder with the compiled program. Its name is made of all that goes into it, and it gets that
/// name when it is complete: what is there need not be made again.
fn compile() -> PathBuf {
    let source = workspace().join("clients/typescript");
    let files = files(&source);
    let mut digest = Sha256::new();
    for file in &files {
        let content = fs::read(source.join(file)).unwrap();
        digest.update(format!("{} {}\n", file.display(), content.len()));
        digest.update(content);
    }
    let digest = digest.finalize();
    let tag: String = digest.iter().take(8).map(|b| format!("{b:02x}")).collect();
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let complete = scratch.join(format!("typescript-{tag}"));
    if complete.exists() {
        return complete;
    }
    let building = tempfile::tempdir_in(scratch).unwrap();
    for file in &files {
        let copy = building.path().join(file);
        fs::create_dir_all(copy.parent().unwrap()).unwrap();
        fs::copy(source.join(file), copy).unwrap();
    }
    let mut npm = Command::new("npm");
    npm.args([
        "ci",
        "--ignore-scripts",
        "--prefer-offline",
        "--no-audit",
        "--no-fund",
    ]);
    succeeds(&output(npm.current_dir(building.path())));
    let mut tsc = Command::new("node");
    tsc.args(["node_modules/typescript/bin/tsc", "--strict"]);
    succeeds(&output(tsc.current_dir(building.path())));
    if let Err(error) = fs::rename(building.path(), &complete) {
        assert!(complete.exists(), "{}: {error}", complete.display());
    }
    complete
}

/// The files of the package, sorted, without what npm and the compiler put there.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(inner) = folders.pop() {
        for entry in fs::read_dir(folder.join(&inner)).unwrap() {
            let entry = entry.unwrap();
            let path = inner.join(entry.file_name());
            if !entry.file_type().unwrap().is_dir() {
                found.push(path);
            } else if entry.file_name() != "node_modules" && entry.file_name() != "dist" {
                folders.push(path);
            }
        }
    }
    found.sort();
    found
}

#[track_caller]
fn output(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| {
        let program = command.get_program().display();
        panic!("{program} cannot be run: {error}; scripts/setup --test installs it")
    })
}

/// Returns what was printed; fails the test with all that was said where the command failed.
#[track_caller]
fn succeeds(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{}\n{printed}\n{said}",
        output.status
    );
    printed.into_owned()
}
