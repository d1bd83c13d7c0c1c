//! Ending jobs well: results stored, status done.

use std::collections::HashMap;

use serde_json::Value;
use tokio_postgres::types::Type;
use uuid::Uuid;

use super::row::read_outcomes;
use super::{EventData, Lease, Leases, check_batch};
use crate::db::Statement;
use crate::db::statement::{always, maybe};
use crate::error::{Error, Result};
use crate::ids::JobId;
use crate::job::{check_event_data, seconds};
use crate::metrics;
use crate::storage::StorageKey;

/// The most jobs that one call finishes.
pub const FINISH_MANY_MAX: usize = 1_000;

/// A job to finish under its lease.
#[derive(Clone, Copy, Debug)]
pub struct Finish<'a> {
    /// The lease.
    pub lease: &'a Lease,
    /// Whether subtitles were stored beside the clip, under [`Lease::srt_key`].
    pub with_srt: bool,
    /// What the `finished` event carries beside clipbase's own keys: a JSON object.
    pub event_data: EventData<'a>,
}

impl<'a> Finish<'a> {
    /// The clip is stored under [`Lease::video_key`]; there are no subtitles.
    pub fn new(lease: &'a Lease) -> Self {
        Self {
            lease,
            with_srt: false,
            event_data: None,
        }
    }
}

/// What became of a finish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finished {
    /// The job is done.
    Done,
    /// It was done before under the same lease with the same results: the first answer was lost.
    Repeated,
    /// Another worker holds the job, or it has ended otherwise. Nothing was written.
    Lost,
    /// The job does not exist any more.
    Absent,
}

/// The CTEs of a finish, up to `outcomes (id, outcome)`.
macro_rules! finish_ctes {
    ($ids:literal, $leases:literal, $workers:literal, $videos:literal, $srts:literal, $data:literal,
     $keep:literal, $keep_source:literal) => {
        concat!(
            "
input AS (
    SELECT id, 'finish' AS ask, lease, worker, NULL::text AS code, NULL::text AS message, video, srt,
           NULL::text AS word, data
      FROM unnest((SELECT ", $ids, "::uuid[]), (SELECT ", $leases, "::int4[]), (SELECT ", $workers, "::uuid[]),
                  (SELECT ", $videos, "::text[]), (SELECT ", $srts, "::text[]), (SELECT ", $data, "::jsonb[])) AS finish (id, lease, worker, video, srt, data)
),",
            crate::transitions::move_ctes!(
                by: "'worker'", unfenced: "false", keep_done: $keep, keep_failed: "0",
                keep_source: $keep_source, backoff_base: "0", backoff_cap: "0"
            ),
            ",
outcomes AS (
    SELECT found.id, CASE
           WHEN found.next IS NOT NULL THEN 'done'
           WHEN found.status = 'done' AND found.held_lease = found.lease AND found.held_worker = found.worker
                AND found.held_video = found.video AND found.held_srt IS NOT DISTINCT FROM found.srt
           THEN 'repeated'
           ELSE 'lost' END AS outcome
      FROM found
)"
        )
    };
}
pub(super) use finish_ctes;

pub(super) static FINISH: Statement = Statement {
    name: "leases.finish",
    sql: concat!(
        "-- leases.finish
WITH",
        finish_ctes!("$1", "$2", "$3", "$4", "$5", "$6", "$7", "$8"),
        "
SELECT id, outcome FROM outcomes"
    ),
    params: &[
        Type::UUID_ARRAY,
        Type::INT4_ARRAY,
        Type::UUID_ARRAY,
        Type::TEXT_ARRAY,
        Type::TEXT_ARRAY,
        Type::JSONB_ARRAY,
        Type::FLOAT8,
        Type::FLOAT8,
    ],
    columns: &[maybe("id", Type::UUID), always("outcome", Type::TEXT)],
};

/// Finishes turned on their side: an array a column, in the order of the jobs' ids, which is the order in
/// which every batch locks its rows.
pub(super) struct FinishColumns<'a> {
    pub(super) ids: Vec<Uuid>,
    pub(super) leases: Vec<i32>,
    pub(super) workers: Vec<Uuid>,
    pub(super) videos: Vec<String>,
    pub(super) srts: Vec<Option<String>>,
    pub(super) data: Vec<Option<&'a Value>>,
}

impl<'a> FinishColumns<'a> {
    pub(super) fn of(finishes: &[Finish<'a>]) -> Result<Self> {
        let ids = finishes.iter().map(|finish| finish.lease.job_id());
        check_batch("finishes", FINISH_MANY_MAX, ids)?;
        finishes
            .iter()
            .try_for_each(|finish| check_event_data(finish.event_data))?;
        let mut sorted: Vec<&Finish<'a>> = finishes.iter().collect();
        sorted.sort_unstable_by_key(|finish| finish.lease.job_id());
        let srt = |finish: &&Finish<'_>| finish.with_srt.then(|| finish.lease.srt_key());
        Ok(Self {
            ids: sorted
                .iter()
                .map(|finish| finish.lease.job_id().as_uuid())
                .collect(),
            leases: sorted.iter().map(|finish| finish.lease.number()).collect(),
            workers: sorted
                .iter()
                .map(|finish| finish.lease.worker_id().as_uuid())
                .collect(),
            videos: sorted
                .iter()
                .map(|finish| finish.lease.video_key().to_string())
                .collect(),
            srts: sorted
                .iter()
                .map(|f| srt(f).as_ref().map(StorageKey::to_string))
                .collect(),
            data: sorted.iter().map(|finish| finish.event_data).collect(),
        })
    }

    /// Puts the answers into the order of the questions.
    #[allow(clippy::unused_self, reason = "the answers belong to these columns")]
    pub(super) fn read(
        &self,
        finishes: &[Finish<'_>],
        outcomes: &[(JobId, &str)],
    ) -> Vec<Finished> {
        let outcomes: HashMap<JobId, &str> = outcomes.iter().copied().collect();
        finishes
            .iter()
            .map(|finish| match outcomes.get(&finish.lease.job_id()) {
                Some(&"done") => Finished::Done,
                Some(&"repeated") => Finished::Repeated,
                Some(_) => Finished::Lost,
                None => Finished::Absent,
            })
            .collect()
    }
}

impl Leases<'_> {
    /// Finishes a job whose clip is stored under its lease's key. Idempotent: a repeat after a lost answer
    /// succeeds and writes nothing.
    ///
    /// # Errors
    /// `LEASE_LOST` when another worker holds the job or it has ended otherwise; `NOT_FOUND`.
    pub async fn finish(&self, finish: Finish<'_>) -> Result<()> {
        match self.finish_many(&[finish]).await?.first() {
            Some(Finished::Done | Finished::Repeated) => Ok(()),
            Some(Finished::Lost) => Err(Error::LeaseLost),
            Some(Finished::Absent) | None => Err(Error::NotFound { what: "job" }),
        }
    }

    /// Finishes up to [`FINISH_MANY_MAX`] jobs, each by itself: one that is lost does not hold up the others.
    ///
    /// # Errors
    /// `INVALID_INPUT` for too many, or one job twice.
    pub async fn finish_many(&self, finishes: &[Finish<'_>]) -> Result<Vec<Finished>> {
        if finishes.is_empty() {
            return Ok(Vec::new());
        }
        let columns = FinishColumns::of(finishes)?;
        let only = match finishes {
            [finish] => Some(finish.lease.job_id()),
            _ => None,
        };
        let rows = self
            .database()
            .call(
                only,
                &FINISH,
                &[
                    &columns.ids,
                    &columns.leases,
                    &columns.workers,
                    &columns.videos,
                    &columns.srts,
                    &columns.data,
                    &seconds(self.settings().retention.done),
                    &seconds(self.settings().retention.sources),
                ],
            )
            .await?;
        let ends = columns.read(finishes, &read_outcomes(&rows)?);
        metrics::finished(&ends);
        Ok(ends)
    }
}
