//! Following many jobs at once: one statement, however many are watched.

use std::collections::HashMap;

use tokio_postgres::types::Type;
use uuid::Uuid;

use super::{Followed, JobEvent, JobEvents, check_limit, read_event};
use crate::db::Statement;
use crate::db::statement::{always, maybe};
use crate::error::{Error, Result};
use crate::ids::JobId;
use crate::jobs::row::Reader;
use crate::status::JobStatus;

/// The most jobs that one call follows.
pub const FOLLOW_MANY_JOBS_MAX: usize = 1_000;
/// The most events that one call answers with, or one a job where that is more.
pub const FOLLOW_MANY_EVENTS_MAX: u32 = 2_000;

// LIMIT 1 keeps the row's look-up a loop over the primary key, whatever the statistics promise.
pub(super) static FOLLOW_MANY: Statement = Statement {
    name: "events.follow_many",
    sql: "-- events.follow_many
SELECT watched.id AS watched_id, job.status::text AS status, job.progress, job.event_seq,
       event.id, event.job_id, event.seq, event.ts, event.type, event.data
  FROM unnest((SELECT $1::uuid[]), (SELECT $2::int4[])) AS watched (id, after)
 CROSS JOIN LATERAL (
    SELECT found.id, found.status, found.progress, found.event_seq
      FROM public.jobs AS found WHERE found.id = watched.id LIMIT 1
  ) AS job
  LEFT JOIN LATERAL (
    SELECT * FROM public.job_events AS event
     WHERE event.job_id = job.id AND event.seq > watched.after
     ORDER BY event.seq
     LIMIT (SELECT $3)
  ) AS event ON true",
    params: &[Type::UUID_ARRAY, Type::INT4_ARRAY, Type::INT8],
    columns: &[
        always("watched_id", Type::UUID),
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

impl JobEvents<'_> {
    /// As [`JobEvents::after`] for up to [`FOLLOW_MANY_JOBS_MAX`] jobs, in one statement: each with the number
    /// after which to read, and at most `limit` events a job. A job that does not exist (any more) is not in the
    /// answer.
    ///
    /// # Errors
    /// `INVALID_INPUT` for more jobs, one that stands twice, or a limit that is not 1 to
    /// [`super::EVENTS_LIST_MAX`] or lets the answer grow beyond [`FOLLOW_MANY_EVENTS_MAX`].
    pub async fn follow_many(
        &self,
        watched: &[(JobId, i32)],
        limit: u32,
    ) -> Result<HashMap<JobId, Followed>> {
        check_limit(limit)?;
        if watched.len() > FOLLOW_MANY_JOBS_MAX {
            return Err(Error::invalid("jobs", "must be at most 1000 a call"));
        }
        if limit > follow_many_limit(watched.len()) {
            return Err(Error::invalid(
                "limit",
                "must not let the answer grow beyond 2000 events",
            ));
        }
        let after: HashMap<JobId, i32> = watched.iter().copied().collect();
        if after.len() != watched.len() {
            return Err(Error::invalid("jobs", "must not name a job twice"));
        }
        if watched.is_empty() {
            return Ok(HashMap::new());
        }
        let ids: Vec<Uuid> = watched.iter().map(|(id, _)| id.as_uuid()).collect();
        let numbers: Vec<i32> = watched.iter().map(|(_, after)| *after).collect();
        let rows = self
            .database()
            .rows(&FOLLOW_MANY, &[&ids, &numbers, &i64::from(limit)])
            .await?;
        let mut found: HashMap<JobId, Followed> = HashMap::with_capacity(watched.len());
        for row in &rows {
            let mut reader = Reader::new(row);
            let id = JobId::from_uuid(reader.take()?);
            let status: JobStatus = reader.parse()?;
            let (progress, last) = (reader.take()?, reader.take::<i32>()?);
            let event = reader.take::<Option<Uuid>>()?;
            let entry = found.entry(id).or_insert_with(|| Followed {
                events: Vec::new(),
                status,
                progress,
                is_end: false,
            });
            if event.is_some() {
                entry
                    .events
                    .push(read_event(&mut Reader::new(row).skip(4))?);
            }
            entry.events.sort_by_key(|event| event.seq);
            let read = entry.events.last().map(|event: &JobEvent| event.seq);
            let read = read.or(after.get(&id).copied()).unwrap_or(0);
            entry.is_end = status.is_terminal() && read >= last;
        }
        Ok(found)
    }
}

/// Returns the largest limit that [`JobEvents::follow_many`] takes for so many jobs.
pub fn follow_many_limit(jobs: usize) -> u32 {
    let jobs = u32::try_from(jobs).unwrap_or(u32::MAX).max(1);
    (FOLLOW_MANY_EVENTS_MAX / jobs).clamp(1, super::EVENTS_LIST_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_stays_bounded_however_many_are_watched() {
        assert_eq!(follow_many_limit(0), super::super::EVENTS_LIST_MAX);
        assert_eq!(follow_many_limit(1), super::super::EVENTS_LIST_MAX);
        assert_eq!(follow_many_limit(100), 20);
        assert_eq!(follow_many_limit(FOLLOW_MANY_JOBS_MAX), 2);
        assert_eq!(follow_many_limit(usize::MAX), 1);
    }
}
