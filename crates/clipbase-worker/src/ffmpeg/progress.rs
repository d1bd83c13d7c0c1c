//! Maps the stages of a clip onto one percentage that never goes back.

use std::sync::Mutex;

use crate::clipper::{Progress, Stage};

/// Tells a listener each change once.
pub(super) struct Reporter<'a> {
    listener: &'a dyn Progress,
    last: Mutex<(Option<Stage>, u8)>,
}

impl<'a> Reporter<'a> {
    pub(super) fn new(listener: &'a dyn Progress) -> Self {
        Self {
            listener,
            last: Mutex::new((None, 0)),
        }
    }

    /// Reports that `done` of `whole` of the stage is done.
    pub(super) fn report(&self, stage: Stage, done: i64, whole: i64) {
        let (from, to) = share(stage);
        let done = done.clamp(0, whole.max(0));
        let within = i64::from(to - from).saturating_mul(done) / whole.max(1);
        self.at_least(stage, from + u8::try_from(within).unwrap_or(0));
    }

    fn at_least(&self, stage: Stage, percent: u8) {
        // A listener that panicked leaves a poisoned lock around a value that is still right.
        let mut last = match self.last.lock() {
            Ok(last) => last,
            Err(poisoned) => poisoned.into_inner(),
        };
        let now = (Some(stage), percent.max(last.1));
        if *last != now {
            *last = now;
            self.listener.report(stage, now.1);
        }
    }
}

/// Which part of the whole a stage takes. Copying ends early because it may have to be followed by
/// encoding.
fn share(stage: Stage) -> (u8, u8) {
    match stage {
        Stage::Probing => (0, 3),
        Stage::Subtitles | Stage::Transcribing => (3, 10),
        Stage::Cutting => (10, 40),
        Stage::Encoding => (10, 95),
        Stage::Verifying => (95, 100),
    }
}

/// Reads the clip's time out of a line of ffmpeg's progress report.
pub(super) fn out_time_us(line: &str) -> Option<i64> {
    line.strip_prefix("out_time_us=")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Heard(Mutex<Vec<(Stage, u8)>>);

    impl Progress for Heard {
        fn report(&self, stage: Stage, percent: u8) {
            self.0.lock().unwrap().push((stage, percent));
        }
    }

    #[test]
    fn percent_never_goes_back_and_each_change_is_told_once() {
        let heard = Heard::default();
        let reporter = Reporter::new(&heard);
        reporter.report(Stage::Probing, 0, 1);
        reporter.report(Stage::Cutting, 1, 1);
        reporter.report(Stage::Encoding, 0, 100);
        reporter.report(Stage::Encoding, 1, 100);
        reporter.report(Stage::Encoding, i64::MAX, 100);
        reporter.report(Stage::Encoding, -5, 0);
        reporter.report(Stage::Verifying, 1, 1);
        let expected = [
            (Stage::Probing, 0),
            (Stage::Cutting, 40),
            (Stage::Encoding, 40),
            (Stage::Encoding, 95),
            (Stage::Verifying, 100),
        ];
        assert_eq!(*heard.0.lock().unwrap(), expected);
    }

    #[test]
    fn progress_lines_are_read() {
        assert_eq!(out_time_us("out_time_us=1021678"), Some(1_021_678));
        assert_eq!(out_time_us("out_time_us=N/A"), None);
        assert_eq!(out_time_us("out_time_ms=5"), None);
    }
}
