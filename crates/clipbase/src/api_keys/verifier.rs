//! Whose key a request carries. The order of the checks, and why: `docs/decisions/0012-…`.
//!
//! ```text
//! known sum? ──no──→ queue (bounded) → read the hash → argon2 → remember ─┐
//!     │ yes                                                               │
//!     └───────→ api_keys.take: same hash, not revoked, rate, last use ←───┘ right
//! ```

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use sha2::{Digest, Sha256};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_postgres::types::Type;
use zeroize::Zeroizing;

use super::hash::{Match, NOBODYS, verify};
use super::key::{Presented, parse};
use super::rate::{RATE_BOUNDS, RateLimit, TAKE, Taken, read_taken};
use super::scopes::Scopes;
use super::verdicts::{Sum, Verdict, Verdicts};
use crate::db::statement::always;
use crate::db::{Database, Statement};
use crate::error::{Cause, Code, Error, Result};
use crate::ids::ApiKeyId;
use crate::jobs::row::Reader;

/// How many hashes a process computes at once: 19 MiB and one core each.
pub const VERIFICATIONS_AT_ONCE: usize = 2;
/// How many keys that are not known yet wait for that; more are sent away with `RATE_LIMITED`.
pub const VERIFICATIONS_WAITING_MAX: usize = 32;
/// When to come back then: by that time the queue has been worked off.
const BUSY_RETRY: Duration = Duration::from_secs(1);
/// How often a verdict is looked for: again when the row's hash was changed under it.
const ROUNDS_MAX: u32 = 2;

/// Who a request comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Principal {
    /// The key.
    pub key: ApiKeyId,
    /// What it is for, in its maker's words.
    pub name: String,
    /// What it may do: see [`Scopes::require`].
    pub scopes: Scopes,
    /// Where its rate stands after this request.
    pub rate: RateLimit,
}

pub(super) static FIND_HASH: Statement = Statement {
    name: "api_keys.find_hash",
    sql: "-- api_keys.find_hash
SELECT key_hash FROM public.api_keys WHERE id = $1",
    params: &[Type::UUID],
    columns: &[always("key_hash", Type::VARCHAR)],
};

/// Tells whose key a request carries. Clones share what they remember: make one for the process.
#[derive(Clone)]
pub struct Verifier {
    database: Database,
    shared: Arc<Shared>,
}

struct Shared {
    verdicts: Mutex<Verdicts>,
    /// Keys that are being verified now: others who show the same key wait for the same verdict.
    flights: Mutex<HashMap<Sum, Arc<tokio::sync::Mutex<()>>>>,
    admitted: Arc<Semaphore>,
    running: Arc<Semaphore>,
    hashes_computed: AtomicU64,
}

impl Verifier {
    pub(super) fn new(database: Database) -> Self {
        let shared = Shared {
            verdicts: Mutex::default(),
            flights: Mutex::default(),
            admitted: Arc::new(Semaphore::new(
                VERIFICATIONS_AT_ONCE + VERIFICATIONS_WAITING_MAX,
            )),
            running: Arc::new(Semaphore::new(VERIFICATIONS_AT_ONCE)),
            hashes_computed: AtomicU64::new(0),
        };
        Self {
            database,
            shared: Arc::new(shared),
        }
    }

    /// Tells whose key this is, and takes one request from its rate. One statement; one more, and a hash to
    /// compute, for a key that this process has not seen in the last minute.
    ///
    /// # Errors
    /// `UNAUTHENTICATED` with one sentence for whatever is wrong with the key; `RATE_LIMITED`
    /// ([`Error::RateLimited`] has the times) for a right key that comes too often, and for an unknown one
    /// when too many of those come at once; `SCHEMA_MISMATCH` when the set of API keys is not migrated.
    pub async fn authenticate(&self, presented: &str) -> Result<Principal> {
        let outcome = self.answer(presented).await;
        let code = outcome
            .as_ref()
            .map_or_else(|e| e.code().as_str(), |_| "OK");
        metrics::counter!("clipbase_api_key_requests_total", "code" => code).increment(1);
        outcome
    }

    pub(super) fn database(&self) -> &Database {
        &self.database
    }

    /// Returns how many hashes were computed so far, which is where the time goes.
    pub fn hashes_computed(&self) -> u64 {
        self.shared.hashes_computed.load(Ordering::Relaxed)
    }

    async fn answer(&self, presented: &str) -> Result<Principal> {
        let Some(key) = parse(presented) else {
            return Err(unauthenticated());
        };
        let sum: Sum = Sha256::digest(presented).into();
        for _ in 0..ROUNDS_MAX {
            let Verdict::Right(hash) = self.verdict(key, sum).await? else {
                return Err(unauthenticated());
            };
            match self.take(key.id, &hash).await? {
                Taken::Passed { name, scopes, rate } => {
                    return Ok(Principal {
                        key: key.id,
                        name,
                        scopes,
                        rate,
                    });
                }
                Taken::TooEarly(rate) => {
                    return Err(Error::RateLimited {
                        retry_after: rate.retry_after.unwrap_or_default(),
                        rate: Some(rate),
                    });
                }
                Taken::Revoked => {
                    tracing::debug!(key = %key.id, "the API key is revoked");
                    return Err(unauthenticated());
                }
                Taken::Changed => self.shared.verdicts().forget(&sum),
            }
        }
        Err(unauthenticated())
    }

    async fn take(&self, id: ApiKeyId, hash: &Sum) -> Result<Taken> {
        let [default, most] = RATE_BOUNDS;
        let rows = self
            .database
            .rows(&TAKE, &[&id.as_uuid(), &hash.as_slice(), &default, &most])
            .await?;
        read_taken(rows.first())
    }

    /// Returns what is known of a key, or finds it out.
    async fn verdict(&self, key: Presented<'_>, sum: Sum) -> Result<Verdict> {
        if let Some(verdict) = self.shared.remembered(&sum) {
            return Ok(verdict);
        }
        let flight = Flight::join(&self.shared, sum);
        let _turn = flight.lock.lock().await;
        if let Some(verdict) = self.shared.remembered(&sum) {
            return Ok(verdict);
        }
        // Before the database is asked: a flood of unknown keys does not reach it.
        let Ok(admitted) = Arc::clone(&self.shared.admitted).try_acquire_owned() else {
            return Err(busy());
        };
        let rows = self.database.rows(&FIND_HASH, &[&key.id.as_uuid()]).await?;
        let hash: Option<String> = match rows.first() {
            Some(row) => Reader::new(row).take()?,
            None => None,
        };
        let Ok(running) = Arc::clone(&self.shared.running).acquire_owned().await else {
            return Err(busy());
        };
        let work = Work {
            shared: Arc::clone(&self.shared),
            sum,
            secret: Zeroizing::new(key.secret.to_owned()),
            hash,
            _permits: [admitted, running],
        };
        let found = tokio::task::spawn_blocking(move || work.run())
            .await
            .map_err(|_| cut_off())?;
        if found.is_unreadable {
            tracing::warn!(key = %key.id, "the API key's hash is of no kind that is known here");
        }
        Ok(found.verdict)
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier")
            .field("hashes_computed", &self.hashes_computed())
            .finish_non_exhaustive()
    }
}

impl Shared {
    fn verdicts(&self) -> MutexGuard<'_, Verdicts> {
        self.verdicts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remembered(&self, sum: &Sum) -> Option<Verdict> {
        self.verdicts().get(sum, Instant::now())
    }

    fn flights(&self) -> MutexGuard<'_, HashMap<Sum, Arc<tokio::sync::Mutex<()>>>> {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The wait of all who show the same key at the same time.
struct Flight<'a> {
    shared: &'a Shared,
    sum: Sum,
    lock: Arc<tokio::sync::Mutex<()>>,
}

impl<'a> Flight<'a> {
    fn join(shared: &'a Shared, sum: Sum) -> Self {
        let lock = Arc::clone(shared.flights().entry(sum).or_default());
        Self { shared, sum, lock }
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        let mut flights = self.shared.flights();
        // The map's own and ours: the last one out takes the entry along.
        if Arc::strong_count(&self.lock) <= 2 {
            flights.remove(&self.sum);
        }
    }
}

/// One hash to compute. It owns its permits and leaves its verdict itself, so that a caller who goes away
/// neither frees a place that is still in use nor makes the next one start anew.
struct Work {
    shared: Arc<Shared>,
    sum: Sum,
    secret: Zeroizing<String>,
    hash: Option<String>,
    _permits: [OwnedSemaphorePermit; 2],
}

impl Work {
    fn run(self) -> Found {
        self.shared.hashes_computed.fetch_add(1, Ordering::Relaxed);
        let known = self.hash.as_deref();
        let compared = verify(&self.secret, known.unwrap_or(NOBODYS));
        if compared == Match::Unreadable {
            // It takes its time as any other.
            verify(&self.secret, NOBODYS);
        }
        let verdict = match known {
            Some(hash) if compared == Match::Right => Verdict::Right(Sha256::digest(hash).into()),
            _ => Verdict::Wrong,
        };
        self.shared
            .verdicts()
            .put(self.sum, verdict, Instant::now());
        Found {
            verdict,
            is_unreadable: compared == Match::Unreadable,
        }
    }
}

/// What a computed hash has shown.
struct Found {
    verdict: Verdict,
    is_unreadable: bool,
}

/// One sentence for every reason: who guesses learns nothing from it.
fn unauthenticated() -> Error {
    Error::failed(
        Code::Unauthenticated,
        "the API key is missing, unknown or revoked",
    )
}

fn busy() -> Error {
    Error::RateLimited {
        retry_after: BUSY_RETRY,
        rate: None,
    }
}

fn cut_off() -> Error {
    Error::caused(
        Code::DbUnavailable,
        "the API key could not be checked; try again",
        Cause::new("hashing was cut off"),
    )
}
