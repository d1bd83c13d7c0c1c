//! The port of a process that serves no API: its health and its numbers, and nothing else.

use clipbase::Code;
use clipbase::storage::Operation;
use clipbase_api::{Api, MetricsText};
use clipbase_testkit::run;

use crate::support::{get, post, queued};

fn probes(bench: &clipbase_testkit::Bench) -> axum::Router {
    let metrics = MetricsText::new(|| "jobs 1\n".to_owned());
    let api = Api::probes(bench.clipbase.clone(), metrics).unwrap();
    api.router()
}

#[tokio::test]
async fn health_readiness_and_metrics_are_served() {
    run(async |bench| {
        let port = probes(bench);
        get(&port, "/healthz").await.data(200);
        get(&port, "/readyz").await.data(200);
        let numbers = get(&port, "/metrics").await;
        assert_eq!(
            (numbers.status.as_u16(), &numbers.body[..]),
            (200, b"jobs 1\n".as_slice())
        );
    })
    .await;
    run(async |bench| {
        let away = Code::StorageUnavailable;
        bench.storage.fail_next(Operation::Info, away);
        let reply = get(&probes(bench), "/readyz").await;
        assert_eq!(reply.status, 503);
        reply.refused("NOT_READY");
    })
    .await;
}

#[tokio::test]
async fn no_job_can_be_seen_or_changed() {
    run(async |bench| {
        let port = probes(bench);
        let job = queued(&bench.clipbase).await;
        for path in [
            "/".to_owned(),
            "/docs".to_owned(),
            "/openapi.json".to_owned(),
            "/v1/jobs".to_owned(),
            "/v1/stats".to_owned(),
            format!("/v1/jobs/{job}"),
        ] {
            get(&port, &path).await.refused("NOT_FOUND");
        }
        let cancel = format!("/v1/jobs/{job}/cancel");
        post(&port, &cancel, &serde_json::json!({}))
            .await
            .refused("NOT_FOUND");
        post(&port, "/metrics", &serde_json::json!({}))
            .await
            .refused("METHOD_NOT_ALLOWED");
    })
    .await;
}
