//! A server in a process of its own, so that its CPU is told apart from that of the load.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;
use clipbase::storage::{LocalSigner, LocalStorage};
use clipbase::{Clipbase, DatabaseConfig, Settings};
use clipbase_api::{
    Api, ApiOptions, Authenticator, KeyAuthenticator, MetricsText, YOUTUBE_HOSTS, serve,
};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

use crate::bare;

/// How often histogram samples are folded into their buckets.
const UPKEEP_PERIOD: Duration = Duration::from_secs(5);
/// Upper bounds of the latency histograms, as `clipbase serve` has them.
const SECONDS: [f64; 12] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0,
];
/// The kernel's clock ticks in a second, on every platform that has a `/proc`.
const TICK: Duration = Duration::from_millis(10);

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// The bare handler.
    Bare,
    /// The API without keys.
    Open,
    /// The API with keys.
    Keys,
}

/// What a server is told.
#[derive(Serialize, Deserialize)]
struct Orders {
    database: String,
    storage: PathBuf,
}

/// A server that runs.
pub(crate) struct ServerProcess {
    pub(crate) kind: Kind,
    pub(crate) address: SocketAddr,
    child: Child,
}

impl ServerProcess {
    pub(crate) fn start(kind: Kind, database: &str, storage: &Path) -> Self {
        let name = kind.to_possible_value().unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--serve", name.get_name()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let orders = Orders {
            database: database.to_owned(),
            storage: storage.to_owned(),
        };
        let orders = serde_json::to_string(&orders).unwrap();
        writeln!(child.stdin.as_mut().unwrap(), "{orders}").unwrap();
        let mut line = String::new();
        let mut answers = BufReader::new(child.stdout.as_mut().unwrap());
        answers.read_line(&mut line).unwrap();
        let address = line.trim().parse().unwrap();
        eprintln!(
            "{} listens on {address}, process {}",
            name.get_name(),
            child.id()
        );
        Self {
            kind,
            address,
            child,
        }
    }

    /// What its process has spent so far, by the kernel's ticks of 10 ms; zero where there is no `/proc`.
    pub(crate) fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()));
        let Ok(stat) = stat else {
            return Duration::ZERO;
        };
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        let times = fields.split_whitespace().skip(11).take(2);
        TICK * times.map(|ticks| ticks.parse::<u32>().unwrap()).sum()
    }

    /// Ends it: its standard input is what keeps it alive.
    pub(crate) fn stop(mut self) {
        drop(self.child.stdin.take());
        assert!(self.child.wait().unwrap().success(), "a server failed");
    }
}

/// Is a server until standard input ends.
pub(crate) async fn run(kind: Kind) {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    let orders: Orders = serde_json::from_str(&line).unwrap();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let end = async {
        let rest = || std::io::stdin().read_to_string(&mut String::new());
        tokio::task::spawn_blocking(rest).await.unwrap().unwrap();
    };
    if kind == Kind::Bare {
        let router = bare::router(&orders.database);
        println!("{address}");
        return bare::serve(listener, router, end).await;
    }
    // As the command logs: warnings.
    let log = tracing_subscriber::fmt().with_env_filter("warn");
    log.with_writer(std::io::stderr).init();
    let base = format!("http://{address}");
    let api = api(kind, &orders, &base).await;
    println!("{address}");
    serve(listener, api, end).await.unwrap();
}

async fn api(kind: Kind, orders: &Orders, base: &str) -> Api {
    let signer = LocalSigner::open(&orders.storage, base).await.unwrap();
    let storage = LocalStorage::open(&orders.storage, signer).await.unwrap();
    let config = DatabaseConfig::from_url(&orders.database).unwrap();
    let clipbase = Clipbase::new(&config, Arc::new(storage.clone()), Settings::default()).unwrap();
    let authenticator = (kind == Kind::Keys)
        .then(|| Arc::new(KeyAuthenticator::new(&clipbase)) as Arc<dyn Authenticator>);
    let options = ApiOptions {
        manage_keys: authenticator.is_some(),
        authenticator,
        local_storage: Some(storage),
        youtube_hosts: YOUTUBE_HOSTS.map(str::to_owned).to_vec(),
        metrics: Some(install_metrics()),
        ..ApiOptions::default()
    };
    Api::new(clipbase, options).unwrap()
}

/// The recorder of the command, with the same buckets.
fn install_metrics() -> MetricsText {
    let builder = PrometheusBuilder::new();
    let buckets = Matcher::Suffix("_seconds".to_owned());
    let builder = builder.set_buckets_for_metric(buckets, &SECONDS).unwrap();
    let handle = builder.install_recorder().unwrap();
    let upkeep = handle.clone();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(UPKEEP_PERIOD).await;
            upkeep.run_upkeep();
        }
    });
    MetricsText::new(move || handle.render())
}
