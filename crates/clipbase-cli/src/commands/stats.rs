//! `clipbase stats`: how many jobs there are in each state.

use clipbase::jobs::Stats;
use serde::Serialize;

use crate::context::{Context, Global};
use crate::environment::Environment;
use crate::failure::Failure;
use crate::output::{Output, table};

#[derive(Serialize)]
struct Picture {
    #[serde(flatten)]
    stats: Stats,
    outbox: clipbase::cleanup::Backlog,
}

pub(crate) async fn run(
    global: &Global,
    environment: &Environment,
    output: Output,
) -> Result<(), Failure> {
    let context = Context::open(global, environment).await?;
    let picture = Picture {
        stats: context.clipbase.jobs().stats().await?,
        outbox: context.clipbase.cleanup().backlog().await?,
    };
    output.success(&picture, show);
    Ok(())
}

fn show(picture: &Picture) -> String {
    let rows = picture.stats.statuses.iter().map(|state| {
        let count = if state.is_at_least {
            format!("more than {}", state.count)
        } else {
            state.count.to_string()
        };
        let oldest = state
            .oldest_created_at
            .map_or_else(String::new, |time| format!("{time:.0}"));
        vec![state.status.to_string(), count, oldest]
    });
    let backlog = match picture.outbox.due {
        0 => "no objects wait for removal".to_owned(),
        due => format!("{due} objects wait for removal; `clipbase cleanup` removes them"),
    };
    table(&["status", "jobs", "oldest"], rows) + &backlog
}
