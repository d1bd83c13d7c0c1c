//! Taking jobs out of the queue.
//!
//! The claim walks the claim index pair by pair: every shard at the highest priority, then every shard at
//! the next. Within a pair it is first in, first out by `run_at`. Nothing is sorted and nothing is locked
//! that is not taken: each pair's range is read lazily until there are enough rows.

use std::time::Duration;

use jiff::Timestamp;
use tokio_postgres::Row;
use tokio_postgres::types::Type;
use uuid::Uuid;

use super::finish::{FinishColumns, finish_ctes};
use super::{Finish, Finished, LEASE_TTL, Lease, Leases, Work};
use crate::db::Statement;
use crate::db::statement::{Column, always, maybe};
use crate::error::{Error, Result};
use crate::ids::{JobId, WorkerId};
use crate::job::{range_ms, seconds};
use crate::jobs::row::Reader;

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

/// The CTEs that pick the next jobs: `live` and `picked`.
macro_rules! picked_ctes {
    ($shards:literal, $limit:literal, $rotation:literal) => {
        concat!(
            "
-- The shards that have queued jobs, by jumping from one to the next in the index.
live (shard) AS (
    (SELECT job.shard FROM public.jobs AS job WHERE job.status = 'queued' ORDER BY job.shard LIMIT 1)
    UNION ALL
    SELECT (SELECT job.shard FROM public.jobs AS job
             WHERE job.status = 'queued' AND job.shard > live.shard ORDER BY job.shard LIMIT 1)
      FROM live WHERE live.shard IS NOT NULL
),
served (shards) AS MATERIALIZED (
    SELECT CASE WHEN cardinality((SELECT ", $shards, ")) > 0 THEN ", $shards, "
                ELSE ARRAY(SELECT shard FROM live WHERE shard IS NOT NULL) END
      FROM set_config('clipbase.is_claiming', 'yes', true)
),
picked AS MATERIALIZED (
    SELECT next.id
      FROM served
     -- Pairs in order: rank by rank, and within a rank shard by shard from the rotation on.
     CROSS JOIN LATERAL generate_series(0, 3 * cardinality(served.shards) - 1) AS pair (n)
     CROSS JOIN LATERAL (
        SELECT job.id
          FROM public.jobs AS job
         WHERE job.status = 'queued'
           AND job.shard = served.shards[1 + ((pair.n + ", $rotation, ") % cardinality(served.shards))::int]
           AND job.priority_rank = (pair.n / cardinality(served.shards))::smallint
           AND job.run_at <= now()
         ORDER BY job.run_at, job.id
         -- 1 while this is planned, none while it runs: the plan is made for reading the first entry of
         -- the index, whatever the statistics say. Without it (or with the caller's limit here) there are
         -- statistics under which every claim fetches and sorts the whole queue.
         LIMIT CASE WHEN coalesce(current_setting('clipbase.is_claiming', true), '') <> 'yes' THEN 1 END
           FOR NO KEY UPDATE SKIP LOCKED
      ) AS next
     LIMIT (SELECT ", $limit, ")
)"
        )
    };
}

macro_rules! lease_columns {
    ($from:literal) => {
        concat!(
            $from,
            "id, ",
            $from,
            "lease, ",
            $from,
            "worker_id, ",
            $from,
            "lease_expires_at, ",
            $from,
            "source_type, ",
            $from,
            "source_key, ",
            $from,
            "source_url, ",
            $from,
            "start_sec, ",
            $from,
            "end_sec, ",
            $from,
            "start_ms, ",
            $from,
            "end_ms, ",
            $from,
            "with_subtitles, ",
            $from,
            "burn_subtitles, ",
            $from,
            "subtitle_lang, ",
            $from,
            "priority, ",
            $from,
            "shard, ",
            $from,
            "attempts, ",
            $from,
            "max_attempts, ",
            $from,
            "created_at"
        )
    };
}

const LEASE_COLUMNS: &[Column] = &[
    always("id", Type::UUID),
    always("lease", Type::INT4),
    maybe("worker_id", Type::UUID),
    maybe("lease_expires_at", Type::TIMESTAMPTZ),
    always("source_type", Type::VARCHAR),
    maybe("source_key", Type::VARCHAR),
    maybe("source_url", Type::VARCHAR),
    always("start_sec", Type::INT4),
    always("end_sec", Type::INT4),
    maybe("start_ms", Type::INT8),
    maybe("end_ms", Type::INT8),
    always("with_subtitles", Type::BOOL),
    always("burn_subtitles", Type::BOOL),
    maybe("subtitle_lang", Type::VARCHAR),
    always("priority", Type::VARCHAR),
    always("shard", Type::INT4),
    always("attempts", Type::INT4),
    always("max_attempts", Type::INT4),
    always("created_at", Type::TIMESTAMPTZ),
];

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
    SELECT id FROM public.jobs
     WHERE id = $1 AND status = 'queued' AND run_at <= now()
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
pub(super) static TURN: Statement = Statement {
    name: "leases.turn",
    sql: concat!(
        "-- leases.turn
WITH RECURSIVE",
        finish_ctes!("$6", "$7", "$8", "$9", "$10", "$11", "$12"),
        ",",
        picked_ctes!("$1::int4[]", "$2::int8", "$3::int8"),
        ",",
        claimed_ctes!("$4", "$5"),
        "
SELECT NULL::text AS outcome, ",
        lease_columns!("claimed."),
        "
  FROM claimed
UNION ALL
SELECT outcome, id, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
       NULL, NULL, NULL
  FROM outcomes"
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
        rows.iter()
            .map(|row| read_lease(Reader::new(row)))
            .collect()
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
            .rows(
                &CLAIM_JOB,
                &[&id.as_uuid(), &worker.as_uuid(), &ttl.as_secs_f64()],
            )
            .await?;
        rows.first()
            .map(|row| read_lease(Reader::new(row)))
            .transpose()
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
        Ok(Turn {
            finished: finish.read(finishes, &outcomes),
            claimed,
        })
    }
}

fn read_lease(mut row: Reader<'_>) -> Result<Lease> {
    let job = JobId::from_uuid(row.take()?);
    let number = row.take()?;
    let worker = WorkerId::from_uuid(row.take::<Uuid>()?);
    let expires_at: Timestamp = row.take()?;
    let source_type = row.take()?;
    let source_key = row.take()?;
    let source_url = row.take()?;
    let (start_sec, end_sec) = (row.take()?, row.take()?);
    let (start_ms, end_ms) = range_ms(start_sec, end_sec, row.take()?, row.take()?);
    let work = Work {
        source_type,
        source_key,
        source_url,
        start_ms,
        end_ms,
        with_subtitles: row.take()?,
        burn_subtitles: row.take()?,
        subtitle_lang: row.take()?,
        priority: row.parse()?,
        shard: row.take()?,
        attempt: row.take()?,
        max_attempts: row.take()?,
        created_at: row.take()?,
    };
    Ok(Lease {
        job,
        number,
        worker,
        expires_at,
        work,
    })
}

/// Reads the outcomes of a finish: `id, outcome`.
pub(super) fn read_outcomes(rows: &[Row]) -> Result<Vec<(JobId, &str)>> {
    rows.iter()
        .map(|row| {
            let mut reader = Reader::new(row);
            let id = JobId::from_uuid(reader.take()?);
            Ok((id, reader.take()?))
        })
        .collect()
}
