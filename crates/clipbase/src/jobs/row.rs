//! From a row to a [`Job`]: the column list, its types, and the reader, side by side.

use jiff::Timestamp;
use tokio_postgres::Row;
use tokio_postgres::types::FromSql;
use uuid::Uuid;

use crate::error::{Cause, Code, Error, Result};
use crate::ids::{JobId, WorkerId};
use crate::job::Job;

/// The columns of a job, each prefixed with the given alias: `job_columns!("job.")`. Enums travel as text.
macro_rules! job_columns {
    ($alias:literal) => {
        concat!(
            $alias,
            "id, ",
            $alias,
            "status::text AS status, ",
            $alias,
            "priority, ",
            $alias,
            "shard, ",
            $alias,
            "source_type, ",
            $alias,
            "source_key, ",
            $alias,
            "source_url, ",
            $alias,
            "start_sec, ",
            $alias,
            "end_sec, ",
            $alias,
            "start_ms, ",
            $alias,
            "end_ms, ",
            $alias,
            "with_subtitles, ",
            $alias,
            "burn_subtitles, ",
            $alias,
            "subtitle_lang, ",
            $alias,
            "progress, ",
            $alias,
            "attempts, ",
            $alias,
            "max_attempts, ",
            $alias,
            "lease, ",
            $alias,
            "lease_expires_at, ",
            $alias,
            "worker_id, ",
            $alias,
            "last_heartbeat_at, ",
            $alias,
            "run_at, ",
            $alias,
            "cancel_requested_at, ",
            $alias,
            "result_video_key, ",
            $alias,
            "result_srt_key, ",
            $alias,
            "error_code, ",
            $alias,
            "error_message, ",
            $alias,
            "created_at, ",
            $alias,
            "updated_at, ",
            $alias,
            "started_at, ",
            $alias,
            "finished_at, ",
            $alias,
            "expires_at, ",
            $alias,
            "source_deleted_at, ",
            $alias,
            "event_seq"
        )
    };
}
pub(crate) use job_columns;

/// What [`job_columns!`] answers with, after the given columns of a statement's own.
macro_rules! job_column_types {
    ($($head:expr),*) => {{
        use $crate::db::statement::{always, maybe};
        &[
            $($head,)*
            always("id", Type::UUID),
            always("status", Type::TEXT),
            always("priority", Type::VARCHAR),
            always("shard", Type::INT4),
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
            always("progress", Type::INT4),
            always("attempts", Type::INT4),
            always("max_attempts", Type::INT4),
            always("lease", Type::INT4),
            maybe("lease_expires_at", Type::TIMESTAMPTZ),
            maybe("worker_id", Type::UUID),
            maybe("last_heartbeat_at", Type::TIMESTAMPTZ),
            always("run_at", Type::TIMESTAMPTZ),
            maybe("cancel_requested_at", Type::TIMESTAMPTZ),
            maybe("result_video_key", Type::VARCHAR),
            maybe("result_srt_key", Type::VARCHAR),
            maybe("error_code", Type::VARCHAR),
            maybe("error_message", Type::TEXT),
            always("created_at", Type::TIMESTAMPTZ),
            always("updated_at", Type::TIMESTAMPTZ),
            maybe("started_at", Type::TIMESTAMPTZ),
            maybe("finished_at", Type::TIMESTAMPTZ),
            maybe("expires_at", Type::TIMESTAMPTZ),
            maybe("source_deleted_at", Type::TIMESTAMPTZ),
            always("event_seq", Type::INT4),
        ]
    }};
}
pub(crate) use job_column_types;

/// Reads columns one after the other; a value that this version does not know names its column.
pub(crate) struct Reader<'a> {
    row: &'a Row,
    next: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(row: &'a Row) -> Self {
        Self { row, next: 0 }
    }

    pub(crate) fn skip(mut self, columns: usize) -> Self {
        self.next += columns;
        self
    }

    pub(crate) fn take<T: FromSql<'a>>(&mut self) -> Result<T> {
        let index = self.next;
        self.next += 1;
        self.row
            .try_get(index)
            .map_err(|_| inconsistent(self.row, index))
    }

    /// Reads a word that has to be one that this version knows.
    pub(crate) fn parse<T: std::str::FromStr>(&mut self) -> Result<T> {
        let index = self.next;
        let word: &str = self.take()?;
        word.parse().map_err(|_| inconsistent(self.row, index))
    }

    /// Reads a nullable time; `infinity` means never, which is what null says too.
    pub(crate) fn time(&mut self) -> Result<Option<Timestamp>> {
        let time: Option<tokio_postgres::types::Timestamp<Timestamp>> = self.take()?;
        Ok(match time {
            Some(tokio_postgres::types::Timestamp::Value(time)) => Some(time),
            _ => None,
        })
    }
}

fn inconsistent(row: &Row, index: usize) -> Error {
    let column = row
        .columns()
        .get(index)
        .map_or("?", |column| column.name())
        .to_owned();
    Error::caused(
        Code::DbInconsistent,
        format!("the column {column} holds a value that this version of clipbase does not know"),
        Cause::with_detail("column", column),
    )
}

/// Reads a job that starts at the reader's column.
pub(crate) fn read_job(mut row: Reader<'_>) -> Result<Job> {
    Ok(Job {
        id: JobId::from_uuid(row.take()?),
        status: row.parse()?,
        priority: row.parse()?,
        shard: row.take()?,
        source_type: row.take()?,
        source_key: row.take()?,
        source_url: row.take()?,
        start_sec: row.take()?,
        end_sec: row.take()?,
        start_ms: row.take()?,
        end_ms: row.take()?,
        with_subtitles: row.take()?,
        burn_subtitles: row.take()?,
        subtitle_lang: row.take()?,
        progress: row.take()?,
        attempts: row.take()?,
        max_attempts: row.take()?,
        lease: row.take()?,
        lease_expires_at: row.time()?,
        worker_id: row.take::<Option<Uuid>>()?.map(WorkerId::from_uuid),
        last_heartbeat_at: row.time()?,
        run_at: row.time()?.unwrap_or(Timestamp::MAX),
        cancel_requested_at: row.time()?,
        result_video_key: row.take()?,
        result_srt_key: row.take()?,
        error_code: row.take()?,
        error_message: row.take()?,
        created_at: row.take()?,
        updated_at: row.take()?,
        started_at: row.time()?,
        finished_at: row.time()?,
        expires_at: row.time()?,
        source_deleted_at: row.time()?,
        event_seq: row.take()?,
    })
}
