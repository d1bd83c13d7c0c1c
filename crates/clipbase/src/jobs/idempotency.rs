//! Repeated requests: the same key and the same request stand for the same job.

use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio_postgres::types::Type;

use super::Jobs;
use super::row::{Reader, job_column_types, job_columns, read_job};
use crate::db::Statement;
use crate::error::{Error, Result};
use crate::job::{Job, NewJob};

/// How long a key stands for its job, unless set.
pub const IDEMPOTENCY_TTL: Duration = Duration::from_secs(24 * 60 * 60);

/// The name of a request, so that repeating it makes no second job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idempotency {
    /// Who asks: keys of different callers never meet. 1 to 128 bytes.
    pub scope: String,
    /// The caller's key. 1 to 255 bytes.
    pub key: String,
    /// How long the key stands for its job.
    pub ttl: Duration,
}

impl Idempotency {
    /// A key that holds for [`IDEMPOTENCY_TTL`].
    pub fn new(scope: impl Into<String>, key: impl Into<String>) -> Self {
        Self {
            scope: scope.into(),
            key: key.into(),
            ttl: IDEMPOTENCY_TTL,
        }
    }

    pub(super) fn check(&self) -> Result<()> {
        let fits = |text: &str, most| (1..=most).contains(&text.len()) && !text.contains('\0');
        if !fits(&self.scope, 128) {
            return Err(Error::invalid(
                "scope",
                "must be 1 to 128 bytes without U+0000",
            ));
        }
        if !fits(&self.key, 255) {
            return Err(Error::invalid(
                "idempotency_key",
                "must be 1 to 255 bytes without U+0000",
            ));
        }
        Ok(())
    }
}

/// What an idempotent create answers with.
#[derive(Clone, Debug, PartialEq)]
pub enum Created {
    /// The request was new: this is its job.
    New(Job),
    /// The request was made before: this is the job that it made then, as it is now.
    Existing(Job),
}

impl Created {
    /// Returns the job, new or not.
    pub fn into_job(self) -> Job {
        match self {
            Self::New(job) | Self::Existing(job) => job,
        }
    }
}

/// What makes two requests the same: everything that a caller chose, save for the job's id and the place
/// of its upload, which are made anew at each try.
pub(super) fn fingerprint(job: &NewJob) -> Vec<u8> {
    let request = serde_json::json!([
        job.source.kind(),
        job.source.url(),
        job.range.start_ms(),
        job.range.end_ms(),
        job.with_subtitles,
        job.burn_subtitles,
        job.subtitle_lang,
        job.priority,
        job.shard,
        job.max_attempts,
        job.run_at,
        job.expires_at,
    ]);
    Sha256::digest(request.to_string()).to_vec()
}

pub(super) static FIND: Statement = Statement {
    name: "jobs.find_request",
    sql: concat!(
        "-- jobs.find_request
SELECT ",
        job_columns!("job."),
        "
  FROM public.job_idempotency AS known
  JOIN public.jobs AS job ON job.id = known.job_id
 WHERE known.scope = $1 AND known.key = $2 AND known.expires_at > now()"
    ),
    params: &[Type::TEXT, Type::TEXT],
    columns: job_column_types!(),
};

pub(super) static FORGET: Statement = Statement {
    name: "jobs.forget_request",
    sql: "-- jobs.forget_request
DELETE FROM public.job_idempotency WHERE scope = $1 AND key = $2",
    params: &[Type::TEXT, Type::TEXT],
    columns: &[],
};

impl Jobs<'_> {
    /// Returns the job that a request made before, or `None`; makes nothing.
    ///
    /// # Errors
    /// `INVALID_INPUT` for a key that none can be.
    pub async fn find_request(&self, request: &Idempotency) -> Result<Option<Job>> {
        request.check()?;
        let rows = self
            .database()
            .rows(&FIND, &[&request.scope, &request.key])
            .await?;
        rows.first()
            .map(|row| read_job(Reader::new(row)))
            .transpose()
    }

    /// Lets a key go, so that the next request with it makes a new job. The old job stays.
    ///
    /// # Errors
    /// The database's.
    pub async fn forget_request(&self, request: &Idempotency) -> Result<()> {
        request.check()?;
        self.database()
            .rows(&FORGET, &[&request.scope, &request.key])
            .await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::JobId;
    use crate::job::{ClipRange, Source};
    use crate::storage::StorageKey;

    fn upload(end_ms: i64) -> NewJob {
        let id = JobId::new();
        let source = Source::Upload(StorageKey::source(id, "mp4").unwrap());
        NewJob::new(id, source, ClipRange::from_millis(0, end_ms).unwrap())
    }

    #[test]
    fn a_fingerprint_ignores_what_each_try_makes_anew() {
        assert_eq!(fingerprint(&upload(1000)), fingerprint(&upload(1000)));
        assert_ne!(fingerprint(&upload(1000)), fingerprint(&upload(1001)));
    }
}
