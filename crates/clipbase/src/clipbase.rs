//! The handle that everything starts from: one database, one storage, one set of rules.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OnceCell;

use crate::api_keys::ApiKeys;
use crate::cleanup::Cleanup;
use crate::db::{Database, DatabaseConfig};
use crate::error::{Error, Result};
use crate::events::JobEvents;
use crate::inspect::Inspect;
use crate::jobs::Jobs;
use crate::leases::{LEASE_TTL, Leases};
use crate::storage::Storage;
use crate::wakeups::Waker;

/// The longest retention: the database's clock goes further, but not for ever.
pub const RETENTION_MAX: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// How long ended jobs are kept, unless a job says itself when it expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Of a done job and its results; `None` keeps them.
    pub done: Option<Duration>,
    /// Of a failed job; `None` keeps it.
    pub failed: Option<Duration>,
    /// Of an ended job's source, counted from its end, while the job and its results stay; `None` keeps it
    /// as long as the job. A job whose source is gone cannot be retried.
    pub sources: Option<Duration>,
}

impl Default for Retention {
    /// Seven days for jobs, and their sources with them.
    fn default() -> Self {
        let week = Some(Duration::from_secs(7 * 24 * 60 * 60));
        Self {
            done: week,
            failed: week,
            sources: None,
        }
    }
}

/// How long a job waits before its next attempt: anywhere between at once and `base`, then twice as long for
/// each attempt, up to `cap` (exponential with full jitter).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The bound after the first attempt.
    pub base: Duration,
    /// The bound after many.
    pub cap: Duration,
}

impl Default for Backoff {
    /// 5 seconds, up to 5 minutes.
    fn default() -> Self {
        Self {
            base: Duration::from_secs(5),
            cap: Duration::from_secs(300),
        }
    }
}

/// The rules that the repositories apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How long ended jobs are kept.
    pub retention: Retention,
    /// How long a job waits after a failed attempt.
    pub backoff: Backoff,
    /// How long a worker of the seed, which writes only `last_heartbeat_at`, is believed to be alive.
    pub lease_ttl: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            retention: Retention::default(),
            backoff: Backoff::default(),
            lease_ttl: LEASE_TTL,
        }
    }
}

impl Settings {
    fn check(&self) -> Result<()> {
        if self.backoff.base > self.backoff.cap {
            return Err(Error::invalid("backoff", "must not start above its cap"));
        }
        let Retention {
            done,
            failed,
            sources,
        } = self.retention;
        if [done, failed, sources].into_iter().flatten().max() > Some(RETENTION_MAX) {
            return Err(Error::invalid(
                "retention",
                "must be at most 100 years; leave it out to keep everything",
            ));
        }
        Ok(())
    }
}

/// What the repositories share.
pub(crate) struct Inner {
    pub(crate) database: Database,
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) settings: Settings,
    /// Set once database and storage were seen to belong together.
    pub(crate) installation: OnceCell<()>,
    pub(crate) waker: Arc<Waker>,
}

impl Inner {
    /// Tells idle workers that a job may be waiting; the change is committed.
    pub(crate) fn wake_workers(&self) {
        self.waker.schedule(&self.database);
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clipbase")
            .field("database", &self.database)
            .finish_non_exhaustive()
    }
}

/// A database and a storage that belong together. Cheap to clone; give each task its own.
#[derive(Clone, Debug)]
pub struct Clipbase {
    inner: Arc<Inner>,
}

impl Clipbase {
    /// Connects lazily: the first call makes the first connection.
    ///
    /// # Errors
    /// `CONFIG_INVALID` when TLS cannot be set up.
    pub fn new(
        config: &DatabaseConfig,
        storage: Arc<dyn Storage>,
        settings: Settings,
    ) -> Result<Self> {
        settings.check()?;
        let database = Database::new(config)?;
        let installation = OnceCell::new();
        Ok(Self {
            inner: Arc::new(Inner {
                database,
                storage,
                settings,
                installation,
                waker: Arc::default(),
            }),
        })
    }

    /// Returns a handle on the same database, pool and storage that applies other rules.
    ///
    /// # Errors
    /// `INVALID_INPUT` for rules that contradict themselves.
    pub fn with_settings(&self, settings: Settings) -> Result<Self> {
        settings.check()?;
        Ok(Self {
            inner: Arc::new(Inner {
                database: self.inner.database.clone(),
                storage: Arc::clone(&self.inner.storage),
                settings,
                installation: self.inner.installation.clone(),
                waker: Arc::clone(&self.inner.waker),
            }),
        })
    }

    /// Jobs: create, get, update, list, transition, cancel, retry, delete, stats.
    pub fn jobs(&self) -> Jobs<'_> {
        Jobs::new(&self.inner)
    }

    /// The log of each job.
    pub fn events(&self) -> JobEvents<'_> {
        JobEvents::new(&self.inner)
    }

    /// What a worker does with a job.
    pub fn leases(&self) -> Leases<'_> {
        Leases::new(&self.inner)
    }

    /// Expiry and the outbox of deletions.
    pub fn cleanup(&self) -> Cleanup<'_> {
        Cleanup::new(&self.inner)
    }

    /// API keys: create, list, revoke, rotate, and the verifier. They need their own set of migrations.
    pub fn api_keys(&self) -> ApiKeys<'_> {
        ApiKeys::new(&self.inner)
    }

    /// What an operator asks of a database.
    pub fn inspect(&self) -> Inspect<'_> {
        Inspect::new(&self.inner)
    }

    /// The object storage.
    pub fn storage(&self) -> &Arc<dyn Storage> {
        &self.inner.storage
    }

    /// The database, for transactions of your own.
    pub fn database(&self) -> &Database {
        &self.inner.database
    }

    /// The rules in force.
    pub fn settings(&self) -> &Settings {
        &self.inner.settings
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.inner
    }
}
