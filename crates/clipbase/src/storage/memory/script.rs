//! What a test has asked to go wrong, and how often each operation was called.
//!
//! Knows nothing of objects. Faults of one operation are used up in the order in which they were added.
//!
//! ```text
//! add(Info, Refused(c)); called(Info) == Some(Refused(c)); called(Info) == None; calls(Info) == 2
//! ```

use std::collections::{HashMap, VecDeque};

use crate::error::Code;
use crate::storage::{Operation, StorageKey};

#[derive(Default)]
pub(super) struct Script {
    calls: HashMap<Operation, u64>,
    faults: HashMap<Operation, VecDeque<Fault>>,
    removals: HashMap<StorageKey, VecDeque<Code>>,
}

#[derive(Clone, Copy)]
pub(super) enum Fault {
    /// The call does nothing and fails.
    Refused(Code),
    /// The call does its work, and fails all the same.
    AnswerLost(Code),
}

impl Script {
    pub(super) fn add(&mut self, operation: Operation, fault: Fault) {
        self.faults.entry(operation).or_default().push_back(fault);
    }

    pub(super) fn add_removal(&mut self, key: &StorageKey, code: Code) {
        self.removals
            .entry(key.clone())
            .or_default()
            .push_back(code);
    }

    pub(super) fn calls(&self, operation: Operation) -> u64 {
        self.calls.get(&operation).copied().unwrap_or(0)
    }

    /// Counts a call and returns the fault that it shall have.
    pub(super) fn called(&mut self, operation: Operation) -> Option<Fault> {
        *self.calls.entry(operation).or_default() += 1;
        self.faults.get_mut(&operation)?.pop_front()
    }

    /// Returns the failure that the removal of this key shall have.
    pub(super) fn removed(&mut self, key: &StorageKey) -> Option<Code> {
        self.removals.get_mut(key)?.pop_front()
    }
}
