//! What happened to a job: an append-only log, numbered 1..n within the job without gaps.
//!
//! Each change of a job writes its event in the statement that makes the change. This module adds callers'
//! own events and reads the log; it never writes the key `set`, which says what an event changed in the row.

mod many;

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::Instant;
use tokio_postgres::types::Type;
use uuid::Uuid;

use crate::clipbase::Inner;
use crate::db::statement::{always, maybe};
use crate::db::{Database, Statement};
use crate::error::{Error, Result};
use crate::ids::{EventId, JobId};
use crate::job::check_event_data;
use crate::jobs::row::Reader;
use crate::status::JobStatus;

pub use many::{FOLLOW_MANY_EVENTS_MAX, FOLLOW_MANY_JOBS_MAX, follow_many_limit};

/// The most events that callers may add to a job. Transitions are never refused for it.
pub const EVENTS_PER_JOB_MAX: i32 = 10_000;
/// The most events on one page.
pub const EVENTS_LIST_MAX: u32 = 1_000;
/// How often a follower asks, unless set.
pub const FOLLOW_INTERVAL: Duration = Duration::from_millis(500);
/// The longest event type, in bytes: the column's width.
pub const EVENT_TYPE_BYTES_MAX: usize = 64;

pub(crate) static STATEMENTS: &[&Statement] = &[&ADD, &LIST, &FOLLOW, &many::FOLLOW_MANY];

/// One entry of a job's log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct JobEvent {
    /// The event's id.
    pub id: EventId,
    /// The job.
    pub job_id: JobId,
    /// 1..n within the job, in commit order.
    pub seq: i32,
    /// When the writing transaction began.
    pub ts: Timestamp,
    /// What happened.
    #[serde(rename = "type")]
    pub kind: String,
    /// The caller's data, and clipbase's `by`, `from` and `set`.
    pub data: Option<Value>,
}

/// What came after a number of a job's log.
#[derive(Clone, Debug, PartialEq)]
pub struct Followed {
    /// The new events, in order.
    pub events: Vec<JobEvent>,
    /// The job's state when they were read.
    pub status: JobStatus,
    /// The job's progress then: it is no event.
    pub progress: i32,
    /// Whether there is nothing more to come: the job has ended and its last event is in `events`, or was
    /// before.
    pub is_end: bool,
}

static ADD: Statement = Statement {
    name: "events.add",
    sql: "-- events.add
WITH found AS MATERIALIZED (
    SELECT id FROM public.jobs WHERE id = $1 FOR NO KEY UPDATE
),
numbered AS (
    UPDATE public.jobs AS job
       SET event_seq = job.event_seq + 1, updated_at = now()
      FROM found
     WHERE job.id = found.id AND job.event_seq < $4
    RETURNING job.id, job.event_seq
),
recorded AS (
    INSERT INTO public.job_events (job_id, seq, type, data)
    SELECT id, event_seq, $2, $3 FROM numbered
)
SELECT numbered.event_seq FROM found LEFT JOIN numbered ON true",
    params: &[Type::UUID, Type::TEXT, Type::JSONB, Type::INT4],
    columns: &[always("event_seq", Type::INT4)],
};

static LIST: Statement = Statement {
    name: "events.list",
    sql: "-- events.list
SELECT id, job_id, seq, ts, type, data
  FROM public.job_events
 WHERE job_id = $1 AND seq > $2
 ORDER BY seq
 LIMIT (SELECT $3)",
    params: &[Type::UUID, Type::INT4, Type::INT8],
    columns: &[
        always("id", Type::UUID),
        always("job_id", Type::UUID),
        always("seq", Type::INT4),
        always("ts", Type::TIMESTAMPTZ),
        always("type", Type::VARCHAR),
        maybe("data", Type::JSONB),
    ],
};

static FOLLOW: Statement = Statement {
    name: "events.follow",
    sql: "-- events.follow
SELECT job.status::text AS status, job.progress, job.event_seq,
       event.id, event.job_id, event.seq, event.ts, event.type, event.data
  FROM public.jobs AS job
  LEFT JOIN LATERAL (
    SELECT * FROM public.job_events AS event
     WHERE event.job_id = job.id AND event.seq > $2
     ORDER BY event.seq
     LIMIT (SELECT $3)
  ) AS event ON true
 WHERE job.id = $1",
    params: &[Type::UUID, Type::INT4, Type::INT8],
    columns: &[
        always("status", Type::TEXT),
        always("progress", Type::INT4),
        always("event_seq", Type::INT4),
        always("id", Type::UUID),
        always("job_id", Type::UUID),
        always("seq", Type::INT4),
        always("ts", Type::TIMESTAMPTZ),
        always("type", Type::VARCHAR),
        maybe("data", Type::JSONB),
    ],
};

/// The repository of events. A cheap value: make one where you need it.
///
/// ```
/// # use clipbase_testkit::builders::new_job;
/// # clipbase_testkit::example(async |clipbase| {
/// let job = clipbase.jobs().create(&new_job()).await?;
/// let note = serde_json::json!({"by_whom": "support"});
/// assert_eq!(clipbase.events().add(job.id, "note", Some(&note)).await?, 2);
/// clipbase.jobs().cancel(job.id).await?;
///
/// // From the first event to the job's end, each once and in order.
/// let mut follower = clipbase.events().follow(job.id, 0);
/// let mut kinds = Vec::new();
/// while let Some(page) = follower.next().await? {
///     kinds.extend(page.events.into_iter().map(|event| event.kind));
/// }
/// assert_eq!(kinds, ["created", "note", "canceled"]);
/// # Ok(())
/// # });
/// ```
#[derive(Clone, Copy, Debug)]
pub struct JobEvents<'a> {
    inner: &'a Inner,
}

impl<'a> JobEvents<'a> {
    pub(crate) fn new(inner: &'a Inner) -> Self {
        Self { inner }
    }

    fn database(self) -> &'a Database {
        &self.inner.database
    }

    /// Adds an event of the caller's and returns its number. A worker uses
    /// [`crate::leases::Leases::log`], which holds it to its lease.
    ///
    /// # Errors
    /// `NOT_FOUND`; `EVENT_LIMIT` at [`EVENTS_PER_JOB_MAX`]; `INVALID_INPUT`.
    pub async fn add(&self, job: JobId, kind: &str, data: Option<&Value>) -> Result<i32> {
        check_event_type(kind)?;
        check_event_data(data)?;
        let rows = self
            .database()
            .rows_of(
                job,
                &ADD,
                &[&job.as_uuid(), &kind, &data, &EVENTS_PER_JOB_MAX],
            )
            .await?;
        Reader::new(rows.first().ok_or(Error::NotFound { what: "job" })?)
            .take::<Option<i32>>()?
            .ok_or(Error::EventLimit {
                limit: EVENTS_PER_JOB_MAX,
            })
    }

    /// Lists a job's events in order, from after number `after` on (0 for all). Empty for an absent job.
    ///
    /// # Errors
    /// `INVALID_INPUT` when `limit` is not 1 to [`EVENTS_LIST_MAX`].
    pub async fn list(&self, job: JobId, after: i32, limit: u32) -> Result<Vec<JobEvent>> {
        check_limit(limit)?;
        let rows = self
            .database()
            .rows_of(job, &LIST, &[&job.as_uuid(), &after, &i64::from(limit)])
            .await?;
        rows.iter()
            .map(|row| read_event(&mut Reader::new(row)))
            .collect()
    }

    /// Reads on after number `after`, and tells whether the log has ended. Returns at once; ask again after
    /// [`FOLLOW_INTERVAL`], or let [`JobEvents::follow`] do so.
    ///
    /// # Errors
    /// `NOT_FOUND` when the job does not exist (any more); `INVALID_INPUT` for the limit.
    pub async fn after(&self, job: JobId, after: i32, limit: u32) -> Result<Followed> {
        check_limit(limit)?;
        let rows = self
            .database()
            .rows_of(job, &FOLLOW, &[&job.as_uuid(), &after, &i64::from(limit)])
            .await?;
        let mut reader = Reader::new(rows.first().ok_or(Error::NotFound { what: "job" })?);
        let status: JobStatus = reader.parse()?;
        let (progress, last) = (reader.take()?, reader.take::<i32>()?);
        let mut events = Vec::with_capacity(rows.len());
        for row in &rows {
            let mut reader = Reader::new(row).skip(3);
            if reader.take::<Option<Uuid>>()?.is_some() {
                events.push(read_event(&mut Reader::new(row).skip(3))?);
            }
        }
        let read = events.last().map_or(after, |event: &JobEvent| event.seq);
        Ok(Followed {
            events,
            status,
            progress,
            is_end: status.is_terminal() && read >= last,
        })
    }

    /// Follows a job's log from after number `after` (0 for all of it) to the job's end.
    pub fn follow(&self, job: JobId, after: i32) -> Follower<'a> {
        Follower {
            events: *self,
            job,
            after,
            interval: FOLLOW_INTERVAL,
            asked_at: None,
            is_over: false,
        }
    }
}

/// Reads a job's log as it grows.
#[derive(Debug)]
pub struct Follower<'a> {
    events: JobEvents<'a>,
    job: JobId,
    after: i32,
    interval: Duration,
    /// When it last asked and got all there was.
    asked_at: Option<Instant>,
    is_over: bool,
}

impl Follower<'_> {
    /// Sets how often it asks.
    #[must_use]
    pub fn every(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// Waits for what comes next; `None` once the job has ended and all was read. Cancel-safe: a dropped
    /// call loses no event, and the next one waits only for what is left of the interval.
    ///
    /// # Errors
    /// `NOT_FOUND` when the job is deleted meanwhile.
    pub async fn next(&mut self) -> Result<Option<Followed>> {
        if self.is_over {
            return Ok(None);
        }
        loop {
            if let Some(asked_at) = self.asked_at {
                let waited = asked_at.elapsed();
                tokio::time::sleep(self.interval.saturating_sub(waited)).await;
            }
            let page = self
                .events
                .after(self.job, self.after, EVENTS_LIST_MAX)
                .await?;
            // A full page: there is more already.
            let is_full = page.events.len() == EVENTS_LIST_MAX as usize;
            self.asked_at = (!is_full).then(Instant::now);
            self.is_over = page.is_end;
            if let Some(last) = page.events.last() {
                self.after = last.seq;
            }
            if page.is_end || !page.events.is_empty() {
                return Ok(Some(page));
            }
        }
    }
}

fn check_limit(limit: u32) -> Result<()> {
    if (1..=EVENTS_LIST_MAX).contains(&limit) {
        Ok(())
    } else {
        Err(Error::invalid("limit", "must be 1 to 1000"))
    }
}

/// Checks an event's type: 1 to 64 of letters, digits, `_`, `-`, `.` and `:`.
pub(crate) fn check_event_type(kind: &str) -> Result<()> {
    let fits = (1..=EVENT_TYPE_BYTES_MAX).contains(&kind.len())
        && kind
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_-.:".contains(&b));
    if fits {
        Ok(())
    } else {
        Err(Error::invalid(
            "type",
            "must be 1 to 64 letters, digits, _, -, . or :",
        ))
    }
}

fn read_event(row: &mut Reader<'_>) -> Result<JobEvent> {
    Ok(JobEvent {
        id: EventId::from_uuid(row.take()?),
        job_id: JobId::from_uuid(row.take()?),
        seq: row.take()?,
        ts: row.take()?,
        kind: row.take()?,
        data: row.take()?,
    })
}
