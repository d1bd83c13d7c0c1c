//! What processes show of themselves: `/metrics` of `work`, `cleanup` and `serve`, the page that lists it, and the
//! lines of the log.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use clipbase::metrics::{Kind, Metric};
use clipbase_testkit::database::workspace;
use clipbase_testkit::wait_until;
use serde_json::{Value, json};

use crate::serving::{Serving, Watched, curl};
use crate::support::Place;

/// Every metric that a process of ours may show.
fn table() -> Vec<Metric> {
    [
        clipbase::metrics::METRICS,
        clipbase_worker::runtime::METRICS,
        clipbase_api::METRICS,
    ]
    .concat()
}

/// Checks that each sample is of a metric of the table, has its labels and no others, and is explained. Returns the
/// samples with their values.
#[track_caller]
fn read(text: &str) -> BTreeMap<String, f64> {
    let table = table();
    let mut samples = BTreeMap::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        if line.starts_with('#') {
            continue;
        }
        let (sample, value) = line.rsplit_once(' ').unwrap();
        samples.insert(sample.to_owned(), value.parse().unwrap());
        let (shown, labels) = sample.split_once('{').unwrap_or((sample, ""));
        let found = table.iter().find(|metric| match metric.kind {
            Kind::Histogram => ["_bucket", "_sum", "_count"]
                .iter()
                .any(|end| shown.strip_suffix(end) == Some(metric.name)),
            Kind::Counter | Kind::Gauge => shown == metric.name,
        });
        let metric = found.unwrap_or_else(|| panic!("{shown} is in no table"));
        let names: BTreeSet<&str> = labels
            .split("\",")
            .filter_map(|label| label.split_once('=').map(|(name, _)| name))
            .filter(|name| *name != "le")
            .collect();
        let expected: BTreeSet<&str> = metric.labels.iter().copied().collect();
        assert_eq!(names, expected, "{line}");
        let help = format!("# HELP {} {}", metric.name, metric.help);
        assert!(text.contains(&help), "{help}");
        let kind = format!("# TYPE {} {}", metric.name, metric.kind.as_str());
        assert!(text.contains(&kind), "{kind}");
    }
    samples
}

#[tokio::test]
async fn a_worker_shows_its_numbers_and_its_health() {
    let place = Place::on_a_database().await;
    place.json(&["bootstrap"]);
    let source = place.path("talk.mp4");
    let create = ["jobs", "create", source.to_str().unwrap()];
    place.json(&[&create[..], &["--start", "4", "--end", "6"]].concat());
    let watched = Watched::start(&place, &["work", "--no-listen", "--poll", "100ms"]);
    wait_until("the job is done", async || {
        place.only_job()["status"] == "done"
    })
    .await;
    let alive: Value = serde_json::from_str(&watched.get("/healthz")).unwrap();
    assert_eq!(alive["ok"], true);
    let ready: Value = serde_json::from_str(&watched.get("/readyz")).unwrap();
    assert_eq!(ready["data"]["checks"].as_array().unwrap().len(), 3);
    let sample = r#"clipbase_worker_jobs_total{outcome="done"}"#;
    wait_until("the worker has counted it", async || {
        read(&watched.get("/metrics")).contains_key(sample)
    })
    .await;
    let shown = read(&watched.get("/metrics"));
    for (name, expected) in [
        (sample, 1.0),
        (r#"clipbase_worker_job_seconds_count{outcome="done"}"#, 1.0),
        ("clipbase_job_wait_seconds_count", 1.0),
        (
            r#"clipbase_job_transitions_total{from="queued",to="processing",reason="claim"}"#,
            1.0,
        ),
        (
            r#"clipbase_job_transitions_total{from="processing",to="done",reason="finish"}"#,
            1.0,
        ),
        ("clipbase_worker_jobs_held", 0.0),
    ] {
        assert_eq!(shown.get(name), Some(&expected), "{name}: {shown:#?}");
    }
    for name in [
        "clipbase_pool_connections",
        r#"clipbase_jobs{status="queued"}"#,
        r#"clipbase_db_calls_total{statement="leases.claim",code="OK"}"#,
        r#"clipbase_storage_calls_total{operation="upload",outcome="OK"}"#,
        "clipbase_cleanup_backlog_objects",
    ] {
        assert!(shown.contains_key(name), "{name}: {shown:#?}");
    }
    watched.stop();
}

#[tokio::test]
async fn a_clean_up_that_goes_on_shows_its_numbers() {
    let place = Place::on_a_database().await;
    place.json(&["bootstrap"]);
    let watched = Watched::start(&place, &["cleanup", "--watch"]);
    watched.get("/readyz");
    wait_until("it has made a pass", async || {
        read(&watched.get("/metrics")).contains_key("clipbase_cleanup_jobs_total")
    })
    .await;
    watched.stop();
    // It makes sense only for one that goes on.
    let once = place.run(&["cleanup", "--metrics", "127.0.0.1:0"]);
    assert_eq!(once.code, 2, "{once:?}");
    assert!(once.err.contains("--watch"), "{once:?}");
}

#[test]
fn a_server_shows_its_numbers() {
    let place = Place::embedded();
    let serving = Serving::start(&place, &[], None);
    serving.call("GET", "/v1/jobs", None);
    let text = curl(&["--fail", &format!("{}/metrics", serving.url())]);
    let name = r#"clipbase_http_requests_total{route="/v1/jobs",method="GET",status="200"}"#;
    assert_eq!(read(&text).get(name), Some(&1.0), "{text}");
    serving.terminate().good();
}

#[tokio::test]
async fn a_port_that_is_taken_is_told_before_anything_starts() {
    let place = Place::on_a_database().await;
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let answer = place.run(&["work", "--metrics", &address]);
    answer.refused(4, "CONFIG_INVALID");
    assert!(answer.err.contains("--metrics"), "{answer:?}");
    let answer = place.run(&["work", "--retry-after", "2m"]);
    answer.refused(3, "INVALID_INPUT");
    assert!(answer.err.contains("--retry-after-max"), "{answer:?}");
}

#[tokio::test]
async fn a_source_that_plays_too_long_is_refused() {
    let place = Place::on_a_database().await;
    place.json(&["bootstrap"]);
    let source = place.path("talk.mp4");
    let create = ["jobs", "create", source.to_str().unwrap()];
    place.json(&[&create[..], &["--start", "4", "--end", "6"]].concat());
    let work = ["work", "--until-idle", "--max-source-length", "19s"];
    assert_eq!(place.json(&work)["failed"], 1);
    assert_eq!(place.only_job()["error_code"], "SOURCE_TOO_LONG");
}

/// The lines of a log, each one a JSON object.
#[track_caller]
fn lines(log: &str) -> Vec<Value> {
    let line = |line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"));
    log.lines().map(line).collect()
}

fn span<'a>(line: &'a Value, name: &str) -> Option<&'a Value> {
    let spans = line["spans"].as_array()?;
    spans.iter().find(|span| span["name"] == name)
}

fn message(line: &Value) -> &str {
    line["fields"]["message"].as_str().unwrap_or("")
}

#[tokio::test]
async fn each_line_about_a_job_names_it() {
    let place = Place::on_a_database().await;
    place.json(&["bootstrap"]);
    let source = place.path("talk.mp4");
    let create = ["jobs", "create", source.to_str().unwrap()];
    place.json(&[&create[..], &["--start", "4", "--end", "6"]].concat());
    let id = place.only_job()["id"].clone();
    let mut work = place.command(&["work", "--until-idle", "--json"]);
    work.env("CLIPBASE_LOG_FORMAT", "json")
        .env("CLIPBASE_LOG", "clipbase=debug,clipbase_worker=debug");
    let output = work.output().unwrap();
    let log = lines(&String::from_utf8(output.stderr).unwrap());
    let mut seen = BTreeSet::new();
    for line in &log {
        if let Some(job) = span(line, "job") {
            assert_eq!(job["job_id"], id, "{line}");
            seen.insert(message(line));
        }
    }
    let expected = ["claimed", "ended", "storage call"];
    assert!(
        expected.iter().all(|word| seen.contains(word)),
        "{seen:?} {log:#?}"
    );
}

#[test]
fn each_line_of_a_request_names_it_and_its_job() {
    let place = Place::embedded();
    let log = [
        ("CLIPBASE_LOG_FORMAT", "json"),
        ("CLIPBASE_LOG", "clipbase=debug,clipbase_api=info"),
    ];
    let serving = Serving::start_with(&place, &[], &log);
    let source = serving.upload(&place.path("talk.mp4"));
    let new = json!({"source": source, "start": 4, "end": 6});
    let job = serving.call("POST", "/v1/jobs", Some(&new));
    let path = format!("{}/v1/jobs/{}", serving.url(), job["id"].as_str().unwrap());
    curl(&["--fail", "--header", "x-request-id: who-asks", &path]);
    let log = lines(&serving.terminate().good().err);
    let mut seen = BTreeSet::new();
    for line in &log {
        let Some(http) = span(line, "http").filter(|http| http["request_id"] == "who-asks") else {
            continue;
        };
        assert_eq!(http["job_id"], job["id"], "{line}");
        seen.insert(message(line));
        if let Some(call) = span(line, "db.call") {
            assert_eq!(call["job_id"], job["id"], "{line}");
        }
    }
    assert_eq!(seen, BTreeSet::from(["answered", "database call"]));
}

/// Every Rust file below a folder.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
}

/// The text up to where the parenthesis closes that has just been opened.
fn enclosed(text: &str) -> &str {
    let mut depth = 1;
    for (at, sign) in text.char_indices() {
        match sign {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return &text[..at];
        }
    }
    text
}

/// What the code raises, with its labels: each by its name, so that it can be found.
fn raised() -> BTreeSet<(String, &'static str, Vec<String>)> {
    let mut files = Vec::new();
    for name in [
        "clipbase",
        "clipbase-api",
        "clipbase-worker",
        "clipbase-cli",
    ] {
        sources(
            &workspace().join("crates").join(name).join("src"),
            &mut files,
        );
    }
    let mut raised = BTreeSet::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        for kind in [Kind::Counter, Kind::Gauge, Kind::Histogram] {
            let call = format!("metrics::{}!(", kind.as_str());
            for rest in text.split(&call).skip(1) {
                let inside = enclosed(rest);
                let name = inside.split('"').nth(1).unwrap_or_else(|| {
                    panic!("{}: a metric without its name: {inside}", file.display())
                });
                let before = inside.rsplit_once("=>").map_or("", |(before, _)| before);
                let labels = before.split("=>").filter_map(|before| {
                    let label = before.trim_end().strip_suffix('"')?;
                    Some(label.rsplit('"').next()?.to_owned())
                });
                raised.insert((name.to_owned(), kind.as_str(), labels.collect()));
            }
        }
    }
    raised
}

#[test]
fn the_tables_have_what_the_code_raises() {
    let told = table().into_iter().map(|metric| {
        let labels = metric.labels.iter().map(|label| (*label).to_owned());
        (
            metric.name.to_owned(),
            metric.kind.as_str(),
            labels.collect::<Vec<String>>(),
        )
    });
    let told: BTreeSet<_> = told.collect();
    assert_eq!(raised(), told);
}

#[test]
fn the_page_lists_every_metric_and_no_other() {
    let page = fs::read_to_string(workspace().join("docs/OPERATIONS.md")).unwrap();
    let (_, page) = page.split_once("\n## What to watch\n").unwrap();
    let (page, _) = page.split_once("\n## ").unwrap();
    let mut rows = Vec::new();
    for metric in table() {
        let labels = metric.labels.join(", ");
        let row = format!(
            "| `{}` | {} | {labels} | {} |",
            metric.name,
            metric.kind.as_str(),
            metric.help
        );
        assert!(
            page.lines().any(|line| line == row),
            "the page lacks: {row}"
        );
        rows.push(row);
    }
    let known = table();
    let is_word = |sign: char| sign.is_ascii_alphanumeric() || sign == '_';
    let named = page.split(|sign| !is_word(sign));
    for word in named.filter(|word| word.starts_with("clipbase_")) {
        let is_known = known.iter().any(|metric| {
            word == metric.name
                || (metric.kind == Kind::Histogram && word == format!("{}_bucket", metric.name))
        });
        assert!(is_known, "{word} is no metric");
    }
}
