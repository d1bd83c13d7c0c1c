//! A log line in a call says which statement or operation it belongs to, and which job where there is one.

use clipbase::leases::Finish;
use clipbase::storage::{LocalSigner, LocalStorage, Storage, StorageKey};
use clipbase::{JobId, WorkerId};
use clipbase_testkit::builders::{claim, new_job};
use clipbase_testkit::logs::{Lines, hear_all_threads};
use clipbase_testkit::run;
use serde_json::Value;

/// The spans around each line with this message, the innermost last.
fn spans(lines: &Lines, message: &str) -> Vec<Vec<Value>> {
    let text = lines.text();
    text.lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|line| line["fields"]["message"] == message)
        .map(|line| line["spans"].as_array().cloned().unwrap_or_default())
        .collect()
}

/// As `CLIPBASE_LOG_FORMAT=json CLIPBASE_LOG=debug` logs.
fn listen() -> (Lines, tracing::subscriber::DefaultGuard) {
    hear_all_threads();
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt()
        .json()
        .with_max_level(tracing::Level::DEBUG)
        .with_writer(lines.clone())
        .finish();
    (lines, tracing::subscriber::set_default(subscriber))
}

#[tokio::test]
async fn a_call_about_one_job_names_it() {
    let (lines, _guard) = listen();
    let mut calls = Vec::new();
    run(async |bench| {
        let clipbase = &bench.clipbase;
        let job = clipbase.jobs().create(&new_job()).await.unwrap();
        let lease = claim(clipbase, job.id, WorkerId::new()).await;
        clipbase.leases().log(&lease, "note", None).await.unwrap();
        clipbase.leases().finish(Finish::new(&lease)).await.unwrap();
        clipbase.jobs().get(job.id).await.unwrap();
        clipbase.events().list(job.id, 0, 10).await.unwrap();
        clipbase.jobs().cancel(job.id).await.unwrap_err();
        clipbase.jobs().delete(job.id).await.unwrap();
        for spans in spans(&lines, "database call") {
            let [call] = spans.as_slice() else {
                panic!("one span: {spans:?}")
            };
            assert_eq!(call["name"], "db.call");
            if call["job_id"] == job.id.to_string() {
                calls.push(call["statement"].as_str().unwrap().to_owned());
            }
        }
    })
    .await;
    assert_eq!(
        calls,
        [
            "jobs.create",
            "leases.claim_job",
            "leases.log",
            "leases.finish",
            "jobs.get",
            "events.list",
            "jobs.transition",
            "jobs.get",
            "jobs.delete",
        ]
    );
}

#[tokio::test]
async fn a_call_of_the_storage_names_its_operation_and_its_backend() {
    let (lines, _guard) = listen();
    let folder = tempfile::tempdir().unwrap();
    let signer = LocalSigner::open(folder.path(), "http://localhost")
        .await
        .unwrap();
    let storage = LocalStorage::open(folder.path(), signer).await.unwrap();
    storage.ensure_buckets().await.unwrap();
    let key = StorageKey::result_video(JobId::new(), 1);
    assert_eq!(storage.info(&key).await.unwrap(), None);
    storage.read_small(&key).await.unwrap_err();
    let spans = spans(&lines, "storage call");
    let calls: Vec<[&str; 3]> = spans
        .iter()
        .flatten()
        .map(|span| ["name", "operation", "backend"].map(|name| span[name].as_str().unwrap()))
        .collect();
    assert_eq!(
        calls,
        ["ensure_buckets", "info", "read_small"].map(|name| ["storage.call", name, "local"])
    );
}
