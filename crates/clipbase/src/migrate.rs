//! The schema's migrations and their runner.
//!
//! Files are named as Supabase's are (`<YYYYMMDDHHMMSS>_name.sql`), only ever added, and never edited once
//! released. What is applied is recorded twice: in `supabase_migrations.schema_migrations`, so that
//! `supabase db push` and this runner agree, and with a checksum in `public.clipbase_migrations`.
//!
//! Header lines of a file: `-- clipbase: breaking` (older binaries must not run on it) and
//! `-- clipbase: no-transaction` (a single `CREATE INDEX CONCURRENTLY`).

use std::time::Duration;

use serde::Serialize;
use sha2::{Digest, Sha256};
use tokio_postgres::Client;

use crate::db::{DatabaseConfig, DatabaseMode, connect, is_missing_relation, statement_error};
use crate::error::{Code, Error, Result};

/// Held while the schema is looked at and changed: the bytes of "clipbase".
const LOCK: i64 = i64::from_be_bytes(*b"clipbase");
/// How long a migrator waits for another one.
const LOCK_WAIT: Duration = Duration::from_secs(120);

/// One file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Migration {
    /// The set that it belongs to: `core` is always applied.
    pub set: &'static str,
    /// Fourteen digits: the time it was written.
    pub version: &'static str,
    /// What it does.
    pub name: &'static str,
    /// The statements.
    pub sql: &'static str,
}

macro_rules! migrations {
    ($set:literal: $($version:literal $name:literal,)*) => {
        &[$(Migration {
            set: $set,
            version: $version,
            name: $name,
            sql: include_str!(concat!("../migrations/", $version, "_", $name, ".sql")),
        },)*]
    };
}

/// Every migration of the core set, oldest first.
pub const CORE: &[Migration] = migrations! { "core":
    "20261123000100" "seed_tables",
    "20261123000200" "jobs_columns",
    "20261123000300" "jobs_constraints",
    "20261123000400" "jobs_indexes",
    "20261123000500" "job_events_sequence",
    "20261123000600" "outbox",
    "20261123000700" "job_triggers",
    "20261123000800" "event_triggers",
    "20261123000900" "access",
};

impl Migration {
    /// Returns the SHA-256 of the file, in hexadecimal.
    pub fn checksum(&self) -> String {
        Sha256::digest(self.sql)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    /// Tells whether older binaries must not run once this is applied.
    pub fn is_breaking(&self) -> bool {
        self.has_header("-- clipbase: breaking")
    }

    fn is_outside_transactions(&self) -> bool {
        self.has_header("-- clipbase: no-transaction")
    }

    fn has_header(&self, line: &str) -> bool {
        self.sql
            .lines()
            .take_while(|text| text.starts_with("--"))
            .any(|text| text == line)
    }
}

/// Where a migration stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MigrationStatus {
    /// Fourteen digits.
    pub version: String,
    /// What it does.
    pub name: String,
    /// Whether the database has it.
    pub is_applied: bool,
    /// Whether this binary has it; `false` for one of a newer version.
    pub is_known: bool,
}

/// A row of `public.clipbase_migrations`.
struct Applied {
    version: String,
    name: String,
    checksum: String,
    is_breaking: bool,
}

/// Applies what is missing, in order, and returns it. Safe to run from several processes at once.
///
/// # Errors
/// `CONFIG_INVALID` through a transaction pooler; `SCHEMA_MISMATCH` when an applied migration was changed
/// or the database is newer than this binary can bear; `DB_CONFLICT` when a migration does not fit the
/// tables that are there: then nothing was changed.
pub async fn migrate(config: &DatabaseConfig) -> Result<Vec<Migration>> {
    if config.mode() == DatabaseMode::Transaction {
        return Err(Error::failed(
            Code::ConfigInvalid,
            "migrations need a direct or session connection: use port 5432, or --database-mode direct",
        ));
    }
    let mut client = connect(config).await?;
    let mut applied = Vec::new();
    loop {
        let (batch, is_last) = apply_batch(&mut client, CORE).await?;
        applied.extend(batch);
        if is_last {
            return Ok(applied);
        }
        let concurrent = pending_outside_transaction(&client, CORE).await?;
        if let Some(migration) = concurrent {
            apply_outside_transaction(&client, &migration).await?;
            applied.push(migration);
        }
    }
}

/// Lists every migration, known and applied.
///
/// # Errors
/// The database's.
pub async fn status(config: &DatabaseConfig) -> Result<Vec<MigrationStatus>> {
    let client = connect(config).await?;
    let applied = read_applied(&client).await?;
    let mut list: Vec<MigrationStatus> = CORE
        .iter()
        .map(|migration| MigrationStatus {
            version: migration.version.to_owned(),
            name: migration.name.to_owned(),
            is_applied: applied.iter().any(|row| row.version == migration.version),
            is_known: true,
        })
        .collect();
    list.extend(
        applied
            .into_iter()
            .filter(|row| !is_known(row))
            .map(|row| MigrationStatus {
                version: row.version,
                name: row.name,
                is_applied: true,
                is_known: false,
            }),
    );
    Ok(list)
}

/// Checks that this binary can work with the database's schema: nothing missing, nothing changed, and
/// nothing newer that older binaries cannot bear.
///
/// # Errors
/// `SCHEMA_MISMATCH`.
pub async fn check(config: &DatabaseConfig) -> Result<()> {
    let client = connect(config).await?;
    let applied = read_applied(&client).await?;
    check_applied(&applied)?;
    let missing = CORE
        .iter()
        .any(|known| applied.iter().all(|row| row.version != known.version));
    if missing {
        return Err(Error::failed(
            Code::SchemaMismatch,
            "the database's schema is older than this binary; run `clipbase migrate`",
        ));
    }
    Ok(())
}

fn is_known(row: &Applied) -> bool {
    CORE.iter().any(|known| known.version == row.version)
}

fn check_applied(applied: &[Applied]) -> Result<()> {
    if let Some(row) = applied.iter().find(|row| !is_known(row) && row.is_breaking) {
        return Err(Error::failed(
            Code::SchemaMismatch,
            format!(
                "the database has migration {}_{}, which this binary is too old for; update clipbase",
                row.version, row.name
            ),
        ));
    }
    for known in CORE {
        let changed = applied
            .iter()
            .any(|row| row.version == known.version && row.checksum != known.checksum());
        if changed {
            return Err(Error::failed(
                Code::SchemaMismatch,
                format!(
                    "migration {}_{} was applied in another form than this binary has",
                    known.version, known.name
                ),
            ));
        }
    }
    Ok(())
}

async fn read_applied(client: &Client) -> Result<Vec<Applied>> {
    let sql = "-- migrate.applied
SELECT version, name, checksum, is_breaking FROM public.clipbase_migrations ORDER BY version";
    let rows = match client.query_typed(sql, &[]).await {
        Ok(rows) => rows,
        Err(error) if is_missing_relation(&error) => return Ok(Vec::new()),
        Err(error) => return Err(statement_error(&error)),
    };
    rows.iter()
        .map(|row| {
            Ok(Applied {
                version: row.try_get(0)?,
                name: row.try_get(1)?,
                checksum: row.try_get(2)?,
                is_breaking: row.try_get(3)?,
            })
        })
        .collect::<Result<_, tokio_postgres::Error>>()
        .map_err(|error| statement_error(&error))
}

/// Applies pending migrations up to the next that cannot be in a transaction, all in one transaction under
/// the lock. Returns them, and whether nothing is left.
async fn apply_batch(client: &mut Client, known: &[Migration]) -> Result<(Vec<Migration>, bool)> {
    let transaction = client
        .transaction()
        .await
        .map_err(|error| statement_error(&error))?;
    let wait = format!(
        "SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = {}; SELECT pg_advisory_xact_lock({LOCK}); \
         SET LOCAL lock_timeout = '10s'; SET LOCAL client_min_messages = warning;",
        LOCK_WAIT.as_millis()
    );
    transaction
        .batch_execute(&wait)
        .await
        .map_err(|error| statement_error(&error))?;
    transaction
        .batch_execute(BOOKS)
        .await
        .map_err(|error| statement_error(&error))?;
    let applied = read_applied(transaction.client()).await?;
    check_applied(&applied)?;
    let pushed = read_pushed(transaction.client()).await?;
    let mut done = Vec::new();
    let mut is_last = true;
    for migration in known {
        if applied.iter().any(|row| row.version == migration.version) {
            continue;
        }
        if migration.is_outside_transactions() {
            is_last = false;
            break;
        }
        if !pushed.iter().any(|version| version == migration.version) {
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
    Ok((done, is_last))
}

/// The books: ours, and the one that Supabase's command line keeps.
const BOOKS: &str = "
CREATE SCHEMA IF NOT EXISTS supabase_migrations;
CREATE TABLE IF NOT EXISTS supabase_migrations.schema_migrations (
    version text PRIMARY KEY, statements text[], name text);
CREATE TABLE IF NOT EXISTS public.clipbase_migrations (
    version     varchar(14) PRIMARY KEY,
    set_name    varchar(32) NOT NULL,
    name        varchar(128) NOT NULL,
    checksum    varchar(64) NOT NULL,
    is_breaking boolean NOT NULL,
    applied_at  timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE public.clipbase_migrations IS 'Which migrations of clipbase this database has.';
ALTER TABLE public.clipbase_migrations ENABLE ROW LEVEL SECURITY;";

async fn read_pushed(client: &Client) -> Result<Vec<String>> {
    let rows = client
        .query_typed(
            "SELECT version FROM supabase_migrations.schema_migrations",
            &[],
        )
        .await
        .map_err(|error| statement_error(&error))?;
    rows.iter()
        .map(|row| row.try_get(0))
        .collect::<Result<_, _>>()
        .map_err(|error| statement_error(&error))
}

async fn record(client: &Client, migration: &Migration) -> Result<()> {
    use tokio_postgres::types::Type;
    let checksum = migration.checksum();
    let sql = "-- migrate.record
WITH ours AS (
    INSERT INTO public.clipbase_migrations (version, set_name, name, checksum, is_breaking)
    VALUES ($1, $2, $3, $4, $5)
)
INSERT INTO supabase_migrations.schema_migrations (version, statements, name)
VALUES ($1, ARRAY[$6], $3)
ON CONFLICT (version) DO NOTHING";
    client
        .query_typed(
            sql,
            &[
                (&migration.version, Type::TEXT),
                (&migration.set, Type::TEXT),
                (&migration.name, Type::TEXT),
                (&checksum, Type::TEXT),
                (&migration.is_breaking(), Type::BOOL),
                (&migration.sql, Type::TEXT),
            ],
        )
        .await
        .map_err(|error| statement_error(&error))?;
    Ok(())
}

async fn pending_outside_transaction(
    client: &Client,
    known: &[Migration],
) -> Result<Option<Migration>> {
    let applied = read_applied(client).await?;
    Ok(known
        .iter()
        .find(|migration| applied.iter().all(|row| row.version != migration.version))
        .filter(|migration| migration.is_outside_transactions())
        .copied())
}

/// A concurrent index build waits for every older transaction, so a migrator that waits for it must not
/// hold one open: this lock is tried, not waited for.
async fn apply_outside_transaction(client: &Client, migration: &Migration) -> Result<()> {
    use tokio_postgres::types::Type;
    let started = std::time::Instant::now();
    loop {
        let row = client
            .query_typed("SELECT pg_try_advisory_lock($1)", &[(&LOCK, Type::INT8)])
            .await
            .map_err(|error| statement_error(&error))?;
        if row
            .first()
            .is_some_and(|row| row.try_get(0).unwrap_or(false))
        {
            break;
        }
        if started.elapsed() > LOCK_WAIT {
            return Err(Error::failed(
                Code::DbTimeout,
                "another migration is still running",
            ));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let applied = read_applied(client).await?;
    if applied.iter().all(|row| row.version != migration.version) {
        client
            .batch_execute(migration.sql)
            .await
            .map_err(|error| migration_error(migration, &error))?;
        record(client, migration).await?;
    }
    client
        .query_typed("SELECT pg_advisory_unlock($1)", &[(&LOCK, Type::INT8)])
        .await
        .map_err(|error| statement_error(&error))?;
    Ok(())
}

fn migration_error(migration: &Migration, error: &tokio_postgres::Error) -> Error {
    let Migration { version, name, .. } = migration;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_listed_once_and_in_order() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/migrations");
        let mut files: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        files.sort();
        let listed: Vec<String> = CORE
            .iter()
            .map(|m| format!("{}_{}.sql", m.version, m.name))
            .collect();
        assert_eq!(listed, files);
    }

    #[test]
    fn headers_are_read_from_the_first_comment_only() {
        let migration = |sql| Migration {
            set: "core",
            version: "1",
            name: "x",
            sql,
        };
        assert!(migration("-- why\n-- clipbase: breaking\nSELECT 1").is_breaking());
        assert!(!migration("SELECT 1;\n-- clipbase: breaking").is_breaking());
        assert!(migration("-- clipbase: no-transaction\n").is_outside_transactions());
    }
}
