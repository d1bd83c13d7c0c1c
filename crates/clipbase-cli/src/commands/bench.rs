//! `clipbase bench`: measures the data layer beside the same SQL through pgbench.

use std::path::PathBuf;

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::bench::{self, BenchError, BenchOptions, JOBS, Line, ROUNDS};
use crate::context::{Context, Global};
use crate::environment::Environment;
use crate::failure::Failure;
use crate::output::Output;

/// Measure this machine: jobs a second, beside the same SQL through pgbench.
///
/// Works in scratch databases of its own, which it drops: jobs that are there are not touched. Only the ratios mean
/// anything on another machine; docs/PERFORMANCE.md says what is compared with what.
#[derive(Args)]
pub(crate) struct Bench {
    /// Jobs of each measurement
    #[arg(long, value_name = "N", default_value_t = JOBS)]
    jobs: u32,

    /// Measure everything so many times, and report medians
    #[arg(long, value_name = "N", default_value_t = ROUNDS)]
    rounds: u32,
}

impl Bench {
    pub(crate) async fn run(
        self,
        global: &Global,
        environment: &Environment,
        output: Output,
    ) -> Result<(), Failure> {
        if self.jobs == 0 || self.rounds == 0 {
            return Err(Failure::input("--jobs and --rounds must be at least 1"));
        }
        let context = Context::connect(global, environment).await?;
        let mut program_folders: Vec<PathBuf> = Vec::new();
        let url = match (&context.server, &environment.database_url) {
            (Some(server), _) => {
                program_folders.push(server.bin_dir().to_owned());
                server.url("postgres")
            }
            (None, Some(url)) => url.clone(),
            (None, None) => return Err(Failure::new("CONFIG_INVALID", "there is no database")),
        };
        let path = environment.search_path.as_deref().unwrap_or_default();
        program_folders.extend(std::env::split_paths(path));
        let options = BenchOptions {
            jobs: self.jobs,
            rounds: self.rounds,
            program_folders,
        };
        let bar = bar(output, self.rounds);
        let outcome = bench::run(&context.clipbase, &url, &options, |line| match line {
            Line::Note(text) => bar.println(text),
            Line::Round { case, round, .. } => {
                bar.set_message(format!("round {round}: {}", case.step));
                bar.inc(1);
            }
        })
        .await;
        bar.finish_and_clear();
        output.success(&outcome.map_err(failure)?, bench::BenchReport::table);
        Ok(())
    }
}

fn bar(output: Output, rounds: u32) -> ProgressBar {
    let target = if output.is_json() {
        ProgressDrawTarget::hidden()
    } else {
        ProgressDrawTarget::stderr()
    };
    let steps = u64::from(rounds) * bench::cases() as u64;
    let style = ProgressStyle::with_template("{msg:<24} {bar:32} {percent:>3} %  {elapsed}");
    ProgressBar::with_draw_target(Some(steps), target)
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn failure(error: BenchError) -> Failure {
    match error {
        BenchError::Clipbase(error) => error.into(),
        other => Failure::new("BENCH_FAILED", other.to_string()),
    }
}
