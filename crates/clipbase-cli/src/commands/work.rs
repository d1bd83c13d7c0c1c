//! `clipbase work`: claims jobs and runs them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use clipbase::Backoff;
use clipbase_worker::{Worker, WorkerOptions};
use serde_json::json;

use crate::context::{Context, Global, shutdown_token, unless_stopped};
use crate::environment::Environment;
use crate::failure::Failure;
use crate::metrics::Port;
use crate::output::Output;
use crate::progress::Lines;
use crate::time::parse_duration;
use crate::tools::{find_ffmpeg_for, find_ytdlp};

/// Claim jobs and run them until stopped.
///
/// Ctrl-C or SIGTERM stops claiming, waits for running jobs as long as --grace says, and hands the rest back
/// to the queue at no cost of an attempt.
#[derive(Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of its own on the command line"
)]
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

    /// Refuse sources that play longer than this
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    max_source_length: Option<Duration>,

    /// Refuse clips longer than this
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    max_clip: Option<Duration>,

    /// Give a job at most so long [default: 12h]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    max_run_time: Option<Duration>,

    /// Let all running jobs together take at most so many bytes of the scratch folder
    #[arg(long, value_name = "BYTES")]
    max_scratch: Option<u64>,

    /// After a failure that may pass, wait up to so long before the next attempt, and twice as long each time
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_duration)]
    retry_after: Duration,

    /// Never wait longer than this before the next attempt
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_duration)]
    retry_after_max: Duration,

    /// Look for jobs at least so often
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_duration)]
    poll: Duration,

    /// Only poll: keep no connection that listens for wake-ups
    #[arg(long)]
    no_listen: bool,

    /// Clean up so often, give or take a half
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_duration)]
    cleanup_every: Duration,

    /// Compare the buckets with the rows so often, whoever does it
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = parse_duration)]
    reconcile_every: Duration,

    /// Leave comparing the buckets with the rows to `clipbase cleanup --reconcile` and to other workers
    #[arg(long, conflicts_with = "reconcile_every")]
    no_reconcile: bool,

    /// Leave cleaning up to `clipbase cleanup` and to other workers
    #[arg(long, conflicts_with_all = ["cleanup_every", "reconcile_every"])]
    no_cleanup: bool,

    /// Serve /metrics, /healthz and /readyz here, to whoever reaches the port: counts and times, no job and no way to
    /// change anything
    #[arg(long, value_name = "ADDR:PORT")]
    metrics: Option<SocketAddr>,
}

impl Work {
    pub(crate) async fn run(
        self,
        global: &Global,
        environment: &Environment,
        output: Output,
    ) -> Result<(), Failure> {
        let backoff = self.backoff()?;
        let shutdown = shutdown_token();
        // Before the database, so that a port that is taken is told at once.
        let port = Port::take(self.metrics).await?;
        let ffmpeg = find_ffmpeg_for(environment, self.max_source_length)?;
        let context = unless_stopped(&shutdown, Context::open(global, environment)).await?;
        let context = context.with_backoff(backoff)?;
        let options = self.options(&context, environment)?;
        let worker = Worker::start(context.clipbase.clone(), Arc::new(ffmpeg), options)?;
        if !output.is_json() {
            eprintln!("worker {} is at work; stop it with Ctrl-C", worker.id());
        }
        let probes = port
            .map(|port| port.serve(&context.clipbase, output))
            .transpose()?;
        let summary = if self.until_idle {
            worker
                .run_until_idle(&shutdown, Arc::new(Lines::new(output)))
                .await?
        } else {
            worker.run(&shutdown).await?
        };
        if let Some(probes) = probes {
            probes.end().await?;
        }
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

    fn backoff(&self) -> Result<Backoff, Failure> {
        if self.retry_after > self.retry_after_max {
            let what = "--retry-after must be at most --retry-after-max";
            return Err(Failure::input(what));
        }
        Ok(Backoff {
            base: self.retry_after,
            cap: self.retry_after_max,
        })
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
        options.poll_max = self.poll;
        options.poll_min = options.poll_min.min(self.poll);
        options.listen = !self.no_listen;
        options.cleanup_interval = (!self.no_cleanup).then_some(self.cleanup_every);
        options.reconcile_interval = (!self.no_reconcile).then_some(self.reconcile_every);
        Ok(options)
    }
}
