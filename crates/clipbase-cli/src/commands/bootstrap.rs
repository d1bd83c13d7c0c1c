//! `clipbase bootstrap`: makes the buckets and ties them to the database.

use clap::Args;
use clipbase::migrate;
use serde_json::json;

use crate::context::{Context, Global};
use crate::environment::Environment;
use crate::failure::Failure;
use crate::output::Output;

/// Make the buckets and tie them to the database.
///
/// The tie keeps a restored copy of a database from deleting the original's files: claims and deletions refuse
/// where database and buckets do not belong together.
#[derive(Args)]
pub(crate) struct Bootstrap {
    /// Tie the buckets to this database although they belong to another one, which must be gone
    #[arg(long)]
    adopt: bool,
}

impl Bootstrap {
    pub(crate) async fn run(
        self,
        global: &Global,
        environment: &Environment,
        output: Output,
    ) -> Result<(), Failure> {
        let context = Context::connect(global, environment).await?;
        if context.server.is_some() {
            migrate::migrate(&context.database).await?;
        } else {
            migrate::check(&context.database).await?;
        }
        if self.adopt {
            context.clipbase.adopt_installation().await?;
        } else {
            context.clipbase.bootstrap().await?;
        }
        let what = if self.adopt {
            "the buckets belong to this database now"
        } else {
            "ready"
        };
        output.success(&json!({ "adopted": self.adopt }), |_| what.to_owned());
        Ok(())
    }
}
