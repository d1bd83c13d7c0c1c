//! The API keeps to its document whatever it is sent: schemathesis makes the requests and judges the answers.
//!
//! Half of what it asks for is made up; the other half is there: jobs in each state, uploads, signed links. So every
//! operation is judged by what it answers when all is well, too. `scripts/setup --test` installs it below
//! `target/tools`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::serving::{Serving, output, succeeds};
use crate::support::{Gate, Place, Stop};

/// Every check there is, the same requests each time.
///
/// A request that fits the schema may still be refused where no schema can say why: an end before its start, a cursor
/// of no list (422), a signature that was made up (403), a job that is not there (404) or in another state (409), a
/// part that a file does not have (416).
const CONFIG: &str = r#"
seed = 1
request-timeout = 20
hooks = "hooks.py"
[generation]
max-examples = 30
database = "none"
[checks]
positive_data_acceptance.expected-statuses = ["2xx", 403, 404, 409, 416, 422]
"#;

/// Left out: it streams for an hour, and a request of it would never be answered. `dashboard` follows it.
const STREAM: &str = "/v1/live";

/// How many jobs wait to be cancelled, to be retried and to be deleted: each of them once.
const EACH: usize = 4;

#[tokio::test]
async fn the_api_keeps_to_its_document() {
    let place = Place::on_a_database().await;
    let gate = Gate::new(&place, Stop::Before);
    let serving = Serving::start(&place, &[], Some(gate.program()));
    let material = material(&place, &gate, &serving).await;
    let file = |name: &str, text: &str| {
        let path = place.path("data").join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let config = file("schemathesis.toml", CONFIG);
    file("hooks.py", include_str!("../conformance/hooks.py"));
    let tally = file("tally", "");
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools/bin");
    let mut schemathesis = Command::new(tools.join("schemathesis"));
    schemathesis
        .current_dir(place.path("data"))
        .env("MATERIAL", file("material.json", &material.to_string()))
        .env("TALLY", &tally)
        .arg("--config-file")
        .arg(&config)
        .args(["run", "--no-color", "--exclude-path", STREAM])
        .args(["--phases", "examples,coverage,fuzzing"])
        .arg(format!("{}/openapi.json", serving.url()));
    let said = succeeds(&output(&mut schemathesis));
    // All but the stream were reached.
    assert!(said.contains("Selected: 19/20"), "{said}");
    assert!(said.contains("Tested: 19"), "{said}");
    let answers = answers(&fs::read_to_string(tally).unwrap());
    assert_eq!(answers.len(), 19, "{answers:#?}");
    let never: Vec<_> = answers.iter().filter(|(_, (good, _))| *good == 0).collect();
    assert!(never.is_empty(), "never answered well: {never:#?}");
    let (good, all) = answers
        .values()
        .fold((0, 0), |sum, next| (sum.0 + next.0, sum.1 + next.1));
    assert!(
        4 * good >= all,
        "{good} of {all} answered well: {answers:#?}"
    );
    serving.terminate().good();
}

/// How many answers each operation gave, and how many of them were successes: the latter first.
fn answers(tally: &str) -> BTreeMap<String, (u32, u32)> {
    let mut answers = BTreeMap::new();
    for line in tally.lines() {
        let (operation, status) = line.split_once('\t').unwrap();
        let (good, all) = answers.entry(operation.to_owned()).or_insert((0, 0));
        *good += u32::from(status.starts_with('2'));
        *all += 1;
    }
    answers
}

/// What there is to ask for, by operation. Nothing is worked on any more when this returns.
async fn material(place: &Place, gate: &Gate, serving: &Serving) -> Value {
    let source = serving.upload(&place.path("talk.mp4"));
    let new = |source: &Value| json!({"source": source, "start": 4, "end": 5, "subtitles": true});
    let make = |source: &Value| {
        let made = serving.call("POST", "/v1/jobs", Some(&new(source)));
        made["id"].as_str().unwrap().to_owned()
    };
    let act = |id: &str, verb: &str| serving.call("POST", &format!("/v1/jobs/{id}/{verb}"), None);
    let result = |id: &str| serving.call("GET", &format!("/v1/jobs/{id}/result"), None);

    // The second attempt of a job makes its clip, so that it lies in a folder of its own.
    let later = make(&source);
    gate.reached().await;
    act(&later, "cancel");
    serving.follow(&later);
    fs::write(gate.opening(), "").unwrap();
    act(&later, "retry");
    serving.follow(&later);
    let again = json!({"job": &later});
    let done = make(&again);
    serving.follow(&done);
    fs::remove_file(gate.opening()).unwrap();
    // The worker's hands are full with the first of these.
    let ids = |count: usize| -> Vec<String> { (0..count).map(|_| make(&again)).collect() };
    let waiting = ids(2);
    let (failed, to_cancel, to_delete) = (ids(EACH + 1), ids(EACH), ids(EACH));
    for id in &failed {
        act(id, "cancel");
    }
    let uploads: Vec<Value> = (0..EACH)
        .map(|_| serving.upload(&place.path("talk.mp4")))
        .collect();
    let link = json!({"extension": "mp4"});
    let announced = serving.call("POST", "/v1/uploads", Some(&link));

    let path = |id: &String| json!({"path": {"id": id}});
    let paths = |ids: &[String]| ids.iter().map(path).collect::<Vec<_>>();
    let every = [&waiting[..], &failed[..1], std::slice::from_ref(&done)].concat();
    // An upload makes one job; a job's source makes any number.
    let bodies = uploads.iter().flat_map(|upload| [&again, upload]);
    let bodies: Vec<Value> = bodies.map(|source| json!({"body": new(source)})).collect();
    let (first, second) = (result(&done), result(&later));
    let known = [
        ("POST /v1/jobs", bodies),
        ("GET /v1/jobs/{id}", paths(&every)),
        ("GET /v1/jobs/{id}/events", paths(&[done.clone(), later])),
        ("GET /v1/jobs/{id}/result", paths(&[done])),
        ("POST /v1/jobs/{id}/cancel", paths(&to_cancel)),
        ("POST /v1/jobs/{id}/retry", paths(&failed[1..])),
        ("DELETE /v1/jobs/{id}", paths(&to_delete)),
        (
            "GET /storage/v1/object/sign/{bucket}/{job}/{file}",
            vec![signed(&first["video"]), signed(&first["subtitles"])],
        ),
        (
            "GET /storage/v1/object/sign/{bucket}/{job}/{lease}/{file}",
            vec![signed(&second["video"])],
        ),
        (
            "PUT /storage/v1/object/upload/sign/{bucket}/{job}/{file}",
            vec![signed(&announced)],
        ),
    ];
    known.into_iter().collect()
}

/// What a signed link is made of.
fn signed(view: &Value) -> Value {
    let (_, link) = view["url"].as_str().unwrap().split_once("/sign/").unwrap();
    let (path, token) = link.split_once("?token=").unwrap();
    let parts: Vec<&str> = path.split('/').collect();
    let path = match parts[..] {
        [bucket, job, file] => json!({"bucket": bucket, "job": job, "file": file}),
        [bucket, job, lease, file] => {
            json!({"bucket": bucket, "job": job, "lease": lease, "file": file})
        }
        _ => panic!("{path}"),
    };
    json!({"path": path, "query": {"token": token}})
}
