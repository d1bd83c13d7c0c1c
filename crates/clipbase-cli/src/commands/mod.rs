//! The subcommands, one a file.

mod bench;
mod bootstrap;
mod cleanup;
mod clip;
mod doctor;
mod jobs;
mod keys;
mod migrate;
mod serve;
mod stats;
mod target;
mod wanted;
mod work;

use clap::Subcommand;

use crate::context::Global;
use crate::environment::Environment;
use crate::failure::Failure;
use crate::output::Output;

/// Each command's own type says what it does.
#[derive(Subcommand)]
pub(crate) enum Command {
    Clip(clip::Clip),
    Serve(serve::Serve),
    Work(work::Work),
    /// Create, list, follow, cancel and retry jobs
    #[command(subcommand)]
    Jobs(jobs::Jobs),
    /// Make, list, revoke and rotate API keys; `clipbase migrate --api-keys` comes first
    #[command(subcommand)]
    Keys(keys::Keys),
    /// Count jobs by state
    Stats,
    Cleanup(cleanup::Cleanup),
    Doctor(doctor::Doctor),
    Migrate(migrate::Migrate),
    Bootstrap(bootstrap::Bootstrap),
    /// Measure this machine: jobs a second, beside the same SQL through pgbench
    Bench(bench::Bench),
}

impl Command {
    pub(crate) async fn run(
        self,
        global: &Global,
        environment: &Environment,
        output: &Output,
    ) -> Result<(), Failure> {
        match self {
            Self::Clip(command) => command.run(global, environment, *output).await,
            Self::Serve(command) => command.run(global, environment, *output).await,
            Self::Work(command) => command.run(global, environment, *output).await,
            Self::Jobs(command) => command.run(global, environment, *output).await,
            Self::Keys(command) => command.run(global, environment, *output).await,
            Self::Stats => stats::run(global, environment, *output).await,
            Self::Cleanup(command) => command.run(global, environment, *output).await,
            Self::Doctor(command) => command.run(global, environment, *output).await,
            Self::Migrate(command) => command.run(global, environment, *output).await,
            Self::Bootstrap(command) => command.run(global, environment, *output).await,
            Self::Bench(command) => command.run(global, environment, *output).await,
        }
    }
}
