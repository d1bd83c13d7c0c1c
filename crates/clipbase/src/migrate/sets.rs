//! Sets of migrations: `core` is always applied, every other only once it was asked for, and ever after.

use super::Migration;
use super::books::Applied;

/// The name of the set that every database has.
pub(super) const CORE_SET: &str = "core";
const API_KEYS_SET: &str = "api_keys";

/// The optional sets that a caller wants, beside the core. By default none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sets {
    /// The table of API keys.
    pub api_keys: bool,
}

impl Sets {
    /// The core alone.
    pub const CORE: Self = Self { api_keys: false };
    /// Everything that there is.
    pub const ALL: Self = Self { api_keys: true };

    /// Tells whether a set of this name is among them.
    pub(super) fn has(self, set: &str) -> bool {
        match set {
            CORE_SET => true,
            API_KEYS_SET => self.api_keys,
            _ => false,
        }
    }

    /// These, and those that the database's books show.
    pub(super) fn and_applied(self, applied: &[Applied]) -> Self {
        let has = |set| applied.iter().any(|row| row.set == set);
        Self {
            api_keys: self.api_keys || has(API_KEYS_SET),
        }
    }

    /// These, and the one of a file that somebody else has applied.
    pub(super) fn and(self, migration: &Migration) -> Self {
        Self {
            api_keys: self.api_keys || migration.set == API_KEYS_SET,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::migrate::all;

    #[test]
    fn every_file_is_of_a_set_that_can_be_asked_for() {
        assert!(all().iter().all(|migration| Sets::ALL.has(migration.set)));
        let core = all().into_iter().filter(|file| Sets::CORE.has(file.set));
        assert!(core.eq(crate::migrate::CORE.iter().copied()));
        assert!(!Sets::ALL.has("future"));
    }
}
