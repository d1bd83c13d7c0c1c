//! Sets of migrations: `core` is always applied, every other only once it was asked for, and ever after.

use super::Migration;
use super::books::Applied;

/// The name of the set that every database has.
pub(super) const CORE_SET: &str = "core";
const API_KEYS_SET: &str = "api_keys";
const ROLES_SET: &str = "roles";
/// What the roles may do with API keys: applied once a database has both, whichever it had first.
const ROLES_API_KEYS_SET: &str = "roles_api_keys";

/// The optional sets that a caller wants, beside the core. By default none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sets {
    /// The table of API keys.
    pub api_keys: bool,
    /// The roles `clipbase_api`, `clipbase_worker` and `clipbase_reader`, with their policies and grants.
    pub roles: bool,
}

impl Sets {
    /// The core alone.
    pub const CORE: Self = Self {
        api_keys: false,
        roles: false,
    };
    /// The core and the table of API keys.
    pub const API_KEYS: Self = Self {
        api_keys: true,
        roles: false,
    };
    /// The core and the roles.
    pub const ROLES: Self = Self {
        api_keys: false,
        roles: true,
    };
    /// Everything that there is.
    pub const ALL: Self = Self {
        api_keys: true,
        roles: true,
    };

    /// Tells whether a set of this name is among them.
    pub(super) fn has(self, set: &str) -> bool {
        match set {
            CORE_SET => true,
            API_KEYS_SET => self.api_keys,
            ROLES_SET => self.roles,
            ROLES_API_KEYS_SET => self.roles && self.api_keys,
            _ => false,
        }
    }

    /// These, and those that the database's books show.
    pub(super) fn and_applied(self, applied: &[Applied]) -> Self {
        applied.iter().fold(self, |sets, row| sets.with(&row.set))
    }

    /// These, and the one of a file that somebody else has applied.
    pub(super) fn and(self, migration: &Migration) -> Self {
        self.with(migration.set)
    }

    fn with(self, set: &str) -> Self {
        Self {
            api_keys: self.api_keys || matches!(set, API_KEYS_SET | ROLES_API_KEYS_SET),
            roles: self.roles || matches!(set, ROLES_SET | ROLES_API_KEYS_SET),
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

    #[test]
    fn what_two_sets_share_comes_with_both_and_is_never_alone() {
        let shared = |api_keys, roles| Sets { api_keys, roles }.has(ROLES_API_KEYS_SET);
        assert!(shared(true, true));
        assert!(!shared(true, false) && !shared(false, true));
        assert_eq!(Sets::CORE.with(ROLES_API_KEYS_SET), Sets::ALL);
        assert_eq!(Sets::CORE.with("future"), Sets::CORE);
    }
}
