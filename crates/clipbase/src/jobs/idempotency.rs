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
    /// What else makes the request this one, where the job does not say it: which upload it names.
    pub about: Option<String>,
}

impl Idempotency {
    /// A key that holds for [`IDEMPOTENCY_TTL`].
    pub fn new(scope: impl Into<String>, key: impl Into<String>) -> Self {
        Self {
            scope: scope.into(),
            key: key.into(),
            ttl: IDEMPOTENCY_TTL,
            about: None,
        }
    }

    /// Says what else makes the request this one: the same key with another text is refused.
    #[must_use]
    pub fn about(mut self, text: impl Into<String>) -> Self {
        self.about = Some(text.into());
        self
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
pub(super) fn fingerprint(job: &NewJob, request: &Idempotency) -> Vec<u8> {
    let mut chosen = vec![serde_json::json!([
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
    ])];
    // Added where they are given, so that keys from before these existed go on standing for their jobs.
    let lifetime = job.expires_in.map(|time| time.as_millis().to_string());
    for (name, value) in [("expires_in", lifetime), ("about", request.about.clone())] {
        if let Some(value) = value {
            chosen.push(serde_json::json!([name, value]));
        }
    }
    let text = match chosen.as_slice() {
        [only] => only.to_string(),
        all => serde_json::Value::from(all.to_vec()).to_string(),
    };
    Sha256::digest(text).to_vec()
}

pub(super) static FIND: Statement = Statement {
    name: "jobs.find_request",
    sql: concat!(
        "-- jobs.find_request
SELECT known.fingerprint, ",
        job_columns!("job."),
        "
  FROM public.job_idempotency AS known
  JOIN public.jobs AS job ON job.id = known.job_id
 WHERE known.scope = $1 AND known.key = $2 AND known.expires_at > now()"
    ),
    params: &[Type::TEXT, Type::TEXT],
    columns: job_column_types!(always("fingerprint", Type::BYTEA)),
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
        Ok(self.find(request).await?.map(|(_, job)| job))
    }

    /// As [`Jobs::create_once`] for a request that was made before; `None`, and nothing made, for a new one. For
    /// a caller that has work to do before the job, such as a copy of its source.
    ///
    /// # Errors
    /// `IDEMPOTENCY_CONFLICT` when the key was used for another request; `INVALID_INPUT`.
    pub async fn find_created(&self, job: &NewJob, request: &Idempotency) -> Result<Option<Job>> {
        job.check()?;
        match self.find(request).await? {
            Some((known, _)) if known != fingerprint(job, request) => {
                Err(Error::IdempotencyConflict)
            }
            found => Ok(found.map(|(_, job)| job)),
        }
    }

    async fn find(&self, request: &Idempotency) -> Result<Option<(Vec<u8>, Job)>> {
        request.check()?;
        let rows = self
            .database()
            .rows(&FIND, &[&request.scope, &request.key])
            .await?;
        let Some(row) = rows.first() else {
            return Ok(None);
        };
        let mut reader = Reader::new(row);
        Ok(Some((reader.take()?, read_job(reader)?)))
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
        let request = Idempotency::new("scope", "key");
        let print = |job: &NewJob| fingerprint(job, &request);
        assert_eq!(print(&upload(1000)), print(&upload(1000)));
        assert_ne!(print(&upload(1000)), print(&upload(1001)));
        let mut lasting = upload(1000);
        lasting.expires_in = Some(Duration::from_secs(60));
        assert_ne!(print(&lasting), print(&upload(1000)));
        assert_eq!(print(&lasting), print(&lasting.clone()));
    }

    #[test]
    fn a_fingerprint_holds_what_the_request_is_about() {
        let print = |about: &str| {
            fingerprint(
                &upload(1000),
                &Idempotency::new("scope", "key").about(about),
            )
        };
        assert_eq!(print("one"), print("one"));
        assert_ne!(print("one"), print("other"));
    }
}
