//! `clipbase work`: claims jobs and runs them.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use clipbase_worker::Worker;
use serde_json::json;

use crate::context::{Context, Global, find_ffmpeg, shutdown_token};
use crate::environment::Environment;
use crate::failure::Failure;
use crate::output::Output;
use crate::progress::Lines;

/// Claim jobs and run them until stopped.
///
/// Ctrl-C or SIGTERM stops claiming, waits for running jobs as long as --grace says, and hands the rest back
/// to the queue at no cost of an attempt.
#[derive(Args)]
pub(crate) struct Work {
    /// End once nothing is queued and nothing is being processed
    #[arg(long)]
    until_idle: bool,

    /// Run so many jobs at a time
    #[arg(long, value_name = "N", default_value_t = 1)]
    concurrency: usize,

    /// Serve only these shards; all when not given
    #[arg(long, value_name = "N", value_delimiter = ',')]
    shards: Vec<i32>,

    /// Let running jobs go on for so many seconds after a stop was asked for
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    grace: u64,
}

impl Work {
    pub(crate) async fn run(
        self,
        global: &Global,
        environment: &Environment,
        output: Output,
    ) -> Result<(), Failure> {
        let ffmpeg = find_ffmpeg(environment)?;
        let context = Context::open(global, environment).await?;
        let mut options = context.worker_options();
        options.concurrency = self.concurrency;
        options.shards = self.shards;
        options.shutdown_grace = Duration::from_secs(self.grace);
        let worker = Worker::start(context.clipbase.clone(), Arc::new(ffmpeg), options)?;
        if !output.is_json() {
            eprintln!("worker {} is at work; stop it with Ctrl-C", worker.id());
        }
        let shutdown = shutdown_token();
        let summary = if self.until_idle {
            worker
                .run_until_idle(&shutdown, Arc::new(Lines::new(output)))
                .await?
        } else {
            worker.run(&shutdown).await?
        };
        let data = json!({
            "done": summary.done, "failed": summary.failed,
            "requeued": summary.requeued, "lost": summary.lost,
        });
        output.success(&data, |_| {
            format!(
                "{} done, {} failed, {} back in the queue, {} lost to other workers",
                summary.done, summary.failed, summary.requeued, summary.lost
            )
        });
        Ok(())
    }
}
