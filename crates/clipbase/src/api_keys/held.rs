//! Whether keys that were verified some time ago still hold: for what lasts longer than a request.

use std::collections::HashMap;

use tokio_postgres::types::Type;
use uuid::Uuid;

use super::Verifier;
use super::scopes::Scopes;
use crate::db::Statement;
use crate::db::statement::{always, maybe};
use crate::error::{Error, Result};
use crate::ids::ApiKeyId;
use crate::jobs::row::Reader;

/// The most keys that one call of [`Verifier::still_hold`] asks about.
pub const STILL_HOLD_MAX: usize = 1_000;

// By the clock of the moment, as `api_keys.take` judges; key by key, so that however many there are the table is not
// read from one end to the other.
pub(super) static STILL_HOLD: Statement = Statement {
    name: "api_keys.still_hold",
    sql: "-- api_keys.still_hold
SELECT held.id, held.scopes
  FROM unnest($1::uuid[]) AS asked (id)
 CROSS JOIN LATERAL (
    SELECT key.id, key.scopes
      FROM public.api_keys AS key
     WHERE key.id = asked.id AND (key.revoked_at IS NULL OR key.revoked_at > clock_timestamp())
     LIMIT 1
 ) AS held",
    params: &[Type::UUID_ARRAY],
    columns: &[always("id", Type::UUID), maybe("scopes", Type::VARCHAR)],
};

impl Verifier {
    /// Tells which of these keys are neither revoked nor gone, and what each may do now. One statement, which takes
    /// nothing from their rates: it answers for what a request has begun and still goes on, such as a stream.
    ///
    /// # Errors
    /// `INVALID_INPUT` for more than [`STILL_HOLD_MAX`] keys; `SCHEMA_MISMATCH` when the set of API keys is not
    /// migrated.
    pub async fn still_hold(&self, keys: &[ApiKeyId]) -> Result<HashMap<ApiKeyId, Scopes>> {
        if keys.len() > STILL_HOLD_MAX {
            return Err(Error::invalid("keys", "must be at most 1000 a call"));
        }
        if keys.is_empty() {
            return Ok(HashMap::new());
        }
        let ids: Vec<Uuid> = keys.iter().map(ApiKeyId::as_uuid).collect();
        let rows = self.database().rows(&STILL_HOLD, &[&ids]).await?;
        rows.iter()
            .map(|row| {
                let mut row = Reader::new(row);
                let id = ApiKeyId::from_uuid(row.take()?);
                let scopes: Option<&str> = row.take()?;
                Ok((id, Scopes::read(scopes.unwrap_or_default())))
            })
            .collect()
    }
}
