//! `clipbase keys …`: who may call the API.

use std::time::Duration;

use clap::{Args, Subcommand};
use clipbase::ApiKeyId;
use clipbase::api_keys::{ApiKey, NewApiKey, PlainKey, Scope, Scopes};
use clipbase::migrate::{self, Sets};
use serde::Serialize;

use crate::context::{Context, Global};
use crate::environment::Environment;
use crate::failure::Failure;
use crate::output::{Output, table};
use crate::time::parse_duration;

/// Make, list, revoke and rotate API keys; `clipbase migrate --api-keys` comes first
#[derive(Subcommand)]
pub(crate) enum Keys {
    /// Make a key and print it, this once
    Create(Create),
    /// List keys, revoked ones too, newest first
    List(List),
    /// Refuse a key from the next request on, in every process
    Revoke {
        /// The key's id
        id: ApiKeyId,
    },
    /// Make a new key in place of an active one, and print it, this once
    Rotate(Rotate),
}

#[derive(Args)]
pub(crate) struct Create {
    /// What it is for
    #[arg(long)]
    name: String,
    /// What it may do: jobs:read, jobs:write or admin; again for more
    #[arg(long = "scope", value_name = "SCOPE", required = true)]
    scopes: Vec<Scope>,
    /// Requests a minute, 1 to 60000 [default: 60]
    #[arg(long, value_name = "N")]
    rate: Option<u32>,
}

#[derive(Args)]
pub(crate) struct List {
    /// How many, 1 to 1000
    #[arg(long, default_value_t = 20)]
    limit: u32,
    /// Read on where a list ended: the id that it named
    #[arg(long, value_name = "ID")]
    after: Option<ApiKeyId>,
}

#[derive(Args)]
pub(crate) struct Rotate {
    /// The old key's id
    id: ApiKeyId,
    /// How long the old key goes on working, up to 30d; it ends at once unless given
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    grace: Option<Duration>,
}

#[derive(Serialize)]
struct Listed {
    keys: Vec<ApiKey>,
    next: Option<ApiKeyId>,
}

#[derive(Serialize)]
struct Issued<'a> {
    api_key: &'a ApiKey,
    plain_key: &'a str,
}

impl Keys {
    pub(crate) async fn run(
        self,
        global: &Global,
        environment: &Environment,
        output: Output,
    ) -> Result<(), Failure> {
        let context = Context::open(global, environment).await?;
        migrate::check_with(&context.database, Sets::API_KEYS).await?;
        let keys = context.clipbase.api_keys();
        match self {
            Self::Create(create) => {
                let scopes: Scopes = create.scopes.into_iter().collect();
                let mut new = NewApiKey::new(create.name, scopes);
                new.rate_limit_per_min = create.rate;
                let (key, plain) = keys.create(&new).await?;
                show_issued(output, &key, &plain);
            }
            Self::List(list) => list.run(&context, output).await?,
            Self::Revoke { id } => {
                let key = keys.revoke(id).await?;
                output.success(&key, |key| format!("{}  revoked", key.id));
            }
            Self::Rotate(rotate) => {
                let grace = rotate.grace.unwrap_or_default();
                let (key, plain) = keys.rotate(rotate.id, grace).await?;
                show_issued(output, &key, &plain);
            }
        }
        Ok(())
    }
}

impl List {
    async fn run(self, context: &Context, output: Output) -> Result<(), Failure> {
        let keys = context.clipbase.api_keys();
        let page = keys.list(self.limit, self.after).await?;
        let listed = Listed {
            keys: page.keys,
            next: page.next,
        };
        output.success(&listed, |listed| {
            let header = [
                "key", "name", "scopes", "a minute", "created", "used", "state",
            ];
            let more = listed.next.map(|next| format!("more with --after {next}"));
            table(&header, listed.keys.iter().map(row)) + &more.unwrap_or_default()
        });
        Ok(())
    }
}

fn row(key: &ApiKey) -> Vec<String> {
    let state = match (key.revoked_at, key.is_active) {
        (None, _) => "active".to_owned(),
        (Some(end), true) => format!("active until {end:.0}"),
        (Some(end), false) => format!("revoked {end:.0}"),
    };
    let used = key.last_used_at.map(|time| format!("{time:.0}"));
    vec![
        key.id.to_string(),
        printable(&key.name),
        key.scopes.to_string(),
        key.rate_limit_per_min.to_string(),
        format!("{:.0}", key.created_at),
        used.unwrap_or_else(|| "never".to_owned()),
        state,
    ]
}

/// A name that somebody else may have written, without what would move the cursor.
fn printable(name: &str) -> String {
    name.replace(char::is_control, "\u{fffd}")
}

/// Prints a new key: alone on standard output, so that it can be piped to where it is kept, and what it is beside
/// it on standard error.
fn show_issued(output: Output, key: &ApiKey, plain: &PlainKey) {
    let issued = Issued {
        api_key: key,
        plain_key: plain.expose(),
    };
    output.success(&issued, |issued| issued.plain_key.to_owned());
    if !output.is_json() {
        eprintln!(
            "{}  {} ({}, {} requests a minute)\nKeep the key now: it will not be shown again.",
            key.id,
            printable(&key.name),
            key.scopes,
            key.rate_limit_per_min
        );
    }
}
