//! All that a test's work logs and counts, as text.

use clipbase_testkit::logs::{Lines, hear_all_threads};
use metrics::LocalRecorderGuard;
use metrics_util::debugging::DebuggingRecorder;
use tracing::subscriber::DefaultGuard;
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
