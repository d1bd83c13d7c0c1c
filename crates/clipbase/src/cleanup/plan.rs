//! A dry run: everything that a clean-up would delete now, page by page, and nothing else.
//!
//! All pages are about one moment, which the first one takes from the database. Each is about one thing: expired
//! jobs with the objects that they would hand over, then sources past their time, then what is due in the outbox
//! already and is not listed before.

use jiff::Timestamp;
use serde::Serialize;
use tokio_postgres::types::Type;
use uuid::Uuid;

use super::Cleanup;
use super::backlog::{DueDeletion, read_due};
use super::expire::expired;
use super::ownership::{lease_of, standing};
use super::sources::source_due;
use crate::db::Statement;
use crate::db::statement::{always, maybe};
use crate::error::{Error, Result};
use crate::ids::JobId;
use crate::jobs::row::Reader;
use crate::status::JobStatus;
use crate::storage::StorageKey;

/// The number itself, as the statements need it: with a parameter, the planner would expect a tenth of all rows.
macro_rules! page {
    () => {
        500
    };
}

/// The most jobs, sources or entries on a page.
pub const PLAN_PAGE: u32 = page!();

/// A job that would be deleted, with its objects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlannedJob {
    /// The job.
    pub id: JobId,
    /// Its state.
    pub status: JobStatus,
    /// When its time was up.
    pub expires_at: Option<Timestamp>,
    /// The objects that would go with it, bucket first. Those that a link may still store would go later, and
    /// are not here.
    pub objects: Vec<String>,
}

/// A source that would be removed while its job stays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlannedSource {
    /// The job.
    pub job: JobId,
    /// The object, bucket first.
    pub object_key: String,
    /// When its time was up.
    pub source_expires_at: Option<Timestamp>,
    /// Whether a link may still store it: then the job loses it now, and the object goes when the link ends.
    pub is_writable: bool,
}

/// A page of a dry run. One of the lists is filled at most.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PlanPage {
    /// Jobs that would be deleted.
    pub jobs: Vec<PlannedJob>,
    /// Sources that would be removed, of jobs that stay.
    pub sources: Vec<PlannedSource>,
    /// Objects of the outbox that would be removed.
    pub objects: Vec<DueDeletion>,
    /// Pass this to read on; `None` at the end.
    #[serde(skip)]
    pub next: Option<PlanCursor>,
}

/// Where a dry run goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanCursor {
    as_of: Timestamp,
    part: Part,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Jobs(Option<(Timestamp, JobId)>),
    Sources(Option<(Timestamp, JobId)>),
    Objects(String),
}

pub(super) static CLOCK: Statement = Statement {
    name: "cleanup.clock",
    sql: "-- cleanup.clock
SELECT now() AS now",
    params: &[],
    columns: &[maybe("now", Type::TIMESTAMPTZ)],
};

// The keys are those that the trigger hands over when the job is deleted, less those that must wait then.
pub(super) static PLAN_JOBS: Statement = Statement {
    name: "cleanup.plan_jobs",
    sql: concat!(
        "-- cleanup.plan_jobs
SELECT job.id, job.status::text AS status, job.expires_at,
       ARRAY(SELECT object.key
               FROM (SELECT job.source_key AS key
                      WHERE job.source_key ~ ('^sources/' || job.id || '/source\\.[A-Za-z0-9]{1,16}$')
                        AND coalesce((SELECT entry.writable_until <= $1 FROM public.storage_deletions AS entry
                                       WHERE entry.object_key = job.source_key AND entry.writable_until IS NOT NULL), true)
                     UNION
                     SELECT named.key FROM (VALUES (job.result_video_key), (job.result_srt_key)) AS named (key)
                      WHERE named.key ~ ('^results/' || job.id || '/([1-9][0-9]{0,9}/)?clip\\.(mp4|srt)$')
                     UNION
                     SELECT 'results/' || job.id || CASE WHEN lease > 1 THEN '/' || lease ELSE '' END || file
                       FROM generate_series(1, job.lease) AS lease
                      CROSS JOIN (VALUES ('/clip.mp4'), ('/clip.srt')) AS result (file)) AS object
              WHERE greatest(job.lease_expires_at,
                             CASE WHEN job.status = 'processing'
                                  THEN job.last_heartbeat_at + interval '60 seconds' END, '-infinity') <= $1
       )::text[] AS objects
  FROM public.jobs AS job
 WHERE ",
        expired!("$1", "$2"),
        "
   AND job.expires_at >= coalesce($3, '-infinity')
   AND ($3 IS NULL OR (job.expires_at, job.id) > ($3, $4))
 ORDER BY job.expires_at, job.id
 LIMIT ",
        page!()
    ),
    params: &[
        Type::TIMESTAMPTZ,
        Type::FLOAT8,
        Type::TIMESTAMPTZ,
        Type::UUID,
    ],
    columns: &[
        always("id", Type::UUID),
        always("status", Type::TEXT),
        maybe("expires_at", Type::TIMESTAMPTZ),
        maybe("objects", Type::TEXT_ARRAY),
    ],
};

pub(super) static PLAN_SOURCES: Statement = Statement {
    name: "cleanup.plan_sources",
    sql: concat!(
        "-- cleanup.plan_sources
SELECT job.id, job.source_key, job.source_expires_at,
       coalesce((SELECT entry.writable_until > $1 FROM public.storage_deletions AS entry
                  WHERE entry.object_key = job.source_key), false) AS is_writable
  FROM public.jobs AS job
 WHERE ",
        source_due!("$1"),
        "
   AND job.source_expires_at >= coalesce($3, '-infinity')
   AND ($3 IS NULL OR (job.source_expires_at, job.id) > ($3, $4))
   -- Those go with their jobs.
   AND (",
        expired!("$1", "$2"),
        ") IS NOT TRUE
 ORDER BY job.source_expires_at, job.id
 LIMIT ",
        page!()
    ),
    params: &[
        Type::TIMESTAMPTZ,
        Type::FLOAT8,
        Type::TIMESTAMPTZ,
        Type::UUID,
    ],
    columns: &[
        always("id", Type::UUID),
        maybe("source_key", Type::VARCHAR),
        maybe("source_expires_at", Type::TIMESTAMPTZ),
        maybe("is_writable", Type::BOOL),
    ],
};

// What belongs to an expired job is listed with it, unless the job would not hand it over.
pub(super) static PLAN_OBJECTS: Statement = Statement {
    name: "cleanup.plan_objects",
    sql: concat!(
        "-- cleanup.plan_objects
SELECT deletion.object_key, deletion.reason, deletion.attempts, deletion.last_error_code,
       (SELECT CASE WHEN ",
        expired!("$1", "$2"),
        " THEN
                    CASE WHEN deletion.object_key IN (job.source_key, job.result_video_key, job.result_srt_key)
                              OR (deletion.object_key LIKE 'results/%' AND ",
        lease_of!("deletion.object_key"),
        " <= job.lease)
                         THEN 'listed' END
               ELSE ",
        standing!("deletion.object_key"),
        " END
          FROM public.jobs AS job WHERE job.id = deletion.job_id) IS NULL AS is_removed
  FROM (SELECT * FROM public.storage_deletions
         WHERE object_key > $3 AND next_attempt_at <= $1
           AND (writable_until IS NULL OR writable_until <= $1)
         ORDER BY object_key
         LIMIT (SELECT ",
        page!(),
        ")) AS deletion
 ORDER BY deletion.object_key"
    ),
    params: &[Type::TIMESTAMPTZ, Type::FLOAT8, Type::TEXT],
    columns: &[
        always("object_key", Type::VARCHAR),
        always("reason", Type::VARCHAR),
        always("attempts", Type::INT4),
        maybe("last_error_code", Type::VARCHAR),
        maybe("is_removed", Type::BOOL),
    ],
};

impl Cleanup<'_> {
    /// Lists a page of what a clean-up would delete now, all of it if read to the end: pass each page's `next`
    /// until there is none. Deletes nothing. What a reconciliation would find is not part of it.
    ///
    /// # Errors
    /// The database's.
    pub async fn plan(&self, after: Option<&PlanCursor>) -> Result<PlanPage> {
        let cursor = match after {
            Some(cursor) => cursor.clone(),
            None => PlanCursor {
                as_of: self.clock().await?,
                part: Part::Jobs(None),
            },
        };
        let as_of = cursor.as_of;
        let (mut page, next) = match cursor.part {
            Part::Jobs(after) => self.plan_jobs(as_of, after).await?,
            Part::Sources(after) => self.plan_sources(as_of, after).await?,
            Part::Objects(after) => self.plan_objects(as_of, &after).await?,
        };
        page.next = next.map(|part| PlanCursor { as_of, part });
        Ok(page)
    }

    /// The database's time.
    pub(super) async fn clock(&self) -> Result<Timestamp> {
        let rows = self.database().rows(&CLOCK, &[]).await?;
        let row = rows.first().ok_or(Error::NotFound { what: "clock" })?;
        Reader::new(row).take()
    }

    async fn plan_jobs(
        &self,
        as_of: Timestamp,
        after: Option<(Timestamp, JobId)>,
    ) -> Result<(PlanPage, Option<Part>)> {
        let rows = self.plan_rows(&PLAN_JOBS, as_of, after).await?;
        let mut page = PlanPage::default();
        for row in &rows {
            let mut reader = Reader::new(row);
            page.jobs.push(PlannedJob {
                id: JobId::from_uuid(reader.take()?),
                status: reader.parse()?,
                expires_at: reader.time()?,
                objects: reader.take()?,
            });
        }
        let last = page.jobs.last();
        let last = last.and_then(|job| job.expires_at.map(|time| (time, job.id)));
        let next = match last.filter(|_| is_full(rows.len())) {
            Some(last) => Part::Jobs(Some(last)),
            None => Part::Sources(None),
        };
        Ok((page, Some(next)))
    }

    async fn plan_sources(
        &self,
        as_of: Timestamp,
        after: Option<(Timestamp, JobId)>,
    ) -> Result<(PlanPage, Option<Part>)> {
        let rows = self.plan_rows(&PLAN_SOURCES, as_of, after).await?;
        let mut page = PlanPage::default();
        for row in &rows {
            let mut reader = Reader::new(row);
            page.sources.push(PlannedSource {
                job: JobId::from_uuid(reader.take()?),
                object_key: reader.take()?,
                source_expires_at: reader.time()?,
                is_writable: reader.take()?,
            });
        }
        let last = page.sources.last();
        let last = last.and_then(|source| source.source_expires_at.map(|time| (time, source.job)));
        let next = match last.filter(|_| is_full(rows.len())) {
            Some(last) => Part::Sources(Some(last)),
            None => Part::Objects(String::new()),
        };
        Ok((page, Some(next)))
    }

    async fn plan_objects(
        &self,
        as_of: Timestamp,
        after: &str,
    ) -> Result<(PlanPage, Option<Part>)> {
        let ttl = self.lease_ttl().as_secs_f64();
        let rows = self
            .database()
            .rows(&PLAN_OBJECTS, &[&as_of, &ttl, &after])
            .await?;
        let mut page = PlanPage::default();
        let mut last = None;
        for row in &rows {
            let mut reader = Reader::new(row);
            let entry = read_due(&mut reader)?;
            let is_removed: bool = reader.take()?;
            last = Some(entry.object_key.clone());
            // A key that nobody can read fails, and stays.
            if is_removed && entry.object_key.parse::<StorageKey>().is_ok() {
                page.objects.push(entry);
            }
        }
        Ok((
            page,
            last.filter(|_| is_full(rows.len())).map(Part::Objects),
        ))
    }

    async fn plan_rows(
        &self,
        statement: &Statement,
        as_of: Timestamp,
        after: Option<(Timestamp, JobId)>,
    ) -> Result<Vec<tokio_postgres::Row>> {
        let ttl = self.lease_ttl().as_secs_f64();
        let (time, id): (Option<Timestamp>, Option<Uuid>) =
            after.map(|(time, id)| (time, id.as_uuid())).unzip();
        self.database()
            .rows(statement, &[&as_of, &ttl, &time, &id])
            .await
    }
}

const fn is_full(rows: usize) -> bool {
    rows >= PLAN_PAGE as usize
}
