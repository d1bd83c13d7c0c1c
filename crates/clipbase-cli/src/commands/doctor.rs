//! `clipbase doctor`: checks the set-up and the data, and says what to mend.

mod storage;

use clap::Args;
use clipbase::migrate;
use clipbase::{Code, DatabaseMode};
use serde::Serialize;

use crate::context::{Context, Global};
use crate::environment::Environment;
use crate::failure::{Failure, sentence};
use crate::output::{Output, table};
use crate::tools::find_ffmpeg;

/// A transaction that is open for longer keeps vacuum from its work.
const TRANSACTION_SECS_MAX: i64 = 300;

/// Check the set-up and the data, and say what to mend.
#[derive(Args)]
pub(crate) struct Doctor {
    /// Audit so many jobs: their logs must add up to their rows; 0 audits all
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    audit: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Good,
    Note,
    Bad,
}

#[derive(Serialize)]
struct Check {
    name: &'static str,
    state: State,
    finding: String,
}

struct Checks(Vec<Check>);

impl Checks {
    fn add(&mut self, name: &'static str, state: State, finding: impl Into<String>) {
        self.0.push(Check {
            name,
            state,
            finding: finding.into(),
        });
    }
}

impl Doctor {
    pub(crate) async fn run(
        self,
        global: &Global,
        environment: &Environment,
        output: Output,
    ) -> Result<(), Failure> {
        let mut checks = Checks(Vec::new());
        match find_ffmpeg(environment) {
            Ok(_) => checks.add("ffmpeg", State::Good, "found"),
            Err(failure) => checks.add("ffmpeg", State::Bad, failure.message()),
        }
        let context = Context::connect(global, environment).await?;
        check_server(&context, &mut checks).await?;
        storage::check(&context, &mut checks).await;
        match migrate::check(&context.database).await {
            Ok(()) => {
                checks.add("migrations", State::Good, "up to date");
                self.check_data(&context, &mut checks).await;
            }
            Err(error) => {
                checks.add("migrations", State::Bad, error.to_string());
                if error.code() == Code::DbFailed {
                    check_user(&context, &mut checks).await?;
                }
            }
        }
        let is_bad = checks.0.iter().any(|check| check.state == State::Bad);
        if is_bad {
            let failure = Failure::new("UNHEALTHY", "something needs mending: see BAD above");
            return Err(output.finding(&checks.0, failure, |checks| show(checks)));
        }
        output.success(&checks.0, |checks| show(checks));
        Ok(())
    }

    /// What one check cannot look at, for want of a privilege, keeps none of the others from looking.
    async fn check_data(&self, context: &Context, checks: &mut Checks) {
        match context.clipbase.check_installation().await {
            Ok(()) => checks.add(
                "installation",
                State::Good,
                "database and storage belong together",
            ),
            Err(error) => checks.add("installation", State::Bad, error.to_string()),
        }
        let inspect = context.clipbase.inspect();
        if context.clipbase.database().mode() == DatabaseMode::Transaction {
            checks.add(
                "drift",
                State::Note,
                "not checked: it needs a direct or session connection",
            );
        } else {
            match inspect.drift().await.as_deref() {
                Ok([]) => checks.add("drift", State::Good, "every statement fits the live schema"),
                Ok(some) => checks.add("drift", State::Bad, some.join("; ")),
                Err(error) => checks.add("drift", State::Bad, sentence(error)),
            }
        }
        if let Err(failure) = check_user(context, checks).await {
            checks.add("user", State::Bad, failure.message());
        }
        if let Err(failure) = check_queue(context, checks).await {
            checks.add("queue", State::Bad, failure.message());
        }
        if let Err(failure) = self.audit(context, checks).await {
            checks.add("audit", State::Bad, failure.message());
        }
    }

    async fn audit(&self, context: &Context, checks: &mut Checks) -> Result<(), Failure> {
        let limit = if self.audit == 0 {
            u64::MAX
        } else {
            self.audit
        };
        let (mut audited, mut problems, mut after) = (0, Vec::new(), None);
        while audited < limit {
            let page = context.clipbase.inspect().audit(after, 1_000).await?;
            audited += page.audited;
            problems.extend(page.problems);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        match problems.first() {
            None => {
                checks.add(
                    "audit",
                    State::Good,
                    format!("{audited} jobs: each log adds up to its row"),
                );
            }
            Some(first) => checks.add(
                "audit",
                State::Bad,
                format!(
                    "{} of {audited} jobs do not add up; job {} says {} and its log {}",
                    problems.len(),
                    first.job,
                    first.row,
                    first.log
                ),
            ),
        }
        Ok(())
    }
}

fn show(checks: &[Check]) -> String {
    let rows = checks.iter().map(|check| {
        let mark = match check.state {
            State::Good => "ok",
            State::Note => "note",
            State::Bad => "BAD",
        };
        vec![
            mark.to_owned(),
            check.name.to_owned(),
            check.finding.clone(),
        ]
    });
    table(&["", "check", "finding"], rows)
}

async fn check_server(context: &Context, checks: &mut Checks) -> Result<(), Failure> {
    let server = context.clipbase.inspect().server().await?;
    let whose = if context.server.is_some() {
        "private"
    } else {
        "DATABASE_URL"
    };
    let mode = context.clipbase.database().mode();
    let finding = format!(
        "PostgreSQL {} ({whose}), {mode} connections",
        server.version
    );
    checks.add("database", State::Good, finding);
    match server.oldest_transaction_secs {
        Some(age) if age > TRANSACTION_SECS_MAX => checks.add(
            "transactions",
            State::Bad,
            format!("one is open for {age} s: vacuum stands still and claims get slower; end it"),
        ),
        _ if context.clipbase.inspect().user().await?.sees_sessions => {
            checks.add("transactions", State::Good, "none is open for long");
        }
        _ => checks.add(
            "transactions",
            State::Note,
            "none of this user's own is open for long; those of others show only to members of pg_read_all_stats",
        ),
    }
    Ok(())
}

/// Whether the connected user can have what the commands need. A user with grants of somebody's own may be meant.
async fn check_user(context: &Context, checks: &mut Checks) -> Result<(), Failure> {
    let user = context.clipbase.inspect().user().await?;
    let name = user.name;
    if user.is_owner {
        checks.add("user", State::Good, format!("{name} owns the tables"));
    } else if user.roles.is_empty() {
        let finding = format!(
            "{name} owns no table and is a member of no role of clipbase: run `clipbase migrate --roles`, and make it \
             a member of clipbase_api or clipbase_worker"
        );
        checks.add("user", State::Note, finding);
    } else {
        let roles = user.roles.join(", ");
        checks.add(
            "user",
            State::Good,
            format!("{name} is a member of {roles}"),
        );
    }
    Ok(())
}

async fn check_queue(context: &Context, checks: &mut Checks) -> Result<(), Failure> {
    let inspect = context.clipbase.inspect();
    match inspect.lost_leases().await? {
        0 => checks.add("leases", State::Good, "none is lost"),
        lost => checks.add(
            "leases",
            State::Note,
            format!(
                "{lost} have run out and wait for somebody who reaps them: run `clipbase work` or `clipbase cleanup`"
            ),
        ),
    }
    let idle: Vec<String> = inspect
        .queues()
        .await?
        .into_iter()
        .filter(|queue| !queue.is_served && queue.oldest_due_at.is_some())
        .map(|queue| queue.shard.to_string())
        .collect();
    if idle.is_empty() {
        checks.add("shards", State::Good, "no queue is left alone");
    } else {
        let shards = idle.join(", ");
        checks.add(
            "shards",
            State::Note,
            format!("jobs are due and nobody works on shard {shards}"),
        );
    }
    let backlog = context.clipbase.cleanup().backlog().await?;
    match backlog.due {
        0 => checks.add("outbox", State::Good, "empty"),
        due => checks.add(
            "outbox",
            State::Note,
            format!("{due} objects are due: run `clipbase cleanup`"),
        ),
    }
    Ok(())
}
