//! Making jobs, with their first event, in one statement.

use jiff::Timestamp;
use serde_json::Value;
use tokio_postgres::types::Type;
use uuid::Uuid;

use super::Jobs;
use super::idempotency::{Created, Idempotency, fingerprint};
use super::row::{Reader, job_column_types, job_columns, read_job};
use crate::db::{Param, Statement, rows_in};
use crate::error::{Code, Error, Result};
use crate::ids::JobId;
use crate::job::{Job, NewJob, seconds};
use crate::metrics;

/// The most jobs that one call of `create_many` makes.
pub const CREATE_MANY_MAX: usize = 5_000;

/// How often a create is repeated while the job of a concurrent twin is not yet visible.
const TWIN_RETRIES_MAX: u32 = 5;

// An upload that was announced (`storage_deletions`, reason upload_unused) is adopted: from here on the
// job owns it. Where a link still stores it, the entry stays until the link ends: the job may be deleted before,
// and what arrives after that would be nobody's. One that is about to lapse, or was tried, is refused: the clean-up may be removing it. So is
// the id of a deleted job whose results are still to be removed: they would be taken for the new one's.
pub(super) static CREATE: Statement = Statement {
    name: "jobs.create",
    sql: concat!(
        "-- jobs.create
WITH usable AS (
    SELECT NOT EXISTS (SELECT FROM public.storage_deletions
                        WHERE object_key IN ($5, 'results/' || $1::text || '/clip.mp4')
                          AND (reason <> 'upload_unused' OR attempts > 0
                               OR next_attempt_at < now() + interval '5 minutes')) AS ok
),
request AS (
    INSERT INTO public.job_idempotency AS known (scope, key, fingerprint, job_id, expires_at)
    SELECT $18, $19, $20, $1, now() + make_interval(secs => $21)
      FROM usable WHERE usable.ok AND $19 IS NOT NULL
    ON CONFLICT (scope, key) DO UPDATE
       SET fingerprint = EXCLUDED.fingerprint, job_id = EXCLUDED.job_id, expires_at = EXCLUDED.expires_at
     WHERE known.expires_at <= now()
    RETURNING job_id
),
created AS (
    INSERT INTO public.jobs
        (id, priority, shard, source_type, source_key, source_url, start_sec, end_sec, start_ms, end_ms,
         with_subtitles, burn_subtitles, subtitle_lang, max_attempts, run_at, expires_at, event_seq)
    SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, coalesce($15, now()),
           coalesce($16, now() + make_interval(secs => $22)), 1
      FROM usable WHERE usable.ok AND ($19 IS NULL OR EXISTS (SELECT FROM request))
    RETURNING *
),
recorded AS (
    INSERT INTO public.job_events (job_id, seq, type, data)
    SELECT id, 1, 'created',
           coalesce($17, '{}'::jsonb) || '{\"by\": \"client\", \"set\": {\"status\": \"queued\"}}'::jsonb
      FROM created
),
adopted AS (
    DELETE FROM public.storage_deletions
     WHERE object_key = $5 AND EXISTS (SELECT FROM created)
       AND (writable_until IS NULL OR writable_until <= now())
),
writable AS (
    UPDATE public.storage_deletions SET next_attempt_at = writable_until
     WHERE object_key = $5 AND EXISTS (SELECT FROM created) AND writable_until > now()
)
SELECT true AS is_new, NULL::bytea AS fingerprint, ",
        job_columns!("created."),
        "
  FROM created
UNION ALL
SELECT false, known.fingerprint, ",
        job_columns!("job."),
        "
  FROM public.job_idempotency AS known
  JOIN public.jobs AS job ON job.id = known.job_id
 WHERE known.scope = $18 AND known.key = $19 AND NOT EXISTS (SELECT FROM created)
   -- A key that has run out stands for nothing: a twin has just taken it, and the next look sees the twin's.
   AND known.expires_at > now()"
    ),
    params: &[
        Type::UUID,
        Type::TEXT,
        Type::INT4,
        Type::TEXT,
        Type::TEXT,
        Type::TEXT,
        Type::INT4,
        Type::INT4,
        Type::INT8,
        Type::INT8,
        Type::BOOL,
        Type::BOOL,
        Type::TEXT,
        Type::INT4,
        Type::TIMESTAMPTZ,
        Type::TIMESTAMPTZ,
        Type::JSONB,
        Type::TEXT,
        Type::TEXT,
        Type::BYTEA,
        Type::FLOAT8,
        Type::FLOAT8,
    ],
    columns: job_column_types!(always("is_new", Type::BOOL), maybe("fingerprint", Type::BYTEA)),
};

pub(super) static CREATE_MANY: Statement = Statement {
    name: "jobs.create_many",
    sql: "-- jobs.create_many
WITH input AS (
    SELECT * FROM unnest($1::uuid[], $2::text[], $3::int4[], $4::text[], $5::text[], $6::text[], $7::int8[],
                         $8::int8[], $9::bool[], $10::bool[], $11::text[], $12::int4[], $13::timestamptz[],
                         $14::timestamptz[], $15::jsonb[], $16::float8[])
        AS job (id, priority, shard, source_type, source_key, source_url, start_ms, end_ms,
                with_subtitles, burn_subtitles, subtitle_lang, max_attempts, run_at, expires_at, data, expires_in)
),
usable AS (
    SELECT NOT EXISTS (SELECT FROM public.storage_deletions
                        -- As an array of a subquery, so that the plan stays on the keys.
                        WHERE object_key = ANY (ARRAY(SELECT unnest($5) UNION ALL
                                                      SELECT 'results/' || id || '/clip.mp4' FROM input))
                          AND (reason <> 'upload_unused' OR attempts > 0
                               OR next_attempt_at < now() + interval '5 minutes')) AS ok
),
created AS (
    INSERT INTO public.jobs
        (id, priority, shard, source_type, source_key, source_url, start_sec, end_sec, start_ms, end_ms,
         with_subtitles, burn_subtitles, subtitle_lang, max_attempts, run_at, expires_at, event_seq)
    SELECT id, priority, shard, source_type, source_key, source_url, start_ms / 1000, (end_ms + 999) / 1000,
           start_ms, end_ms, with_subtitles, burn_subtitles, subtitle_lang, max_attempts,
           coalesce(run_at, now()), coalesce(expires_at, now() + make_interval(secs => expires_in)), 1
      FROM input, usable WHERE usable.ok
    RETURNING id
),
recorded AS (
    INSERT INTO public.job_events (job_id, seq, type, data)
    SELECT id, 1, 'created',
           coalesce(data, '{}'::jsonb) || '{\"by\": \"client\", \"set\": {\"status\": \"queued\"}}'::jsonb
      FROM input, usable WHERE usable.ok
),
adopted AS (
    DELETE FROM public.storage_deletions
     WHERE object_key = ANY (ARRAY(SELECT unnest($5))) AND (SELECT ok FROM usable)
       AND (writable_until IS NULL OR writable_until <= now())
),
writable AS (
    UPDATE public.storage_deletions SET next_attempt_at = writable_until
     WHERE object_key = ANY (ARRAY(SELECT unnest($5))) AND (SELECT ok FROM usable)
       AND writable_until > now()
)
SELECT id FROM created",
    params: &[
        Type::UUID_ARRAY,
        Type::TEXT_ARRAY,
        Type::INT4_ARRAY,
        Type::TEXT_ARRAY,
        Type::TEXT_ARRAY,
        Type::TEXT_ARRAY,
        Type::INT8_ARRAY,
        Type::INT8_ARRAY,
        Type::BOOL_ARRAY,
        Type::BOOL_ARRAY,
        Type::TEXT_ARRAY,
        Type::INT4_ARRAY,
        Type::TIMESTAMPTZ_ARRAY,
        Type::TIMESTAMPTZ_ARRAY,
        Type::JSONB_ARRAY,
        Type::FLOAT8_ARRAY,
    ],
    columns: &[crate::db::statement::always("id", Type::UUID)],
};

impl Jobs<'_> {
    /// Creates a job and its `created` event.
    ///
    /// # Errors
    /// `INVALID_INPUT`; `DB_CONFLICT` when a job with this id exists; `STORAGE_NOT_FOUND` when the upload's
    /// announcement has lapsed, or a job of this id was deleted and its objects are still being removed.
    pub async fn create(&self, job: &NewJob) -> Result<Job> {
        job.check()?;
        let values = Values::of(job, None);
        let rows = self
            .database()
            .rows_of(job.id, &CREATE, &values.params())
            .await?;
        let row = rows.first().ok_or_else(lapsed)?;
        metrics::created(1);
        self.wake_workers_for(job);
        read_job(Reader::new(row).skip(2))
    }

    /// As [`Jobs::create`], in a transaction of the caller's, which commits or takes back both. Idle workers
    /// find the job at their next look, or at once after [`crate::Clipbase::wake_workers`]. No metric counts it: only
    /// the caller knows whether it stays.
    ///
    /// # Errors
    /// As [`Jobs::create`].
    pub async fn create_in(
        &self,
        transaction: &tokio_postgres::Transaction<'_>,
        job: &NewJob,
    ) -> Result<Job> {
        job.check()?;
        let values = Values::of(job, None);
        let rows = rows_in(transaction, &CREATE, &values.params()).await?;
        let row = rows.first().ok_or_else(lapsed)?;
        read_job(Reader::new(row).skip(2))
    }

    /// Creates a job once: the same key with the same request answers with the job that it made before.
    ///
    /// # Errors
    /// As [`Jobs::create`], and `IDEMPOTENCY_CONFLICT` when the key was used for another request.
    pub async fn create_once(&self, job: &NewJob, request: &Idempotency) -> Result<Created> {
        job.check()?;
        request.check()?;
        let values = Values::of(job, Some(request));
        for _ in 0..=TWIN_RETRIES_MAX {
            let rows = self
                .database()
                .rows_of(job.id, &CREATE, &values.params())
                .await?;
            // Nothing: a twin has committed since this statement's snapshot was taken. The next one sees it.
            let Some(row) = rows.first() else { continue };
            let mut reader = Reader::new(row);
            let is_new: bool = reader.take()?;
            let known: Option<Vec<u8>> = reader.take()?;
            if known.is_some_and(|known| known != fingerprint(job, request)) {
                return Err(Error::IdempotencyConflict);
            }
            let job = read_job(reader)?;
            return Ok(if is_new {
                metrics::created(1);
                self.inner.wake_workers();
                Created::New(job)
            } else {
                Created::Existing(job)
            });
        }
        Err(lapsed())
    }

    /// Creates up to [`CREATE_MANY_MAX`] jobs with their events: all of them or none.
    ///
    /// # Errors
    /// As [`Jobs::create`].
    pub async fn create_many(&self, jobs: &[NewJob]) -> Result<Vec<JobId>> {
        if jobs.len() > CREATE_MANY_MAX {
            return Err(Error::invalid("jobs", "must be at most 5000 a call"));
        }
        if jobs.is_empty() {
            return Ok(Vec::new());
        }
        jobs.iter().try_for_each(NewJob::check)?;
        let all = Columns::of(jobs);
        let rows = self.database().rows(&CREATE_MANY, &all.params()).await?;
        if rows.len() != jobs.len() {
            return Err(lapsed());
        }
        metrics::created(rows.len());
        self.inner.wake_workers();
        Ok(jobs.iter().map(|job| job.id).collect())
    }

    fn wake_workers_for(&self, job: &NewJob) {
        // One with a time of its own is hardly due already.
        if job.run_at.is_none() {
            self.inner.wake_workers();
        }
    }
}

fn lapsed() -> Error {
    Error::failed(
        Code::StorageNotFound,
        "the upload has lapsed, or a job of this id was deleted; upload the source again under a new id",
    )
}

/// What the statement needs of a job that is not a plain field of it.
struct Values<'a> {
    job: &'a NewJob,
    id: Uuid,
    priority: &'static str,
    kind: &'static str,
    key: Option<String>,
    url: Option<&'a str>,
    seconds: (i32, i32),
    millis: (i64, i64),
    scope: Option<&'a str>,
    request: Option<&'a str>,
    fingerprint: Option<Vec<u8>>,
    ttl: Option<f64>,
    expires_in: Option<f64>,
}

impl<'a> Values<'a> {
    fn of(job: &'a NewJob, request: Option<&'a Idempotency>) -> Self {
        Self {
            job,
            id: job.id.as_uuid(),
            priority: job.priority.as_str(),
            kind: job.source.kind(),
            key: job.source.key(),
            url: job.source.url(),
            seconds: (job.range.start_sec(), job.range.end_sec()),
            millis: (job.range.start_ms(), job.range.end_ms()),
            scope: request.map(|request| request.scope.as_str()),
            request: request.map(|request| request.key.as_str()),
            fingerprint: request.map(|request| fingerprint(job, request)),
            ttl: request.map(|request| request.ttl.as_secs_f64()),
            expires_in: seconds(job.expires_in),
        }
    }

    fn params(&self) -> [Param<'_>; 22] {
        let job = self.job;
        [
            &self.id,
            &self.priority,
            &job.shard,
            &self.kind,
            &self.key,
            &self.url,
            &self.seconds.0,
            &self.seconds.1,
            &self.millis.0,
            &self.millis.1,
            &job.with_subtitles,
            &job.burn_subtitles,
            &job.subtitle_lang,
            &job.max_attempts,
            &job.run_at,
            &job.expires_at,
            &job.event_data,
            &self.scope,
            &self.request,
            &self.fingerprint,
            &self.ttl,
            &self.expires_in,
        ]
    }
}

/// Jobs turned on their side: an array a column.
struct Columns<'a> {
    ids: Vec<Uuid>,
    priorities: Vec<&'a str>,
    shards: Vec<i32>,
    kinds: Vec<&'a str>,
    keys: Vec<Option<String>>,
    urls: Vec<Option<&'a str>>,
    starts: Vec<i64>,
    ends: Vec<i64>,
    with_subtitles: Vec<bool>,
    burn_subtitles: Vec<bool>,
    languages: Vec<&'a str>,
    max_attempts: Vec<i32>,
    run_at: Vec<Option<Timestamp>>,
    expires_at: Vec<Option<Timestamp>>,
    data: Vec<Option<&'a Value>>,
    expires_in: Vec<Option<f64>>,
}

impl<'a> Columns<'a> {
    fn of(jobs: &'a [NewJob]) -> Self {
        Self {
            ids: jobs.iter().map(|job| job.id.as_uuid()).collect(),
            priorities: jobs.iter().map(|job| job.priority.as_str()).collect(),
            shards: jobs.iter().map(|job| job.shard).collect(),
            kinds: jobs.iter().map(|job| job.source.kind()).collect(),
            keys: jobs.iter().map(|job| job.source.key()).collect(),
            urls: jobs.iter().map(|job| job.source.url()).collect(),
            starts: jobs.iter().map(|job| job.range.start_ms()).collect(),
            ends: jobs.iter().map(|job| job.range.end_ms()).collect(),
            with_subtitles: jobs.iter().map(|job| job.with_subtitles).collect(),
            burn_subtitles: jobs.iter().map(|job| job.burn_subtitles).collect(),
            languages: jobs.iter().map(|job| job.subtitle_lang.as_str()).collect(),
            max_attempts: jobs.iter().map(|job| job.max_attempts).collect(),
            run_at: jobs.iter().map(|job| job.run_at).collect(),
            expires_at: jobs.iter().map(|job| job.expires_at).collect(),
            data: jobs.iter().map(|job| job.event_data.as_ref()).collect(),
            expires_in: jobs.iter().map(|job| seconds(job.expires_in)).collect(),
        }
    }

    fn params(&self) -> [Param<'_>; 16] {
        [
            &self.ids,
            &self.priorities,
            &self.shards,
            &self.kinds,
            &self.keys,
            &self.urls,
            &self.starts,
            &self.ends,
            &self.with_subtitles,
            &self.burn_subtitles,
            &self.languages,
            &self.max_attempts,
            &self.run_at,
            &self.expires_at,
            &self.data,
            &self.expires_in,
        ]
    }
}
