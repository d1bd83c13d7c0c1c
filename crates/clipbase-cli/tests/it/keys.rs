//! `clipbase keys`, and `clipbase serve` with keys on.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Child;

use clipbase_testkit::TestDatabase;
use serde_json::{Value, json};

use crate::support::{Answer, Place, answer, signal};

const ON: [(&str, &str); 2] = [("ADMIN_ENABLED", "true"), ("API_KEY_AUTH", "true")];

/// On a database whose schema has no table of API keys.
async fn without_the_set() -> Place {
    let mut place = Place::embedded();
    let database = TestDatabase::empty().await;
    place.url = Some(database.url());
    place.database = Some(database);
    place.run(&["migrate"]).good();
    place
}

async fn drop_database(place: Place) {
    place.database.as_ref().unwrap().drop_database().await;
}

/// Runs `serve` with these settings to its end, which is a refusal.
fn serve(place: &Place, settings: &[(&str, &str)]) -> Answer {
    let mut command = place.command(&["serve", "--listen", "127.0.0.1:0"]);
    command.envs(settings.iter().copied());
    Answer::of(&command.output().unwrap())
}

/// A server with keys, open to more than this machine.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(place: &Place, args: &[&str]) -> Self {
        let listen = ["serve", "--listen", "0.0.0.0:0", "--json"];
        let args = [&listen[..], &["--public-url", "http://clips.example"]]
            .concat()
            .iter()
            .chain(args)
            .copied()
            .collect::<Vec<_>>();
        let mut child = place.command(&args).envs(ON).spawn().unwrap();
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut line).unwrap();
        let told: Value = serde_json::from_str(&line).unwrap();
        let address = told["data"]["address"].as_str().unwrap();
        let port = address.rsplit(':').next().unwrap();
        Self {
            address: format!("127.0.0.1:{port}"),
            child,
        }
    }

    /// The status that a read with this key is answered with.
    fn status(&self, path: &str, key: Option<&str>) -> u16 {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let credential = key.map(|key| format!("authorization: Bearer {key}\r\n"));
        let head = format!(
            "GET {path} HTTP/1.1\r\nhost: clips.example\r\nconnection: close\r\n{}\r\n",
            credential.unwrap_or_default()
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text.split(' ').nth(1).unwrap().parse().unwrap()
    }

    /// Stops it, and returns what it has logged.
    fn stop(self) -> String {
        signal("TERM", &self.child.id().to_string());
        answer(self.child).good().err
    }
}

#[tokio::test]
async fn keys_are_made_listed_rotated_and_revoked() {
    let place = Place::on_a_database().await;
    let made = place.run(&[
        "keys",
        "create",
        "--name",
        "dash\u{1b}board",
        "--scope",
        "jobs:read",
    ]);
    made.refused(3, "INVALID_INPUT");
    let made = place
        .run(&[
            "keys",
            "create",
            "--name",
            "dashboard",
            "--scope",
            "jobs:write",
            "--scope",
            "jobs:read",
            "--rate",
            "120",
        ])
        .good();
    // The key alone, to be piped; about it, beside it.
    let first = made.out.trim_end().to_owned();
    assert!(first.starts_with("cb_") && first.len() == 79, "{made:?}");
    assert!(!made.err.contains(&first), "{made:?}");
    for word in [
        "dashboard",
        "jobs:read jobs:write",
        "120",
        "will not be shown again",
    ] {
        assert!(made.err.contains(word), "{word}: {made:?}");
    }
    let listed = place.json(&["keys", "list"]);
    let row = &listed["keys"][0];
    assert_eq!(
        (&row["name"], &row["is_active"]),
        (&json!("dashboard"), &json!(true))
    );
    assert_eq!(row["scopes"], json!(["jobs:read", "jobs:write"]));
    let id = row["id"].as_str().unwrap().to_owned();
    assert_eq!(first[3..35], id.replace('-', ""));

    let second = place.json(&["keys", "rotate", &id, "--grace", "1h"]);
    assert_ne!(second["plain_key"], json!(first));
    assert_eq!(second["api_key"]["rate_limit_per_min"], 120);
    let human = place.run(&["keys", "list"]).good().out;
    assert!(human.starts_with("KEY"), "{human}");
    assert!(
        human.contains("active until") && human.contains("never"),
        "{human}"
    );
    assert!(!human.contains("cb_"), "{human}");

    let next = read_pages(&place, &[second["api_key"]["id"].as_str().unwrap(), &id]);
    refuse_what_cannot_be(&place, &id, &next);
    drop_database(place).await;
}

/// Reads the list key by key, and returns where its second page starts.
fn read_pages(place: &Place, ids: &[&str; 2]) -> String {
    let page = place.json(&["keys", "list", "--limit", "1"]);
    let next = page["next"].as_str().unwrap().to_owned();
    assert_eq!(page["keys"][0]["id"], ids[0]);
    let page = place.json(&["keys", "list", "--limit", "1", "--after", &next]);
    assert_eq!(
        (&page["keys"][0]["id"], &page["next"]),
        (&json!(ids[1]), &Value::Null)
    );
    next
}

/// A revoked key stays so, and bad words are named.
fn refuse_what_cannot_be(place: &Place, id: &str, active: &str) {
    let told = place.run(&["keys", "revoke", id]).good().out;
    assert_eq!(told, format!("{id}  revoked\n"));
    place.run(&["keys", "rotate", id]).refused(7, "NOT_FOUND");
    place
        .run(&["keys", "rotate", active, "--grace", "31d"])
        .refused(3, "INVALID_INPUT");
    let absent = "0198c0de-0000-7000-8000-000000000000";
    place
        .run(&["keys", "revoke", absent])
        .refused(7, "NOT_FOUND");
    // Wrong usage: no scope, and none that there is.
    assert_eq!(place.run(&["keys", "create", "--name", "x"]).code, 2);
    let unknown = place.run(&["keys", "create", "--name", "x", "--scope", "root"]);
    assert!(
        unknown.code == 2 && unknown.err.contains("jobs:read"),
        "{unknown:?}"
    );
}

#[tokio::test]
async fn without_the_table_nothing_works_and_the_way_out_is_told() {
    let place = without_the_set().await;
    for answer in [
        place.run(&["keys", "list"]),
        place.run(&["keys", "create", "--name", "x", "--scope", "admin"]),
        serve(&place, &ON),
    ] {
        answer.refused(8, "SCHEMA_MISMATCH");
        assert!(
            answer.err.contains("clipbase migrate --api-keys"),
            "{answer:?}"
        );
    }
    let status = place.json(&["migrate", "--status", "--api-keys"]);
    let pending = status.as_array().unwrap().iter();
    let pending: Vec<&Value> = pending.filter(|file| file["is_applied"] == false).collect();
    assert!(!pending.is_empty(), "{status}");
    let applied = place.json(&["migrate", "--api-keys"]);
    assert_eq!(applied["applied"].as_array().unwrap().len(), pending.len());
    assert_eq!(place.json(&["keys", "list"])["keys"], json!([]));
    assert_eq!(place.json(&["migrate"])["applied"], json!([]));
    drop_database(place).await;
}

#[tokio::test]
async fn half_a_setting_is_refused_and_serves_nobody() {
    let place = Place::on_a_database().await;
    for (settings, named) in [
        (&[("API_KEY_AUTH", "true")][..], "ADMIN_ENABLED"),
        (
            &[("API_KEY_AUTH", "true"), ("ADMIN_ENABLED", "false")],
            "ADMIN_ENABLED",
        ),
        (
            &[("API_KEY_AUTH", "yes"), ("ADMIN_ENABLED", "true")],
            "API_KEY_AUTH",
        ),
        (
            &[("ADMIN_ENABLED", "1"), ("API_KEY_AUTH", "true")],
            "ADMIN_ENABLED",
        ),
    ] {
        let answer = serve(&place, settings);
        answer.refused(4, "CONFIG_INVALID");
        assert!(answer.err.contains(named), "{answer:?}");
    }
    // Without keys it does not leave this machine.
    let mut open = place.command(&["serve", "--listen", "0.0.0.0:0"]);
    let open = Answer::of(&open.env("ADMIN_ENABLED", "true").output().unwrap());
    assert!(
        open.code == 4 && open.err.contains("[CONFIG_INVALID]"),
        "{open:?}"
    );
    drop_database(place).await;
}

#[tokio::test]
async fn a_server_with_keys_is_open_to_those_who_have_one() {
    let place = Place::on_a_database().await;
    place.run(&["bootstrap"]).good();
    let make = |scope: &str| {
        let made = place.json(&["keys", "create", "--name", scope, "--scope", scope]);
        made["plain_key"].as_str().unwrap().to_owned()
    };
    let (reader, admin) = (make("jobs:read"), make("admin"));
    let server = Server::start(&place, &[]);
    assert_eq!(server.status("/healthz", None), 200);
    assert_eq!(server.status("/v1/jobs", None), 401);
    assert_eq!(server.status("/v1/jobs", Some(&reader)), 200);
    assert_eq!(server.status("/v1/keys", Some(&reader)), 403);
    assert_eq!(server.status("/v1/keys", Some(&admin)), 200);
    let keys = place.json(&["keys", "list"]);
    let id = keys["keys"][1]["id"].as_str().unwrap();
    place.run(&["keys", "revoke", id]).good();
    assert_eq!(server.status("/v1/jobs", Some(&reader)), 401);
    let log = server.stop();
    for key in [&reader, &admin] {
        assert!(!log.contains(&key[36..]), "a secret is logged");
    }
    drop_database(place).await;
}

#[tokio::test]
async fn dev_makes_the_table_where_keys_are_on() {
    let place = without_the_set().await;
    let server = Server::start(&place, &["--dev"]);
    assert_eq!(server.status("/v1/jobs", None), 401);
    let made = place.json(&["keys", "create", "--name", "x", "--scope", "jobs:read"]);
    assert_eq!(server.status("/v1/jobs", made["plain_key"].as_str()), 200);
    server.stop();
    drop_database(place).await;
}
