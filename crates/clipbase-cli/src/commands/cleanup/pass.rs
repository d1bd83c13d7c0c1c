//! One pass of a clean-up, or one after the other.

use clipbase::cleanup::{CleanupOptions, Report};
use clipbase::leases::{REAP_MAX, Surrendered};
use clipbase_worker::runtime::jittered;
use serde::Serialize;

use super::{Cleanup, show, spinner};
use crate::context::{Context, shutdown_token};
use crate::failure::Failure;
use crate::output::Output;

/// What a pass did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Done {
    #[serde(flatten)]
    pub(super) reaped: Taken,
    #[serde(flatten)]
    pub(super) report: Report,
}

/// Jobs that were taken back from lost workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Taken {
    /// They wait to be tried again.
    pub(super) jobs_requeued: u64,
    /// They had no attempt left, or were to be cancelled.
    pub(super) jobs_failed: u64,
}

/// Takes back every job whose lease has run out. Those with attempts left wait a moment before they are claimed, so
/// that this ends.
async fn reap(context: &Context) -> Result<Taken, Failure> {
    let mut taken = Taken::default();
    loop {
        let reaped = context.clipbase.leases().reap(REAP_MAX).await?;
        for job in &reaped {
            match job.to {
                Surrendered::Queued => taken.jobs_requeued += 1,
                Surrendered::Failed => taken.jobs_failed += 1,
            }
        }
        if reaped.len() < REAP_MAX as usize {
            return Ok(taken);
        }
    }
}

impl Cleanup {
    /// One pass. What it did is in `done`, also where it ends early.
    pub(super) async fn pass(
        &self,
        context: &Context,
        output: Output,
        reconcile: bool,
        done: &mut Done,
    ) -> Result<(), Failure> {
        let options = CleanupOptions {
            limit: self.limit,
            max_deletes_per_second: self.rate,
            reconcile: reconcile.then(|| self.reconcile_options(true)),
        };
        if !self.no_reap {
            done.reaped = reap(context).await?;
        }
        let bar = spinner(output);
        let cleanup = context.clipbase.cleanup();
        let outcome = cleanup
            .run(&options, |report| {
                done.report.clone_from(report);
                bar.set_message(show::progress(report));
                bar.tick();
            })
            .await;
        bar.finish_and_clear();
        done.report = outcome?;
        Ok(())
    }

    /// One pass after the other. What time may mend is told and waited out.
    pub(super) async fn watch(&self, context: &Context, output: Output) -> Result<(), Failure> {
        let shutdown = shutdown_token();
        if !output.is_json() {
            eprintln!("cleaning up; stop it with Ctrl-C");
        }
        while !shutdown.is_cancelled() {
            let mut done = Done::default();
            let outcome = tokio::select! {
                outcome = self.watched_pass(context, output, &mut done) => outcome,
                // Killing a pass in the middle does no harm.
                () = shutdown.cancelled() => Ok(()),
            };
            if done != Done::default() {
                output.success(&done, show::line);
            }
            match outcome {
                Ok(()) => {}
                Err(failure) if failure.may_pass() => {
                    eprintln!("warning: {} [{}]", failure.message(), failure.code());
                }
                Err(failure) => return Err(failure),
            }
            tokio::select! {
                () = tokio::time::sleep(jittered(self.interval)) => {}
                () = shutdown.cancelled() => {}
            }
        }
        Ok(())
    }

    /// A pass that compares the buckets where that is due and nobody else does it.
    async fn watched_pass(
        &self,
        context: &Context,
        output: Output,
        done: &mut Done,
    ) -> Result<(), Failure> {
        let cleanup = context.clipbase.cleanup();
        let options = self.reconcile_options(true);
        let found = if self.reconcile {
            let turn = cleanup.reconcile_in_turn(&options, self.reconcile_every);
            turn.await
        } else {
            Ok(None)
        };
        // Rows expire even where the buckets cannot be compared.
        self.pass(context, output, false, done).await?;
        done.report.reconciled = found?;
        Ok(())
    }
}
