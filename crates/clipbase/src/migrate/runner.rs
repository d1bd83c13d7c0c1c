//! Applies migrations: all that can be in a transaction in one, under a lock; the others one by one.

use std::time::{Duration, Instant};

use tokio_postgres::Client;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;

use super::books::{BOOKS, check_applied, is_pushed, read_applied, read_pushed, record};
use super::{Migration, Sets, has};
use crate::db::{DatabaseConfig, connect, statement_error};
use crate::error::{Code, Error, Result};

/// Held while the schema is looked at and changed: the bytes of "clipbase".
const LOCK: i64 = i64::from_be_bytes(*b"clipbase");
/// How long a migrator waits for another one.
const LOCK_WAIT: Duration = Duration::from_secs(120);
/// How often it asks.
const LOCK_INTERVAL: Duration = Duration::from_millis(100);

/// Applies what is missing of `known`: the core, the given sets, and those that the database has.
pub(super) async fn run(
    config: &DatabaseConfig,
    known: &[Migration],
    sets: Sets,
) -> Result<Vec<Migration>> {
    let mut client = connect(config).await?;
    lock(&client).await?;
    let outcome = apply_all(&mut client, known, sets).await;
    // Where this does not arrive, the lock goes with the session, which ends here.
    let unlock = format!("SELECT pg_advisory_unlock({LOCK})");
    let unlocked = client.batch_execute(&unlock).await;
    let applied = outcome?;
    unlocked.map_err(|error| statement_error(&error))?;
    Ok(applied)
}

/// Takes the session's lock. Tried, not waited for: a migrator that waits inside the database holds a
/// snapshot, and a concurrent index build of the one that it waits for would wait for that.
async fn lock(client: &Client) -> Result<()> {
    let started = Instant::now();
    loop {
        let rows = client
            .query_typed("SELECT pg_try_advisory_lock($1)", &[(&LOCK, Type::INT8)])
            .await
            .map_err(|error| statement_error(&error))?;
        if rows
            .first()
            .is_some_and(|row| row.try_get(0).unwrap_or(false))
        {
            return Ok(());
        }
        if started.elapsed() > LOCK_WAIT {
            return Err(Error::failed(
                Code::DbTimeout,
                "another migration is still running",
            ));
        }
        tokio::time::sleep(LOCK_INTERVAL).await;
    }
}

async fn apply_all(client: &mut Client, known: &[Migration], sets: Sets) -> Result<Vec<Migration>> {
    let mut applied = Vec::new();
    loop {
        let (batch, next) = apply_batch(client, known, sets).await?;
        applied.extend(batch);
        let Some(migration) = next else {
            return Ok(applied);
        };
        apply_outside_transaction(client, &migration).await?;
        applied.push(migration);
    }
}

/// Applies pending migrations up to the next that cannot be in a transaction, all in one transaction.
/// Returns them, and that next one.
async fn apply_batch(
    client: &mut Client,
    known: &[Migration],
    sets: Sets,
) -> Result<(Vec<Migration>, Option<Migration>)> {
    let transaction = client
        .transaction()
        .await
        .map_err(|error| statement_error(&error))?;
    let settings = "SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = '10s'; \
                    SET LOCAL client_min_messages = warning;";
    transaction
        .batch_execute(&format!("{settings}{BOOKS}"))
        .await
        .map_err(|error| statement_error(&error))?;
    let applied = read_applied(transaction.client()).await?;
    check_applied(&applied, known)?;
    let pushed = read_pushed(transaction.client()).await?;
    let sets = known
        .iter()
        .filter(|migration| is_pushed(&pushed, migration))
        .fold(sets.and_applied(&applied), Sets::and);
    let mut done = Vec::new();
    let mut next = None;
    for migration in known.iter().filter(|migration| sets.has(migration.set)) {
        if has(&applied, migration) {
            continue;
        }
        if !is_pushed(&pushed, migration) {
            if migration.is_outside_transactions() {
                next = Some(*migration);
                break;
            }
            transaction
                .batch_execute(migration.sql)
                .await
                .map_err(|error| migration_error(migration, &error))?;
            done.push(*migration);
        }
        record(transaction.client(), migration).await?;
    }
    transaction
        .commit()
        .await
        .map_err(|error| statement_error(&error))?;
    Ok((done, next))
}

/// Applies one migration that cannot be in a transaction: a concurrent index build.
async fn apply_outside_transaction(client: &Client, migration: &Migration) -> Result<()> {
    // The session ends with this run, and its settings with it.
    client
        .batch_execute("SET statement_timeout = 0; SET lock_timeout = 0")
        .await
        .map_err(|error| statement_error(&error))?;
    drop_unfinished_indexes(client, migration).await?;
    client
        .batch_execute(migration.sql)
        .await
        .map_err(|error| migration_error(migration, &error))?;
    record(client, migration).await
}

/// A concurrent build that failed leaves an invalid index behind, which `IF NOT EXISTS` would take for ours.
async fn drop_unfinished_indexes(client: &Client, migration: &Migration) -> Result<()> {
    let sql = "-- migrate.unfinished
SELECT format('DROP INDEX CONCURRENTLY %I.%I', space.nspname, class.relname)
  FROM pg_catalog.pg_index AS index
  JOIN pg_catalog.pg_class AS class ON class.oid = index.indexrelid
  JOIN pg_catalog.pg_namespace AS space ON space.oid = class.relnamespace
 WHERE NOT index.indisvalid AND space.nspname = 'public' AND strpos($1, class.relname) > 0";
    let rows = client
        .query_typed(sql, &[(&migration.sql, Type::TEXT)])
        .await
        .map_err(|error| statement_error(&error))?;
    for row in &rows {
        let drop: &str = row.try_get(0).map_err(|error| statement_error(&error))?;
        client
            .batch_execute(drop)
            .await
            .map_err(|error| migration_error(migration, &error))?;
    }
    Ok(())
}

fn migration_error(migration: &Migration, error: &tokio_postgres::Error) -> Error {
    let Migration { version, name, .. } = migration;
    if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) {
        return Error::failed(
            Code::DbTimeout,
            format!(
                "migration {version}_{name} was taken back: a table stayed in use for 10 seconds; stop the \
                 clients that work on it and try again"
            ),
        );
    }
    if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) {
        return Error::failed(
            Code::DbFailed,
            format!(
                "migration {version}_{name} was taken back: the database's user lacks a privilege for it; migrate as \
                 the owner of clipbase's tables, who may create in the schema public"
            ),
        );
    }
    match statement_error(error) {
        Error::Failed {
            code,
            message,
            source,
        } => Error::Failed {
            code,
            message: format!("migration {version}_{name} was taken back: {message}").into(),
            source,
        },
        other => other,
    }
}
