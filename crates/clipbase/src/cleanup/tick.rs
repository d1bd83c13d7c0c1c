//! A little of the clean-up, for a worker's timer.

use tokio_postgres::types::Type;

use super::backlog::set_gauges;
use super::expire::expired;
use super::pace::Pace;
use super::sources::source_due;
use super::{BATCH_MAX, Cleanup, Report, check_batch};
use crate::db::Statement;
use crate::db::statement::maybe;
use crate::error::{Error, Result};
use crate::jobs::row::Reader;

/// How much one tick does at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TickOptions {
    /// Jobs that are deleted, and sources that are given up: 1 to [`BATCH_MAX`].
    pub expire: u32,
    /// Bulk calls to the storage.
    pub drain_calls: u32,
}

impl Default for TickOptions {
    /// A full batch, and four calls.
    fn default() -> Self {
        Self {
            expire: BATCH_MAX,
            drain_calls: 4,
        }
    }
}

// Ordered, so that the plan follows the index also where it thinks that the table is full of what is sought.
pub(super) static DUE_WORK: Statement = Statement {
    name: "cleanup.due_work",
    sql: concat!(
        "-- cleanup.due_work
SELECT coalesce((SELECT true FROM public.jobs AS job WHERE ",
        expired!("now()", "$1"),
        "
                  ORDER BY job.expires_at LIMIT (SELECT 1)), false) AS jobs,
       coalesce((SELECT true FROM public.jobs AS job WHERE ",
        source_due!("now()"),
        "
                  ORDER BY job.source_expires_at LIMIT (SELECT 1)), false) AS sources,
       coalesce((SELECT true FROM public.job_idempotency WHERE expires_at <= now()
                  ORDER BY expires_at LIMIT (SELECT 1)), false) AS requests,
       coalesce((SELECT true FROM unnest(ARRAY['sources', 'results', 'other']) AS shelf (name)
                  CROSS JOIN LATERAL (
                     SELECT FROM public.storage_deletions AS deletion
                      WHERE deletion.bucket = shelf.name AND deletion.next_attempt_at <= now()
                      ORDER BY deletion.next_attempt_at LIMIT (SELECT 1)) AS entry
                  LIMIT (SELECT 1)), false) AS deletions"
    ),
    params: &[Type::FLOAT8],
    columns: &[
        maybe("jobs", Type::BOOL),
        maybe("sources", Type::BOOL),
        maybe("requests", Type::BOOL),
        maybe("deletions", Type::BOOL),
    ],
};

impl Cleanup<'_> {
    /// Does a bounded piece of the clean-up: a batch of jobs, of sources and of idempotency keys, and a few
    /// bulk calls. One cheap statement where nothing is due. Any worker may call it at any time, with jitter;
    /// several share the work.
    ///
    /// # Errors
    /// As [`Cleanup::run`]; `INVALID_INPUT` for the options.
    pub async fn tick(&self, options: &TickOptions) -> Result<Report> {
        check_batch(options.expire)?;
        self.inner.check_installation().await?;
        let ttl = self.lease_ttl().as_secs_f64();
        let rows = self.database().rows(&DUE_WORK, &[&ttl]).await?;
        let mut due = Reader::new(rows.first().ok_or(Error::NotFound { what: "work" })?);
        let mut report = Report::default();
        let (jobs, sources): (bool, bool) = (due.take()?, due.take()?);
        let (requests, deletions): (bool, bool) = (due.take()?, due.take()?);
        if jobs {
            report.jobs_deleted = self.expire(options.expire).await?.len() as u64;
        }
        if sources {
            report.sources_removed = self.expire_sources(options.expire).await?.len() as u64;
        }
        if requests {
            report.requests_forgotten = self.forget_requests().await?;
        }
        if !(jobs || sources || deletions) {
            set_gauges(0, 0);
            return Ok(report);
        }
        let calls = u64::from(options.drain_calls);
        self.drain_all(u64::MAX, calls, &mut Pace::new(None), |drained| {
            report.add(drained);
        })
        .await?;
        self.gauge_backlog().await?;
        Ok(report)
    }
}
