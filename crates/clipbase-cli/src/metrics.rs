//! What this process measures, and where it can be read: `/metrics` of `serve`, and the port of `--metrics`.

use std::net::SocketAddr;
use std::time::Duration;

use clipbase::Clipbase;
use clipbase_api::{Api, MetricsText};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::failure::Failure;
use crate::output::Output;

/// How often the gauges are read anew, and old histogram samples let go.
const SAMPLE_PERIOD: Duration = Duration::from_secs(15);

/// Upper bounds of the latency histograms, in seconds.
const SECONDS: [f64; 12] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0,
];

/// Upper bounds of what lasts as long as people wait, in seconds: up to half a day.
const LONG_SECONDS: [f64; 14] = [
    0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 43200.0,
];

/// The histograms that [`LONG_SECONDS`] are for.
const LONG: [&str; 2] = ["clipbase_job_wait_seconds", "clipbase_worker_job_seconds"];

/// The recorder of this process.
#[derive(Clone)]
pub(crate) struct Metrics(PrometheusHandle);

impl Metrics {
    /// Collects from here on whatever this process measures. Once a process.
    pub(crate) fn install() -> Result<Self, Failure> {
        let failed = |_| Failure::new("CONFIG_INVALID", "the metrics cannot be collected");
        let mut builder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)
            .map_err(failed)?;
        for name in LONG {
            builder = builder
                .set_buckets_for_metric(Matcher::Full(name.to_owned()), &LONG_SECONDS)
                .map_err(failed)?;
        }
        let handle = builder.install_recorder().map_err(failed)?;
        for table in [
            clipbase::metrics::METRICS,
            clipbase_api::METRICS,
            clipbase_worker::runtime::METRICS,
        ] {
            clipbase::metrics::describe(table);
        }
        Ok(Self(handle))
    }

    /// What `/metrics` answers.
    pub(crate) fn text(&self) -> MetricsText {
        let handle = self.0.clone();
        MetricsText::new(move || {
            handle.run_upkeep();
            handle.render()
        })
    }

    /// Keeps the gauges of the queue and the outbox fresh, and the memory bounded where nobody asks.
    pub(crate) async fn sample(self, clipbase: Clipbase, shutdown: CancellationToken) {
        while !shutdown.is_cancelled() {
            if let Err(error) = clipbase.sample_gauges().await {
                tracing::warn!(
                    code = error.code().as_str(),
                    "the gauges cannot be read yet"
                );
            }
            self.0.run_upkeep();
            tokio::select! {
                () = tokio::time::sleep(SAMPLE_PERIOD) => {}
                () = shutdown.cancelled() => {}
            }
        }
    }
}

/// The port of `--metrics`, taken and not served yet.
pub(crate) struct Port {
    listener: TcpListener,
    metrics: Metrics,
}

impl Port {
    /// Takes the port, where one is asked for, and begins to measure.
    pub(crate) async fn take(address: Option<SocketAddr>) -> Result<Option<Self>, Failure> {
        let Some(address) = address else {
            return Ok(None);
        };
        let listener = TcpListener::bind(address).await.map_err(|error| {
            let what =
                format!("cannot listen on {address}: {error}; choose another with --metrics");
            Failure::new("CONFIG_INVALID", what)
        })?;
        let metrics = Metrics::install()?;
        Ok(Some(Self { listener, metrics }))
    }

    /// Serves `/metrics`, `/healthz` and `/readyz` from now on.
    pub(crate) fn serve(self, clipbase: &Clipbase, output: Output) -> Result<Probes, Failure> {
        let api = Api::probes(clipbase.clone(), self.metrics.text())?;
        if let (false, Ok(address)) = (output.is_json(), self.listener.local_addr()) {
            eprintln!("http://{address}/metrics shows what is measured");
        }
        let stop = CancellationToken::new();
        let ended = stop.clone().cancelled_owned();
        tokio::spawn(self.metrics.sample(clipbase.clone(), stop.clone()));
        let server = tokio::spawn(clipbase_api::serve(self.listener, api, ended));
        Ok(Probes { stop, server })
    }
}

/// The port of `--metrics`, being served.
pub(crate) struct Probes {
    stop: CancellationToken,
    server: JoinHandle<clipbase::Result<()>>,
}

impl Probes {
    /// Ends it, once the process has nothing more to show.
    pub(crate) async fn end(self) -> Result<(), Failure> {
        self.stop.cancel();
        match self.server.await {
            Ok(outcome) => Ok(outcome?),
            Err(_) => Err(Failure::new(
                "METRICS_FAILED",
                "the port of --metrics ended early",
            )),
        }
    }
}
