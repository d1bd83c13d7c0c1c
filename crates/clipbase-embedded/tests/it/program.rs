//! A second program that uses the cluster: this test binary, run again.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use clipbase_embedded::{Durability, start};

use crate::support::Place;

const DIRECTORY: &str = "CLIPBASE_TEST_PROGRAM_DIRECTORY";
const DURABLE: &str = "CLIPBASE_TEST_PROGRAM_DURABLE";

/// A program of its own that has started, or is starting, the cluster's server.
pub(crate) struct Program {
    child: Child,
}

impl Program {
    /// Runs the program on a cluster.
    pub(crate) fn run(place: &Place, durability: Durability) -> Self {
        Self::spawn(&mut Self::command(
            &std::env::current_exe().unwrap(),
            place,
            durability,
        ))
    }

    /// Runs a copy of the program, which that user can reach, as another user.
    pub(crate) fn run_as(place: &Place, uid: u32, gid: u32) -> Self {
        let copy = place.directory.with_file_name("program");
        // By a process of its own: a file that this one wrote may still be open in a child that another test
        // has just forked, and a file that is open for writing cannot be run.
        let made = Command::new("install")
            .args(["-m", "755"])
            .arg(std::env::current_exe().unwrap())
            .arg(&copy)
            .status();
        assert!(made.unwrap().success());
        let mut command = Self::command(&copy, place, Durability::Fast);
        Self::spawn(command.uid(uid).gid(gid).current_dir("/"))
    }

    fn command(binary: &Path, place: &Place, durability: Durability) -> Command {
        let mut command = Command::new(binary);
        command
            .args([
                "program::uses_the_cluster_until_its_input_ends",
                "--exact",
                "--nocapture",
            ])
            .env(DIRECTORY, &place.directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        if durability == Durability::Durable {
            command.env(DURABLE, "1");
        }
        command
    }

    fn spawn(command: &mut Command) -> Self {
        Self {
            child: command.spawn().unwrap(),
        }
    }

    /// Waits until the server is up and returns its connection string.
    pub(crate) fn url(&mut self) -> String {
        let output = self.child.stdout.as_mut().unwrap();
        let lines = BufReader::new(output).lines();
        let answer = lines.map(Result::unwrap).find_map(|line| {
            line.strip_prefix("error ")
                .inspect(|error| panic!("{error}"));
            line.strip_prefix("url ").map(str::to_owned)
        });
        answer.expect("the program ended without an answer")
    }

    /// Lets the program return on its own.
    pub(crate) fn finish(mut self) {
        drop(self.child.stdin.take());
        assert!(self.child.wait().unwrap().success());
    }

    /// Ends the program as a crash or an impatient operator would: with SIGKILL.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// Not a claim of its own, but what the program does; nothing where it was not run as one.
#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "a test binary takes no arguments of ours"
)]
fn uses_the_cluster_until_its_input_ends() {
    let Some(directory) = std::env::var_os(DIRECTORY) else {
        return;
    };
    let mut place_settings = clipbase_embedded::Settings::fast(directory);
    place_settings.linger = std::time::Duration::ZERO;
    place_settings.bin_dir = crate::support::chosen_bin_dir();
    if std::env::var_os(DURABLE).is_some() {
        place_settings.durability = Durability::Durable;
    }
    let mut output = std::io::stdout();
    match start(&place_settings) {
        Ok(server) => {
            write!(output, "\nurl {}\n", server.url("postgres")).unwrap();
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
        }
        Err(error) => write!(output, "\nerror {}: {error}\n", error.code()).unwrap(),
    }
}
