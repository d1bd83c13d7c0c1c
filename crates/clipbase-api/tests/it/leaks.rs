//! Logs, spans and metrics: what they must have, and what they must not.

use axum::Router;
use clipbase_testkit::run;
use serde_json::json;

use crate::capture::Capture;
use crate::support::{get, local, post, request, send};

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
    let capture = Capture::start();
    run(async |bench| send_secrets(&local(bench, |_| ()).await.router).await).await;
    let mut text = capture.log();
    assert!(
        text.contains("/v1/jobs/{id}/retry") && text.contains("status=422"),
        "{text}"
    );
    assert!(
        text.contains("unmatched") && text.contains("link altered"),
        "{text}"
    );
    let counted = capture.counted();
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
