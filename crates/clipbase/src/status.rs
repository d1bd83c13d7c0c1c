//! The state machine: four states and the edges between them.
//!
//! [`EDGES`] is the one table of edges. The SQL guard of the database, the generated page
//! `docs/STATE_MACHINE.md` and the model test are compared with it, pair by pair.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The state of a job: the values of the enum type `public.job_status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobStatus {
    /// Waits for a worker, or for its `run_at`.
    Queued,
    /// A worker holds its lease.
    Processing,
    /// Final: the results are stored.
    Done,
    /// Ended with an error code; an operator may retry it.
    Failed,
}

impl JobStatus {
    /// Every state, in the order of the database's enum.
    pub const ALL: [JobStatus; 4] = [Self::Queued, Self::Processing, Self::Done, Self::Failed];

    /// Returns the state as the database spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Processing => "processing",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }

    /// Tells whether an edge leads from here to `next`. Staying is not a transition.
    pub fn can_become(self, next: JobStatus) -> bool {
        EDGES
            .iter()
            .any(|edge| edge.from == self && edge.to == next)
    }

    /// Tells whether a job in this state has ended.
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Done | Self::Failed)
    }
}

impl fmt::Display for JobStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for JobStatus {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|status| status.as_str() == text)
            .ok_or_else(|| {
                Error::invalid("status", "must be one of queued, processing, done, failed")
            })
    }
}

/// One edge of the state machine with who takes it and what it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edge {
    /// Where the job is.
    pub from: JobStatus,
    /// Where it goes.
    pub to: JobStatus,
    /// The verbs that take the edge.
    pub by: &'static str,
    /// What changes with it, in the same statement.
    pub effects: &'static str,
}

/// All edges. Every pair of states that is not here is refused, by Rust and by the database.
pub const EDGES: [Edge; 6] = [
    Edge {
        from: JobStatus::Queued,
        to: JobStatus::Processing,
        by: "claim",
        effects: "lease +1, attempts +1, worker, lease expiry, started, progress 0",
    },
    Edge {
        from: JobStatus::Processing,
        to: JobStatus::Done,
        by: "finish(lease)",
        effects: "results, progress 100, finished, expiry by retention unless set, the source's by its own",
    },
    Edge {
        from: JobStatus::Processing,
        to: JobStatus::Failed,
        by: "fail(lease) when fatal or out of attempts; cancel; reap out of attempts",
        effects: "code, message, finished, expiry by retention unless set, the source's by its own",
    },
    Edge {
        from: JobStatus::Processing,
        to: JobStatus::Queued,
        by: "fail(lease) when retryable; reap; release(lease)",
        effects: "worker cleared, progress 0, run_at by backoff; release: run_at now, attempts -1",
    },
    Edge {
        from: JobStatus::Queued,
        to: JobStatus::Failed,
        by: "cancel",
        effects: "code CANCELED, finished, expiry by retention unless set, the source's by its own",
    },
    Edge {
        from: JobStatus::Failed,
        to: JobStatus::Queued,
        by: "retry (operator)",
        effects: "attempts 0, error, cancel, results and retention's expiries cleared; the lease goes on; not without its source",
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_prints_as_it_parses() {
        for status in JobStatus::ALL {
            assert_eq!(status.to_string().parse::<JobStatus>().unwrap(), status);
        }
        assert!("DONE".parse::<JobStatus>().is_err());
    }

    #[test]
    fn done_is_final_and_nothing_becomes_itself() {
        for next in JobStatus::ALL {
            assert!(!JobStatus::Done.can_become(next));
            assert!(!next.can_become(next));
        }
    }

    #[test]
    fn no_edge_stands_twice() {
        for (index, edge) in EDGES.iter().enumerate() {
            let twin = EDGES[..index]
                .iter()
                .any(|other| (other.from, other.to) == (edge.from, edge.to));
            assert!(!twin, "{edge:?}");
        }
    }
}
