//! The clock of this machine, read here and nowhere else in the API: the end of a link, which a storage keeps by
//! its own clock. Whatever a row says is compared by the database.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;

/// Returns the time now.
pub(crate) fn now() -> SystemTime {
    SystemTime::now()
}

/// Returns when something ends that lasts so long from now on.
pub(crate) fn ends_at(lifetime: Duration) -> Timestamp {
    now()
        .checked_add(lifetime)
        .and_then(|end| Timestamp::try_from(end).ok())
        .unwrap_or(Timestamp::MAX)
}
