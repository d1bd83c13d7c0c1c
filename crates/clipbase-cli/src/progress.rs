//! Progress on a terminal: stages and percent, on standard error. Elsewhere, and with `--json`, nothing.

use std::time::Duration;

use clipbase::JobId;
use clipbase::leases::Failure;
use clipbase_worker::Observer;
use clipbase_worker::clipper::Stage;
use clipbase_worker::runtime::{JobStage, Outcome};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::output::Output;

/// A bar for one job.
#[derive(Clone, Debug)]
pub(crate) struct Bar {
    bar: ProgressBar,
}

impl Bar {
    pub(crate) fn new(output: Output) -> Self {
        let target = if output.is_json() {
            ProgressDrawTarget::hidden()
        } else {
            ProgressDrawTarget::stderr()
        };
        let bar = ProgressBar::with_draw_target(Some(100), target);
        let style = ProgressStyle::with_template("{msg:<24} {bar:32} {percent:>3} %  {elapsed}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { bar }
    }

    /// Says what is done now.
    pub(crate) fn say(&self, what: &'static str) {
        self.bar.set_message(what);
    }

    /// Takes the bar off the terminal.
    pub(crate) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

impl Observer for Bar {
    fn stage(&self, _job: JobId, stage: JobStage, percent: u8) {
        self.bar.set_message(words(stage));
        self.bar.set_position(u64::from(percent));
    }
}

/// A line for each job that leaves the worker.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lines {
    output: Output,
}

impl Lines {
    pub(crate) fn new(output: Output) -> Self {
        Self { output }
    }
}

impl Observer for Lines {
    fn stage(&self, _job: JobId, _stage: JobStage, _percent: u8) {}

    fn ended(&self, job: JobId, outcome: Outcome, failure: Option<&Failure>) {
        if !self.output.is_json() {
            let what = match outcome {
                Outcome::Done => "done",
                Outcome::Failed => "failed",
                Outcome::Requeued => "back in the queue",
                Outcome::Lost => "lost to another worker",
            };
            let why = failure
                .map(|failure| format!(": {} [{}]", failure.message(), failure.code()))
                .unwrap_or_default();
            eprintln!("{job}  {what}{why}");
        }
    }
}

fn words(stage: JobStage) -> &'static str {
    match stage {
        JobStage::Waiting => "waiting for its turn",
        JobStage::Elsewhere => "another worker is at it",
        JobStage::Fetching => "fetching the source",
        JobStage::Clipping(Stage::Probing) => "looking at the source",
        JobStage::Clipping(Stage::Cutting) => "cutting",
        JobStage::Clipping(Stage::Encoding) => "encoding",
        JobStage::Clipping(Stage::Subtitles) => "cutting subtitles",
        JobStage::Clipping(Stage::Verifying) => "checking the clip",
        JobStage::Clipping(_) => "clipping",
        JobStage::Storing => "storing the clip",
    }
}
