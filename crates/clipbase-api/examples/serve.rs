//! Serves the API on a private database and a folder of its own, to be tried by hand: `GET /docs` has the rest.
//!
//! ```text
//! cargo run -p clipbase-api --example serve -- 127.0.0.1:8080
//! ```
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "an example speaks to its reader and stops where it cannot go on"
)]

use std::sync::Arc;

use clipbase::storage::{LocalSigner, LocalStorage};
use clipbase::{Clipbase, Settings};
use clipbase_api::{Api, ApiOptions, MetricsText, YOUTUBE_HOSTS, serve};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() {
    let address = std::env::args().nth(1);
    let address = address.as_deref().unwrap_or("127.0.0.1:8080");
    clipbase_testkit::run(async |bench| {
        let folder = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind(address).await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let signer = LocalSigner::open(folder.path(), &base).await.unwrap();
        let storage = LocalStorage::open(folder.path(), signer).await.unwrap();
        let settings = Settings::default();
        let clipbase = Clipbase::new(&bench.config(), Arc::new(storage.clone()), settings).unwrap();
        clipbase.bootstrap().await.unwrap();
        let options = ApiOptions {
            local_storage: Some(storage),
            metrics: Some(MetricsText::new(String::new)),
            youtube_hosts: YOUTUBE_HOSTS.map(str::to_owned).to_vec(),
            ..ApiOptions::default()
        };
        let api = Api::new(clipbase, options).unwrap();
        println!("serving on {base}; read {base}/docs");
        serve(listener, api, async {
            tokio::signal::ctrl_c().await.ok();
        })
        .await
        .unwrap();
    })
    .await;
}
