//! A cluster's place, and ways to look at its processes from outside.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use clipbase_embedded::{Server, Settings, effective_uid, start};
use tokio_postgres::{NoTls, SimpleQueryMessage};

/// Generous: the machine may be busy. A passing test waits milliseconds.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A directory of one test's own, removed with everything in it.
pub(crate) struct Place {
    base: PathBuf,
    pub(crate) directory: PathBuf,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self::named("pg")
    }

    pub(crate) fn named(name: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() {
            memory.to_owned()
        } else {
            std::env::temp_dir()
        };
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let base = parent.join(format!("clipbase-it-{}-{number}", std::process::id()));
        fs::DirBuilder::new().mode(0o755).create(&base).unwrap();
        Self {
            directory: base.join(name),
            base,
        }
    }

    /// A fast cluster that ends with its last user.
    pub(crate) fn settings(&self) -> Settings {
        let settings = Settings::fast(&self.directory).linger(Duration::ZERO);
        match chosen_bin_dir() {
            Some(bin_dir) => settings.bin_dir(bin_dir),
            None => settings,
        }
    }

    pub(crate) fn start(&self) -> Server {
        start(&self.settings()).unwrap()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// The process id on the first line of a file.
    pub(crate) fn pid(&self, name: &str) -> u32 {
        let text = fs::read_to_string(self.path(name)).unwrap();
        text.lines().next().unwrap().parse().unwrap()
    }

    pub(crate) fn postmaster(&self) -> u32 {
        self.pid("pgdata/postmaster.pid")
    }

    /// Kills the keeper, and what it runs, and waits until it is dead: a signal alone returns before.
    pub(crate) fn kill_keeper(&self) {
        let group = format!("-{}", self.pid("keeper"));
        send("KILL", &group);
        assert!(unlocked(self.path("keeper")), "the keeper did not die");
    }

    /// Waits until server and keeper are gone, then makes sure that nothing of them is left.
    pub(crate) fn wait_until_stopped(&self) {
        for lock in ["server", "keeper"] {
            assert!(
                unlocked(self.path(lock)),
                "{lock} of {} lives on",
                self.directory.display()
            );
        }
        assert_eq!(processes_of(&self.directory), Vec::<String>::new());
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // A failed test's server has lost its users by now and is about to stop.
        let server = self.path("server");
        if server.exists() {
            unlocked(server);
        }
        let _ = fs::remove_dir_all(&self.base);
    }
}

/// Waits until nobody holds a lock.
fn unlocked(path: PathBuf) -> bool {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .unwrap();
        file.lock().unwrap();
        drop(file);
        let _ = sender.send(());
    });
    receiver.recv_timeout(PATIENCE).is_ok()
}

/// Lists the processes that name a directory. Empty where the system does not say.
fn processes_of(directory: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let name = directory.to_str().unwrap();
    let command_lines = entries
        .flatten()
        .filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    command_lines
        .map(|bytes| String::from_utf8_lossy(&bytes).replace('\0', " "))
        .filter(|line| line.contains(name))
        .collect()
}

/// Waits for a moment too short to sleep towards.
pub(crate) fn spin_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what} did not come");
        thread::yield_now();
    }
}

pub(crate) fn kill(pid: u32, signal: &str) {
    send(signal, &pid.to_string());
}

/// The shell's own `kill`: a small machine has no program of that name.
fn send(signal: &str, target: &str) {
    let signal = signal.trim_start_matches('-');
    let script = format!("kill -s {signal} -- {target}");
    let status = Command::new("/bin/sh")
        .args(["-c", &script])
        .status()
        .unwrap();
    assert!(status.success());
}

pub(crate) fn is_root() -> bool {
    effective_uid().unwrap() == 0
}

/// Who owns a file, or a process by its directory in /proc.
pub(crate) fn owner(path: impl AsRef<Path>) -> (u32, u32) {
    let found = fs::metadata(path).unwrap();
    (found.uid(), found.gid())
}

#[expect(
    clippy::disallowed_methods,
    reason = "the runner chooses the server for all tests"
)]
pub(crate) fn chosen_bin_dir() -> Option<PathBuf> {
    std::env::var_os("CLIPBASE_TEST_PG_BIN").map(PathBuf::from)
}

/// Runs statements and returns the first column of all rows.
pub(crate) fn sql(url: &str, statements: &str) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
        tokio::spawn(connection);
        let messages = client.simple_query(statements).await.unwrap();
        let rows = messages.into_iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or_default().to_owned()),
            _ => None,
        });
        rows.collect()
    })
}

/// Tells two runs of a server apart.
pub(crate) fn run_of(server: &Server) -> Vec<String> {
    sql(&server.url("postgres"), "SELECT pg_postmaster_start_time()")
}

pub(crate) fn write(path: impl AsRef<Path>, text: &str) {
    use std::io::Write;
    File::create(path)
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
}
