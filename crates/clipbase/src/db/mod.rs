//! The one way to the database: a bounded pool and `Database::rows`, which runs a typed statement in one
//! round trip. It must never run SQL that is not a declared [`Statement`], save for migrations and `LISTEN`.
//!
//! A call whose future is dropped in flight, or whose deadline passes, never gives its connection back: the
//! pool's next user would read an answer that was meant for somebody else.

mod config;
mod failure;
pub mod statement;
pub(crate) mod tls;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime};
use futures_util::{StreamExt, TryStreamExt, pin_mut};
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{GenericClient, Row, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;
use tracing::Instrument as _;

pub use config::{
    CALL_DEADLINE, DatabaseConfig, DatabaseMode, POOL_SIZE, POOL_SIZE_MAX, POOL_WAIT,
};
pub(crate) use failure::is_missing_relation;
pub use statement::Statement;

use crate::error::{Code, Error, Result};
use crate::ids::JobId;
use failure::Remedy;

/// How often a statement that certainly did not commit is run again.
pub const STATEMENT_RETRIES_MAX: u32 = 4;

/// A parameter of a statement.
pub(crate) type Param<'a> = &'a (dyn ToSql + Sync);

/// A pool of connections to one database. Cheap to clone.
#[derive(Clone)]
pub struct Database {
    pool: Pool,
    shared: Arc<Shared>,
}

struct Shared {
    config: DatabaseConfig,
    /// Whether statements run unnamed: from the start, or since a pooler lost one.
    unnamed: AtomicBool,
}

impl Database {
    /// Makes the pool; the first call makes the first connection.
    ///
    /// # Errors
    /// `CONFIG_INVALID` when TLS cannot be set up.
    pub fn new(config: &DatabaseConfig) -> Result<Self> {
        let manager = Manager::from_config(
            config.driver.clone(),
            tls::connector(config)?,
            ManagerConfig {
                recycling_method: RecyclingMethod::Fast,
            },
        );
        let pool = Pool::builder(manager)
            .max_size(config.pool_size)
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(POOL_WAIT))
            .create_timeout(Some(POOL_WAIT))
            .build()
            .map_err(|_| Error::failed(Code::ConfigInvalid, "the pool cannot be set up"))?;
        let unnamed = AtomicBool::new(config.mode == DatabaseMode::Transaction);
        let shared = Arc::new(Shared {
            config: config.clone(),
            unnamed,
        });
        Ok(Self { pool, shared })
    }

    /// Returns the mode that was configured.
    pub fn mode(&self) -> DatabaseMode {
        self.shared.config.mode
    }

    pub(crate) fn config(&self) -> &DatabaseConfig {
        &self.shared.config
    }

    pub(crate) fn sends_wakeups(&self) -> bool {
        self.shared.config.wakeups
    }

    /// Returns how busy the pool is.
    pub(crate) fn pool_status(&self) -> PoolStatus {
        let status = self.pool.status();
        PoolStatus {
            connections: status.size,
            waiting: status.waiting,
        }
    }

    /// Returns a connection of the pool, for a caller's own transaction.
    ///
    /// # Errors
    /// `DB_UNAVAILABLE`.
    pub async fn connection(&self) -> Result<Connection> {
        let object = self
            .pool
            .get()
            .await
            .map_err(|error| failure::of_pool(&error))?;
        Ok(Connection(object))
    }

    /// Runs a statement and returns its rows: one round trip.
    pub(crate) async fn rows(
        &self,
        statement: &Statement,
        params: &[Param<'_>],
    ) -> Result<Vec<Row>> {
        self.call(None, statement, params).await
    }

    /// As [`Database::rows`], about one job: the call's span names it.
    pub(crate) async fn rows_of(
        &self,
        job: JobId,
        statement: &Statement,
        params: &[Param<'_>],
    ) -> Result<Vec<Row>> {
        self.call(Some(job), statement, params).await
    }

    /// As [`Database::rows`], about one job or none.
    pub(crate) async fn call(
        &self,
        job: Option<JobId>,
        statement: &Statement,
        params: &[Param<'_>],
    ) -> Result<Vec<Row>> {
        let called = async {
            let started = Instant::now();
            let deadline = self.shared.config.call_deadline;
            let outcome = tokio::time::timeout(deadline, self.run(statement, params))
                .await
                .unwrap_or_else(|_| {
                    Err(Error::failed(
                        Code::DbTimeout,
                        "the database did not answer in time; the call may or may not have happened",
                    ))
                });
            record(statement, started, &outcome);
            outcome
        };
        called.instrument(span(job, statement)).await
    }

    async fn run(&self, statement: &Statement, params: &[Param<'_>]) -> Result<Vec<Row>> {
        let mut tries = 0;
        loop {
            let object = self
                .pool
                .get()
                .await
                .map_err(|error| failure::of_pool(&error))?;
            let flight = Flight(Some(object));
            let unnamed = self.shared.unnamed.load(Ordering::Relaxed);
            let error = match flight.send(statement, params, unnamed).await {
                Ok(rows) => {
                    flight.land();
                    return Ok(rows);
                }
                Err(error) => error,
            };
            // An error that the server itself reported has ended the exchange: the connection is clean,
            // unless it has ended the connection too.
            if error.as_db_error().is_some_and(|db| !failure::is_fatal(db)) {
                flight.land();
            }
            match failure::remedy(&error) {
                Remedy::Unname if !unnamed => {
                    tracing::warn!("the pooler keeps no prepared statements; running unnamed ones");
                    self.shared.unnamed.store(true, Ordering::Relaxed);
                }
                Remedy::Retry if tries < STATEMENT_RETRIES_MAX => {
                    tokio::time::sleep(backoff(tries)).await;
                    tries += 1;
                }
                _ => return Err(failure::of_statement(&error)),
            }
        }
    }
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database")
            .field("mode", &self.shared.config.mode)
            .finish_non_exhaustive()
    }
}

/// How busy the pool is.
pub(crate) struct PoolStatus {
    /// Open connections.
    pub(crate) connections: usize,
    /// Calls that wait for one.
    pub(crate) waiting: usize,
}

/// A connection out of the pool. It goes back when dropped, so end your transaction first.
pub struct Connection(Object);

impl Connection {
    /// Returns the driver's client: begin a transaction on it and pass that to the `…_in` methods.
    pub fn client(&mut self) -> &mut tokio_postgres::Client {
        &mut self.0
    }
}

/// A statement on its way. Dropped before it has landed, it takes its connection out of the pool.
struct Flight(Option<Object>);

impl Flight {
    async fn send(
        &self,
        statement: &Statement,
        params: &[Param<'_>],
        unnamed: bool,
    ) -> Result<Vec<Row>, tokio_postgres::Error> {
        let Some(object) = &self.0 else {
            return Ok(Vec::new());
        };
        if unnamed {
            return typed(&***object, statement, params).await;
        }
        let prepared = object
            .prepare_typed_cached(statement.sql, statement.params)
            .await?;
        let stream = object.query_raw(&prepared, params.iter().copied()).await?;
        stream.try_collect().await
    }

    fn land(mut self) {
        drop(self.0.take());
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        if let Some(object) = self.0.take() {
            drop(Object::take(object));
        }
    }
}

/// Runs a statement on a caller's transaction.
pub(crate) async fn rows_in(
    client: &impl GenericClient,
    statement: &Statement,
    params: &[Param<'_>],
) -> Result<Vec<Row>> {
    let called = async {
        let started = Instant::now();
        let outcome = typed(client, statement, params)
            .await
            .map_err(|error| failure::of_statement(&error));
        record(statement, started, &outcome);
        outcome
    };
    called.instrument(span(None, statement)).await
}

/// What stands around a call. Without a listener at this level it costs a look at a flag.
fn span(job: Option<JobId>, statement: &Statement) -> tracing::Span {
    let job_id = job.map(tracing::field::display);
    tracing::debug_span!("db.call", statement = statement.name, job_id)
}

/// Makes a connection of its own, outside any pool: for migrations.
pub(crate) async fn connect(config: &DatabaseConfig) -> Result<tokio_postgres::Client> {
    let (client, connection) = connect_raw(config).await?;
    // Ends when the client is dropped; what breaks it is reported by the call that it breaks.
    tokio::spawn(connection);
    Ok(client)
}

/// Makes a connection of its own whose messages the caller reads: for wake-ups.
pub(crate) async fn connect_raw(
    config: &DatabaseConfig,
) -> Result<(
    tokio_postgres::Client,
    tokio_postgres::Connection<Socket, <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream>,
)> {
    let tls = tls::connector(config)?;
    config
        .driver
        .connect(tls)
        .await
        .map_err(|error| failure::of_connect(&error))
}

/// Maps an error of a migration's statement.
pub(crate) fn statement_error(error: &tokio_postgres::Error) -> Error {
    failure::of_statement(error)
}

async fn typed(
    client: &impl GenericClient,
    statement: &Statement,
    params: &[Param<'_>],
) -> Result<Vec<Row>, tokio_postgres::Error> {
    let typed: Vec<(Param<'_>, Type)> = params
        .iter()
        .copied()
        .zip(statement.params.iter().cloned())
        .collect();
    let stream = client.query_typed_raw(statement.sql, typed).await?;
    pin_mut!(stream);
    let mut rows = Vec::new();
    while let Some(row) = stream.next().await {
        rows.push(row?);
    }
    Ok(rows)
}

/// Full jitter over 20 ms, 40 ms, 80 ms, 160 ms.
fn backoff(tries: u32) -> Duration {
    jittered(Duration::from_millis(20) * 2_u32.pow(tries))
}

/// Full jitter: anywhere between at once and the bound.
pub(crate) fn jittered(bound: Duration) -> Duration {
    bound.mul_f64(f64::from(uuid::Uuid::new_v4().as_fields().0) / f64::from(u32::MAX))
}

fn record(statement: &Statement, started: Instant, outcome: &Result<Vec<Row>>) {
    let code = outcome
        .as_ref()
        .err()
        .map_or("OK", |error| error.code().as_str());
    let elapsed = started.elapsed();
    metrics::histogram!("clipbase_db_call_seconds", "statement" => statement.name)
        .record(elapsed.as_secs_f64());
    metrics::counter!("clipbase_db_calls_total", "statement" => statement.name, "code" => code)
        .increment(1);
    // The span names the statement.
    tracing::debug!(
        code,
        elapsed_us = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX),
        "database call"
    );
}
