//! What is applied: our books, and those that Supabase's command line keeps.

use tokio_postgres::types::Type;
use tokio_postgres::{Client, Row};

use super::Migration;
use crate::db::statement::always;
use crate::db::{Statement, is_missing_relation, statement_error};
use crate::error::{Code, Error, Result};

/// A row of `public.clipbase_migrations`.
pub(super) struct Applied {
    pub(super) set: String,
    pub(super) version: String,
    pub(super) name: String,
    checksum: String,
    is_breaking: bool,
}

pub(super) fn is_known(row: &Applied, known: &[Migration]) -> bool {
    known.iter().any(|known| known.version == row.version)
}

pub(super) fn check_applied(applied: &[Applied], known: &[Migration]) -> Result<()> {
    if let Some(row) = applied
        .iter()
        .find(|row| !is_known(row, known) && row.is_breaking)
    {
        return Err(Error::failed(
            Code::SchemaMismatch,
            format!(
                "the database has migration {}_{}, which this binary is too old for; update clipbase",
                row.version, row.name
            ),
        ));
    }
    for known in known {
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

pub(super) static APPLIED: Statement = Statement {
    name: "migrate.applied",
    sql: "-- migrate.applied
SELECT set_name, version, name, checksum, is_breaking FROM public.clipbase_migrations ORDER BY version",
    params: &[],
    columns: &[
        always("set_name", Type::VARCHAR),
        always("version", Type::VARCHAR),
        always("name", Type::VARCHAR),
        always("checksum", Type::VARCHAR),
        always("is_breaking", Type::BOOL),
    ],
};

pub(super) async fn read_applied(client: &Client) -> Result<Vec<Applied>> {
    let rows = match client.query_typed(APPLIED.sql, &[]).await {
        Ok(rows) => rows,
        Err(error) if is_missing_relation(&error) => return Ok(Vec::new()),
        Err(error) => return Err(statement_error(&error)),
    };
    read_rows(&rows)
}

pub(super) fn read_rows(rows: &[Row]) -> Result<Vec<Applied>> {
    rows.iter()
        .map(|row| {
            Ok(Applied {
                set: row.try_get(0)?,
                version: row.try_get(1)?,
                name: row.try_get(2)?,
                checksum: row.try_get(3)?,
                is_breaking: row.try_get(4)?,
            })
        })
        .collect::<Result<_, tokio_postgres::Error>>()
        .map_err(|error| statement_error(&error))
}

/// The books: ours, and the one that Supabase's command line keeps (an old version of which made it with
/// fewer columns). Nothing is touched that is there already, so that a second run takes no lock.
pub(super) const BOOKS: &str = "
DO $$
DECLARE
    roles text;
BEGIN
    IF to_regnamespace('supabase_migrations') IS NULL THEN
        CREATE SCHEMA supabase_migrations;
    END IF;
    IF to_regclass('supabase_migrations.schema_migrations') IS NULL THEN
        CREATE TABLE supabase_migrations.schema_migrations (
            version text PRIMARY KEY, statements text[], name text);
    ELSIF (SELECT count(*) FROM pg_catalog.pg_attribute
            WHERE attrelid = 'supabase_migrations.schema_migrations'::regclass
              AND attname IN ('statements', 'name') AND NOT attisdropped) < 2 THEN
        ALTER TABLE supabase_migrations.schema_migrations
            ADD COLUMN IF NOT EXISTS statements text[], ADD COLUMN IF NOT EXISTS name text;
    END IF;
    IF to_regclass('public.clipbase_migrations') IS NOT NULL THEN
        RETURN;
    END IF;
    CREATE TABLE public.clipbase_migrations (
        version     varchar(14) PRIMARY KEY,
        set_name    varchar(32) NOT NULL,
        name        varchar(128) NOT NULL,
        checksum    varchar(64) NOT NULL,
        is_breaking boolean NOT NULL,
        applied_at  timestamptz NOT NULL DEFAULT now()
    );
    COMMENT ON TABLE  public.clipbase_migrations IS 'Which migrations of clipbase this database has.';
    COMMENT ON COLUMN public.clipbase_migrations.version IS 'Fourteen digits: when the migration was written.';
    COMMENT ON COLUMN public.clipbase_migrations.set_name IS 'The set that it belongs to; core is always applied.';
    COMMENT ON COLUMN public.clipbase_migrations.name IS 'What it does.';
    COMMENT ON COLUMN public.clipbase_migrations.checksum IS 'SHA-256 of the file, in hexadecimal: a changed file is refused.';
    COMMENT ON COLUMN public.clipbase_migrations.is_breaking IS 'Whether binaries that do not know it must not run.';
    COMMENT ON COLUMN public.clipbase_migrations.applied_at IS 'When it was applied.';
    ALTER TABLE public.clipbase_migrations ENABLE ROW LEVEL SECURITY;
    SELECT concat_ws(', ', 'PUBLIC', string_agg(quote_ident(rolname), ', ')) INTO roles
      FROM pg_catalog.pg_roles WHERE rolname IN ('anon', 'authenticated');
    EXECUTE format('REVOKE ALL ON TABLE public.clipbase_migrations FROM %s', roles);
END
$$;";

/// What Supabase's command line has applied, by version and name.
pub(super) async fn read_pushed(client: &Client) -> Result<Vec<(String, Option<String>)>> {
    let rows = client
        .query_typed(
            "SELECT version, name FROM supabase_migrations.schema_migrations",
            &[],
        )
        .await
        .map_err(|error| statement_error(&error))?;
    rows.iter()
        .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
        .collect::<Result<_, tokio_postgres::Error>>()
        .map_err(|error| statement_error(&error))
}

/// Whether a file was pushed by Supabase's command line. Another file of the user's may have the version.
pub(super) fn is_pushed(pushed: &[(String, Option<String>)], migration: &Migration) -> bool {
    pushed.iter().any(|(version, name)| {
        version == migration.version && name.as_deref().is_none_or(|name| name == migration.name)
    })
}

pub(super) async fn record(client: &Client, migration: &Migration) -> Result<()> {
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
