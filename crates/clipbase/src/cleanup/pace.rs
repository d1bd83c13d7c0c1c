//! How fast objects are removed: so many a second, in bulk calls of at most one second's worth.

use std::num::NonZeroU32;
use std::time::Duration;

use tokio::time::Instant;

use super::BATCH_MAX;

/// Spreads bulk calls over time. Without a limit it neither waits nor shrinks anything.
#[derive(Debug)]
pub(super) struct Pace {
    per_second: Option<NonZeroU32>,
    /// When the next call may go out.
    next: Option<Instant>,
}

impl Pace {
    pub(super) fn new(per_second: Option<NonZeroU32>) -> Self {
        Self {
            per_second,
            next: None,
        }
    }

    /// Returns how many objects the next call may have, of so many that are left.
    pub(super) fn batch(&self, left: u64) -> u32 {
        let bound = self.per_second.map_or(BATCH_MAX, NonZeroU32::get);
        u32::try_from(left)
            .unwrap_or(BATCH_MAX)
            .min(bound)
            .min(BATCH_MAX)
    }

    /// Waits until the objects of the calls before have had their time.
    pub(super) async fn wait(&self) {
        if let Some(next) = self.next {
            tokio::time::sleep_until(next).await;
        }
    }

    /// Notes a call that has gone out with so many objects.
    pub(super) fn spent(&mut self, objects: u64) {
        let Some(per_second) = self.per_second else {
            return;
        };
        let objects = u32::try_from(objects).unwrap_or(BATCH_MAX);
        let took = Duration::from_secs_f64(f64::from(objects) / f64::from(per_second.get()));
        self.next = Some(Instant::now() + took);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn so_many_objects_take_as_many_seconds_as_the_limit_says() {
        let mut pace = Pace::new(NonZeroU32::new(400));
        let started = Instant::now();
        let mut left = 2_000;
        let mut calls = 0;
        while left > 0 {
            pace.wait().await;
            let batch = pace.batch(left);
            pace.spent(u64::from(batch));
            left -= u64::from(batch);
            calls += 1;
        }
        assert_eq!(calls, 5);
        // The last call goes out when those before it have had their second each.
        assert_eq!(started.elapsed().as_secs(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn no_limit_waits_for_nothing() {
        let mut pace = Pace::new(None);
        let started = Instant::now();
        pace.spent(1_000_000);
        pace.wait().await;
        assert_eq!(started.elapsed(), Duration::ZERO);
        assert_eq!((pace.batch(u64::MAX), pace.batch(7)), (BATCH_MAX, 7));
    }
}
