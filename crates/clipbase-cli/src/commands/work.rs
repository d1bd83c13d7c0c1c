//! `clipbase work`: claims jobs and runs them.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use clipbase_worker::{Worker, WorkerOptions};
use serde_json::json;

use crate::context::{Context, Global, shutdown_token};
use crate::environment::Environment;
use crate::failure::Failure;
use crate::output::Output;
use crate::progress::Lines;
use crate::time::parse_duration;
use crate::tools::{find_ffmpeg, find_ytdlp};

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

    /// Claim so many jobs ahead of those at work
    #[arg(long, value_name = "N", default_value_t = 0)]
    prefetch: usize,

    /// Serve only these shards; all when not given
    #[arg(long, value_name = "N", value_delimiter = ',')]
    shards: Vec<i32>,

    /// Let running jobs go on for so many seconds after a stop was asked for
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    grace: u64,

    /// Fetch videos from YouTube with yt-dlp; see docs/OPERATIONS.md for what that does not protect from
    #[arg(long)]
    youtube: bool,

    /// Refuse sources larger than so many bytes
    #[arg(long, value_name = "BYTES")]
    max_source: Option<u64>,

    /// Refuse clips longer than this
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    max_clip: Option<Duration>,

    /// Give a job at most so long [default: 12h]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    max_run_time: Option<Duration>,

    /// Let all running jobs together take at most so many bytes of the scratch folder
    #[arg(long, value_name = "BYTES")]
    max_scratch: Option<u64>,

    /// Leave cleaning up to `clipbase cleanup` and to other workers
    #[arg(long)]
    no_cleanup: bool,
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
        let options = self.options(&context, environment)?;
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

    fn options(
        &self,
        context: &Context,
        environment: &Environment,
    ) -> Result<WorkerOptions, Failure> {
        let mut options = context.worker_options();
        options.concurrency = self.concurrency;
        options.prefetch = self.prefetch;
        options.shards.clone_from(&self.shards);
        options.shutdown_grace = Duration::from_secs(self.grace);
        options.source_bytes_max = self.max_source;
        options.clip_length_max = self.max_clip;
        options.scratch_bytes_max = self.max_scratch;
        if self.max_run_time.is_some() {
            options.run_time_max = self.max_run_time;
        }
        if self.youtube {
            options.youtube = Some(Arc::new(find_ytdlp(environment)?));
        }
        if self.no_cleanup {
            options.cleanup_interval = None;
        }
        Ok(options)
    }
}
