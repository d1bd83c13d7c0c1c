//! `clipbase migrate`: brings the schema up to date.

use clap::Args;
use clipbase::migrate::{self, Sets};
use serde_json::json;

use crate::context::{Context, Global};
use crate::environment::Environment;
use crate::failure::Failure;
use crate::output::{Output, table};

/// Bring the database's schema up to date.
///
/// Forward only, in one transaction, safe to run from several machines at once, and agreed with
/// `supabase db push`. A database that was made with the seed's Drizzle schema is adopted with its rows.
#[derive(Args)]
pub(crate) struct Migrate {
    /// Only list the migrations and whether they are applied
    #[arg(long)]
    status: bool,

    /// With the table of API keys; from then on the database has it
    #[arg(long)]
    api_keys: bool,

    /// With roles of few privileges for the API, for workers and for readers; from then on the database has
    /// them. docs/OPERATIONS.md says how to use them
    #[arg(long)]
    roles: bool,
}

impl Migrate {
    pub(crate) async fn run(
        self,
        global: &Global,
        environment: &Environment,
        output: Output,
    ) -> Result<(), Failure> {
        let context = Context::connect(global, environment).await?;
        let sets = Sets {
            api_keys: self.api_keys,
            roles: self.roles,
        };
        if self.status {
            let list = migrate::status_with(&context.database, sets).await?;
            output.success(&list, |list| {
                let rows = list.iter().map(|migration| {
                    let state = match (migration.is_applied, migration.is_known) {
                        (true, true) => "applied",
                        (true, false) => "applied by a newer clipbase",
                        (false, _) => "pending",
                    };
                    vec![
                        migration.version.clone(),
                        migration.name.clone(),
                        state.to_owned(),
                    ]
                });
                table(&["version", "name", "state"], rows)
            });
            return Ok(());
        }
        let applied = migrate::migrate_with(&context.database, sets).await?;
        let names: Vec<String> = applied
            .iter()
            .map(|file| format!("{}_{}", file.version, file.name))
            .collect();
        output.success(&json!({ "applied": names }), |_| {
            if names.is_empty() {
                return "the schema is up to date".to_owned();
            }
            let list: String = names
                .iter()
                .map(|name| format!("applied {name}\n"))
                .collect();
            list + "the schema is up to date"
        });
        Ok(())
    }
}
