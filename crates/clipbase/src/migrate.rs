//! The schema's migrations and their runner.
//!
//! Files are named as Supabase's are (`<YYYYMMDDHHMMSS>_name.sql`), only ever added, and never edited once
//! released. What is applied is recorded twice: in `supabase_migrations.schema_migrations`, so that
//! `supabase db push` and this runner agree, and with a checksum in `public.clipbase_migrations`.
//!
//! The files of the core stand in `migrations/`; those of an optional set ([`Sets`]) in a folder of its name.
//! A set is applied when somebody asks for it, and checked and migrated ever after.
//!
//! Header lines of a file: `-- clipbase: breaking` (older binaries must not run on it) and
//! `-- clipbase: no-transaction` (a single `CREATE INDEX CONCURRENTLY`).

mod books;
mod runner;
mod sets;

use serde::Serialize;
use sha2::{Digest, Sha256};

use self::books::{Applied, check_applied, is_known, read_applied};
pub use self::sets::Sets;
use crate::clipbase::Clipbase;
use crate::db::{DatabaseConfig, DatabaseMode, Statement, connect};
use crate::error::{Code, Error, Result};

pub(crate) static STATEMENTS: &[&Statement] = &[&books::APPLIED];

/// One file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Migration {
    /// The set that it belongs to: `core` is always applied, any other on request.
    pub set: &'static str,
    /// Fourteen digits: the time it was written.
    pub version: &'static str,
    /// What it does.
    pub name: &'static str,
    /// The statements.
    pub sql: &'static str,
}

macro_rules! migrations {
    ($set:literal in $folder:literal: $($version:literal $name:literal,)*) => {
        &[$(Migration {
            set: $set,
            version: $version,
            name: $name,
            sql: include_str!(concat!("../migrations/", $folder, $version, "_", $name, ".sql")),
        },)*]
    };
}

/// Every migration of the core set, oldest first.
pub const CORE: &[Migration] = migrations! { "core" in "":
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
};

/// Every migration of the set of API keys, oldest first.
pub const API_KEYS: &[Migration] = migrations! { "api_keys" in "api_keys/":
    "20261123002000" "api_keys",
};

/// Every migration of the set of roles, oldest first.
pub const ROLES: &[Migration] = migrations! { "roles" in "roles/":
    "20261124000100" "roles",
};

/// What the roles may do with API keys, oldest first: applied to a database that has both sets.
pub const ROLES_API_KEYS: &[Migration] = migrations! { "roles_api_keys" in "roles_api_keys/":
    "20261124000200" "roles_api_keys",
};

/// Returns the migrations of every set, oldest first.
pub fn all() -> Vec<Migration> {
    let sets = [CORE, API_KEYS, ROLES, ROLES_API_KEYS];
    let mut list: Vec<Migration> = sets.into_iter().flatten().copied().collect();
    list.sort_by_key(|migration| migration.version);
    list
}

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
    /// The set that it belongs to.
    pub set: String,
    /// Fourteen digits.
    pub version: String,
    /// What it does.
    pub name: String,
    /// Whether the database has it.
    pub is_applied: bool,
    /// Whether this binary has it; `false` for one of a newer version.
    pub is_known: bool,
}

/// Applies what is missing of the core and of the sets that the database has, in order, and returns it. Safe
/// to run from several processes at once.
///
/// # Errors
/// `CONFIG_INVALID` through a transaction pooler; `SCHEMA_MISMATCH` when an applied migration was changed
/// or the database is newer than this binary can bear; `DB_CONFLICT` when a migration does not fit the
/// tables that are there: then nothing was changed.
pub async fn migrate(config: &DatabaseConfig) -> Result<Vec<Migration>> {
    migrate_with(config, Sets::CORE).await
}

/// As [`migrate`], with optional sets: from here on the database has them.
///
/// # Errors
/// As [`migrate`].
pub async fn migrate_with(config: &DatabaseConfig, sets: Sets) -> Result<Vec<Migration>> {
    migrate_list(config, &all(), sets).await
}

/// As [`migrate`], with a list of migrations of the caller's: for tests of the runner.
#[doc(hidden)]
pub async fn migrate_to(config: &DatabaseConfig, known: &[Migration]) -> Result<Vec<Migration>> {
    migrate_list(config, known, Sets::CORE).await
}

async fn migrate_list(
    config: &DatabaseConfig,
    known: &[Migration],
    sets: Sets,
) -> Result<Vec<Migration>> {
    if config.mode() == DatabaseMode::Transaction {
        return Err(Error::failed(
            Code::ConfigInvalid,
            "migrations need a direct or session connection: use port 5432, or --database-mode direct",
        ));
    }
    runner::run(config, known, sets).await
}

/// Lists every migration of the core and of the sets that the database has, known and applied.
///
/// # Errors
/// The database's.
pub async fn status(config: &DatabaseConfig) -> Result<Vec<MigrationStatus>> {
    status_with(config, Sets::CORE).await
}

/// As [`status`], with the sets that are wanted, whether the database has them or not.
///
/// # Errors
/// The database's.
pub async fn status_with(config: &DatabaseConfig, sets: Sets) -> Result<Vec<MigrationStatus>> {
    let client = connect(config).await?;
    let applied = read_applied(&client).await?;
    let known = all();
    let sets = sets.and_applied(&applied);
    let mut list: Vec<MigrationStatus> = known
        .iter()
        .filter(|migration| sets.has(migration.set))
        .map(|migration| MigrationStatus {
            set: migration.set.to_owned(),
            version: migration.version.to_owned(),
            name: migration.name.to_owned(),
            is_applied: has(&applied, migration),
            is_known: true,
        })
        .collect();
    list.extend(
        applied
            .into_iter()
            .filter(|row| !is_known(row, &known))
            .map(|row| MigrationStatus {
                set: row.set,
                version: row.version,
                name: row.name,
                is_applied: true,
                is_known: false,
            }),
    );
    Ok(list)
}

/// Checks that this binary can work with the database's schema, the core and the sets that the database
/// has: nothing missing, nothing changed, and nothing newer that older binaries cannot bear.
///
/// # Errors
/// `SCHEMA_MISMATCH`.
pub async fn check(config: &DatabaseConfig) -> Result<()> {
    check_with(config, Sets::CORE).await
}

/// As [`check`], with the sets that the caller cannot do without.
///
/// # Errors
/// `SCHEMA_MISMATCH`; the message names a set that the database has not.
pub async fn check_with(config: &DatabaseConfig, sets: Sets) -> Result<()> {
    let client = connect(config).await?;
    check_all(&read_applied(&client).await?, sets)
}

impl Clipbase {
    /// As [`check`], over a connection of the pool: for a probe that asks again and again.
    ///
    /// # Errors
    /// `SCHEMA_MISMATCH`, also for a database that has no schema at all.
    pub async fn check_schema(&self) -> Result<()> {
        let rows = self.database().rows(&books::APPLIED, &[]).await?;
        check_all(&books::read_rows(&rows)?, Sets::CORE)
    }
}

fn check_all(applied: &[Applied], wanted: Sets) -> Result<()> {
    let known = all();
    check_applied(applied, &known)?;
    let present = Sets::CORE.and_applied(applied);
    let is_missing = |of: Sets| {
        known
            .iter()
            .any(|migration| of.has(migration.set) && !has(applied, migration))
    };
    if is_missing(present) {
        return Err(Error::failed(
            Code::SchemaMismatch,
            "the database's schema is older than this binary; run `clipbase migrate`",
        ));
    }
    if is_missing(wanted) {
        let missing = if wanted.api_keys && !present.api_keys {
            "the database has no table of API keys; run `clipbase migrate --api-keys`"
        } else {
            "the database has not the roles of clipbase; run `clipbase migrate --roles`"
        };
        return Err(Error::failed(Code::SchemaMismatch, missing));
    }
    Ok(())
}

/// Returns the optional sets that a database has.
pub(crate) async fn installed(client: &tokio_postgres::Client) -> Result<Sets> {
    Ok(Sets::CORE.and_applied(&read_applied(client).await?))
}

fn has(applied: &[Applied], migration: &Migration) -> bool {
    applied.iter().any(|row| row.version == migration.version)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(folder: &str) -> Vec<String> {
        let path = format!("{}/migrations/{folder}", env!("CARGO_MANIFEST_DIR"));
        let mut files: Vec<String> = std::fs::read_dir(path)
            .unwrap()
            .map(Result::unwrap)
            .filter(|entry| entry.file_type().unwrap().is_file())
            .map(|entry| entry.file_name().into_string().unwrap())
            .collect();
        files.sort();
        files
    }

    #[test]
    fn every_file_is_listed_once_and_in_order() {
        for (list, folder) in [
            (CORE, ""),
            (API_KEYS, "api_keys"),
            (ROLES, "roles"),
            (ROLES_API_KEYS, "roles_api_keys"),
        ] {
            let listed: Vec<String> = list
                .iter()
                .map(|m| format!("{}_{}.sql", m.version, m.name))
                .collect();
            assert_eq!(listed, files(folder));
        }
    }

    #[test]
    fn no_two_files_of_any_set_share_a_version() {
        let list = all();
        let sets = [CORE, API_KEYS, ROLES, ROLES_API_KEYS];
        assert_eq!(list.len(), sets.into_iter().map(<[_]>::len).sum::<usize>());
        assert!(
            list.windows(2)
                .all(|pair| pair[0].version < pair[1].version)
        );
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
