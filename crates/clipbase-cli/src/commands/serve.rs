//! `clipbase serve`: the HTTP API and the dashboard; with `--dev`, a worker beside them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use clipbase::migrate::{self, Sets};
use clipbase_api::{Api, ApiOptions, Authenticator, KeyAuthenticator, MetricsText, YOUTUBE_HOSTS};
use clipbase_worker::Worker;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::context::{Context, Global, shutdown_token};
use crate::environment::Environment;
use crate::failure::Failure;
use crate::output::Output;
use crate::tools::find_ffmpeg;

/// How often the gauges are read anew, and old histogram samples let go.
const SAMPLE_PERIOD: Duration = Duration::from_secs(15);

/// Upper bounds of the latency histograms, in seconds.
const SECONDS: [f64; 12] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0,
];

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

    /// How the outside reaches this server, for links to local files [default: from --listen]
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
        // Before the database, so that a port that is taken is told at once.
        let listener = bind(self.listen).await?;
        let address = listener.local_addr().unwrap_or(self.listen);
        let url = self
            .public_url
            .clone()
            .unwrap_or(format!("http://{address}"));
        let context = Context::connect_with(global, environment, &url).await?;
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
        let metrics = install_metrics()?;
        let api = Api::new(
            context.clipbase.clone(),
            ApiOptions {
                manage_keys: authenticator.is_some(),
                authenticator,
                ..self.options(&context, metrics)
            },
        )?;
        let shutdown = shutdown_token();
        let worker = if self.dev {
            Some(start_worker(&context, environment, &shutdown)?)
        } else {
            None
        };
        tokio::spawn(sample(context.clipbase.clone(), shutdown.clone()));
        if output.is_json() {
            output.success(&json!({ "url": url }), |_| String::new());
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

    fn options(&self, context: &Context, metrics: MetricsText) -> ApiOptions {
        let youtube = if self.youtube {
            &YOUTUBE_HOSTS[..]
        } else {
            &[]
        };
        ApiOptions {
            allow_anonymous: self.allow_anonymous,
            local_storage: context.local.clone(),
            youtube_hosts: youtube.iter().map(|host| (*host).to_owned()).collect(),
            cors_origins: self.cors.clone(),
            storage_origins: context.link_origins.clone(),
            metrics: Some(metrics),
            ..ApiOptions::default()
        }
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

async fn bind(address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| {
        let what = format!("cannot listen on {address}: {error}; choose another with --listen");
        Failure::new("CONFIG_INVALID", what)
    })
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

/// Collects this process's metrics; `/metrics` shows them.
fn install_metrics() -> Result<MetricsText, Failure> {
    let failed = |_| Failure::new("CONFIG_INVALID", "the metrics cannot be collected");
    let builder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)
        .map_err(failed)?;
    let handle = builder.install_recorder().map_err(failed)?;
    Ok(MetricsText::new(move || {
        handle.run_upkeep();
        handle.render()
    }))
}

/// Keeps the gauges of the queue and the outbox fresh.
async fn sample(clipbase: clipbase::Clipbase, shutdown: CancellationToken) {
    while !shutdown.is_cancelled() {
        if let Err(error) = clipbase.sample_gauges().await {
            tracing::warn!(
                code = error.code().as_str(),
                "the gauges cannot be read yet"
            );
        }
        tokio::select! {
            () = tokio::time::sleep(SAMPLE_PERIOD) => {}
            () = shutdown.cancelled() => {}
        }
    }
}
