//! Changes of a job that are no transitions, and its removal.

use serde_json::{Map, Value, json};
use tokio_postgres::types::Type;

use super::Jobs;
use super::row::{Reader, job_column_types, job_columns, read_job};
use crate::db::Statement;
use crate::db::statement::always;
use crate::error::{Error, Result};
use crate::events::EVENTS_PER_JOB_MAX;
use crate::ids::JobId;
use crate::job::{Change, Job, JobPatch};
use crate::metrics;
use crate::status::JobStatus;

pub(super) static UPDATE: Statement = Statement {
    name: "jobs.update",
    sql: concat!(
        "-- jobs.update
WITH found AS MATERIALIZED (
    SELECT id, status, event_seq FROM public.jobs WHERE id = $1 FOR NO KEY UPDATE
),
changed AS (
    UPDATE public.jobs AS job
       SET event_seq = job.event_seq + 1,
           updated_at = now(),
           priority = coalesce($2, job.priority),
           shard = coalesce($3, job.shard),
           run_at = coalesce($4, job.run_at),
           max_attempts = coalesce($5, job.max_attempts),
           expires_at = CASE WHEN $6 THEN NULL ELSE coalesce($7, job.expires_at) END,
           start_sec = coalesce($8, job.start_sec),
           end_sec = coalesce($9, job.end_sec),
           start_ms = coalesce($10, job.start_ms),
           end_ms = coalesce($11, job.end_ms),
           with_subtitles = coalesce($12, job.with_subtitles),
           burn_subtitles = coalesce($13, job.burn_subtitles),
           subtitle_lang = coalesce($14, job.subtitle_lang)
      FROM found
     WHERE job.id = found.id AND job.event_seq < $17
       -- What a running worker has read already is not changed under it.
       AND (NOT $15 OR job.status IN ('queued', 'failed'))
    RETURNING job.*
),
recorded AS (
    INSERT INTO public.job_events (job_id, seq, type, data)
    SELECT id, event_seq, 'updated', jsonb_build_object('by', 'client', 'patch', $16::jsonb) FROM changed
)
SELECT found.status::text AS was, found.event_seq AS was_seq, changed.id IS NOT NULL AS is_changed, ",
        job_columns!("changed."),
        "
  FROM found LEFT JOIN changed ON true"
    ),
    params: &[
        Type::UUID,
        Type::TEXT,
        Type::INT4,
        Type::TIMESTAMPTZ,
        Type::INT4,
        Type::BOOL,
        Type::TIMESTAMPTZ,
        Type::INT4,
        Type::INT4,
        Type::INT8,
        Type::INT8,
        Type::BOOL,
        Type::BOOL,
        Type::TEXT,
        Type::BOOL,
        Type::JSONB,
        Type::INT4,
    ],
    columns: job_column_types!(
        always("was", Type::TEXT),
        always("was_seq", Type::INT4),
        always("is_changed", Type::BOOL)
    ),
};

pub(super) static DELETE: Statement = Statement {
    name: "jobs.delete",
    sql: "-- jobs.delete
DELETE FROM public.jobs WHERE id = $1 RETURNING id",
    params: &[Type::UUID],
    columns: &[always("id", Type::UUID)],
};

impl Jobs<'_> {
    /// Changes a job without moving it, and writes an `updated` event with the patch.
    ///
    /// # Errors
    /// `NOT_FOUND`; `INVALID_INPUT` for an empty or impossible patch; `INVALID_TRANSITION` when the clip
    /// itself would change while the job is processing or done; `EVENT_LIMIT`; `DB_CONFLICT` when the
    /// outcome breaks a rule (burning without subtitles).
    pub async fn update(&self, id: JobId, patch: &JobPatch) -> Result<Job> {
        patch.check()?;
        let (clear_expiry, expires_at) = match patch.expires_at {
            Change::Keep => (false, None),
            Change::Clear => (true, None),
            Change::Set(time) => (false, Some(time)),
        };
        let rows = self
            .database()
            .rows_of(
                id,
                &UPDATE,
                &[
                    &id.as_uuid(),
                    &patch.priority.map(crate::job::Priority::as_str),
                    &patch.shard,
                    &patch.run_at,
                    &patch.max_attempts,
                    &clear_expiry,
                    &expires_at,
                    &patch.range.map(crate::job::ClipRange::start_sec),
                    &patch.range.map(crate::job::ClipRange::end_sec),
                    &patch.range.map(crate::job::ClipRange::start_ms),
                    &patch.range.map(crate::job::ClipRange::end_ms),
                    &patch.with_subtitles,
                    &patch.burn_subtitles,
                    &patch.subtitle_lang,
                    &patch.changes_the_clip(),
                    &patch_as_json(patch),
                    &EVENTS_PER_JOB_MAX,
                ],
            )
            .await?;
        let mut reader = Reader::new(rows.first().ok_or(Error::NotFound { what: "job" })?);
        let from: JobStatus = reader.parse()?;
        let seq: i32 = reader.take()?;
        if reader.take::<bool>()? {
            if from == JobStatus::Queued && patch.run_at.is_some() {
                self.inner.wake_workers();
            }
            return read_job(reader);
        }
        if seq >= EVENTS_PER_JOB_MAX {
            return Err(Error::EventLimit {
                limit: EVENTS_PER_JOB_MAX,
            });
        }
        Err(Error::InvalidTransition {
            from,
            to: from,
            reason: "its range and subtitles change only while it is queued or failed",
        })
    }

    /// Removes a job with its events. Its objects go into the outbox in the same statement, and from
    /// there out of the storage; a worker that still holds it is told that its lease is lost.
    ///
    /// # Errors
    /// `NOT_FOUND`.
    pub async fn delete(&self, id: JobId) -> Result<()> {
        let rows = self
            .database()
            .rows_of(id, &DELETE, &[&id.as_uuid()])
            .await?;
        rows.first().ok_or(Error::NotFound { what: "job" })?;
        metrics::deleted();
        Ok(())
    }
}

fn patch_as_json(patch: &JobPatch) -> Value {
    let mut map = Map::new();
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            map.insert(name.to_owned(), value);
        }
    };
    put("priority", patch.priority.map(|priority| json!(priority)));
    put("shard", patch.shard.map(|shard| json!(shard)));
    put("run_at", patch.run_at.map(|time| json!(time)));
    put(
        "max_attempts",
        patch.max_attempts.map(|attempts| json!(attempts)),
    );
    put("start_ms", patch.range.map(|range| json!(range.start_ms())));
    put("end_ms", patch.range.map(|range| json!(range.end_ms())));
    put(
        "with_subtitles",
        patch.with_subtitles.map(|wanted| json!(wanted)),
    );
    put(
        "burn_subtitles",
        patch.burn_subtitles.map(|wanted| json!(wanted)),
    );
    put(
        "subtitle_lang",
        patch.subtitle_lang.as_ref().map(|tag| json!(tag)),
    );
    match patch.expires_at {
        Change::Keep => {}
        Change::Clear => put("expires_at", Some(Value::Null)),
        Change::Set(time) => put("expires_at", Some(json!(time))),
    }
    Value::Object(map)
}
