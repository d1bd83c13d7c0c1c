//! From a row to a [`Lease`]: the column list, its types, and the reader, side by side.

use jiff::Timestamp;
use tokio_postgres::Row;
use tokio_postgres::types::Type;
use uuid::Uuid;

use super::{Lease, Work};
use crate::db::statement::{Column, always, maybe};
use crate::error::Result;
use crate::ids::{JobId, WorkerId};
use crate::job::range_ms;
use crate::jobs::row::Reader;

/// The columns of a lease, each prefixed with the given alias.
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
            "created_at, ",
            $from,
            "run_at"
        )
    };
}

pub(super) use lease_columns;

/// What [`lease_columns!`] answers with.
pub(super) const LEASE_COLUMNS: &[Column] = &[
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
    always("run_at", Type::TIMESTAMPTZ),
];

/// Sorts by priority, then by shard, then as the queue is sorted: the rows come as the update found them.
pub(super) fn in_order(mut claimed: Vec<(Option<Timestamp>, Lease)>) -> Vec<Lease> {
    claimed.sort_unstable_by_key(|(run_at, lease)| {
        let work = &lease.work;
        (work.priority.rank(), work.shard, *run_at, lease.job)
    });
    claimed.into_iter().map(|(_, lease)| lease).collect()
}

/// Reads a lease, and since when its job was due.
pub(super) fn read_lease(mut row: Reader<'_>) -> Result<(Option<Timestamp>, Lease)> {
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
    let lease = Lease {
        job,
        number,
        worker,
        expires_at,
        work,
    };
    Ok((row.time()?, lease))
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
