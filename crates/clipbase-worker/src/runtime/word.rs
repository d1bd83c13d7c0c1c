//! The last word on a job: how it ends in this worker, and that it is written through the lease.
//!
//! What is wrong with the input is final. What is wrong with the world may pass: the job goes back into the
//! queue after an exponential backoff with full jitter, which the library computes, until its attempts are
//! used up.

use std::time::Duration;

use clipbase::leases::{Failure, Finish, Finished, Lease, Surrendered};
use clipbase::{Code, Error, Result};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use super::{Outcome, Worker};
use crate::clipper::{Clip, ClipError};

/// How often the last word on a job is tried while the database is away.
const LAST_WORD_TRIES_MAX: u32 = 10;

/// Why the work ended without a result.
#[derive(Debug)]
pub(super) enum Trouble {
    Clip(ClipError),
    Other(Error),
}

impl From<ClipError> for Trouble {
    fn from(error: ClipError) -> Self {
        Self::Clip(error)
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

/// How a job ends in this worker.
#[derive(Debug)]
pub(super) enum LastWord {
    Finish { facts: Value, with_srt: bool },
    Release,
    Fail { failure: Failure, may_pass: bool },
}

/// A finished job that asks to be confirmed together with others.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) lease: Lease,
    pub(super) with_srt: bool,
    pub(super) facts: Value,
    pub(super) reply: oneshot::Sender<Finished>,
}

impl Report {
    pub(super) fn as_finish(&self) -> Finish<'_> {
        Finish {
            lease: &self.lease,
            with_srt: self.with_srt,
            event_data: Some(&self.facts),
        }
    }
}

impl LastWord {
    pub(super) fn of_clip(clip: &Clip) -> Self {
        Self::Finish {
            facts: json!({"duration_ms": clip.duration_ms, "method": clip.method.as_str()}),
            with_srt: clip.subtitles.is_some(),
        }
    }

    pub(super) fn of_trouble(trouble: &Trouble) -> Self {
        let (code, message, may_pass) = match trouble {
            Trouble::Clip(error) => (
                error.code().as_str(),
                error.to_string(),
                error.is_retryable(),
            ),
            Trouble::Other(error) => (
                error.code().as_str(),
                error.to_string(),
                !is_bad_input(error.code()),
            ),
        };
        match Failure::new(code, &message) {
            Ok(failure) => Self::Fail { failure, may_pass },
            // Every code of ours is one; should it ever not be, hand the job back.
            Err(_) => Self::Release,
        }
    }

    pub(super) fn into_failure(self) -> Option<Failure> {
        match self {
            Self::Fail { failure, .. } => Some(failure),
            Self::Finish { .. } | Self::Release => None,
        }
    }
}

/// Whether another attempt would meet the same: the job names a source that is not one, or is not there.
/// Everything else that the database or the storage answers is about them and not about the job.
fn is_bad_input(code: Code) -> bool {
    matches!(code, Code::InvalidInput | Code::StorageNotFound)
}

impl Worker {
    /// Asks for the job to be confirmed with others; `None` when nobody could, and it must be done alone.
    pub(super) async fn told_together(
        lease: &Lease,
        word: &LastWord,
        reports: &mpsc::UnboundedSender<Report>,
    ) -> Option<Outcome> {
        let LastWord::Finish { facts, with_srt } = word else {
            return None;
        };
        let (reply, answer) = oneshot::channel();
        let report = Report {
            lease: lease.clone(),
            with_srt: *with_srt,
            facts: facts.clone(),
            reply,
        };
        reports.send(report).ok()?;
        match answer.await.ok()? {
            Finished::Done | Finished::Repeated => Some(Outcome::Done),
            Finished::Lost | Finished::Absent => Some(Outcome::Lost),
        }
    }

    /// Writes how the job ended, through the lease. While the database is away it is tried again: the
    /// work is done, and losing it costs more than waiting.
    pub(super) async fn last_word(&self, lease: &Lease, word: &LastWord) -> Outcome {
        let mut pause = Duration::from_millis(200);
        for attempt in 1..=LAST_WORD_TRIES_MAX {
            let error = match self.say(lease, word).await {
                Ok(outcome) => return outcome,
                Err(error) => error,
            };
            if matches!(error.code(), Code::LeaseLost | Code::NotFound) {
                return Outcome::Lost;
            }
            let code = error.code().as_str();
            tracing::warn!(
                code,
                attempt,
                "the end of a job could not be written: {error}"
            );
            if !error.code().is_retryable() {
                break;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(5));
        }
        // The lease runs out, and the job is reaped.
        Outcome::Lost
    }

    async fn say(&self, lease: &Lease, word: &LastWord) -> Result<Outcome> {
        let leases = self.shared.clipbase.leases();
        let surrendered = match word {
            LastWord::Finish { facts, with_srt } => {
                let finish = Finish {
                    lease,
                    with_srt: *with_srt,
                    event_data: Some(facts),
                };
                leases.finish(finish).await?;
                return Ok(Outcome::Done);
            }
            LastWord::Release => leases.release(lease).await?,
            LastWord::Fail {
                failure,
                may_pass: true,
            } => leases.fail_retryable(lease, failure).await?,
            LastWord::Fail {
                failure,
                may_pass: false,
            } => {
                leases.fail(lease, failure).await?;
                Surrendered::Failed
            }
        };
        Ok(match surrendered {
            Surrendered::Queued => Outcome::Requeued,
            Surrendered::Failed => Outcome::Failed,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clipper::ClipErrorCode;

    fn may_pass(trouble: &Trouble) -> bool {
        match LastWord::of_trouble(trouble) {
            LastWord::Fail { may_pass, .. } => may_pass,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_code_is_one_that_a_row_takes_and_bad_input_is_final() {
        for code in ClipErrorCode::ALL {
            let trouble = Trouble::Clip(ClipError::new(*code, "as ordered"));
            assert_eq!(may_pass(&trouble), code.is_retryable(), "{code}");
        }
        for code in Code::ALL {
            let trouble = Trouble::Other(Error::failed(*code, "as ordered"));
            let is_final = matches!(code.as_str(), "INVALID_INPUT" | "STORAGE_NOT_FOUND");
            assert_eq!(may_pass(&trouble), !is_final, "{code}");
        }
    }
}
