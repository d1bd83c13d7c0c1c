//! A Supabase project's storage behind the command: the buckets, the credential, the main job, and silence
//! about secrets.

use std::fs;
use std::process::Command;

use clipbase_testkit::fake_supabase::{BucketSettings, Call, FakeSupabase, Fault, Rule};
use serde_json::Value;

use crate::support::{Answer, Place, duration};

pub(crate) const MARKER: &str = ".clipbase-installation";
const CLIP: [&str; 7] = ["clip", "talk.mp4", "--start", "1", "--end", "2", "--json"];

/// A place whose files lie in a storage server.
pub(crate) struct Cloud {
    pub(crate) place: Place,
    pub(crate) server: FakeSupabase,
    key: String,
}

impl Cloud {
    pub(crate) async fn new() -> Self {
        let server = FakeSupabase::start().await;
        Self {
            place: Place::on_a_database().await,
            key: server.service_key().to_owned(),
            server,
        }
    }

    /// With its buckets.
    pub(crate) async fn ready() -> Self {
        let cloud = Self::new().await;
        cloud.run(&["bootstrap"]).good();
        cloud
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = self.place.command(args);
        command
            .env("SUPABASE_STORAGE_URL", self.server.url())
            .env("SUPABASE_SERVICE_ROLE_KEY", &self.key);
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Answer {
        self.run_with(args, &[])
    }

    pub(crate) fn run_with(&self, args: &[&str], variables: &[(&str, &str)]) -> Answer {
        let mut command = self.command(args);
        Answer::of(&command.envs(variables.iter().copied()).output().unwrap())
    }

    #[track_caller]
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let args: Vec<&str> = args.iter().copied().chain(["--json"]).collect();
        self.run(&args).data()
    }

    /// The objects of both buckets, bucket first; not the installation's marks.
    pub(crate) fn objects(&self) -> Vec<String> {
        let in_bucket = |bucket: &str| {
            let objects = self.server.objects(bucket).into_iter();
            let named = objects.filter(|object| !object.path.ends_with(MARKER));
            named
                .map(|object| format!("{bucket}/{}", object.path))
                .collect::<Vec<_>>()
        };
        ["results", "sources"]
            .into_iter()
            .flat_map(in_bucket)
            .collect()
    }

    /// Creates a job, and returns its id.
    #[track_caller]
    pub(crate) fn job(&self) -> String {
        let job = self.json(&["jobs", "create", "talk.mp4", "--start", "1", "--end", "2"]);
        job["id"].as_str().unwrap().to_owned()
    }
}

/// The finding of `doctor` about one thing: its state and its text.
fn finding<'a>(checks: &'a Value, name: &str) -> Vec<(&'a str, &'a str)> {
    let checks = checks.as_array().unwrap().iter();
    checks
        .filter(|check| check["name"] == name)
        .map(|check| {
            let text = |field: &str| check[field].as_str().unwrap();
            (text("state"), text("finding"))
        })
        .collect()
}

#[tokio::test]
async fn bootstrap_makes_the_buckets_and_proves_the_key_as_often_as_wanted() {
    let cloud = Cloud::new().await;
    let first = cloud.run(&["bootstrap"]).good();
    assert!(first.out.ends_with("\nready\n"), "{first:#?}");
    for bucket in ["sources", "results"] {
        let row = first.out.lines().find(|line| line.starts_with(bucket));
        let words: Vec<&str> = row.unwrap().split_whitespace().collect();
        let expected = format!("{bucket} made write, read, sign, sign upload, list, delete");
        assert_eq!(words.join(" "), expected);
        assert!(!cloud.server.bucket(bucket).unwrap().public);
    }
    // The probes are gone.
    assert!(cloud.objects().is_empty(), "{:?}", cloud.objects());

    let again = cloud.json(&["bootstrap"]);
    assert_eq!(again["adopted"], false);
    for bucket in again["buckets"].as_array().unwrap() {
        assert_eq!(bucket["is_new"], false, "{again}");
        assert_eq!(bucket["drift"], Value::Array(Vec::new()), "{again}");
    }
    let steps = again["probe"].as_array().unwrap();
    assert_eq!(steps.len(), 12);
    assert!(steps.iter().all(|step| step["ok"] == true), "{again}");

    let mark = cloud.server.content("results", MARKER).unwrap();
    let adopted = cloud.run(&["bootstrap", "--adopt"]).good();
    assert!(adopted.out.ends_with("belong to this database now\n"));
    assert_ne!(cloud.server.content("results", MARKER).unwrap(), mark);
    cloud.run(&["bootstrap"]).good();
}

#[tokio::test]
async fn a_project_is_named_by_its_own_address_and_an_opaque_key() {
    let cloud = Cloud::new().await;
    let base = cloud.server.url();
    let project = base.strip_suffix("/storage/v1").unwrap();
    let mut bootstrap = cloud.place.command(&["bootstrap", "--json"]);
    bootstrap
        .env("SUPABASE_URL", project)
        .env("SUPABASE_SERVICE_ROLE_KEY", cloud.server.secret_key());
    // The server in a project's place stands behind a gateway that puts a token where the opaque key was.
    let made = Answer::of(&bootstrap.output().unwrap()).data();
    assert_eq!(made["buckets"][0]["is_new"], true);
    assert_eq!(cloud.server.objects("results").len(), 1);
}

#[tokio::test]
async fn a_key_that_may_not_do_its_work_is_told_with_the_step_that_fails() {
    let mut cloud = Cloud::new().await;
    let service = cloud.key.clone();
    let powerless = cloud.server.powerless_key().to_owned();
    cloud.key = powerless;
    let refused = cloud.run(&["bootstrap"]);
    refused.refused(4, "STORAGE_FORBIDDEN");
    assert!(
        refused.err.contains("make or mend the buckets"),
        "{refused:#?}"
    );
    assert!(cloud.server.bucket("sources").is_none());

    // One that may do everything but sign upload links.
    cloud.key = service;
    let forbidden = Fault::refusal(403, "AccessDenied");
    cloud.server.fail(Rule::always(Call::SignUpload, forbidden));
    let refused = cloud.run(&["bootstrap"]);
    assert_eq!(refused.code, 4, "{refused:#?}");
    assert!(refused.err.contains("\"sign upload\""), "{refused:#?}");
    assert!(refused.err.ends_with("[STORAGE_FORBIDDEN]\n"));
    assert!(!refused.out.contains("ready"), "{refused:#?}");
    let json = cloud.run(&["bootstrap", "--json"]);
    let envelope = json.envelope();
    assert_eq!((json.code, json.err.as_str()), (4, ""));
    assert_eq!(envelope["ok"], false);
    assert_eq!(envelope["code"], "STORAGE_FORBIDDEN");
    let steps = envelope["data"]["probe"].as_array().unwrap();
    let bad: Vec<&Value> = steps.iter().filter(|step| step["ok"] == false).collect();
    assert_eq!(bad.len(), 2, "{envelope}");
    for step in bad {
        assert_eq!(step["step"], "sign upload");
        assert_eq!(step["code"], "STORAGE_FORBIDDEN");
    }
    // Nothing is tied to a storage that cannot be worked with.
    assert!(cloud.server.object("sources", MARKER).is_none());
    assert!(cloud.objects().is_empty());

    cloud.server.clear_faults();
    cloud.key = cloud.server.expired_key().to_owned();
    cloud.run(&["bootstrap"]).refused(4, "STORAGE_FORBIDDEN");
}

#[tokio::test]
async fn a_public_bucket_is_told_and_mended_when_asked() {
    let cloud = Cloud::ready().await;
    let public = BucketSettings {
        public: true,
        ..BucketSettings::default()
    };
    cloud.server.set_bucket("results", public);
    let told = cloud.run(&["bootstrap"]).good();
    assert!(told.out.contains("is public: anyone may read it"));
    assert!(told.out.contains("`clipbase bootstrap --mend`"));
    assert!(cloud.server.bucket("results").unwrap().public);
    let checks = cloud.json(&["doctor"]);
    let [(state, text)] = finding(&checks, "buckets")[..] else {
        panic!("{checks}");
    };
    assert_eq!(state, "note");
    assert!(text.starts_with("results is public"), "{text}");

    let mended = cloud.run(&["bootstrap", "--mend"]).good();
    assert!(!mended.out.contains("public"), "{mended:#?}");
    assert!(!cloud.server.bucket("results").unwrap().public);

    let limit = [("CLIPBASE_BUCKET_MAX_BYTES", "1000000")];
    let told = cloud.run_with(&["bootstrap"], &limit).good();
    assert!(told.out.contains("another size limit"), "{told:#?}");
    let told = cloud.run_with(&["bootstrap", "--mend"], &limit).good();
    assert!(!told.out.contains("size limit"), "{told:#?}");
    let bucket = cloud.server.bucket("sources").unwrap();
    assert_eq!(bucket.file_size_limit, Some(1_000_000));
}

#[tokio::test]
async fn doctor_tries_the_storage_and_leaves_nothing_in_it() {
    let cloud = Cloud::new().await;
    let missing = cloud.run(&["doctor", "--json"]);
    assert_eq!(missing.code, 1, "{missing:#?}");
    let envelope = missing.envelope();
    assert_eq!(envelope["code"], "UNHEALTHY");
    let storage = finding(&envelope["data"], "storage");
    assert_eq!(storage.len(), 2);
    for (state, text) in storage {
        assert_eq!(state, "bad");
        assert!(text.ends_with("run `clipbase bootstrap`"), "{text}");
    }
    // Asking has made none.
    assert!(cloud.server.bucket("sources").is_none());

    cloud.run(&["bootstrap"]).good();
    let good = cloud.run(&["doctor"]).good();
    assert!(!good.out.contains("BAD"), "{good:#?}");
    for line in [
        "sources in Supabase Storage: stored, read, signed, listed and removed",
        "private, and as configured",
    ] {
        assert!(good.out.contains(line), "{good:#?}");
    }
    assert!(cloud.objects().is_empty());
}

#[tokio::test]
async fn objects_in_the_other_layout_are_told_and_work_when_it_is_set() {
    let cloud = Cloud::ready().await;
    let path = "results/0198c0de-0000-7000-8000-000000000001/clip.mp4";
    cloud.server.put_object("results", path, "a clip");
    let told = cloud.run(&["doctor", "--json"]);
    assert_eq!(told.code, 1, "{told:#?}");
    let envelope = told.envelope();
    let [(state, text)] = finding(&envelope["data"], "key layout")[..] else {
        panic!("{envelope}");
    };
    assert_eq!(state, "bad");
    assert!(text.ends_with("set CLIPBASE_KEY_LAYOUT=literal to work with them"));

    let literal = [("CLIPBASE_KEY_LAYOUT", "literal")];
    cloud.run_with(&["bootstrap"], &literal).good();
    let good = cloud.run_with(&["doctor"], &literal).good();
    assert!(good.out.contains("ok  key layout"), "{good:#?}");
    let made = cloud.run_with(&CLIP, &literal).data();
    let key = made["job"]["result_video_key"].as_str().unwrap();
    assert!(cloud.server.object("results", key).is_some(), "{key}");
}

#[tokio::test]
async fn a_clip_goes_the_whole_way_through_the_storage() {
    let cloud = Cloud::new().await;
    let done = cloud.run(&CLIP).data();
    let job = done["job"]["id"].as_str().unwrap();
    assert_eq!(done["job"]["status"], "done");
    let (video, source) = (format!("{job}/clip.mp4"), format!("{job}/source.mp4"));
    assert_eq!(
        cloud.objects(),
        [format!("results/{video}"), format!("sources/{source}")]
    );
    let copied = fs::read(cloud.place.path("talk-clip.mp4")).unwrap();
    assert_eq!(cloud.server.content("results", &video).unwrap(), copied);
    let talk = fs::read(cloud.place.path("talk.mp4")).unwrap();
    assert_eq!(cloud.server.content("sources", &source).unwrap(), talk);
    assert!((duration(&cloud.place.path("talk-clip.mp4")) - 1.0).abs() < 0.1);
    let stored = cloud.server.object("results", &video).unwrap();
    assert_eq!(stored.content_type, "video/mp4");
    assert!(cloud.place.objects().is_empty(), "nothing lies here");
    cloud.place.assert_tidy();

    fs::remove_file(cloud.place.path("talk-clip.mp4")).unwrap();
    assert_eq!(cloud.run(&CLIP).data()["was_done_before"], true);
    assert_eq!(fs::read(cloud.place.path("talk-clip.mp4")).unwrap(), copied);
    cloud.run(&["doctor"]).good();
}

#[tokio::test]
async fn nothing_secret_is_printed_however_much_is_logged() {
    let cloud = Cloud::new().await;
    let seen = cloud.run_with(&CLIP, &[("CLIPBASE_LOG", "trace")]);
    assert_eq!(seen.code, 0, "{}", seen.err);
    assert!(seen.err.contains("TRACE"), "the log is there");
    let text = format!("{}{}", seen.out, seen.err);
    let mut secrets = vec![
        cloud.key.clone(),
        "canary".to_owned(),
        "token=".to_owned(),
        "Bearer".to_owned(),
        cloud.server.url(),
        "/storage/v1".to_owned(),
        cloud.place.url.clone().unwrap(),
    ];
    // Addresses of objects, as they went over the wire.
    let requests = cloud.server.requests();
    assert!(requests.len() > 10);
    secrets.extend(requests.into_iter().map(|request| request.target));
    for secret in secrets {
        assert!(!text.contains(&secret), "{secret} in {text}");
    }
    for bucket in ["sources", "results"] {
        assert!(!seen.err.contains(bucket), "{bucket} in {}", seen.err);
    }
}

#[test]
fn settings_that_make_no_sense_are_refused_by_name_alone() {
    let place = Place::embedded();
    let url = ("SUPABASE_STORAGE_URL", "https://canary.example/storage/v1");
    let project = ("SUPABASE_URL", "https://canary.example");
    let key = ("SUPABASE_SERVICE_ROLE_KEY", "canary-key");
    let refused = |variables: &[(&str, &str)], name: &str| {
        let mut command = place.command(&["stats"]);
        // It is never asked.
        command.env("DATABASE_URL", "postgresql://127.0.0.1:1/none");
        command.envs(variables.iter().copied());
        let answer = Answer::of(&command.output().unwrap());
        answer.refused(4, "CONFIG_INVALID");
        assert!(answer.err.contains(name), "{name}: {answer:#?}");
        assert!(!answer.err.contains("canary"), "{answer:#?}");
    };
    refused(&[url], "SUPABASE_SERVICE_ROLE_KEY");
    refused(&[project], "SUPABASE_SERVICE_ROLE_KEY");
    refused(&[key], "SUPABASE_URL");
    for (name, value) in [
        ("SUPABASE_STORAGE_URL", "canary"),
        ("SUPABASE_STORAGE_URL", "ftp://canary/storage/v1"),
        ("SUPABASE_STORAGE_URL", "https://me:canary@example"),
        ("SUPABASE_UPLOAD_URL", "https://example/?canary"),
        ("SUPABASE_PUBLIC_URL", "https://canary host"),
        ("SUPABASE_SERVICE_ROLE_KEY", "canary\nkey"),
        ("SUPABASE_SERVICE_ROLE_KEY", "\"canary\" "),
        ("SUPABASE_KEY_HEADERS", "canary"),
        ("SUPABASE_TIMEOUT", "canary"),
        ("SUPABASE_TIMEOUT", "0"),
        ("SUPABASE_READ_TIMEOUT", "7200"),
        ("CLIPBASE_KEY_LAYOUT", "canary"),
        ("CLIPBASE_BUCKET_MAX_BYTES", "5 canary"),
        ("CLIPBASE_BUCKET_MAX_BYTES", "0"),
        ("CLIPBASE_BUCKET_SOURCE_TYPES", "canary"),
        ("CLIPBASE_BUCKET_RESULT_TYPES", "video/canary"),
        ("SUPABASE_ROOT_CERT", "/canary.pem"),
        ("CLIPBASE_KEEP_DONE", "canary"),
        ("CLIPBASE_KEEP_FAILED", "0s"),
        ("CLIPBASE_KEEP_SOURCES", "canary days"),
    ] {
        // A later setting of a variable takes the place of an earlier one.
        refused(&[url, key, (name, value)], name);
    }
    refused(&[project, key, ("SUPABASE_URL", "canary")], "SUPABASE_URL");
    refused(
        &[key, ("SUPABASE_URL", "https://canary.example/storage/v1")],
        "SUPABASE_URL",
    );
}
