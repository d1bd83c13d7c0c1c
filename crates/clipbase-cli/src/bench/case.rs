//! What is measured.

use std::fmt;

use serde::Serialize;

/// A step of a job's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Step {
    /// A job and its event.
    Create,
    /// Queued to processing.
    Claim,
    /// Processing to done.
    Finish,
    /// Finish and claim the next in one statement.
    Turn,
}

/// A step, by so many tasks with a connection each, so many jobs a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Case {
    pub(crate) step: Step,
    pub(crate) tasks: u32,
    pub(crate) batch: u32,
}

const fn case(step: Step, tasks: u32, batch: u32) -> Case {
    Case { step, tasks, batch }
}

/// Every case, in the order of the table.
pub(crate) const CASES: [Case; 14] = [
    case(Step::Create, 1, 1),
    case(Step::Create, 16, 1),
    case(Step::Create, 2, 100),
    case(Step::Create, 2, 500),
    case(Step::Claim, 1, 1),
    case(Step::Claim, 16, 1),
    case(Step::Claim, 2, 100),
    case(Step::Claim, 2, 500),
    case(Step::Finish, 1, 1),
    case(Step::Finish, 16, 1),
    case(Step::Finish, 2, 100),
    case(Step::Finish, 2, 500),
    case(Step::Turn, 2, 100),
    case(Step::Turn, 2, 500),
];

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Create => "create",
            Self::Claim => "claim",
            Self::Finish => "finish",
            Self::Turn => "turn",
        })
    }
}
