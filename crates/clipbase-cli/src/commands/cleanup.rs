//! `clipbase cleanup`: removes expired jobs and objects that nobody owns any more.

use std::io::IsTerminal;

use clap::Args;
use clipbase::cleanup::{BATCH_MAX, CleanupOptions, DueDeletion, Expired};
use indicatif::{ProgressBar, ProgressDrawTarget};
use serde::Serialize;

use crate::context::{Context, Global};
use crate::environment::Environment;
use crate::failure::Failure;
use crate::output::{Output, table};

/// Remove expired jobs and the objects that nobody owns any more.
///
/// Works in batches, never on a job that a worker holds; safe to kill and to run again, and to run in several
/// places at once.
#[derive(Args)]
pub(crate) struct Cleanup {
    /// List what would go, and remove nothing
    #[arg(long)]
    dry_run: bool,

    /// Stop after so many jobs and so many objects
    #[arg(long, value_name = "N", default_value_t = u64::MAX, hide_default_value = true)]
    limit: u64,
}

#[derive(Serialize)]
struct Plan {
    expired: Vec<Expired>,
    due: Vec<DueDeletion>,
    /// Whether more than one batch is due; the lists hold the first.
    is_partial: bool,
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
        let context = Context::open(global, environment).await?;
        let cleanup = context.clipbase.cleanup();
        if self.dry_run {
            let batch = u32::try_from(self.limit)
                .unwrap_or(BATCH_MAX)
                .min(BATCH_MAX);
            let expired = cleanup.expired(batch).await?;
            let due = cleanup.due_deletions(batch).await?;
            let full = batch as usize;
            let is_partial = expired.len() == full || due.len() == full;
            output.success(
                &Plan {
                    expired,
                    due,
                    is_partial,
                },
                show_plan,
            );
            return Ok(());
        }
        let bar = spinner(output);
        let report = cleanup
            .run(&CleanupOptions::limited(self.limit), |report| {
                let (jobs, objects) = (report.jobs_deleted, report.objects_removed);
                bar.set_message(format!("{jobs} jobs deleted, {objects} objects removed"));
                bar.tick();
            })
            .await?;
        bar.finish_and_clear();
        output.success(&report, |report| {
            let row = |what: &str, count: u64| vec![what.to_owned(), count.to_string()];
            table(
                &["what", "count"],
                [
                    row("expired jobs deleted", report.jobs_deleted),
                    row("objects removed", report.objects_removed),
                    row("objects kept, a job owns them", report.objects_kept),
                    row("objects to try again later", report.objects_failed),
                    row("idempotency keys forgotten", report.requests_forgotten),
                ],
            )
        });
        Ok(())
    }
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

fn show_plan(plan: &Plan) -> String {
    let jobs = plan.expired.iter().map(|job| {
        let expired = job
            .expires_at
            .map_or_else(String::new, |time| format!("{time:.0}"));
        vec![job.id.to_string(), job.status.to_string(), expired]
    });
    let objects = plan.due.iter().map(|object| {
        let error = object.last_error_code.clone().unwrap_or_default();
        vec![
            object.object_key.clone(),
            object.reason.clone(),
            object.attempts.to_string(),
            error,
        ]
    });
    let mut text = format!("{} jobs would be deleted\n", plan.expired.len());
    if !plan.expired.is_empty() {
        text += &table(&["job", "status", "expired"], jobs);
    }
    text += &format!("{} objects would be removed\n", plan.due.len());
    if !plan.due.is_empty() {
        text += &table(&["object", "reason", "tries", "last error"], objects);
    }
    if plan.is_partial {
        text += "there may be more: this is the first batch\n";
    }
    text
}
