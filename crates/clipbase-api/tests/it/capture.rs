//! All that a test's work logs and counts, as text.

use std::io::Write;
use std::sync::{Arc, Mutex, Once};

use metrics::LocalRecorderGuard;
use metrics_util::debugging::DebuggingRecorder;
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::FmtSpan;

/// Listens to this thread until it is dropped: use it on a runtime of one thread, where all tasks run.
pub(crate) struct Capture {
    lines: Lines,
    recorder: &'static DebuggingRecorder,
    _subscriber: DefaultGuard,
    _recorder: LocalRecorderGuard<'static>,
}

impl Capture {
    pub(crate) fn start() -> Self {
        hear_all_threads();
        let lines = Lines::default();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_span_events(FmtSpan::CLOSE)
            .with_writer(lines.clone())
            .finish();
        let recorder: &'static DebuggingRecorder = Box::leak(Box::new(DebuggingRecorder::new()));
        Self {
            lines,
            recorder,
            _subscriber: tracing::subscriber::set_default(subscriber),
            _recorder: metrics::set_default_local_recorder(recorder),
        }
    }

    /// What was logged, events and spans.
    pub(crate) fn log(&self) -> String {
        self.lines.text()
    }

    /// The names and labels of what was counted.
    pub(crate) fn counted(&self) -> Vec<String> {
        let metrics = self.recorder.snapshotter().snapshot().into_vec();
        let name = |(key, ..): &(metrics_util::CompositeKey, _, _, _)| key.key().to_string();
        metrics.iter().map(name).collect()
    }
}

/// A place that another test's thread comes by first would else be switched off for all threads, since nobody
/// listens there.
pub(crate) fn hear_all_threads() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        tracing::subscriber::set_global_default(tracing_subscriber::registry()).unwrap();
    });
}

/// What a subscriber writes.
#[derive(Clone, Default)]
pub(crate) struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
