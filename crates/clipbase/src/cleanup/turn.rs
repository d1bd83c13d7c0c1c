//! Whose turn it is to reconcile.
//!
//! Any number of processes ask; the database gives the turn to one of them by pushing the next one into the
//! future. One that dies at it is followed by another an hour later.

use std::ops::ControlFlow;
use std::time::Duration;

use tokio_postgres::types::Type;

use super::{Cleanup, ReconcileOptions, ReconcileReport};
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
    /// Reconciles if it is due, and this caller's turn; `None` if not. The next one is due after `pause`, whoever
    /// does it.
    ///
    /// # Errors
    /// As [`Cleanup::reconcile`].
    pub async fn reconcile_in_turn(
        &self,
        options: &ReconcileOptions,
        pause: Duration,
    ) -> Result<Option<ReconcileReport>> {
        let turn = TURN.as_secs_f64();
        if self.database().rows(&TAKE_TURN, &[&turn]).await?.is_empty() {
            return Ok(None);
        }
        let goes_on = |_: &ReconcileReport| ControlFlow::Continue(());
        let report = self.reconcile(options, None, goes_on).await?;
        let pause = pause.as_secs_f64();
        self.database().rows(&CONFIRM_TURN, &[&pause]).await?;
        Ok(Some(report))
    }
}
