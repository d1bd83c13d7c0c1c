//! `clipbase serve`: the HTTP API and the dashboard; with `--dev`, a worker beside them.

mod address;
mod limits;

use std::net::SocketAddr;
use std::sync::Arc;

use clap::Args;
use clipbase::migrate::{self, Sets};
use clipbase_api::{Api, ApiOptions, Authenticator, KeyAuthenticator};
use clipbase_worker::Worker;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use self::address::{bind, check_links, check_public_url};
use self::limits::{Limits, by_flag};
use crate::context::{Context, Global, shutdown_token, unless_stopped};
use crate::environment::Environment;
use crate::failure::Failure;
use crate::metrics::Metrics;
use crate::output::Output;
use crate::tools::find_ffmpeg;

/// Serve the HTTP API and the dashboard.
///
/// The page is at /, the API's description at /docs. Without keys it listens on this machine alone. With --dev a
/// worker runs in the same process, and nothing else is needed. ADMIN_ENABLED=true and API_KEY_AUTH=true turn keys on:
/// `clipbase keys` makes them.
#[derive(Args)]
pub(crate) struct Serve {
    /// Where to listen
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,

    /// Everything in one: migrate the database, and run a worker beside the API
    #[arg(long)]
    dev: bool,

    /// How the outside reaches this server, for links to local files [default: from
    /// --listen, where that is an address of one machine]
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,

    /// Listen beyond this machine without keys: whoever reaches the port may do anything
    #[arg(long)]
    allow_anonymous: bool,

    /// Let web pages of these origins use the API
    #[arg(long, value_name = "ORIGIN", value_delimiter = ',')]
    cors: Vec<String>,

    /// Take YouTube addresses as sources; workers need --youtube too
    #[arg(long)]
    youtube: bool,

    #[command(flatten)]
    limits: Limits,
}

impl Serve {
    pub(crate) async fn run(
        self,
        global: &Global,
        environment: &Environment,
        output: Output,
    ) -> Result<(), Failure> {
        let wants_keys = environment.wants_keys()?;
        self.check_exposure(wants_keys)?;
        self.check_settings(environment)?;
        // Before the database, so that a port that is taken is told at once.
        let listener = bind(self.listen).await?;
        let address = listener.local_addr().unwrap_or(self.listen);
        let url = match &self.public_url {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => format!("http://{address}"),
        };
        let shutdown = shutdown_token();
        let opened = self.open(global, environment, &url, wants_keys);
        let (context, authenticator) = unless_stopped(&shutdown, opened).await?;
        let metrics = Metrics::install()?;
        let api = Api::new(
            context.clipbase.clone(),
            ApiOptions {
                manage_keys: authenticator.is_some(),
                authenticator,
                allow_anonymous: self.allow_anonymous,
                local_storage: context.local.clone(),
                storage_origins: context.link_origins.clone(),
                metrics: Some(metrics.text()),
                ..self.options()?
            },
        )
        .map_err(by_flag)?;
        let worker = if self.dev {
            Some(start_worker(&context, environment, &shutdown)?)
        } else {
            None
        };
        tokio::spawn(metrics.sample(context.clipbase.clone(), shutdown.clone()));
        if output.is_json() {
            output.success(&json!({ "url": url, "address": address }), |_| {
                String::new()
            });
        } else {
            eprintln!("{url}/ shows the jobs, {url}/docs the API; stop with Ctrl-C");
        }
        let ended = clipbase_api::serve(listener, api, shutdown.clone().cancelled_owned()).await;
        shutdown.cancel();
        if let Some(worker) = worker {
            match worker.await {
                Ok(outcome) => outcome?,
                Err(_) => return Err(Failure::new("WORKER_FAILED", "the worker ended early")),
            }
        }
        Ok(ended?)
    }

    /// Opens the database and the storage, and makes sure that both are ready.
    async fn open(
        &self,
        global: &Global,
        environment: &Environment,
        url: &str,
        wants_keys: bool,
    ) -> Result<(Context, Option<Arc<dyn Authenticator>>), Failure> {
        let context = Context::connect_with(global, environment, url).await?;
        if self.dev {
            context.prepare().await?;
        } else {
            context.check().await?;
        }
        let authenticator = if wants_keys {
            Some(open_keys(&context, self.dev).await?)
        } else {
            None
        };
        Ok((context, authenticator))
    }

    /// Refuses before anything is opened what the API would refuse to serve.
    fn check_exposure(&self, wants_keys: bool) -> Result<(), Failure> {
        if wants_keys || self.allow_anonymous || self.listen.ip().is_loopback() {
            return Ok(());
        }
        let what = format!(
            "--listen {}: without keys whoever reaches this port may do anything; listen on 127.0.0.1, or allow it \
             with --allow-anonymous, or turn keys on (docs/API_KEYS.md)",
            self.listen
        );
        Err(Failure::new("CONFIG_INVALID", what))
    }

    /// The same for the other settings.
    fn check_settings(&self, environment: &Environment) -> Result<(), Failure> {
        if let Some(url) = &self.public_url {
            check_public_url(url)?;
        }
        if environment.storage.is_supabase() {
            if self.limits.bounds_uploads() {
                let what = "--max-upload is for local files: uploads go straight to Supabase, whose buckets have \
                            CLIPBASE_BUCKET_MAX_BYTES";
                return Err(Failure::new("CONFIG_INVALID", what));
            }
        } else {
            check_links(self.listen, self.public_url.as_deref())?;
        }
        self.options()?.check().map_err(by_flag)
    }

    /// What the API is told by flags alone.
    fn options(&self) -> Result<ApiOptions, Failure> {
        let mut options = ApiOptions {
            cors_origins: self.cors.clone(),
            ..ApiOptions::default()
        };
        self.limits.apply(self.youtube, &mut options)?;
        Ok(options)
    }
}

/// Makes sure of the table of API keys, and knows them from here on. Only `--dev` migrates.
async fn open_keys(context: &Context, dev: bool) -> Result<Arc<dyn Authenticator>, Failure> {
    let sets = Sets::API_KEYS;
    if dev {
        migrate::migrate_with(&context.database, sets).await?;
    }
    migrate::check_with(&context.database, sets).await?;
    Ok(Arc::new(KeyAuthenticator::new(&context.clipbase)))
}

fn start_worker(
    context: &Context,
    environment: &Environment,
    shutdown: &CancellationToken,
) -> Result<tokio::task::JoinHandle<clipbase::Result<()>>, Failure> {
    let ffmpeg = find_ffmpeg(environment)?;
    let worker = Worker::start(
        context.clipbase.clone(),
        Arc::new(ffmpeg),
        context.worker_options(),
    )?;
    let shutdown = shutdown.clone();
    Ok(tokio::spawn(async move {
        worker.run(&shutdown).await.map(drop)
    }))
}
