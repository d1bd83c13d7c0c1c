//! A running `clipbase serve`, and how to talk to it from outside.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdout, Command, Output};

use serde_json::{Value, json};

use crate::support::{Answer, Place, signal};

/// The server of a place; it is killed where a test leaves it behind.
pub(crate) struct Serving {
    child: Option<Child>,
    out: BufReader<ChildStdout>,
    url: String,
    address: String,
}

impl Serving {
    /// Starts it on a free port, and returns when it takes connections.
    pub(crate) fn start(place: &Place, more: &[&str], ffmpeg: Option<&Path>) -> Self {
        let ffmpeg = ffmpeg.map(|path| ("FFMPEG_BIN", path.to_str().unwrap()));
        Self::start_with(place, more, ffmpeg.as_slice())
    }

    /// As [`Serving::start`], with these variables.
    pub(crate) fn start_with(place: &Place, more: &[&str], variables: &[(&str, &str)]) -> Self {
        let args = ["serve", "--dev", "--listen", "127.0.0.1:0", "--json"];
        let mut command = place.command(&[&args, more].concat());
        command.envs(variables.iter().copied());
        Self::of(&mut command)
    }

    /// The API alone, as it stands before a database that somebody else migrated.
    pub(crate) fn start_alone(place: &Place) -> Self {
        Self::of(&mut place.command(&["serve", "--listen", "127.0.0.1:0", "--json"]))
    }

    /// Starts it as this command, which prints JSON.
    pub(crate) fn of(command: &mut Command) -> Self {
        let mut child = command.spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        let is_up = !line.is_empty();
        assert!(
            is_up,
            "{:#?}",
            Answer::of(&child.wait_with_output().unwrap())
        );
        let told: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(told["ok"], true, "{told}");
        let text = |name: &str| told["data"][name].as_str().unwrap().to_owned();
        Self {
            child: Some(child),
            out,
            url: text("url"),
            address: text("address"),
        }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Asks it to end, and returns how it did.
    pub(crate) fn terminate(mut self) -> Answer {
        let child = self.child.take().unwrap();
        signal("TERM", &child.id().to_string());
        let mut answer = Answer::of(&child.wait_with_output().unwrap());
        self.out.read_to_string(&mut answer.out).unwrap();
        answer
    }

    /// What the API answers, without the envelope.
    #[track_caller]
    pub(crate) fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Value {
        let url = format!("{}{path}", self.url);
        let mut args = vec!["--fail-with-body", "--request", method];
        let body = body.map(Value::to_string);
        if let Some(body) = &body {
            args.extend(["--header", "content-type: application/json", "--data", body]);
        }
        args.push(&url);
        let answer: Value = serde_json::from_str(&curl(&args)).unwrap();
        assert_eq!(answer["ok"], true, "{answer}");
        answer["data"].clone()
    }

    /// Stores a file, and returns what a job names as its source.
    #[track_caller]
    pub(crate) fn upload(&self, file: &Path) -> Value {
        let extension = file.extension().unwrap().to_str().unwrap();
        let upload = self.call(
            "POST",
            "/v1/uploads",
            Some(&json!({"extension": extension})),
        );
        let text = |name: &str| upload[name].as_str().unwrap();
        let kind = format!("content-type: {}", text("content_type"));
        let file = file.to_str().unwrap();
        let sent = [
            "--fail-with-body",
            "--header",
            &kind,
            "--upload-file",
            file,
            text("url"),
        ];
        let stored: Value = serde_json::from_str(&curl(&sent)).unwrap();
        let size = std::fs::metadata(file).unwrap().len();
        assert_eq!(stored["data"]["size"], size);
        upload["source"].clone()
    }

    /// Follows a job's events to the end, and returns the names of the messages and the types of the events.
    #[track_caller]
    pub(crate) fn follow(&self, job: &str) -> Vec<String> {
        let url = format!("{}/v1/jobs/{job}/events", self.url);
        let said = curl(&[
            "--fail",
            "--no-buffer",
            "--header",
            "accept: text/event-stream",
            &url,
        ]);
        let field = |block: &str, name: &str| {
            let line = block.lines().find_map(|line| line.strip_prefix(name))?;
            Some(line.trim().to_owned())
        };
        let name = |block: &str| {
            let data: Value = serde_json::from_str(&field(block, "data:")?).unwrap();
            let kind = || data["type"].as_str().map(str::to_owned);
            field(block, "event:").or_else(kind)
        };
        said.split("\n\n").filter_map(name).collect()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            child.kill().ok();
            child.wait().ok();
        }
    }
}

/// A process with `--metrics`, which is killed where a test leaves it behind.
pub(crate) struct Watched {
    child: Child,
    said: BufReader<ChildStderr>,
    url: String,
}

impl Watched {
    /// Starts this with its metrics on a free port, and returns when they are there.
    pub(crate) fn start(place: &Place, args: &[&str]) -> Self {
        Self::of(&mut place.command(&[args, &["--metrics", "127.0.0.1:0"]].concat()))
    }

    /// As [`Watched::start`], for a command that names the port itself.
    pub(crate) fn of(command: &mut Command) -> Self {
        let mut child = command.spawn().unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap());
        let mut told = String::new();
        let url = loop {
            let mut line = String::new();
            assert!(said.read_line(&mut line).unwrap() > 0, "{told}");
            told += &line;
            if let Some((url, _)) = line.split_once("/metrics shows") {
                break url.to_owned();
            }
        };
        Self { child, said, url }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn get(&self, path: &str) -> String {
        curl(&["--fail", &format!("{}{path}", self.url)])
    }

    /// Asks it to end, and checks that it did so well.
    pub(crate) fn stop(mut self) {
        signal("TERM", &self.child.id().to_string());
        let mut rest = String::new();
        self.said.read_to_string(&mut rest).unwrap();
        assert!(self.child.wait().unwrap().success(), "{rest}");
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// What curl printed.
#[track_caller]
pub(crate) fn curl(args: &[&str]) -> String {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error"]).args(args);
    succeeds(&output(&mut command))
}

#[track_caller]
pub(crate) fn output(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| {
        let program = command.get_program().display();
        panic!("{program} cannot be run: {error}; scripts/setup --test installs it")
    })
}

/// Returns what was printed; fails the test with all that was said where the command failed.
#[track_caller]
pub(crate) fn succeeds(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{}\n{printed}\n{said}",
        output.status
    );
    printed.into_owned()
}
