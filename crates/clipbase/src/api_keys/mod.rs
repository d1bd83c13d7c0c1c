//! API keys: who may call an API, and how often.
//!
//! [`ApiKeys`] makes, lists, revokes and rotates keys; a [`Verifier`] tells whose key a request carries. A
//! key reads `cb_<id>_<secret>`; the database keeps a hash of the secret, and nobody keeps the key.
//! The table is an optional set of migrations: [`crate::migrate::Sets`].

mod hash;
mod held;
mod key;
mod manage;
mod rate;
mod scopes;
mod verdicts;
mod verifier;

use jiff::Timestamp;
use serde::Serialize;

pub use hash::{ARGON2_LANES, ARGON2_MEMORY_KIB, ARGON2_PASSES};
pub use held::STILL_HOLD_MAX;
pub use key::{KEY_PREFIX, PlainKey, SECRET_BYTES};
pub use manage::{KeyPage, LIST_MAX, NAME_CHARS_MAX, NewApiKey, ROTATION_GRACE_MAX};
pub use rate::{RATE_LIMIT_DEFAULT, RATE_LIMIT_MAX, RateLimit};
pub use scopes::{Scope, Scopes};
pub use verdicts::{REFUSALS_MAX, VERDICT_TTL, VERDICTS_MAX};
pub use verifier::{Principal, VERIFICATIONS_AT_ONCE, VERIFICATIONS_WAITING_MAX, Verifier};

use crate::clipbase::Inner;
use crate::db::{Database, Statement};
use crate::ids::ApiKeyId;

pub(crate) static STATEMENTS: &[&Statement] = &[
    &manage::CREATE,
    &manage::GET,
    &manage::LIST,
    &manage::REVOKE,
    &manage::ROTATE,
    &verifier::FIND_HASH,
    &rate::TAKE,
    &held::STILL_HOLD,
];

/// A key, without its secret, which nobody has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ApiKey {
    /// Its id, which is part of its text.
    pub id: ApiKeyId,
    /// What it is for, in its maker's words.
    pub name: String,
    /// What it may do.
    pub scopes: Scopes,
    /// Requests a minute, on average and at once.
    pub rate_limit_per_min: u32,
    /// When it was made.
    pub created_at: Timestamp,
    /// When a request was let through with it, to the minute.
    pub last_used_at: Option<Timestamp>,
    /// From when on it is refused: in the future while a rotation's grace lasts.
    pub revoked_at: Option<Timestamp>,
    /// Whether it is accepted now, by the database's clock.
    pub is_active: bool,
}

/// The repository of API keys. A cheap value: make one where you need it.
///
/// ```
/// # use clipbase::api_keys::{NewApiKey, Scope, Scopes};
/// # use clipbase::Code;
/// # use std::time::Duration;
/// # clipbase_testkit::example(async |clipbase| {
/// let scopes: Scopes = "jobs:read jobs:write".parse()?;
/// let (key, plain) = clipbase.api_keys().create(&NewApiKey::new("dashboard", scopes)).await?;
/// // Hand `plain.expose()` to its owner now: only a hash of it is stored.
///
/// // One verifier a process; clones share what it remembers.
/// let verifier = clipbase.api_keys().verifier();
/// let principal = verifier.authenticate(plain.expose()).await?;
/// assert_eq!(principal.key, key.id);
/// principal.scopes.require(Scope::JobsRead)?;
/// assert_eq!((principal.rate.limit, principal.rate.remaining), (60, 59));
///
/// // The old key works for an hour more, the new one from now on.
/// let hour = Duration::from_secs(3600);
/// let (_, plain) = clipbase.api_keys().rotate(key.id, hour).await?;
/// verifier.authenticate(plain.expose()).await?;
///
/// clipbase.api_keys().revoke(key.id).await?;
/// assert!(!clipbase.api_keys().get(key.id).await?.unwrap().is_active);
/// let error = verifier.authenticate("cb_nonsense").await.unwrap_err();
/// assert_eq!(error.code(), Code::Unauthenticated);
/// # Ok(())
/// # });
/// ```
#[derive(Clone, Copy, Debug)]
pub struct ApiKeys<'a> {
    inner: &'a Inner,
}

impl<'a> ApiKeys<'a> {
    pub(crate) fn new(inner: &'a Inner) -> Self {
        Self { inner }
    }

    fn database(self) -> &'a Database {
        &self.inner.database
    }

    /// Makes a verifier, which remembers nothing yet: make one for the process and clone it.
    pub fn verifier(&self) -> Verifier {
        Verifier::new(self.database().clone())
    }
}
