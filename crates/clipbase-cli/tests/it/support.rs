//! A folder of its own for each test, a sample video, and short words for running the command.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::LazyLock;

use clipbase_testkit::{TestDatabase, pooler, wait_until};
use serde_json::Value;

/// Where the programs are on every machine that runs these tests.
pub(crate) const SEARCH_PATH: &str = "/usr/local/bin:/usr/bin:/bin:/opt/homebrew/bin";

/// The sample that `scripts/make-sample` makes: 20 s, a keyframe every 2 s, an English and a German text track.
static SAMPLE: LazyLock<PathBuf> = LazyLock::new(|| {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/make-sample");
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let made = folder.path().join("sample.mp4");
    assert!(Command::new(script).arg(&made).status().unwrap().success());
    let sample = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cli-sample.mp4");
    fs::rename(made, &sample).unwrap();
    sample
});

/// A folder with the sample as `talk.mp4`, a data directory, and maybe a database.
pub(crate) struct Place {
    folder: tempfile::TempDir,
    pub(crate) database: Option<TestDatabase>,
    pub(crate) url: Option<String>,
}

/// What a run of the command answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Answer {
    pub(crate) fn of(output: &Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout.clone()).unwrap(),
            err: String::from_utf8(output.stderr.clone()).unwrap(),
        }
    }

    #[track_caller]
    pub(crate) fn good(self) -> Self {
        assert_eq!(self.code, 0, "{self:#?}");
        self
    }

    /// The envelope's data.
    #[track_caller]
    pub(crate) fn data(self) -> Value {
        let envelope = self.good().envelope();
        assert_eq!(envelope["ok"], true);
        envelope["data"].clone()
    }

    #[track_caller]
    pub(crate) fn envelope(&self) -> Value {
        assert_eq!(self.out.lines().count(), 1, "{self:#?}");
        serde_json::from_str(&self.out).unwrap()
    }

    /// Checks that this is a refusal in one line, with this exit code and error code.
    #[track_caller]
    pub(crate) fn refused(&self, exit: i32, code: &str) {
        assert_eq!(self.code, exit, "{self:#?}");
        assert_eq!(self.out, "", "{self:#?}");
        let line = self.err.trim_end();
        assert_eq!(line.lines().count(), 1, "{self:#?}");
        assert!(line.starts_with("error: "), "{self:#?}");
        assert!(line.ends_with(&format!("[{code}]")), "{self:#?}");
    }
}

impl Place {
    /// On a private server of its own.
    pub(crate) fn embedded() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("clipbase-cli-")
            .permissions(fs::Permissions::from_mode(0o755))
            .tempdir_in("/tmp")
            .unwrap();
        fs::copy(&*SAMPLE, folder.path().join("talk.mp4")).unwrap();
        Self {
            folder,
            database: None,
            url: None,
        }
    }

    /// On a migrated database of the test server's.
    pub(crate) async fn on_a_database() -> Self {
        let mut place = Self::embedded();
        let database = TestDatabase::new().await;
        place.url = Some(database.url());
        place.database = Some(database);
        place
    }

    /// As [`Place::on_a_database`], through PgBouncer in transaction mode.
    pub(crate) async fn on_a_pooler() -> Self {
        let mut place = Self::on_a_database().await;
        place.url = place.database.as_ref().map(pooler::url);
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_clipbase"));
        command
            .args(args)
            .current_dir(self.folder.path())
            .env_clear()
            .env("PATH", SEARCH_PATH)
            .env("CLIPBASE_DATA_DIR", self.path("data"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(url) = &self.url {
            command.env("DATABASE_URL", url);
        }
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Answer {
        Answer::of(&self.command(args).output().unwrap())
    }

    /// The data that a command answers with `--json`.
    #[track_caller]
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let args: Vec<&str> = args.iter().copied().chain(["--json"]).collect();
        self.run(&args).data()
    }

    /// Every job, newest first.
    pub(crate) fn jobs(&self) -> Vec<Value> {
        let page = self.json(&["jobs", "list", "--limit", "1000"]);
        assert_eq!(page["next"], Value::Null);
        page["jobs"].as_array().unwrap().clone()
    }

    #[track_caller]
    pub(crate) fn only_job(&self) -> Value {
        let jobs = self.jobs();
        assert_eq!(jobs.len(), 1, "{jobs:#?}");
        jobs[0].clone()
    }

    /// The types of a job's events, which are numbered without a gap.
    #[track_caller]
    pub(crate) fn events(&self, job: &Value) -> Vec<String> {
        let events = self.json(&["jobs", "events", job["id"].as_str().unwrap()]);
        let events = events.as_array().unwrap().clone();
        for (index, event) in events.iter().enumerate() {
            assert_eq!(event["seq"], index + 1, "{events:#?}");
        }
        let kind = |event: &Value| event["type"].as_str().unwrap().to_owned();
        events.iter().map(kind).collect()
    }

    /// The objects in the storage, sorted; not the installation's mark.
    pub(crate) fn objects(&self) -> Vec<String> {
        let root = self.path("data/storage");
        let mut found = Vec::new();
        for bucket in ["sources", "results", ".incoming"] {
            files_below(&root.join(bucket), &mut found);
        }
        let mut names: Vec<String> = found
            .iter()
            .map(|path| {
                path.strip_prefix(&root)
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .to_owned()
            })
            .filter(|name| !name.ends_with(".clipbase-installation"))
            .collect();
        names.sort();
        names
    }

    /// What stands in the folder besides the data directory and the sample.
    pub(crate) fn files(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_str().unwrap().to_owned())
            .filter(|name| !matches!(name.as_str(), "data" | "talk.mp4"))
            .collect();
        names.sort();
        names
    }

    /// Checks that no job folder and no sign of life stands about.
    #[track_caller]
    pub(crate) fn assert_tidy(&self) {
        let mut found = Vec::new();
        for name in ["scratch", "workers", "storage/.incoming"] {
            files_below(&self.path("data").join(name), &mut found);
        }
        assert!(found.is_empty(), "{found:#?}");
    }

    /// Writes a program of this name.
    pub(crate) fn script(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path("data").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let draft = path.with_extension("draft");
        fs::write(&draft, text).unwrap();
        // By a process of its own: a file that this one wrote may still be open in a child that another test
        // has just forked, and a file that is open for writing cannot be run.
        let made = Command::new("install")
            .args(["-m", "755"])
            .arg(&draft)
            .arg(&path)
            .status();
        assert!(made.unwrap().success());
        path
    }
}

fn files_below(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files_below(&path, found);
        } else {
            found.push(path);
        }
    }
}

/// An ffmpeg that stops at a gate: before its work, or after.
pub(crate) struct Gate {
    program: PathBuf,
    ready: PathBuf,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    Before,
    After,
}

impl Gate {
    pub(crate) fn new(place: &Place, stop: Stop) -> Self {
        let (ready, fifo) = (place.path("data/ready"), place.path("data/gate"));
        fs::create_dir_all(place.path("data")).unwrap();
        assert!(
            Command::new("mkfifo")
                .arg(&fifo)
                .status()
                .unwrap()
                .success()
        );
        let gate = format!(
            "[ -e '{ready}.open' ] || {{ echo $$ >'{ready}.new'; mv '{ready}.new' '{ready}'; read -r _ <'{fifo}'; }}",
            ready = ready.display(),
            fifo = fifo.display()
        );
        let work = "/usr/bin/env ffmpeg \"$@\" || exit";
        let text = match stop {
            Stop::Before => format!("#!/bin/sh\n{gate}\n{work}\n"),
            Stop::After => format!("#!/bin/sh\n{work}\n{gate}\n"),
        };
        Self {
            program: place.script("gated-ffmpeg", &text),
            ready,
        }
    }

    pub(crate) fn start(&self, place: &Place, args: &[&str]) -> Child {
        let mut command = place.command(args);
        command.env("FFMPEG_BIN", &self.program).spawn().unwrap()
    }

    /// What runs instead of ffmpeg.
    pub(crate) fn program(&self) -> &Path {
        &self.program
    }

    /// The file that opens the gate for every ffmpeg to come, for as long as it is there.
    pub(crate) fn opening(&self) -> PathBuf {
        self.ready.with_extension("open")
    }

    /// Waits until ffmpeg stands at the gate.
    pub(crate) async fn reached(&self) {
        wait_until("ffmpeg stands at the gate", async || self.ready.exists()).await;
    }

    /// Ends the ffmpeg that a killed worker left at the gate.
    pub(crate) fn end(&self) {
        let pid = fs::read_to_string(&self.ready).unwrap();
        signal("KILL", pid.trim());
        fs::remove_file(&self.ready).unwrap();
    }

    /// Lets ffmpeg go on, and every later one pass.
    pub(crate) fn open(&self) {
        fs::write(self.opening(), "").unwrap();
        fs::write(self.program.with_file_name("gate"), "go\n").unwrap();
    }
}

/// Sends a signal to a process that a test started.
pub(crate) fn signal(name: &str, pid: &str) {
    // The shell's own `kill`: a small machine has no program of that name.
    let sent = Command::new("/bin/sh")
        .args(["-c", &format!("kill -s {name} {pid}")])
        .status();
    assert!(sent.unwrap().success());
}

pub(crate) fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

pub(crate) fn answer(child: Child) -> Answer {
    Answer::of(&child.wait_with_output().unwrap())
}

/// How long a video is, in seconds.
pub(crate) fn duration(path: &Path) -> f64 {
    let output = Command::new("ffprobe")
        .args([
            "-v",
            "error",
            "-show_entries",
            "format=duration",
            "-of",
            "csv=p=0",
        ])
        .arg(path)
        .output()
        .unwrap();
    String::from_utf8(output.stdout)
        .unwrap()
        .trim()
        .parse()
        .unwrap()
}
