//! A program in a process of its own, which can be killed: this test binary, run again.

use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};

use super::program::{self, Orders};

const ORDERS: &str = "CLIPBASE_TEST_CRASH_ORDERS";

/// How a program ends that has done everything; a test binary that ran no test ends with 0.
const DONE: i32 = 42;

/// A process at work. It is killed when the last of these is dropped.
#[derive(Clone)]
pub(super) struct Process(Arc<Mutex<Option<Child>>>);

/// How a process ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    Done,
    Killed,
    /// Otherwise: what it said.
    Failed(String),
}

impl End {
    /// Tells what came instead, unless this did.
    pub(super) fn expect(self, expected: &End) -> Result<(), String> {
        match self {
            end if end == *expected => Ok(()),
            Self::Done => Err("the program came to its end".to_owned()),
            Self::Killed => Err("the program was killed".to_owned()),
            Self::Failed(said) => Err(format!("the program failed: {said}")),
        }
    }
}

impl Process {
    /// A process that does not run yet, so that whoever kills it can know it before.
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(None)))
    }

    /// Runs the program to its end, whoever brings it about.
    pub(super) async fn run(&self, orders: &Orders) -> End {
        let mut errors = {
            // Held meanwhile: its first step may already be the one to kill it at.
            let mut child = self.0.lock().unwrap();
            let started = child.insert(start(orders));
            started.stderr.take().expect("a pipe")
        };
        let reading = tokio::task::spawn_blocking(move || {
            let mut said = String::new();
            // Ends with the process.
            errors.read_to_string(&mut said).map(|_| said)
        });
        let said = reading.await.unwrap().unwrap();
        let status = self.wait();
        if status.code() == Some(DONE) {
            End::Done
        } else if status.signal() == Some(9) {
            End::Killed
        } else {
            End::Failed(format!("{status}: {said}"))
        }
    }

    fn wait(&self) -> ExitStatus {
        let mut child = self.0.lock().unwrap();
        child.as_mut().expect("it was started").wait().unwrap()
    }

    /// Kills it with SIGKILL, and returns when it is gone.
    pub(super) fn kill(&self) {
        let mut child = self.0.lock().unwrap();
        let child = child.as_mut().expect("it was started");
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(child) = Arc::get_mut(&mut self.0)
            && let Ok(Some(child)) = child.get_mut()
        {
            // It may have ended already.
            let _ended = child.kill();
            let _status = child.wait();
        }
    }
}

fn start(orders: &Orders) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args([
            "crash_points::process::does_what_it_is_told",
            "--exact",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(ORDERS, serde_json::to_string(orders).unwrap())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Not a claim of its own, but what the process does; nothing where it was not run as one.
#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "a test binary takes no arguments of ours"
)]
fn does_what_it_is_told() {
    let Some(orders) = std::env::var_os(ORDERS) else {
        return;
    };
    let orders: Orders = serde_json::from_str(orders.to_str().unwrap()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(program::live(&orders)).unwrap();
    // At once: a connection that says goodbye would be a step that comes or does not.
    std::process::exit(DONE);
}
