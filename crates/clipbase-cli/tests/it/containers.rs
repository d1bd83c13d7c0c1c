//! `Dockerfile`, `compose.yaml` and what is written of them agree with the program, as far as that shows without Docker.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use clipbase_api::ApiOptions;
use clipbase_testkit::TestDatabase;
use serde_json::{Map, Value};

use crate::serving::{Serving, Watched, curl, output, succeeds};
use crate::support::{Answer, Place, answer};

/// The services that run the product, in the order in which they start.
const OURS: [&str; 4] = ["migrate", "bootstrap", "serve", "work"];
/// The port of a container, which the program listens on by default.
const PORT: &str = "8080";
/// The port of a worker's container, for its health check and its metrics.
const WORK_PORT: &str = "9464";

/// A file of the repository's root.
fn file(name: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    fs::read_to_string(root.join(name)).unwrap()
}

/// What Compose makes of `${NAME:-default}` where nothing is set; the names go into `asked`.
///
/// Another form fails the test: all must work without being set.
fn fill(text: &str, asked: &mut BTreeSet<String>) -> String {
    let Some((before, rest)) = text.split_once("${") else {
        return text.to_owned();
    };
    let mut depth = 1;
    let end = rest.bytes().position(|byte| {
        depth += i32::from(byte == b'{') - i32::from(byte == b'}');
        depth == 0
    });
    let (inner, after) = rest.split_at(end.unwrap());
    let (name, default) = inner.split_once(":-").unwrap();
    asked.insert(name.to_owned());
    before.to_owned() + &fill(default, asked) + &fill(&after[1..], asked)
}

fn fill_all(value: &mut Value, asked: &mut BTreeSet<String>) {
    match value {
        Value::String(text) => *text = fill(text, asked),
        Value::Array(list) => list.iter_mut().for_each(|inner| fill_all(inner, asked)),
        Value::Object(map) => map.values_mut().for_each(|inner| fill_all(inner, asked)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// `compose.yaml` as it is where nothing is set, and the variables that can be.
struct Compose {
    services: Map<String, Value>,
    asked: BTreeSet<String>,
}

impl Compose {
    fn read() -> Self {
        let mut asked = BTreeSet::new();
        let mut read: Value = serde_saphyr::from_str(&file("compose.yaml")).unwrap();
        fill_all(&mut read["services"], &mut asked);
        Self {
            services: read["services"].as_object().unwrap().clone(),
            asked,
        }
    }

    /// What `clipbase` is given.
    fn command(&self, service: &str) -> Vec<String> {
        texts(&self.services[service]["command"])
    }

    /// The environment of a service of ours, for a database of a test's.
    fn environment(&self, service: &str) -> Vec<(String, String)> {
        let variables = self.services[service]["environment"].as_object().unwrap();
        variables
            .iter()
            .filter(|(name, _)| *name != "DATABASE_URL")
            .map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned()))
            .collect()
    }

    /// The command of a service, on a test's database and in a test's folder.
    fn prepare(&self, place: &Place, service: &str, args: &[String]) -> Command {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let mut command = place.command(&args);
        command.envs(self.environment(service));
        command
    }

    /// Runs a command that ends by itself.
    fn run(&self, place: &Place, service: &str, args: &[String]) -> Answer {
        answer(self.prepare(place, service, args).spawn().unwrap()).good()
    }

    /// Runs the health check of a service that listens elsewhere here. Returns where.
    #[track_caller]
    fn is_healthy(&self, service: &str, port: &str, url: &str) -> String {
        let address = format!("127.0.0.1:{}", url.rsplit(':').next().unwrap());
        let check = texts(&self.services[service]["healthcheck"]["test"]);
        assert_eq!(check[0], "CMD");
        let asked = format!("127.0.0.1:{port}");
        assert!(check.iter().any(|word| word.contains(&asked)), "{check:?}");
        let check: Vec<String> = check[1..]
            .iter()
            .map(|word| word.replace(&asked, &address))
            .collect();
        succeeds(&output(Command::new(&check[0]).args(&check[1..])));
        address
    }

    fn seconds(&self, service: &str, name: &str) -> Duration {
        let text = self.services[service][name].as_str().unwrap();
        let (number, unit) = text.split_at(text.len() - 1);
        let unit = [("s", 1), ("m", 60)]
            .iter()
            .find(|(known, _)| *known == unit)
            .unwrap();
        Duration::from_secs(number.parse::<u64>().unwrap() * unit.1)
    }
}

fn texts(list: &Value) -> Vec<String> {
    let list = list.as_array().unwrap().iter();
    list.map(|text| text.as_str().unwrap().to_owned()).collect()
}

/// The same command on a free port.
fn anywhere(args: &[String], port: &str) -> Vec<String> {
    let named = format!("0.0.0.0:{port}");
    assert!(args.contains(&named), "{args:?}");
    let replaced = args.iter().map(|arg| arg.replace(&named, "0.0.0.0:0"));
    replaced.collect()
}

/// The value that follows a flag.
fn after<'a>(args: &'a [String], flag: &str) -> &'a str {
    let at = args.iter().position(|arg| arg == flag).unwrap();
    &args[at + 1]
}

/// The Dockerfile's instructions: the word and the rest, without comments and line ends.
fn dockerfile() -> Vec<(String, String)> {
    let lines: Vec<String> = file("Dockerfile")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(str::to_owned)
        .collect();
    let joined = lines.join("\n").replace("\\\n", " ");
    let instructions = joined.lines().filter_map(|line| line.split_once(' '));
    instructions
        .map(|(word, rest)| (word.to_owned(), rest.trim().to_owned()))
        .collect()
}

/// What follows each of these words in the Dockerfile.
fn said(word: &str) -> Vec<String> {
    let instructions = dockerfile().into_iter().filter(|(found, _)| found == word);
    instructions.map(|(_, rest)| rest).collect()
}

/// The words of the shell's commands that install packages, a list for each.
fn installed() -> Vec<Vec<String>> {
    let fonts = said("ARG").into_iter().find_map(|argument| {
        let value = argument.strip_prefix("FONTS=")?;
        Some(value.trim_matches('"').to_owned())
    });
    let fonts = fonts.unwrap();
    let runs = said("RUN");
    let lists = runs.iter().filter_map(|run| {
        let (_, list) = run.split_once("--no-install-recommends ")?;
        let list = list.split("&&").next()?.replace("$FONTS", &fonts);
        Some(list.split_whitespace().map(str::to_owned).collect())
    });
    lists.collect()
}

#[tokio::test]
async fn what_compose_starts_works_without_a_setting() {
    let mut place = Place::embedded();
    let database = TestDatabase::empty().await;
    place.url = Some(database.url());
    let compose = Compose::read();
    for service in ["migrate", "bootstrap"] {
        compose.run(&place, service, &compose.command(service));
    }

    let mut args = anywhere(&compose.command("serve"), PORT);
    args.push("--json".to_owned());
    let serve = Serving::of(&mut compose.prepare(&place, "serve", &args));
    let address = compose.is_healthy("serve", PORT, serve.address());

    let jobs = format!("http://{address}/v1/jobs");
    let status = ["--output", "/dev/null", "--write-out", "%{http_code}"];
    assert_eq!(curl(&[&status[..], &[&jobs]].concat()), "401");
    let create: Vec<String> = first_key().split_whitespace().map(str::to_owned).collect();
    let key = compose.run(&place, "serve", &create).out;
    let bearer = format!("authorization: Bearer {}", key.trim());
    let asked = [&status[..], &["--header", &bearer, &jobs]].concat();
    assert_eq!(curl(&asked), "200");
    serve.terminate().good();

    let args = anywhere(&compose.command("work"), WORK_PORT);
    let work = Watched::of(&mut compose.prepare(&place, "work", &args));
    compose.is_healthy("work", WORK_PORT, work.url());
    work.stop();
    database.drop_database().await;
}

/// The arguments of the command that makes the first key, as everybody is told to type it.
fn first_key() -> String {
    const TYPED: &str = "docker compose exec serve clipbase ";
    let documents = ["compose.yaml", "docs/OPERATIONS.md"].map(|name| {
        let text = file(name);
        let line = text.lines().find_map(|line| line.split_once(TYPED));
        line.unwrap().1.to_owned()
    });
    assert_eq!(documents[0], documents[1]);
    documents[0].clone()
}

#[test]
fn compose_names_what_the_program_and_its_image_have() {
    let compose = Compose::read();
    let ours: BTreeSet<&str> = compose
        .services
        .iter()
        .filter(|(_, service)| service["image"] == "clipbase")
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(ours, OURS.into_iter().collect());

    let known = include_str!("../../src/environment.rs");
    let mut named: BTreeSet<String> = OURS
        .iter()
        .flat_map(|service| compose.environment(service))
        .map(|(name, _)| name)
        .collect();
    let set = said("ENV");
    named.extend(set.iter().map(|set| set.split_once('=').unwrap().0.into()));
    named.insert("DATABASE_URL".to_owned());
    assert!(named.len() > 5, "{named:?}");
    for name in named {
        assert!(known.contains(&format!("(\"{name}\")")), "{name}");
    }

    let place = &said("VOLUME")[0];
    assert!(set.contains(&format!("CLIPBASE_DATA_DIR={place}")));
    for service in OURS {
        let volumes = texts(&compose.services[service]["volumes"]);
        assert_eq!(volumes, [format!("data:{place}")], "{service}");
    }
}

#[test]
fn the_bundled_database_is_the_one_that_is_asked_for() {
    let services = Compose::read().services;
    let made = |name: &str| services["postgres"]["environment"][format!("POSTGRES_{name}")].clone();
    let [user, password, database] = ["USER", "PASSWORD", "DB"].map(|name| {
        let value = made(name);
        value.as_str().unwrap().to_owned()
    });
    // Without the last word, a server by another name than localhost is asked for TLS.
    let url = format!("postgres://{user}:{password}@postgres:5432/{database}?sslmode=disable");
    for service in OURS {
        assert_eq!(services[service]["environment"]["DATABASE_URL"], url);
    }
}

#[test]
fn every_setting_of_compose_is_in_the_example_and_no_other() {
    let example = file(".env.example");
    let settings = example.lines().filter(|line| !line.starts_with('#'));
    let settings: BTreeSet<String> = settings
        .filter(|line| !line.is_empty())
        .map(|line| line.strip_suffix('=').unwrap().to_owned())
        .collect();
    assert_eq!(settings, Compose::read().asked);
}

#[test]
fn what_compose_opens_is_open_to_this_machine_alone() {
    let compose = Compose::read();
    let default = format!("[default: 127.0.0.1:{PORT}]");
    let mut help = Command::new(env!("CARGO_BIN_EXE_clipbase"));
    let help = Answer::of(&help.args(["serve", "--help"]).output().unwrap()).good();
    assert!(help.out.contains(&default), "{}", help.out);
    assert_eq!(said("EXPOSE"), [PORT]);

    let args = compose.command("serve");
    assert_eq!(after(&args, "--listen"), format!("0.0.0.0:{PORT}"));
    assert!(!args.iter().any(|arg| arg == "--allow-anonymous"));
    let published = after(&args, "--public-url").strip_prefix("http://");
    for (name, service) in &compose.services {
        let expected = if name == "serve" {
            Value::from(vec![format!("{}:{PORT}", published.unwrap())])
        } else {
            Value::Null
        };
        let ports = service.get("ports").cloned().unwrap_or_default();
        assert_eq!(ports, expected, "{name}");
    }
    assert!(published.unwrap().starts_with("127.0.0.1:"));
}

#[test]
fn nobody_is_stopped_before_the_time_that_was_promised() {
    let compose = Compose::read();
    let margin = Duration::from_secs(10);
    let grace = after(&compose.command("work"), "--grace").parse().unwrap();
    let grace = Duration::from_secs(grace) + margin;
    assert!(compose.seconds("work", "stop_grace_period") >= grace);
    let drain = ApiOptions::default().drain_timeout + margin;
    assert!(compose.seconds("serve", "stop_grace_period") >= drain);
}

#[test]
fn each_waits_for_what_it_needs() {
    let compose = Compose::read();
    let needs = |service: &str| compose.services[service]["depends_on"].clone();
    let completed =
        |name: &str| serde_json::json!({name: {"condition": "service_completed_successfully"}});
    let healthy = serde_json::json!({"postgres": {"condition": "service_healthy"}});
    assert_eq!(needs("migrate"), healthy);
    assert_eq!(needs("bootstrap"), completed("migrate"));
    assert_eq!(needs("serve"), completed("bootstrap"));
    assert_eq!(needs("work"), completed("bootstrap"));
}

#[test]
fn the_image_is_built_with_a_rust_that_will_do_and_for_the_debian_it_runs_on() {
    let images = said("FROM");
    let [build, run] = [0, 1].map(|stage| images[stage].split(' ').next().unwrap());
    let (version, debian) = build.rsplit_once(':').unwrap().1.split_once('-').unwrap();
    assert!(run.ends_with(&format!("/debian:{debian}-slim")), "{run}");
    let numbers = |version: &str| -> Vec<u32> {
        let parts = version.split('.');
        parts.map(|part| part.parse().unwrap()).collect()
    };
    assert!(numbers(version) >= numbers(env!("CARGO_PKG_RUST_VERSION")));
}

#[test]
fn the_image_has_the_programs_that_are_run_in_it() {
    let installed = installed();
    let always = &installed[0];
    // The same packages as without containers.
    let setup = file("scripts/setup");
    let (_, rest) = setup.split_once("deb-ffmpeg) packages+=(").unwrap();
    for package in rest.split(')').next().unwrap().split(' ') {
        assert!(always.iter().any(|has| has == package), "{package}");
    }
    let compose = Compose::read();
    for service in OURS {
        if let Some(check) = compose.services[service].get("healthcheck") {
            let program = &texts(&check["test"])[1];
            assert!(always.contains(program), "{program}");
        }
    }
    // The yt-dlp that the suite runs.
    let tools = file("scripts/requirements-test.txt");
    let ytdlp = tools.lines().find_map(|line| line.strip_prefix("yt-dlp=="));
    let ytdlp = format!("--build-arg YTDLP_VERSION={}", ytdlp.unwrap());
    for document in ["Dockerfile", "docs/OPERATIONS.md"] {
        assert!(file(document).contains(&ytdlp), "{document}: {ytdlp}");
    }
    assert!(said("ARG").contains(&"YTDLP_VERSION=\"\"".to_owned()));
}

#[test]
fn the_image_runs_the_command_as_nobody_special() {
    assert_eq!(said("ENTRYPOINT"), ["[\"clipbase\"]"]);
    assert_eq!(said("STOPSIGNAL"), ["SIGTERM"]);
    let user = said("USER");
    assert_eq!(user.len(), 1);
    let made = format!(" {} ", user[0]);
    let runs = said("RUN");
    assert!(
        runs.iter()
            .any(|run| run.contains("useradd ") && run.contains(&made))
    );
}

#[test]
fn the_build_reads_the_sources_and_nothing_else() {
    let ignored = file(".dockerignore");
    let rules: Vec<&str> = ignored
        .lines()
        .filter(|line| !line.starts_with('#'))
        .collect();
    // No .env, no .git, no target.
    assert_eq!(rules, ["*", "!Cargo.toml", "!Cargo.lock", "!crates"]);
    assert!(file("Cargo.toml").contains("\nmembers = [\"crates/*\"]\n"));
}
