//! Taking jobs out of the queue.
//!
//! The claim walks the claim index pair by pair: every shard at the highest priority, then every shard at
//! the next. Within a pair it is first in, first out by `run_at`. Nothing is sorted and nothing is locked
//! that is not taken: each pair's range is read lazily until there are enough rows.

use std::time::Duration;

use tokio_postgres::types::Type;

use super::finish::{FinishColumns, finish_ctes};
use super::row::{LEASE_COLUMNS, in_order, lease_columns, read_lease};
use super::{Finish, Finished, LEASE_TTL, Lease, Leases};
use crate::db::Statement;
use crate::db::statement::maybe;
use crate::error::{Error, Result};
use crate::ids::{JobId, WorkerId};
use crate::job::seconds;
use crate::jobs::row::Reader;
use crate::metrics;
use crate::queue::{in_queue, picked_ctes};

/// The most jobs that one call claims.
pub const CLAIM_MAX: u32 = 1_000;
/// The most shards that one worker names.
pub const SHARDS_MAX: usize = 1_000;

/// Who claims, what and how much.
#[derive(Clone, Debug)]
pub struct ClaimOptions {
    /// The worker process.
    pub worker: WorkerId,
    /// The shards to serve; all of them when empty.
    pub shards: Vec<i32>,
    /// How many jobs at most, 1 to [`CLAIM_MAX`].
    pub limit: u32,
    /// How long the leases live without a heartbeat.
    pub lease_ttl: Duration,
    /// Which shard comes first; give another number at each call, so that none waits behind the others.
    pub rotation: u32,
}

impl ClaimOptions {
    /// Up to `limit` jobs of any shard, with leases of [`LEASE_TTL`].
    pub fn new(worker: WorkerId, limit: u32) -> Self {
        Self {
            worker,
            shards: Vec::new(),
            limit,
            lease_ttl: LEASE_TTL,
            rotation: 0,
        }
    }

    fn check(&self) -> Result<()> {
        if !(1..=CLAIM_MAX).contains(&self.limit) {
            return Err(Error::invalid("limit", "must be 1 to 1000"));
        }
        if self.shards.len() > SHARDS_MAX {
            return Err(Error::invalid("shards", "must be at most 1000"));
        }
        let mut shards = self.shards.clone();
        shards.sort_unstable();
        if shards.windows(2).any(|pair| pair.first() == pair.last()) {
            return Err(Error::invalid("shards", "must name each shard once"));
        }
        check_ttl(self.lease_ttl)
    }
}

pub(super) fn check_ttl(ttl: Duration) -> Result<()> {
    if (Duration::from_millis(1)..=Duration::from_secs(24 * 60 * 60)).contains(&ttl) {
        Ok(())
    } else {
        Err(Error::invalid(
            "lease_ttl",
            "must be 1 millisecond to 24 hours",
        ))
    }
}

/// What a turn did: finished jobs and new ones.
#[derive(Clone, Debug, PartialEq)]
pub struct Turn {
    /// What became of each finish, in the order given.
    pub finished: Vec<Finished>,
    /// The jobs claimed, oldest first within a shard and priority.
    pub claimed: Vec<Lease>,
}

/// The effects of a claim, given the CTE `picked (id)`.
macro_rules! claimed_ctes {
    ($worker:literal, $ttl:literal) => {
        concat!(
            "
claimed AS (
    UPDATE public.jobs AS job
       SET status = 'processing', lease = job.lease + 1, attempts = job.attempts + 1, worker_id = ", $worker, ",
           lease_expires_at = now() + make_interval(secs => ", $ttl, "), last_heartbeat_at = now(),
           started_at = now(), progress = 0, event_seq = job.event_seq + 1, updated_at = now()
     -- ANY over an array: the one form whose generic plan stays on the primary key (a join or IN falls
     -- to a sequential scan: 5 ms against 1.2 s and 2.4 s on 4.4 million rows).
     WHERE job.id = ANY (ARRAY(SELECT id FROM picked))
       -- Not = 'queued': that would open the claim index to this plan, and with it the whole queue.
       AND job.status NOT IN ('processing', 'done', 'failed')
    RETURNING job.*
),
noted AS (
    INSERT INTO public.job_events (job_id, seq, type, data)
    SELECT id, event_seq, 'claimed', jsonb_build_object('by', 'worker', 'from', 'queued', 'set',
               jsonb_build_object('status', 'processing', 'lease', lease, 'attempts', attempts,
                                  'worker_id', worker_id))
      FROM claimed
)"
        )
    };
}

pub(super) static CLAIM: Statement = Statement {
    name: "leases.claim",
    sql: concat!(
        "-- leases.claim
WITH RECURSIVE",
        picked_ctes!("$1::int4[]", "$2::int8", "$3::int8"),
        ",",
        claimed_ctes!("$4", "$5"),
        "
SELECT ",
        lease_columns!(""),
        " FROM claimed"
    ),
    params: &[
        Type::INT4_ARRAY,
        Type::INT8,
        Type::INT8,
        Type::UUID,
        Type::FLOAT8,
    ],
    columns: LEASE_COLUMNS,
};

pub(super) static CLAIM_JOB: Statement = Statement {
    name: "leases.claim_job",
    sql: concat!(
        "-- leases.claim_job
WITH picked AS MATERIALIZED (
    SELECT job.id FROM public.jobs AS job
     WHERE job.id = $1 AND ",
        in_queue!(),
        " AND job.run_at <= now()
       FOR NO KEY UPDATE SKIP LOCKED
),",
        claimed_ctes!("$2", "$3"),
        "
SELECT ",
        lease_columns!(""),
        " FROM claimed"
    ),
    params: &[Type::UUID, Type::UUID, Type::FLOAT8],
    columns: LEASE_COLUMNS,
};

// The finished jobs and the claimed ones are different rows, so one statement and one commit do for both.
// The finishes come first: they wait for their rows, which they must not do while rows are claimed.
pub(super) static TURN: Statement = Statement {
    name: "leases.turn",
    sql: concat!(
        "-- leases.turn
WITH RECURSIVE",
        finish_ctes!("$6", "$7", "$8", "$9", "$10", "$11", "$12", "$13"),
        ",",
        picked_ctes!("$1::int4[]", "$2::int8", "$3::int8"),
        ",",
        claimed_ctes!("$4", "$5"),
        "
SELECT outcome, id, NULL::int4 AS lease, NULL::uuid AS worker_id, NULL::timestamptz AS lease_expires_at,
       NULL::varchar AS source_type, NULL::varchar AS source_key, NULL::varchar AS source_url,
       NULL::int4 AS start_sec, NULL::int4 AS end_sec, NULL::int8 AS start_ms, NULL::int8 AS end_ms,
       NULL::bool AS with_subtitles, NULL::bool AS burn_subtitles, NULL::varchar AS subtitle_lang,
       NULL::varchar AS priority, NULL::int4 AS shard, NULL::int4 AS attempts, NULL::int4 AS max_attempts,
       NULL::timestamptz AS created_at, NULL::timestamptz AS run_at
  FROM outcomes
UNION ALL
SELECT NULL, ",
        lease_columns!("claimed."),
        "
  FROM claimed"
    ),
    params: &[
        Type::INT4_ARRAY,
        Type::INT8,
        Type::INT8,
        Type::UUID,
        Type::FLOAT8,
        Type::UUID_ARRAY,
        Type::INT4_ARRAY,
        Type::UUID_ARRAY,
        Type::TEXT_ARRAY,
        Type::TEXT_ARRAY,
        Type::JSONB_ARRAY,
        Type::FLOAT8,
        Type::FLOAT8,
    ],
    columns: &[
        maybe("outcome", Type::TEXT),
        maybe("id", Type::UUID),
        maybe("lease", Type::INT4),
        maybe("worker_id", Type::UUID),
        maybe("lease_expires_at", Type::TIMESTAMPTZ),
        maybe("source_type", Type::VARCHAR),
        maybe("source_key", Type::VARCHAR),
        maybe("source_url", Type::VARCHAR),
        maybe("start_sec", Type::INT4),
        maybe("end_sec", Type::INT4),
        maybe("start_ms", Type::INT8),
        maybe("end_ms", Type::INT8),
        maybe("with_subtitles", Type::BOOL),
        maybe("burn_subtitles", Type::BOOL),
        maybe("subtitle_lang", Type::VARCHAR),
        maybe("priority", Type::VARCHAR),
        maybe("shard", Type::INT4),
        maybe("attempts", Type::INT4),
        maybe("max_attempts", Type::INT4),
        maybe("created_at", Type::TIMESTAMPTZ),
        maybe("run_at", Type::TIMESTAMPTZ),
    ],
};

impl Leases<'_> {
    /// Claims up to `limit` jobs: high priority first, then by shard from the rotation on, oldest first.
    ///
    /// # Errors
    /// `INVALID_INPUT`; `INSTALLATION_MISMATCH` when the storage belongs to another database.
    pub async fn claim(&self, options: &ClaimOptions) -> Result<Vec<Lease>> {
        options.check()?;
        self.inner.check_installation().await?;
        let rows = self
            .database()
            .rows(
                &CLAIM,
                &[
                    &options.shards,
                    &i64::from(options.limit),
                    &i64::from(options.rotation),
                    &options.worker.as_uuid(),
                    &options.lease_ttl.as_secs_f64(),
                ],
            )
            .await?;
        let claimed = rows
            .iter()
            .map(|row| read_lease(Reader::new(row)))
            .collect::<Result<Vec<_>>>()?;
        metrics::claimed(&claimed, options.lease_ttl);
        Ok(in_order(claimed))
    }

    /// Claims this job, when it is queued and due; `None` when it is not, or somebody else is taking it.
    ///
    /// # Errors
    /// As [`Leases::claim`].
    pub async fn claim_job(
        &self,
        worker: WorkerId,
        id: JobId,
        ttl: Duration,
    ) -> Result<Option<Lease>> {
        check_ttl(ttl)?;
        self.inner.check_installation().await?;
        let rows = self
            .database()
            .rows_of(
                id,
                &CLAIM_JOB,
                &[&id.as_uuid(), &worker.as_uuid(), &ttl.as_secs_f64()],
            )
            .await?;
        let Some(row) = rows.first() else {
            return Ok(None);
        };
        let claimed = [read_lease(Reader::new(row))?];
        metrics::claimed(&claimed, ttl);
        let [(_, lease)] = claimed;
        Ok(Some(lease))
    }

    /// Finishes jobs and claims the next ones in one statement: one round trip and one commit for both.
    ///
    /// # Errors
    /// As [`Leases::claim`] and [`Leases::finish_many`].
    pub async fn turn(&self, finishes: &[Finish<'_>], options: &ClaimOptions) -> Result<Turn> {
        options.check()?;
        self.inner.check_installation().await?;
        let finish = FinishColumns::of(finishes)?;
        let rows = self
            .database()
            .rows(
                &TURN,
                &[
                    &options.shards,
                    &i64::from(options.limit),
                    &i64::from(options.rotation),
                    &options.worker.as_uuid(),
                    &options.lease_ttl.as_secs_f64(),
                    &finish.ids,
                    &finish.leases,
                    &finish.workers,
                    &finish.videos,
                    &finish.srts,
                    &finish.data,
                    &seconds(self.settings().retention.done),
                    &seconds(self.settings().retention.sources),
                ],
            )
            .await?;
        let mut claimed = Vec::new();
        let mut outcomes = Vec::new();
        for row in &rows {
            let mut reader = Reader::new(row);
            match reader.take::<Option<&str>>()? {
                None => claimed.push(read_lease(reader)?),
                Some(outcome) => outcomes.push((JobId::from_uuid(reader.take()?), outcome)),
            }
        }
        let ends = finish.read(finishes, &outcomes);
        metrics::finished(&ends);
        metrics::claimed(&claimed, options.lease_ttl);
        Ok(Turn {
            finished: ends,
            claimed: in_order(claimed),
        })
    }
}
