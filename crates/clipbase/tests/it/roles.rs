//! The roles that clipbase ships: what each may do, and that it may do no more.

use std::sync::Arc;

use clipbase::db::Statement;
use clipbase::db::statement::all;
use clipbase::{Clipbase, DatabaseConfig, Settings};
use clipbase_testkit::{Bench, TestDatabase};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, NoTls};

use crate::plans::arguments;

mod grants;
mod life;
mod refusals;
mod sets;
mod table;

pub(crate) const ROLES: [&str; 3] = ["clipbase_api", "clipbase_worker", "clipbase_reader"];

/// A user of a test's own, who may log in and is a member of one group. Roles belong to the whole server, so the name
/// carries the database's.
pub(crate) struct Member {
    name: String,
    url: String,
}

impl Member {
    pub(crate) async fn of(group: &str, database: &TestDatabase) -> Self {
        let name = format!("{group}_{}", database.name());
        let sql = format!("CREATE ROLE {name} LOGIN IN ROLE {group}");
        database.raw().await.batch_execute(&sql).await.unwrap();
        let url = database.url();
        assert!(url.contains("user=postgres"), "{url}");
        let url = url.replace("user=postgres", &format!("user={name}"));
        Self { name, url }
    }

    /// The library, connected as this user.
    pub(crate) fn clipbase(&self, bench: &Bench, settings: Settings) -> Clipbase {
        let config = DatabaseConfig::from_url(&self.url).unwrap();
        Clipbase::new(&config, Arc::new(bench.storage.clone()), settings).unwrap()
    }

    /// A connection for raw SQL.
    pub(crate) async fn raw(&self) -> Client {
        let (client, connection) = tokio_postgres::connect(&self.url, NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }

    pub(crate) async fn leave(self, database: &TestDatabase) {
        let sql = format!("DROP ROLE {}", self.name);
        database.raw().await.batch_execute(&sql).await.unwrap();
    }
}

/// A session in which every statement is prepared, to be explained: PostgreSQL then looks at the privileges of all its
/// parts, and runs none of them. By the generic plan, since the one for given values leaves out what they rule out.
pub(crate) struct Explainer {
    pub(crate) client: Client,
}

impl Explainer {
    pub(crate) async fn new(database: &TestDatabase) -> Self {
        let client = database.raw().await;
        let sql = "SET plan_cache_mode = force_generic_plan";
        client.batch_execute(sql).await.unwrap();
        for statement in all() {
            let types: Vec<&str> = statement.params.iter().map(Type::name).collect();
            let sql = format!(
                "PREPARE \"{}\" {} AS {}",
                statement.name,
                parenthesized(&types),
                statement.sql
            );
            client.batch_execute(&sql).await.unwrap();
        }
        Self { client }
    }

    /// Whether the session's role may run the statement.
    pub(crate) async fn may_run(&self, statement: &Statement) -> bool {
        let values = arguments::of(statement.name, 1);
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        let name = statement.name;
        self.may(&format!(
            "EXPLAIN EXECUTE \"{name}\" {}",
            parenthesized(&values)
        ))
        .await
    }

    /// Whether the session's role may do so. Panics for any other problem than a lack of privileges.
    pub(crate) async fn may(&self, sql: &str) -> bool {
        match self.client.batch_execute(sql).await {
            Ok(()) => true,
            Err(error) => {
                let state = error.code().map(SqlState::code);
                assert_eq!(state, Some("42501"), "{sql}: {error:?}");
                false
            }
        }
    }
}

fn parenthesized(items: &[&str]) -> String {
    if items.is_empty() {
        String::new()
    } else {
        format!("({})", items.join(", "))
    }
}
