//! Logs as `CLIPBASE_LOG_FORMAT=json` writes them: each line of a request has its id, and its job's where there is one.

use clipbase_testkit::logs::{Lines, hear_all_threads};
use clipbase_testkit::run;
use serde_json::{Value, json};
use tracing::Level;

use crate::support::{get, local, queued, request, send, web};

fn listen(level: Level) -> (Lines, tracing::subscriber::DefaultGuard) {
    hear_all_threads();
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt()
        .json()
        .with_max_level(level)
        .with_writer(lines.clone())
        .finish();
    (lines, tracing::subscriber::set_default(subscriber))
}

/// The lines within a request with this id, each with the request's span.
fn within(lines: &Lines, id: &str) -> Vec<(Value, Value)> {
    lines
        .text()
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter_map(|line| {
            let spans = line["spans"].as_array()?;
            let http = spans.iter().find(|span| span["name"] == "http")?.clone();
            (http["request_id"] == id).then_some((line, http))
        })
        .collect()
}

#[tokio::test]
async fn a_line_of_a_request_has_its_id_and_its_jobs() {
    let (lines, _guard) = listen(Level::DEBUG);
    run(async |bench| {
        let web = web(bench);
        let job = queued(&bench.clipbase).await;
        let mut asked = request("POST", &format!("/v1/jobs/{job}/cancel"));
        let headers = asked.headers_mut();
        headers.insert("x-request-id", "asked-by-a-test".parse().unwrap());
        send(&web, asked).await.data(200);
        let said = within(&lines, "asked-by-a-test");
        let messages: Vec<&str> = said
            .iter()
            .map(|(line, _)| line["fields"]["message"].as_str().unwrap())
            .collect();
        assert!(messages.contains(&"database call"), "{messages:?}");
        assert!(messages.contains(&"answered"), "{messages:?}");
        // What is logged before the path is read cannot name the job.
        let from = messages.iter().position(|word| *word == "database call");
        for (line, http) in &said[from.unwrap()..] {
            assert_eq!(http["job_id"], job.to_string(), "{line}");
            assert_eq!(http["route"], "/v1/jobs/{id}/cancel", "{line}");
        }
    })
    .await;
}

#[tokio::test]
async fn the_answer_to_a_create_names_the_new_job() {
    let (lines, _guard) = listen(Level::INFO);
    run(async |bench| {
        let local = local(bench, |options| {
            options.youtube_hosts = vec!["youtu.be".to_owned()];
        })
        .await;
        let body =
            json!({"source": {"youtube": "https://youtu.be/aaaaaaaaaaa"}, "start": 0, "end": 1});
        let mut asked = crate::support::json_request("POST", "/v1/jobs", &body);
        let headers = asked.headers_mut();
        headers.insert("x-request-id", "creates".parse().unwrap());
        let job = send(&local.router, asked).await.data(202);
        let said = within(&lines, "creates");
        let (_, http) = said.last().expect("the answer is logged");
        assert_eq!(http["job_id"], job["id"]);
    })
    .await;
}

/// The log's default is to warn only.
#[tokio::test]
async fn a_failure_has_its_request_where_only_failures_are_logged() {
    let (lines, _guard) = listen(Level::WARN);
    run(async |bench| {
        let web = web(bench);
        let job = queued(&bench.clipbase).await;
        let raw = bench.database.raw().await;
        raw.batch_execute("ALTER TABLE jobs RENAME TO elsewhere")
            .await
            .unwrap();
        let reply = get(&web, &format!("/v1/jobs/{job}")).await;
        assert!(reply.status.is_server_error());
        let id = reply.header("x-request-id").unwrap();
        let said = within(&lines, id);
        let [(line, http)] = said.as_slice() else {
            panic!("one line: {}", lines.text())
        };
        assert_eq!(line["fields"]["message"], "failed");
        assert_eq!(http["job_id"], job.to_string());
        raw.batch_execute("ALTER TABLE elsewhere RENAME TO jobs")
            .await
            .unwrap();
    })
    .await;
}
