//! Everything that a process could show: errors with their causes, logs at the finest level, metrics.

use std::fmt::Write as _;
use std::sync::{Mutex, Once};

use clipbase_testkit::logs::{Lines, hear_all_threads};
use metrics_util::debugging::{DebuggingRecorder, Snapshotter};

/// What nobody may see: the word that every secret of these tests holds, and the buckets as they stand in keys.
pub(super) const CANARIES: [&str; 3] = ["planted", "sources/", "results/"];

/// Fails where a text shows a canary.
pub(super) fn assert_clean(text: &str) {
    for canary in CANARIES {
        assert!(!text.contains(canary), "{canary} in: {text}");
    }
}

/// Checks all that can be printed of an error: its sentence, its `Debug`, and the chain of its causes.
pub(super) fn assert_discreet(error: &clipbase::Error) {
    let mut text = format!("{error}\n{error:?}\n{error:#?}");
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        write!(text, "\n{inner}\n{inner:?}").unwrap();
        cause = inner.source();
    }
    assert_clean(&text);
}

/// Listens to the logs and metrics of the test's own thread until [`Capture::assert_clean`].
pub(super) struct Capture {
    lines: Lines,
    metrics: Snapshotter,
    _subscriber: tracing::subscriber::DefaultGuard,
    _recorder: metrics::LocalRecorderGuard<'static>,
}

impl Capture {
    /// Needs a runtime of one thread, so that tasks of the test run where it listens.
    pub(super) fn start() -> Self {
        catch_driver_logs();
        hear_all_threads();
        let lines = Lines::default();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_writer(lines.clone())
            .finish();
        let recorder: &'static DebuggingRecorder = Box::leak(Box::new(DebuggingRecorder::new()));
        Self {
            lines,
            metrics: recorder.snapshotter(),
            _subscriber: tracing::subscriber::set_default(subscriber),
            _recorder: metrics::set_default_local_recorder(recorder),
        }
    }

    /// Returns all that was logged so far.
    pub(super) fn logged(&self) -> String {
        self.lines.text()
    }

    /// Fails where a log line or a metric shows a canary, or when nothing was caught at all.
    pub(super) fn assert_clean(&self) {
        self.assert_shows(("database call", "clipbase_db_calls_total"), &[]);
    }

    /// As [`Capture::assert_clean`], for other calls (by a word of their log line and a metric) and with more
    /// that nobody may see.
    pub(super) fn assert_shows(&self, (logged, counted): (&str, &str), secrets: &[String]) {
        let lines = self.logged();
        assert!(lines.contains(logged), "nothing was logged");
        let metrics = format!("{:?}", self.metrics.snapshot().into_vec());
        assert!(metrics.contains(counted), "{metrics}");
        // The driver's SQL texts are ours; what stands beside them must not be the caller's.
        for line in lines.lines().chain([metrics.as_str()]) {
            assert_clean(line);
            for secret in secrets {
                assert!(!line.contains(secret), "{secret} in: {line}");
            }
        }
        let driver = DRIVER.0.lock().unwrap();
        assert!(driver.is_empty(), "{driver:#?}");
    }
}

/// Keeps the lines of crates that log by `log`, as the driver does, where they show the planted word. SQL of
/// other tests may spell out buckets, so only the word counts here.
struct DriverLogs(Mutex<Vec<String>>);

static DRIVER: DriverLogs = DriverLogs(Mutex::new(Vec::new()));

impl log::Log for DriverLogs {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let line = format!("{} {}", record.target(), record.args());
        // At debug the driver logs the text of each statement, without its parameters. Ours are literals
        // without a value in them; these tests' own raw SQL spells the word out.
        let is_sql = [" executing ", " preparing "]
            .iter()
            .any(|word| line.contains(word));
        if line.contains("planted") && !is_sql {
            self.0.lock().unwrap().push(line);
        }
    }

    fn flush(&self) {}
}

fn catch_driver_logs() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::set_logger(&DRIVER).unwrap();
        log::set_max_level(log::LevelFilter::Trace);
    });
}
