//! The one place that polls.
//!
//! PostgreSQL tells nobody when it is ready (short of systemd), and a lock can be waited for only
//! without a deadline: both are asked for again and again, with a pause that grows from 1 to 20 ms.

use std::time::{Duration, Instant};

use crate::error::Result;

const PAUSE_FIRST: Duration = Duration::from_millis(1);
const PAUSE_MAX: Duration = Duration::from_millis(20);

/// Asks until there is an answer. `None` once the deadline has passed; no deadline, no `None`.
pub(crate) fn until<T>(
    deadline: Option<Instant>,
    mut answer: impl FnMut() -> Result<Option<T>>,
) -> Result<Option<T>> {
    let mut pause = PAUSE_FIRST;
    loop {
        if let Some(found) = answer()? {
            return Ok(Some(found));
        }
        if deadline.is_some_and(|at| Instant::now() >= at) {
            return Ok(None);
        }
        rest(pause);
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "callers block: they run this on a blocking thread"
)]
fn rest(pause: Duration) {
    std::thread::sleep(pause);
}
