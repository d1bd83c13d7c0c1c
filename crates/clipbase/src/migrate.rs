//! The schema's migrations and their runner.
//!
//! Files are named as Supabase's are (`<YYYYMMDDHHMMSS>_name.sql`), only ever added, and never edited once
//! released. What is applied is recorded twice: in `supabase_migrations.schema_migrations`, so that
//! `supabase db push` and this runner agree, and with a checksum in `public.clipbase_migrations`.
//!
//! Header lines of a file: `-- clipbase: breaking` (older binaries must not run on it) and
//! `-- clipbase: no-transaction` (a single `CREATE INDEX CONCURRENTLY`).

mod books;
mod runner;

use serde::Serialize;
use sha2::{Digest, Sha256};

use self::books::{check_applied, is_known, read_applied};
use crate::clipbase::Clipbase;
use crate::db::{DatabaseConfig, DatabaseMode, Statement, connect};
use crate::error::{Code, Error, Result};

pub(crate) static STATEMENTS: &[&Statement] = &[&books::APPLIED];

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
    "20261123001000" "outbox_by_bucket",
    "20261123001100" "source_expiry",
    "20261123001500" "reconciliation_turn",
    "20261123001600" "finished_index",
    "20261123001700" "finished_index_comment",
};

impl Migration {
    /// Returns the SHA-256 of the file, in hexadecimal.
    pub fn checksum(&self) -> String {
        format!("{:x}", Sha256::digest(self.sql))
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

/// Applies what is missing, in order, and returns it. Safe to run from several processes at once.
///
/// # Errors
/// `CONFIG_INVALID` through a transaction pooler; `SCHEMA_MISMATCH` when an applied migration was changed
/// or the database is newer than this binary can bear; `DB_CONFLICT` when a migration does not fit the
/// tables that are there: then nothing was changed.
pub async fn migrate(config: &DatabaseConfig) -> Result<Vec<Migration>> {
    migrate_to(config, CORE).await
}

/// As [`migrate`], with a list of migrations of the caller's: for tests of the runner.
#[doc(hidden)]
pub async fn migrate_to(config: &DatabaseConfig, known: &[Migration]) -> Result<Vec<Migration>> {
    if config.mode() == DatabaseMode::Transaction {
        return Err(Error::failed(
            Code::ConfigInvalid,
            "migrations need a direct or session connection: use port 5432, or --database-mode direct",
        ));
    }
    runner::run(config, known).await
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
            .filter(|row| !is_known(row, CORE))
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
    check_all(&read_applied(&client).await?)
}

impl Clipbase {
    /// As [`check`], over a connection of the pool: for a probe that asks again and again.
    ///
    /// # Errors
    /// `SCHEMA_MISMATCH`, also for a database that has no schema at all.
    pub async fn check_schema(&self) -> Result<()> {
        let rows = self.database().rows(&books::APPLIED, &[]).await?;
        check_all(&books::read_rows(&rows)?)
    }
}

fn check_all(applied: &[books::Applied]) -> Result<()> {
    check_applied(applied, CORE)?;
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
