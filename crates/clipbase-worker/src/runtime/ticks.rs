//! What a worker does beside its jobs, on tasks of its own: take jobs back from lost workers, and clean up.
//!
//! Neither needs a leader: any number of workers do both, and each batch is safe to run twice or to drop.

use std::time::Duration;

use clipbase::cleanup::{ReconcileOptions, TickOptions};
use clipbase::{Clipbase, Error, Result};
use tokio::task::JoinSet;

use super::{Worker, jittered};

/// Starts both. They end with the set.
pub(super) fn start(worker: &Worker) -> JoinSet<()> {
    let mut ticks = JoinSet::new();
    ticks.spawn(reap(worker.clone()));
    if let Some(interval) = worker.shared.options.cleanup_interval {
        let every = worker.shared.options.reconcile_interval;
        ticks.spawn(clean_up(worker.shared.clipbase.clone(), interval, every));
    }
    ticks
}

async fn reap(worker: Worker) {
    loop {
        tokio::time::sleep(jittered(worker.shared.options.reap_interval)).await;
        if let Err(error) = worker.reap().await {
            complain("taking jobs back from lost workers", &error);
        }
    }
}

async fn clean_up(clipbase: Clipbase, interval: Duration, reconcile_every: Option<Duration>) {
    loop {
        tokio::time::sleep(jittered(interval)).await;
        if let Err(error) = clean_up_once(&clipbase, reconcile_every).await {
            complain("cleaning up", &error);
        }
    }
}

/// One clean-up: the one place that says which.
async fn clean_up_once(clipbase: &Clipbase, reconcile_every: Option<Duration>) -> Result<()> {
    let cleanup = clipbase.cleanup();
    if let Some(pause) = reconcile_every {
        let options = ReconcileOptions {
            delete: true,
            ..ReconcileOptions::default()
        };
        if let Some(found) = cleanup.reconcile_in_turn(&options, pause).await? {
            let (unowned, missing) = (found.unowned(), found.missing());
            tracing::info!(unowned, missing, "compared the buckets with the rows");
        }
    }
    let report = cleanup.tick(&TickOptions::default()).await?;
    tracing::debug!(
        jobs_deleted = report.jobs_deleted,
        objects_removed = report.objects_removed,
        objects_failed = report.objects_failed,
        "cleaned up"
    );
    Ok(())
}

fn complain(what: &str, error: &Error) {
    let code = error.code().as_str();
    tracing::warn!(code, "{what} did not work: {error}; trying again");
}
