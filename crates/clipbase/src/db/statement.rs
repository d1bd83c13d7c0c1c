//! Typed statements: every piece of SQL that the library runs, declared once.
//!
//! A statement carries what PostgreSQL would answer if it were asked to describe it. That lets it run in one
//! round trip without being prepared, and lets a test (and `clipbase doctor`) compare the declaration with a
//! real database.
//!
//! `LIMIT (SELECT $n)` instead of `LIMIT $n` stands where rows are taken in an index's order: the planner
//! cannot look into it, expects a tenth of the rows, and so follows the index. A number that it knows to be
//! larger than what its statistics promise makes it fetch and sort everything. `unnest((SELECT $n), …)` hides
//! the number of rows as well: a plan for one row looks cheaper than the plan for any, so that PostgreSQL
//! would plan every call anew, which takes longer than running it.

use tokio_postgres::types::Type;

use crate::migrate::Sets;

/// A piece of SQL with the types of its parameters and columns.
#[derive(Debug)]
pub struct Statement {
    /// `module.method`: the label of logs, metrics and plans, and the first line of the SQL.
    pub name: &'static str,
    /// The text. Its first line is the name as a comment.
    pub sql: &'static str,
    /// The types of `$1`, `$2`, …: built-in ones only, so that the driver never looks one up.
    pub params: &'static [Type],
    /// The columns of the answer, in order.
    pub columns: &'static [Column],
}

/// A column of an answer.
#[derive(Debug)]
pub struct Column {
    /// Its name.
    pub name: &'static str,
    /// Its type, built-in.
    pub kind: Type,
    /// Whether the column that it comes from may be null.
    pub nullable: bool,
}

/// Shorthand for a column that is never null.
pub(crate) const fn always(name: &'static str, kind: Type) -> Column {
    Column {
        name,
        kind,
        nullable: false,
    }
}

/// Shorthand for a column that may be null.
pub(crate) const fn maybe(name: &'static str, kind: Type) -> Column {
    Column {
        name,
        kind,
        nullable: true,
    }
}

/// Every statement of the library, by module.
pub fn all() -> impl Iterator<Item = &'static Statement> {
    of(Sets::ALL)
}

/// Every statement that a database with these sets of migrations can run.
pub(crate) fn of(sets: Sets) -> impl Iterator<Item = &'static Statement> {
    let api_keys: &[&Statement] = if sets.api_keys {
        crate::api_keys::STATEMENTS
    } else {
        &[]
    };
    [
        crate::jobs::STATEMENTS,
        crate::events::STATEMENTS,
        crate::leases::STATEMENTS,
        crate::cleanup::STATEMENTS,
        crate::installation::STATEMENTS,
        crate::inspect::STATEMENTS,
        api_keys,
        crate::migrate::STATEMENTS,
        crate::wakeups::STATEMENTS,
    ]
    .into_iter()
    .flatten()
    .copied()
}

/// Statements on tables that not every database has: Supabase's own. Not part of what a schema must fit.
pub fn optional() -> impl Iterator<Item = &'static Statement> {
    crate::cleanup::OPTIONAL_STATEMENTS.iter().copied()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_unique_and_stand_on_the_first_line() {
        let mut names = HashSet::new();
        for statement in all().chain(optional()) {
            assert!(
                names.insert(statement.name),
                "{} stands twice",
                statement.name
            );
            let first = statement.sql.lines().next().unwrap();
            assert_eq!(first, format!("-- {}", statement.name));
        }
        assert!(!names.is_empty());
    }
}
