//! What the database says of objects, and which objects it names.

use jiff::Timestamp;
use tokio_postgres::types::Type;
use uuid::Uuid;

use super::ReconcileOptions;
use crate::cleanup::Cleanup;
use crate::cleanup::ownership::standing;
use crate::db::Statement;
use crate::db::statement::{always, maybe};
use crate::error::Result;
use crate::ids::JobId;
use crate::jobs::row::Reader;
use crate::storage::{Bucket, ListedObject, StorageKey};

/// How many rows are read at a time.
const ROWS_PAGE: i64 = 1_000;

// Scalar subqueries, so that no plan reads all jobs or the whole outbox to answer for a page of objects.
pub(crate) static JUDGE: Statement = Statement {
    name: "cleanup.judge_objects",
    sql: concat!(
        "-- cleanup.judge_objects
WITH judged AS MATERIALIZED (
    SELECT object.key, object.job_id,
           CASE WHEN (SELECT ",
        standing!("object.key"),
        "
                        FROM public.jobs AS job WHERE job.id = object.job_id) IS NOT NULL THEN 'owned'
                WHEN (SELECT true FROM public.storage_deletions AS entry WHERE entry.object_key = object.key)
                THEN 'pending'
                WHEN object.updated_at > now() - make_interval(secs => $4) THEN 'young'
                ELSE 'unowned' END AS verdict
      FROM unnest((SELECT $1::text[]), (SELECT $2::uuid[]), (SELECT $3::timestamptz[]))
        AS object (key, job_id, updated_at)
),
enqueued AS (
    INSERT INTO public.storage_deletions (object_key, job_id, reason)
    SELECT key, job_id, 'unowned' FROM judged WHERE verdict = 'unowned' AND $5
    ON CONFLICT (object_key) DO NOTHING
    RETURNING object_key
)
SELECT judged.key, judged.verdict, enqueued.object_key IS NOT NULL AS is_enqueued
  FROM judged LEFT JOIN enqueued ON enqueued.object_key = judged.key"
    ),
    params: &[
        Type::TEXT_ARRAY,
        Type::UUID_ARRAY,
        Type::TIMESTAMPTZ_ARRAY,
        Type::FLOAT8,
        Type::BOOL,
    ],
    columns: &[
        maybe("key", Type::TEXT),
        maybe("verdict", Type::TEXT),
        maybe("is_enqueued", Type::BOOL),
    ],
};

// No condition but the range: each page reads so many rows, whatever they hold.
pub(crate) static NAMED: Statement = Statement {
    name: "cleanup.named_objects",
    sql: "-- cleanup.named_objects
SELECT job.id,
       CASE WHEN job.source_deleted_at IS NULL THEN job.source_key END AS source_key,
       CASE WHEN job.status = 'done' THEN job.result_video_key END AS result_video_key,
       CASE WHEN job.status = 'done' THEN job.result_srt_key END AS result_srt_key
  FROM public.jobs AS job
 WHERE job.id >= $1 AND job.id < $2
 ORDER BY job.id
 LIMIT (SELECT $3)",
    params: &[Type::UUID, Type::UUID, Type::INT8],
    columns: &[
        always("id", Type::UUID),
        maybe("source_key", Type::VARCHAR),
        maybe("result_video_key", Type::VARCHAR),
        maybe("result_srt_key", Type::VARCHAR),
    ],
};

// A row that is new may name what is still on its way.
pub(crate) static STILL_NAMED: Statement = Statement {
    name: "cleanup.still_named",
    sql: "-- cleanup.still_named
SELECT object.key
  FROM unnest((SELECT $1::text[]), (SELECT $2::uuid[])) AS object (key, job_id)
 WHERE (SELECT (job.created_at <= now() - make_interval(secs => $3) OR job.finished_at < $4)
               AND ((object.key = job.source_key AND job.source_deleted_at IS NULL)
                    OR (object.key IN (job.result_video_key, job.result_srt_key) AND job.status = 'done'))
          FROM public.jobs AS job WHERE job.id = object.job_id)",
    params: &[
        Type::TEXT_ARRAY,
        Type::UUID_ARRAY,
        Type::FLOAT8,
        Type::TIMESTAMPTZ,
    ],
    columns: &[maybe("key", Type::TEXT)],
};

/// How an object stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Owned,
    Pending,
    Young,
    Unowned { is_enqueued: bool },
}

/// The objects that a range of rows names.
pub(super) struct Named {
    pub(super) objects: Vec<(JobId, String)>,
    /// The first row after them; `None` where the range ends.
    pub(super) next: Option<Uuid>,
}

impl Cleanup<'_> {
    /// Asks how objects of ours stand, and puts the unowned ones into the outbox where that is wanted.
    pub(super) async fn judge(
        &self,
        objects: &[(&ListedObject, &StorageKey)],
        options: &ReconcileOptions,
    ) -> Result<Vec<(String, Verdict)>> {
        if objects.is_empty() {
            return Ok(Vec::new());
        }
        let keys: Vec<String> = objects.iter().map(|(_, key)| key.to_string()).collect();
        let jobs: Vec<Option<Uuid>> = objects
            .iter()
            .map(|(_, key)| key.job().map(|job| job.as_uuid()))
            .collect();
        let times: Vec<Timestamp> = objects
            .iter()
            .map(|(object, _)| object.updated_at)
            .collect();
        let grace = options.grace.as_secs_f64();
        let rows = self
            .database()
            .rows(&JUDGE, &[&keys, &jobs, &times, &grace, &options.delete])
            .await?;
        rows.iter()
            .map(|row| {
                let mut reader = Reader::new(row);
                let (key, verdict): (String, &str) = (reader.take()?, reader.take()?);
                let is_enqueued = reader.take()?;
                let verdict = match verdict {
                    "owned" => Verdict::Owned,
                    "pending" => Verdict::Pending,
                    "young" => Verdict::Young,
                    _ => Verdict::Unowned { is_enqueued },
                };
                Ok((key, verdict))
            })
            .collect()
    }

    /// Reads which objects of a bucket the rows from `from` to before `to` name, a page of rows.
    pub(super) async fn named(&self, bucket: Bucket, from: Uuid, to: Uuid) -> Result<Named> {
        let rows = self
            .database()
            .rows(&NAMED, &[&from, &to, &ROWS_PAGE])
            .await?;
        let mut objects = Vec::new();
        let mut last = None;
        for row in &rows {
            let mut reader = Reader::new(row);
            let id: Uuid = reader.take()?;
            last = Some(id);
            let job = JobId::from_uuid(id);
            let source: Option<String> = reader.take()?;
            let results: [Option<String>; 2] = [reader.take()?, reader.take()?];
            for text in source.into_iter().chain(results.into_iter().flatten()) {
                let key: Option<StorageKey> = text.parse().ok();
                // What lies in another folder is another job's.
                if key.is_some_and(|key| key.bucket() == bucket && key.job() == Some(job)) {
                    objects.push((job, text));
                }
            }
        }
        let is_full = i64::try_from(rows.len()).is_ok_and(|count| count == ROWS_PAGE);
        let next = last.filter(|_| is_full);
        Ok(Named {
            objects,
            next: next.map(|id| Uuid::from_u128(id.as_u128().saturating_add(1))),
        })
    }

    /// Keeps those that their rows still name, and have named for long enough.
    pub(super) async fn still_named(
        &self,
        objects: Vec<(JobId, String)>,
        options: &ReconcileOptions,
        started_at: Timestamp,
    ) -> Result<Vec<(JobId, String)>> {
        let (jobs, keys): (Vec<Uuid>, Vec<&str>) = objects
            .iter()
            .map(|(job, key)| (job.as_uuid(), key.as_str()))
            .unzip();
        let grace = options.grace.as_secs_f64();
        let rows = self
            .database()
            .rows(&STILL_NAMED, &[&keys, &jobs, &grace, &started_at])
            .await?;
        let mut named = std::collections::HashSet::with_capacity(rows.len());
        for row in &rows {
            named.insert(Reader::new(row).take::<String>()?);
        }
        Ok(objects
            .into_iter()
            .filter(|(_, key)| named.contains(key))
            .collect())
    }
}
