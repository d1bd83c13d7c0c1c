//! Scratch databases next to the given one.

use std::sync::Arc;

use clipbase::storage::MemoryStorage;
use clipbase::{Clipbase, DatabaseConfig, Settings, migrate};
use uuid::Uuid;

use super::BenchError;

/// Connections of a measurement: as many as the largest case has tasks.
const POOL_SIZE: usize = 16;

/// A migrated template, and the databases made from it.
pub(crate) struct Scratch<'a> {
    given: &'a Clipbase,
    database_url: &'a str,
    template: String,
}

impl<'a> Scratch<'a> {
    pub(crate) async fn create(
        given: &'a Clipbase,
        database_url: &'a str,
    ) -> Result<Self, BenchError> {
        let scratch = Self {
            given,
            database_url,
            template: format!(
                "clipbase_bench_{}_{}",
                std::process::id(),
                Uuid::new_v4().simple()
            ),
        };
        scratch
            .execute(&format!("CREATE DATABASE {}", scratch.template), "made")
            .await?;
        let config = DatabaseConfig::from_url(&scratch.url(&scratch.template))?;
        if let Err(error) = migrate::migrate(&config).await {
            scratch.drop_all().await?;
            return Err(error.into());
        }
        Ok(scratch)
    }

    /// A new database with an empty schema, ready for claims.
    pub(crate) async fn fresh(&self) -> Result<(String, Clipbase), BenchError> {
        let name = format!("clipbase_bench_{}", Uuid::new_v4().simple());
        let sql = format!("CREATE DATABASE {name} TEMPLATE {}", self.template);
        self.execute(&sql, "copied").await?;
        let config = DatabaseConfig::from_url(&self.url(&name))?.with_pool_size(POOL_SIZE)?;
        let storage = Arc::new(MemoryStorage::new());
        let clipbase = Clipbase::new(&config, storage, Settings::default())?;
        clipbase.bootstrap().await?;
        Ok((name, clipbase))
    }

    /// Leaves the planner and the disk nothing to catch up on.
    pub(crate) async fn settle(&self, clipbase: &Clipbase) -> Result<(), BenchError> {
        let mut connection = clipbase.database().connection().await?;
        let done = connection.client().batch_execute("VACUUM ANALYZE").await;
        done.map_err(|_| BenchError::Scratch("vacuumed"))
    }

    pub(crate) async fn server_version(&self) -> Result<String, BenchError> {
        Ok(self.given.inspect().server().await?.version)
    }

    pub(crate) async fn drop_one(&self, name: &str) -> Result<(), BenchError> {
        self.execute(
            &format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"),
            "dropped",
        )
        .await
    }

    pub(crate) async fn drop_all(&self) -> Result<(), BenchError> {
        self.drop_one(&self.template).await
    }

    /// The address of a scratch database.
    pub(crate) fn url(&self, name: &str) -> String {
        with_database(self.database_url, name)
    }

    async fn execute(&self, sql: &str, what: &'static str) -> Result<(), BenchError> {
        let mut connection = self.given.database().connection().await?;
        let done = connection.client().batch_execute(sql).await;
        done.map_err(|_| BenchError::Scratch(what))
    }
}

/// The same server, another database: the URL's path is what names it.
fn with_database(url: &str, name: &str) -> String {
    let (base, query) = url
        .split_once('?')
        .map_or((url, None), |(base, query)| (base, Some(query)));
    let (scheme, rest) = base.split_once("://").unwrap_or(("postgresql", base));
    let authority = rest.split('/').next().unwrap_or_default();
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    format!("{scheme}://{authority}/{name}{query}")
}

#[cfg(test)]
mod tests {
    use super::with_database;

    #[test]
    fn only_the_database_changes() {
        for (url, other) in [
            (
                "postgres://u:p@h:5432/db?sslmode=require",
                "postgres://u:p@h:5432/x?sslmode=require",
            ),
            (
                "postgresql:///db?host=%2Ftmp&user=u",
                "postgresql:///x?host=%2Ftmp&user=u",
            ),
            ("postgres://h", "postgres://h/x"),
        ] {
            assert_eq!(with_database(url, "x"), other);
        }
    }
}
