//! Logs, spans and metrics: what they must have, and what they must not.

use std::io::Write;
use std::sync::{Arc, Mutex, Once};

use axum::Router;
use clipbase_testkit::run;
use metrics_util::debugging::DebuggingRecorder;
use serde_json::json;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::FmtSpan;

use crate::support::{get, local, post, request, send};

#[derive(Clone, Default)]
pub(crate) struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

/// A place that another test's thread comes by first would else be switched off for all threads, since nobody
/// listens there.
pub(crate) fn hear_all_threads() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        tracing::subscriber::set_global_default(tracing_subscriber::registry()).unwrap();
    });
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Sends whatever a client may send, with a secret in each place.
async fn send_secrets(web: &Router) {
    let data = post(web, "/v1/uploads", &json!({"extension": "mp4"}))
        .await
        .data(201);
    let link = data["url"].as_str().unwrap().to_owned();
    for link in [
        link.replace("/upload/sign/", "/sign/"),
        "/storage/v1/object/sign/planted/planted/planted?token=planted".to_owned(),
    ] {
        get(web, &link).await.refused("FORBIDDEN");
    }
    let mut secret = request("POST", "/v1/jobs/planted/retry?planted=planted");
    for name in [
        "authorization",
        "idempotency-key",
        "cookie",
        "user-agent",
        "x-request-id",
    ] {
        let value = "Bearer planted".parse().unwrap();
        secret.headers_mut().insert(name, value);
    }
    send(web, secret).await.names("id");
    get(web, "/planted?token=planted")
        .await
        .refused("NOT_FOUND");
    let body = json!({"source": "planted", "start": "planted"});
    post(web, "/v1/jobs", &body).await.names("source");
}

/// On a runtime of one thread, so that all tasks run where it listens.
#[tokio::test]
async fn nothing_secret_is_logged_or_counted() {
    hear_all_threads();
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_span_events(FmtSpan::CLOSE)
        .with_writer(lines.clone())
        .finish();
    let recorder: &'static DebuggingRecorder = Box::leak(Box::new(DebuggingRecorder::new()));
    let _subscriber = tracing::subscriber::set_default(subscriber);
    let _recorder = metrics::set_default_local_recorder(recorder);
    run(async |bench| send_secrets(&local(bench, |_| ()).await.router).await).await;
    let mut text = lines.text();
    assert!(
        text.contains("/v1/jobs/{id}/retry") && text.contains("status=422"),
        "{text}"
    );
    assert!(
        text.contains("unmatched") && text.contains("link altered"),
        "{text}"
    );
    let metrics = recorder.snapshotter().snapshot().into_vec();
    let counted: Vec<String> = metrics
        .iter()
        .map(|(key, ..)| key.key().to_string())
        .collect();
    let has = |words: &[&str]| {
        let all = |key: &String| words.iter().all(|word| key.contains(word));
        counted.iter().any(all)
    };
    assert!(
        has(&["clipbase_http_requests_total", "{id}/retry", "POST", "422"]),
        "{counted:?}"
    );
    assert!(has(&["clipbase_http_request_seconds"]), "{counted:?}");
    text.push_str(&counted.join("\n"));
    for canary in ["planted", "token=", "sources/", "results/"] {
        let line = text.lines().find(|line| line.contains(canary));
        assert_eq!(line, None, "{canary} is shown");
    }
}
