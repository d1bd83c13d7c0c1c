//! Jobs: created, read, changed, moved and deleted here. What a worker does under a lease is in
//! [`crate::leases`].

mod create;
mod idempotency;
mod read;
pub(crate) mod row;
mod stats;
mod transition;
mod update;

pub use create::CREATE_MANY_MAX;
pub use idempotency::{Created, IDEMPOTENCY_TTL, Idempotency};
pub use read::{LIST_MAX, Page};
pub use stats::{COUNT_MAX, Stats, StatusStats};
pub use transition::{Actor, Canceled, TransitionPatch};

use crate::clipbase::{Inner, Settings};
use crate::db::{Database, Statement};

pub(crate) static STATEMENTS: &[&Statement] = &[
    &create::CREATE,
    &create::CREATE_MANY,
    &read::GET,
    &read::LIST_BY_STATUS,
    &update::UPDATE,
    &update::DELETE,
    &transition::TRANSITION,
    &stats::STATS,
    &idempotency::FORGET,
];

/// The repository of jobs. A cheap value: make one where you need it.
#[derive(Clone, Copy, Debug)]
pub struct Jobs<'a> {
    inner: &'a Inner,
}

impl<'a> Jobs<'a> {
    pub(crate) fn new(inner: &'a Inner) -> Self {
        Self { inner }
    }

    fn database(self) -> &'a Database {
        &self.inner.database
    }

    fn settings(self) -> &'a Settings {
        &self.inner.settings
    }
}
