//! Making, listing, revoking and rotating keys.

use std::time::Duration;

use tokio_postgres::Row;
use tokio_postgres::types::Type;
use uuid::Uuid;

use super::hash::hash;
use super::key::{PlainKey, new_secret};
use super::rate::{RATE_BOUNDS, RATE_LIMIT_DEFAULT, RATE_LIMIT_MAX};
use super::scopes::Scopes;
use super::{ApiKey, ApiKeys};
use crate::db::Statement;
use crate::error::{Cause, Code, Error, Result};
use crate::ids::ApiKeyId;
use crate::jobs::row::Reader;

/// The longest name of a key, in characters: the column's width.
pub const NAME_CHARS_MAX: usize = 128;
/// The most keys on one page.
pub const LIST_MAX: u32 = 1_000;
/// The longest time for which a rotated key goes on working.
pub const ROTATION_GRACE_MAX: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// A key to make. Start with [`NewApiKey::new`] and set what differs from the defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewApiKey {
    /// What it is for, for people: 1 to [`NAME_CHARS_MAX`] characters, none of them a control character.
    pub name: String,
    /// What it may do: at least one scope.
    pub scopes: Scopes,
    /// Requests a minute, 1 to [`RATE_LIMIT_MAX`]; [`RATE_LIMIT_DEFAULT`] when `None`.
    pub rate_limit_per_min: Option<u32>,
}

impl NewApiKey {
    /// A key with the default rate.
    pub fn new(name: impl Into<String>, scopes: Scopes) -> Self {
        Self {
            name: name.into(),
            scopes,
            rate_limit_per_min: None,
        }
    }

    /// Checks the fields, and returns the rate as the column has it.
    fn check(&self) -> Result<i32> {
        let length = self.name.chars().count();
        if !(1..=NAME_CHARS_MAX).contains(&length) || self.name.chars().any(char::is_control) {
            return Err(Error::invalid(
                "name",
                "must be 1 to 128 characters without control characters",
            ));
        }
        if self.scopes.is_empty() {
            return Err(Error::invalid(
                "scopes",
                "must name at least one of jobs:read, jobs:write, admin",
            ));
        }
        let rate = self.rate_limit_per_min.unwrap_or(RATE_LIMIT_DEFAULT);
        i32::try_from(rate)
            .ok()
            .filter(|_| (1..=RATE_LIMIT_MAX).contains(&rate))
            .ok_or_else(|| Error::invalid("rate_limit_per_min", "must be 1 to 60000"))
    }
}

/// A part of a list, and where the next part starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPage {
    /// The keys.
    pub keys: Vec<ApiKey>,
    /// Pass this to read on; `None` at the end.
    pub next: Option<ApiKeyId>,
}

/// The columns of a key, each prefixed with `key.`.
macro_rules! key_columns {
    () => {
        "key.id, key.name, key.scopes, key.rate_limit_per_min, key.created_at, key.last_used_at, key.revoked_at,
       (key.revoked_at IS NULL OR key.revoked_at > now()) AS is_active"
    };
}

/// What [`key_columns!`] answers with.
macro_rules! key_column_types {
    () => {{
        use $crate::db::statement::{always, maybe};
        &[
            always("id", Type::UUID),
            always("name", Type::VARCHAR),
            maybe("scopes", Type::VARCHAR),
            maybe("rate_limit_per_min", Type::INT4),
            always("created_at", Type::TIMESTAMPTZ),
            maybe("last_used_at", Type::TIMESTAMPTZ),
            maybe("revoked_at", Type::TIMESTAMPTZ),
            maybe("is_active", Type::BOOL),
        ]
    }};
}

pub(super) static CREATE: Statement = Statement {
    name: "api_keys.create",
    sql: concat!(
        "-- api_keys.create
INSERT INTO public.api_keys AS key (id, name, key_hash, scopes, rate_limit_per_min)
VALUES ($1, $2, $3, $4, $5)
RETURNING ",
        key_columns!()
    ),
    params: &[Type::UUID, Type::TEXT, Type::TEXT, Type::TEXT, Type::INT4],
    columns: key_column_types!(),
};

pub(super) static GET: Statement = Statement {
    name: "api_keys.get",
    sql: concat!(
        "-- api_keys.get\nSELECT ",
        key_columns!(),
        "\n  FROM public.api_keys AS key\n WHERE key.id = $1"
    ),
    params: &[Type::UUID],
    columns: key_column_types!(),
};

pub(super) static LIST: Statement = Statement {
    name: "api_keys.list",
    sql: concat!(
        "-- api_keys.list\nSELECT ",
        key_columns!(),
        "
  FROM public.api_keys AS key
 WHERE key.id < $1
 ORDER BY key.id DESC
 LIMIT (SELECT $2)"
    ),
    params: &[Type::UUID, Type::INT8],
    columns: key_column_types!(),
};

// A time that lies in the past stays; one in the future, a rotation's, is brought forward.
pub(super) static REVOKE: Statement = Statement {
    name: "api_keys.revoke",
    sql: concat!(
        "-- api_keys.revoke
UPDATE public.api_keys AS key
   SET revoked_at = least(key.revoked_at, now())
 WHERE key.id = $1
RETURNING ",
        key_columns!()
    ),
    params: &[Type::UUID],
    columns: key_column_types!(),
};

// The clock and not the statement's start tells whether the old key is active: of two rotations at once the
// second, which waited for the row, must see that the first has revoked it. What the old key has spent of its
// rate goes over to the new one.
pub(super) static ROTATE: Statement = Statement {
    name: "api_keys.rotate",
    sql: concat!(
        "-- api_keys.rotate
WITH old AS (
    UPDATE public.api_keys AS old
       SET revoked_at = least(old.revoked_at, now() + make_interval(secs => $4))
     WHERE old.id = $1 AND (old.revoked_at IS NULL OR old.revoked_at > clock_timestamp())
    RETURNING old.name, old.scopes, old.rate_limit_per_min, old.rate_full_at
)
INSERT INTO public.api_keys AS key (id, name, key_hash, scopes, rate_limit_per_min, rate_full_at)
SELECT $2, name, $3, scopes,
       -- An adopted rate may be above the bound that a new row has.
       least(coalesce(rate_limit_per_min, $5), $6), rate_full_at
  FROM old
RETURNING ",
        key_columns!()
    ),
    params: &[
        Type::UUID,
        Type::UUID,
        Type::TEXT,
        Type::FLOAT8,
        Type::INT4,
        Type::INT4,
    ],
    columns: key_column_types!(),
};

fn read_key(row: &Row) -> Result<ApiKey> {
    let mut row = Reader::new(row);
    Ok(ApiKey {
        id: ApiKeyId::from_uuid(row.take()?),
        name: row.take()?,
        scopes: Scopes::read(row.take::<Option<&str>>()?.unwrap_or_default()),
        rate_limit_per_min: row
            .take::<Option<i32>>()?
            .map_or(RATE_LIMIT_DEFAULT, |rate| {
                u32::try_from(rate).unwrap_or(0).min(RATE_LIMIT_MAX)
            }),
        created_at: row.take()?,
        last_used_at: row.time()?,
        revoked_at: row.time()?,
        is_active: row.take()?,
    })
}

/// Makes a key's text and its hash, away from the runtime's own threads.
async fn new_key() -> Result<(ApiKeyId, PlainKey, String)> {
    let id = ApiKeyId::new();
    let secret = new_secret()?;
    let plain = PlainKey::new(id, &secret);
    match tokio::task::spawn_blocking(move || hash(&secret)).await {
        Ok(hash) => Ok((id, plain, hash?)),
        Err(_) => Err(Error::caused(
            Code::ConfigInvalid,
            "no API key can be made here",
            Cause::new("hashing was cut off"),
        )),
    }
}

impl ApiKeys<'_> {
    /// Makes a key. The second half of the answer is the only time that its text is seen.
    ///
    /// # Errors
    /// `INVALID_INPUT` names the field; `SCHEMA_MISMATCH` when the set of API keys is not migrated.
    pub async fn create(&self, new: &NewApiKey) -> Result<(ApiKey, PlainKey)> {
        let rate = new.check()?;
        let (id, plain, hash) = new_key().await?;
        let scopes = new.scopes.to_string();
        let rows = self
            .database()
            .rows(&CREATE, &[&id.as_uuid(), &new.name, &hash, &scopes, &rate])
            .await?;
        Ok((one(&rows, "API key")?, plain))
    }

    /// Returns the key, or `None`.
    ///
    /// # Errors
    /// The database's.
    pub async fn get(&self, id: ApiKeyId) -> Result<Option<ApiKey>> {
        let rows = self.database().rows(&GET, &[&id.as_uuid()]).await?;
        rows.first().map(read_key).transpose()
    }

    /// Lists keys, revoked ones too, by their ids downwards: the newest first, and before them keys whose
    /// ids clipbase did not make.
    ///
    /// # Errors
    /// `INVALID_INPUT` when `limit` is not 1 to [`LIST_MAX`].
    pub async fn list(&self, limit: u32, after: Option<ApiKeyId>) -> Result<KeyPage> {
        if !(1..=LIST_MAX).contains(&limit) {
            return Err(Error::invalid("limit", "must be 1 to 1000"));
        }
        let below = after.map_or(Uuid::max(), |id| id.as_uuid());
        // One row more than asked for tells whether there is a next page.
        let fetch = i64::from(limit) + 1;
        let rows = self.database().rows(&LIST, &[&below, &fetch]).await?;
        let keys: Vec<ApiKey> = rows
            .iter()
            .take(limit as usize)
            .map(read_key)
            .collect::<Result<_>>()?;
        let more = rows.len() > keys.len();
        let next = keys.last().filter(|_| more).map(|key| key.id);
        Ok(KeyPage { keys, next })
    }

    /// Revokes a key: from the next request on it is refused, in every process. Revoking it again keeps the
    /// first time; a key that a rotation's grace keeps alive ends now.
    ///
    /// # Errors
    /// `NOT_FOUND`.
    pub async fn revoke(&self, id: ApiKeyId) -> Result<ApiKey> {
        let rows = self.database().rows(&REVOKE, &[&id.as_uuid()]).await?;
        one(&rows, "API key")
    }

    /// Makes a new key with the name, scopes and rate of an active one, which is revoked once the grace is
    /// over: at once where that is zero. While it lasts each of the two keys has the rate for itself. A rotation
    /// whose answer was lost may be repeated; revoke the key that nobody got.
    ///
    /// # Errors
    /// `NOT_FOUND` when there is no such key or it is revoked; `INVALID_INPUT` when `grace` is above
    /// [`ROTATION_GRACE_MAX`]; `DB_CONFLICT` for an adopted key whose rate is 0.
    pub async fn rotate(&self, id: ApiKeyId, grace: Duration) -> Result<(ApiKey, PlainKey)> {
        if grace > ROTATION_GRACE_MAX {
            return Err(Error::invalid("grace", "must be at most 30 days"));
        }
        let (new_id, plain, hash) = new_key().await?;
        let [default, most] = RATE_BOUNDS;
        let rows = self
            .database()
            .rows(
                &ROTATE,
                &[
                    &id.as_uuid(),
                    &new_id.as_uuid(),
                    &hash,
                    &grace.as_secs_f64(),
                    &default,
                    &most,
                ],
            )
            .await?;
        Ok((one(&rows, "active API key")?, plain))
    }
}

fn one(rows: &[Row], what: &'static str) -> Result<ApiKey> {
    read_key(rows.first().ok_or(Error::NotFound { what })?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api_keys::Scope;

    #[test]
    fn each_bad_field_is_named() {
        type Spoil = fn(&mut NewApiKey);
        let cases: [(&str, Spoil); 6] = [
            ("name", |key| key.name = String::new()),
            ("name", |key| key.name = "é".repeat(129)),
            ("name", |key| key.name = "a\0b".to_owned()),
            ("scopes", |key| key.scopes = Scopes::NONE),
            ("rate_limit_per_min", |key| key.rate_limit_per_min = Some(0)),
            ("rate_limit_per_min", |key| {
                key.rate_limit_per_min = Some(60_001);
            }),
        ];
        for (field, spoil) in cases {
            let mut key = NewApiKey::new("é".repeat(128), Scope::JobsRead.into());
            assert_eq!(key.check().unwrap(), 60);
            spoil(&mut key);
            let error = key.check().unwrap_err();
            assert_eq!(error.code(), Code::InvalidInput);
            assert!(error.to_string().starts_with(field), "{error}");
        }
    }
}
