//! The roles that clipbase ships: what each may do, and that it may do no more.

use clipbase::db::Statement;
use clipbase::db::statement::all;
use clipbase_testkit::TestDatabase;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;

use crate::plans::arguments;

mod grants;



mod table;

pub(crate) const ROLES: [&str; 3] = ["clipbase_api", "clipbase_worker", "clipbase_reader"];

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
        self.may(&format!("EXPLAIN EXECUTE \"{name}\" {}", parenthesized(&values)))
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
