//! Whose turn it is to reconcile.
//!
//! Any number of processes ask; the database gives the turn to one of them by pushing the next one into the
//! future. One that dies at it is followed by another an hour later.

use std::time::Duration;

use tokio_postgres::types::Type;

use super::Cleanup;
use crate::db::Statement;
use crate::db::statement::always;
use crate::error::Result;

/// How long a reconciliation may take before another process begins one. Two at a time do no harm.
const TURN: Duration = Duration::from_secs(60 * 60);

pub(super) static TAKE_TURN: Statement = Statement {
    name: "cleanup.take_turn",
    sql: "-- cleanup.take_turn
UPDATE public.clipbase_installation
   SET reconcile_due_at = now() + make_interval(secs => $1)
 WHERE reconcile_due_at <= now()
RETURNING reconcile_due_at",
    params: &[Type::FLOAT8],
    columns: &[always("reconcile_due_at", Type::TIMESTAMPTZ)],
};

pub(super) static CONFIRM_TURN: Statement = Statement {
    name: "cleanup.confirm_turn",
    sql: "-- cleanup.confirm_turn
UPDATE public.clipbase_installation SET reconcile_due_at = now() + make_interval(secs => $1)",
    params: &[Type::FLOAT8],
    columns: &[],
};

impl Cleanup<'_> {
    /// Tells whether a reconciliation is due and this caller's to do; [`Cleanup::confirm_reconciliation`] ends
    /// the turn.
    ///
    /// # Errors
    /// The database's.
    pub async fn take_reconciliation(&self) -> Result<bool> {
        let rows = self
            .database()
            .rows(&TAKE_TURN, &[&TURN.as_secs_f64()])
            .await?;
        Ok(!rows.is_empty())
    }

    /// Notes that a reconciliation has come to its end; the next one is due after `pause`.
    ///
    /// # Errors
    /// The database's.
    pub async fn confirm_reconciliation(&self, pause: Duration) -> Result<()> {
        self.database()
            .rows(&CONFIRM_TURN, &[&pause.as_secs_f64()])
            .await?;
        Ok(())
    }
}
