//! Trying again: which failures pass, how long to wait, and when to give up.
//!
//! Every call of this backend may be repeated: uploads replace, removals are idempotent, the rest reads.
//! What cannot be repeated is a stream whose bytes are gone; its callers do not come here.

use std::time::Duration;

use super::failure::Failure;
use super::settings::RetryPolicy;
use crate::storage::Operation;

/// The most failures that one call survives, however much it moves on between them.
const FAILURES_MAX: u32 = 1_000;

/// The failures of one call so far.
pub(super) struct Retries {
    operation: Operation,
    policy: RetryPolicy,
    in_a_row: u32,
    in_all: u32,
}

impl Retries {
    pub(super) fn new(operation: Operation, policy: RetryPolicy) -> Self {
        Self {
            operation,
            policy,
            in_a_row: 0,
            in_all: 0,
        }
    }

    /// Returns the call that they belong to.
    pub(super) fn operation(&self) -> Operation {
        self.operation
    }

    /// A transfer moved on: the next failure is the first one again.
    pub(super) fn moved_on(&mut self) {
        self.in_a_row = 0;
    }

    /// Waits until the next try, or gives the failure back when there is none.
    pub(super) async fn after(&mut self, failure: Failure) -> Result<(), Failure> {
        self.in_a_row += 1;
        self.in_all += 1;
        let over = self.in_a_row >= self.policy.tries || self.in_all >= FAILURES_MAX;
        if over || !failure.is_passing() {
            return Err(failure);
        }
        let pause = backoff(self.policy, self.in_a_row).max(failure.pause());
        metrics::counter!("clipbase_storage_retries_total", "operation" => self.operation.name())
            .increment(1);
        tracing::debug!(
            operation = self.operation.name(),
            code = failure.code(self.operation).as_str(),
            pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX),
            "storage call is tried again"
        );
        tokio::time::sleep(pause).await;
        Ok(())
    }
}

/// A random part (full jitter) of a pause that doubles with each failure, up to the cap.
fn backoff(policy: RetryPolicy, failures: u32) -> Duration {
    let doubled = policy
        .base
        .saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1)))
        .min(policy.cap);
    crate::db::jittered(doubled)
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderMap;

    use super::*;

    fn passing() -> Failure {
        Failure::of_answer(503, &HeaderMap::new(), b"")
    }

    #[tokio::test(start_paused = true)]
    async fn tries_are_counted_and_progress_counts_anew() {
        let policy = RetryPolicy::default();
        let mut retries = Retries::new(Operation::Upload, policy);
        let started = tokio::time::Instant::now();
        for _ in 0..3 {
            assert!(retries.after(passing()).await.is_ok());
        }
        assert!(retries.after(passing()).await.is_err());
        assert!(started.elapsed() <= policy.base * 7 + Duration::from_millis(10));
        retries.moved_on();
        assert!(retries.after(passing()).await.is_ok());
        let refused = Failure::of_answer(415, &HeaderMap::new(), b"");
        assert!(retries.after(refused).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn progress_without_end_ends() {
        let mut retries = Retries::new(Operation::Upload, RetryPolicy::default());
        let mut survived = 0;
        while retries.after(passing()).await.is_ok() {
            retries.moved_on();
            survived += 1;
        }
        assert_eq!(survived, FAILURES_MAX - 1);
    }

    #[test]
    fn pauses_double_up_to_the_cap() {
        let policy = RetryPolicy::default();
        for (failures, most) in [(1, 200), (2, 400), (3, 800), (6, 5_000), (u32::MAX, 5_000)] {
            for _ in 0..50 {
                assert!(backoff(policy, failures) <= Duration::from_millis(most));
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_that_the_server_asks_for_is_kept() {
        let mut headers = HeaderMap::new();
        headers.insert("retry-after", "7".parse().unwrap());
        let mut retries = Retries::new(Operation::Sign, RetryPolicy::default());
        let started = tokio::time::Instant::now();
        let busy = Failure::of_answer(429, &headers, b"");
        assert!(retries.after(busy).await.is_ok());
        assert!(started.elapsed() >= Duration::from_secs(7));
    }
}
