//! Moves of one job by a caller: the guarded transition, cancel and retry.

use serde_json::Value;
use tokio_postgres::types::Type;

use super::Jobs;
use super::row::{Reader, job_column_types, job_columns, read_job};
use crate::db::Statement;
use crate::error::{Error, Result};
use crate::events::check_event_type;
use crate::ids::{JobId, WorkerId};
use crate::job::{Job, check_event_data, seconds};
use crate::leases::{Failure, Lease};
use crate::metrics::{self, Reason};
use crate::status::JobStatus;
use crate::storage::StorageKey;
use crate::transitions::move_ctes;

/// Who asks for a transition.
#[derive(Clone, Copy, Debug)]
pub enum Actor<'a> {
    /// The worker that holds this lease. Nothing moves when the lease is lost.
    Lease(&'a Lease),
    /// A worker that takes a queued job, without a [`Lease`]: [`crate::leases::Leases::claim_job`] gives one.
    Worker(WorkerId),
    /// An operator: moves a processing job without its lease, and is recorded as such.
    Operator,
}

/// What goes with a transition.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TransitionPatch {
    /// The clip; needed when the job becomes done.
    pub result_video: Option<StorageKey>,
    /// Its subtitles, when the job becomes done.
    pub result_srt: Option<StorageKey>,
    /// Why; needed when a processing job becomes failed.
    pub failure: Option<Failure>,
    /// The event's type instead of clipbase's word for the edge.
    pub event_type: Option<String>,
    /// The event's data beside clipbase's keys: a JSON object.
    pub event_data: Option<Value>,
}

/// What a cancel did.
#[derive(Clone, Debug, PartialEq)]
pub enum Canceled {
    /// The job waited in the queue, or an earlier cancel had won: it is failed with `CANCELED`.
    Ended(Box<Job>),
    /// A worker holds the job. It is told at its next heartbeat, and the job then ends in `CANCELED`.
    Requested(Box<Job>),
}

pub(super) static TRANSITION: Statement = Statement {
    name: "jobs.transition",
    sql: concat!(
        "-- jobs.transition
WITH input AS (
    SELECT $1::uuid AS id, $2::text AS ask, $3::int4 AS lease, $4::uuid AS worker, $5::text AS code,
           $6::text AS message, $7::text AS video, $8::text AS srt, $9::text AS word, $10::jsonb AS data
),",
        move_ctes!(
            by: "$11::text", unfenced: "$12::bool", keep_done: "$13::float8", keep_failed: "$14::float8",
            keep_source: "$15::float8", backoff_base: "0", backoff_cap: "0"
        ),
        "
SELECT found.status::text AS was, found.is_without_source, moved.id IS NOT NULL AS is_moved, ",
        job_columns!("moved."),
        "
  FROM found LEFT JOIN moved ON true"
    ),
    params: &[
        Type::UUID,
        Type::TEXT,
        Type::INT4,
        Type::UUID,
        Type::TEXT,
        Type::TEXT,
        Type::TEXT,
        Type::TEXT,
        Type::TEXT,
        Type::JSONB,
        Type::TEXT,
        Type::BOOL,
        Type::FLOAT8,
        Type::FLOAT8,
        Type::FLOAT8,
    ],
    columns: job_column_types!(
        always("was", Type::TEXT),
        always("is_without_source", Type::BOOL),
        always("is_moved", Type::BOOL)
    ),
};

/// What the statement is asked, beside the job.
struct Ask<'a> {
    verb: &'static str,
    by: &'static str,
    fence: Option<&'a Lease>,
    worker: Option<WorkerId>,
    patch: &'a TransitionPatch,
}

impl Ask<'_> {
    fn reason(&self) -> Reason {
        match self.verb {
            "cancel" => Reason::Cancel,
            "reopen" => Reason::Retry,
            _ => Reason::Transition,
        }
    }
}

enum Moved {
    Yes(Box<Job>),
    /// Nothing was written; the job is as described.
    No(Unmoved),
}

/// How a job stands that was not moved.
struct Unmoved {
    status: JobStatus,
    /// Whether its source was removed after it had ended.
    is_without_source: bool,
}

impl Unmoved {
    fn refusal(&self, to: JobStatus, reason: &'static str) -> Error {
        let is_retry = (self.status, to) == (JobStatus::Failed, JobStatus::Queued);
        Error::InvalidTransition {
            from: self.status,
            to,
            reason: if is_retry && self.is_without_source {
                "its source was removed; upload it again and make a new job"
            } else {
                reason
            },
        }
    }
}

impl Jobs<'_> {
    /// Moves a job along an edge of the state machine, with its event, in one statement.
    ///
    /// A job leaves `processing` only for the holder of its lease or for an operator. The usual ways are
    /// the verbs of [`crate::leases::Leases`]; this one is for callers that think in states.
    ///
    /// # Errors
    /// `NOT_FOUND`; `INVALID_TRANSITION` where no edge leads to `next`; `LEASE_LOST` when the lease was
    /// superseded or has ended; `INVALID_INPUT` for a patch or an actor that does not fit.
    pub async fn transition(
        &self,
        id: JobId,
        next: JobStatus,
        actor: Actor<'_>,
        patch: &TransitionPatch,
    ) -> Result<Job> {
        check_patch(next, patch)?;
        check_results(id, patch)?;
        let (by, fence, worker) = match actor {
            Actor::Lease(lease) if lease.job_id() != id => {
                return Err(Error::invalid("lease", "is a lease on another job"));
            }
            Actor::Lease(lease) => ("worker", Some(lease), None),
            Actor::Worker(worker) => ("worker", None, Some(worker)),
            Actor::Operator => ("operator", None, None),
        };
        if (next == JobStatus::Processing) != worker.is_some() {
            return Err(Error::invalid(
                "actor",
                "must be a worker where it takes the job, and else the lease or an operator",
            ));
        }
        let verb = match next {
            JobStatus::Queued => "become queued",
            JobStatus::Processing => "become processing",
            JobStatus::Done => "become done",
            JobStatus::Failed => "become failed",
        };
        match self
            .ask(
                id,
                &Ask {
                    verb,
                    by,
                    fence,
                    worker,
                    patch,
                },
            )
            .await?
        {
            Moved::Yes(job) => Ok(*job),
            // Whoever holds a lease holds it on a processing job, from where every edge is open.
            Moved::No(_) if fence.is_some() => Err(Error::LeaseLost),
            Moved::No(job) => Err(job.refusal(next, "no such edge")),
        }
    }

    /// Cancels a job: at once while it is queued, at the worker's next heartbeat while it is processing.
    /// A second cancel changes nothing and succeeds.
    ///
    /// # Errors
    /// `NOT_FOUND`; `INVALID_TRANSITION` when the job has ended otherwise.
    pub async fn cancel(&self, id: JobId) -> Result<Canceled> {
        let patch = TransitionPatch::default();
        let ask = Ask {
            verb: "cancel",
            by: "operator",
            fence: None,
            worker: None,
            patch: &patch,
        };
        let from = match self.ask(id, &ask).await? {
            Moved::Yes(job) if job.status == JobStatus::Failed => return Ok(Canceled::Ended(job)),
            Moved::Yes(job) => {
                self.inner.waker.schedule_cancel(self.database());
                return Ok(Canceled::Requested(job));
            }
            Moved::No(job) => job.status,
        };
        let job = self.get(id).await?.ok_or(Error::NotFound { what: "job" })?;
        match job.status {
            JobStatus::Processing if job.cancel_requested_at.is_some() => {
                Ok(Canceled::Requested(Box::new(job)))
            }
            JobStatus::Failed if job.error_code.as_deref() == Some("CANCELED") => {
                Ok(Canceled::Ended(Box::new(job)))
            }
            _ => Err(Error::InvalidTransition {
                from,
                to: JobStatus::Failed,
                reason: "it has ended already",
            }),
        }
    }

    /// Gives a failed job a fresh start: attempts from 0, error, cancel and results cleared. Its lease
    /// number goes on, so that old workers stay fenced off.
    ///
    /// # Errors
    /// `NOT_FOUND`; `INVALID_TRANSITION` when the job is not failed, or its source was removed.
    pub async fn retry(&self, id: JobId) -> Result<Job> {
        let patch = TransitionPatch::default();
        let ask = Ask {
            verb: "reopen",
            by: "operator",
            fence: None,
            worker: None,
            patch: &patch,
        };
        match self.ask(id, &ask).await? {
            Moved::Yes(job) => Ok(*job),
            Moved::No(job) => {
                Err(job.refusal(JobStatus::Queued, "only a failed job can be retried"))
            }
        }
    }

    async fn ask(&self, id: JobId, ask: &Ask<'_>) -> Result<Moved> {
        let patch = ask.patch;
        let video = patch.result_video.as_ref().map(ToString::to_string);
        let srt = patch.result_srt.as_ref().map(ToString::to_string);
        let worker = ask
            .fence
            .map(Lease::worker_id)
            .or(ask.worker)
            .map(|worker| worker.as_uuid());
        let retention = self.settings().retention;
        let rows = self
            .database()
            .rows_of(
                id,
                &TRANSITION,
                &[
                    &id.as_uuid(),
                    &ask.verb,
                    &ask.fence.map(Lease::number),
                    &worker,
                    &patch.failure.as_ref().map(Failure::code),
                    &patch.failure.as_ref().map(Failure::message),
                    &video,
                    &srt,
                    &patch.event_type,
                    &patch.event_data,
                    &ask.by,
                    &(ask.by == "operator"),
                    &seconds(retention.done),
                    &seconds(retention.failed),
                    &seconds(retention.sources),
                ],
            )
            .await?;
        let row = rows.first().ok_or(Error::NotFound { what: "job" })?;
        let mut reader = Reader::new(row);
        let status = reader.parse()?;
        let is_without_source = reader.take()?;
        if reader.take::<bool>()? {
            let job = read_job(reader)?;
            if job.status == status {
                metrics::cancels_requested(1);
            } else {
                metrics::moved(status, job.status, ask.reason(), 1);
            }
            if job.status == JobStatus::Queued {
                self.inner.wake_workers();
            }
            Ok(Moved::Yes(Box::new(job)))
        } else {
            Ok(Moved::No(Unmoved {
                status,
                is_without_source,
            }))
        }
    }
}

/// A job names its own results: another's would go when the other is deleted.
fn check_results(id: JobId, patch: &TransitionPatch) -> Result<()> {
    let video = patch.result_video.as_ref();
    let srt = patch.result_srt.as_ref();
    if video.is_some_and(|key| !matches!(key, StorageKey::ResultVideo { job, .. } if *job == id)) {
        return Err(Error::invalid(
            "result_video",
            "must be the key of a clip of this job",
        ));
    }
    if srt.is_some_and(|key| !matches!(key, StorageKey::ResultSrt { job, .. } if *job == id)) {
        return Err(Error::invalid(
            "result_srt",
            "must be the key of subtitles of this job",
        ));
    }
    Ok(())
}

fn check_patch(next: JobStatus, patch: &TransitionPatch) -> Result<()> {
    patch
        .event_type
        .as_deref()
        .map_or(Ok(()), check_event_type)?;
    check_event_data(patch.event_data.as_ref())?;
    let has_results = patch.result_video.is_some() || patch.result_srt.is_some();
    if next == JobStatus::Done && patch.result_video.is_none() {
        return Err(Error::invalid(
            "result_video",
            "is needed when a job becomes done",
        ));
    }
    if next != JobStatus::Done && has_results {
        return Err(Error::invalid(
            "result_video",
            "goes only with a job that becomes done",
        ));
    }
    if next != JobStatus::Failed && patch.failure.is_some() {
        return Err(Error::invalid(
            "failure",
            "goes only with a job that becomes failed",
        ));
    }
    Ok(())
}
