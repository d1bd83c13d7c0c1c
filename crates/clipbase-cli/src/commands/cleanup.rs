//! `clipbase cleanup`: takes jobs of lost workers back, and removes expired jobs and objects that nobody owns any more.

mod pass;
mod show;

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::ops::ControlFlow;
use std::time::Duration;

use clap::{Args, ValueEnum};
use clipbase::cleanup::{
    DueDeletion, GRACE, GRACE_MIN, PlannedJob, PlannedSource, ReconcileOptions, ReconcileReport,
    ReconcileSource, Report,
};
use indicatif::{ProgressBar, ProgressDrawTarget};
use serde::Serialize;

use self::pass::Done;
use crate::context::{Context, Global};
use crate::environment::Environment;
use crate::failure::Failure;
use crate::metrics::Port;
use crate::output::Output;
use crate::time::parse_duration;

/// Take jobs of lost workers back, and remove expired jobs and the objects that nobody owns any more.
///
/// Works in batches, never on a job that a worker holds; safe to kill and to run again, and to run in several
/// places at once. How long things are kept: CLIPBASE_KEEP_DONE, CLIPBASE_KEEP_FAILED, CLIPBASE_KEEP_SOURCES.
#[derive(Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the command line"
)]
pub(crate) struct Cleanup {
    /// List what would go, and change nothing
    #[arg(long)]
    dry_run: bool,

    /// Leave the jobs of lost workers to `clipbase work`
    #[arg(long)]
    no_reap: bool,

    /// Stop after so many jobs and so many objects
    #[arg(
        long,
        value_name = "N",
        conflicts_with = "dry_run",
        default_value_t = u64::MAX,
        hide_default_value = true
    )]
    limit: u64,

    /// Remove at most so many objects a second
    #[arg(long, value_name = "N")]
    rate: Option<NonZeroU32>,

    /// Compare the buckets with the rows too: remove what nobody owns, report what is missing
    #[arg(long)]
    reconcile: bool,

    /// Leave objects alone that are younger than this: at least 24h [default: 25h]
    #[arg(long, value_name = "TIME", requires = "reconcile", value_parser = parse_duration)]
    grace: Option<Duration>,

    /// Where to read the objects: the buckets' listing, or Supabase's own table by SQL
    #[arg(
        long,
        value_name = "WHERE",
        requires = "reconcile",
        default_value = "auto"
    )]
    objects: Objects,

    /// Go on until stopped, one pass after the other
    #[arg(long, conflicts_with = "dry_run")]
    watch: bool,

    /// With --watch: the pause between two passes, give or take a half
    #[arg(
        long,
        value_name = "TIME",
        requires = "watch",
        default_value = "60s",
        value_parser = parse_duration
    )]
    interval: Duration,

    /// With --watch and --reconcile: how often to compare, whoever does it
    #[arg(
        long,
        value_name = "TIME",
        requires_all = ["watch", "reconcile"],
        default_value = "24h",
        value_parser = parse_duration
    )]
    reconcile_every: Duration,

    /// With --watch: serve /metrics, /healthz and /readyz here, to whoever reaches the port: counts and times, no job
    /// and no way to change anything
    #[arg(long, value_name = "ADDR:PORT", requires = "watch")]
    metrics: Option<SocketAddr>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Objects {
    Auto,
    List,
    Sql,
}

/// What a dry run lists.
#[derive(Default, Serialize)]
struct Plan {
    /// Jobs whose leases have run out.
    lost_leases: i64,
    jobs: Vec<PlannedJob>,
    sources: Vec<PlannedSource>,
    objects: Vec<DueDeletion>,
    reconciled: Option<ReconcileReport>,
}

impl Cleanup {
    pub(crate) async fn run(
        self,
        global: &Global,
        environment: &Environment,
        output: Output,
    ) -> Result<(), Failure> {
        if self.limit == 0 {
            return Err(Failure::input("--limit must be at least 1"));
        }
        if self.grace.is_some_and(|grace| grace < GRACE_MIN) {
            let why = "an upload may wait so long for its job";
            return Err(Failure::input(format!(
                "--grace must be at least 24h: {why}"
            )));
        }
        let port = Port::take(self.metrics).await?;
        let context = Context::open(global, environment).await?;
        if self.dry_run {
            return self.plan(&context, output).await;
        }
        if self.watch {
            let probes = port
                .map(|port| port.serve(&context.clipbase, output))
                .transpose()?;
            self.watch(&context, output).await?;
            return match probes {
                Some(probes) => probes.end().await,
                None => Ok(()),
            };
        }
        let mut done = Done::default();
        let outcome = self.pass(&context, output, self.reconcile, &mut done).await;
        match outcome {
            Ok(()) if done.report.objects_failed == 0 => {
                output.success(&done, show::report);
                Ok(())
            }
            Ok(()) => Err(output.finding(&done, left_over(&done.report), show::report)),
            // What was done until then is worth telling.
            Err(failure) if done != Done::default() => {
                Err(output.finding(&done, failure, show::report))
            }
            Err(failure) => Err(failure),
        }
    }

    fn reconcile_options(&self, delete: bool) -> ReconcileOptions {
        ReconcileOptions {
            grace: self.grace.unwrap_or(GRACE),
            delete,
            source: match self.objects {
                Objects::Auto => ReconcileSource::Auto,
                Objects::List => ReconcileSource::List,
                Objects::Sql => ReconcileSource::Sql,
            },
        }
    }

    /// Lists everything that a run would delete. For people, a page at a time; nothing is kept.
    async fn plan(&self, context: &Context, output: Output) -> Result<(), Failure> {
        let cleanup = context.clipbase.cleanup();
        let mut plan = Plan::default();
        if !self.no_reap {
            plan.lost_leases = context.clipbase.inspect().lost_leases().await?;
        }
        let (mut jobs, mut sources, mut objects) = (0, 0, 0);
        let mut after = None;
        loop {
            let page = cleanup.plan(after.as_ref()).await?;
            jobs += page.jobs.len() as u64;
            sources += page.sources.len() as u64;
            objects += page.objects.len() as u64;
            if output.is_json() {
                plan.jobs.extend(page.jobs);
                plan.sources.extend(page.sources);
                plan.objects.extend(page.objects);
            } else {
                output.text(&show::plan_page(&page));
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        if self.reconcile {
            let bar = spinner(output);
            let options = self.reconcile_options(false);
            let found = cleanup.reconcile(&options, None, |found| {
                bar.set_message(show::reconcile_progress(found));
                bar.tick();
                ControlFlow::Continue(())
            });
            plan.reconciled = Some(found.await?);
            bar.finish_and_clear();
        }
        output.success(&plan, |plan| {
            show::plan_end(
                plan.lost_leases,
                (jobs, sources, objects),
                plan.reconciled.as_ref(),
            )
        });
        Ok(())
    }
}

fn left_over(report: &Report) -> Failure {
    let what = show::count(report.objects_failed, "object");
    let message = format!("{what} could not be removed; a later run tries again");
    Failure::new("STORAGE_REMOVE_FAILED", message)
}

fn spinner(output: Output) -> ProgressBar {
    let is_shown = !output.is_json() && std::io::stderr().is_terminal();
    let target = if is_shown {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    };
    ProgressBar::with_draw_target(None, target)
}
