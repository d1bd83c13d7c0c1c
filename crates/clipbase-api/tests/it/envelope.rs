//! Whatever goes wrong, the answer is the same envelope. (That of each refusal is checked in `support::check`.)

use std::time::Duration;

use axum::body::Body;
use clipbase_api::MetricsText;
use clipbase_testkit::run;
use http::Request;
use serde_json::{Value, json};

use crate::support::{get, json_request, queued, request, send, web, web_with};

#[tokio::test]
async fn an_unknown_route_and_method_are_refused() {
    run(async |bench| {
        let web = web(bench);
        for path in [
            "/v1",
            "/v2/jobs",
            "/v1/jobs/",
            "/v1/jobs/x/y/z",
            "/storage/v1/object/sign/a/b/c",
            "/%2e%2e/etc/passwd",
        ] {
            get(&web, path).await.refused("NOT_FOUND");
        }
        for (method, path, allowed) in [
            ("PUT", "/v1/jobs", "GET,HEAD,POST"),
            ("GET", "/v1/uploads", "POST"),
            ("PATCH", "/v1/jobs/x", "GET,HEAD,DELETE"),
            ("BREW", "/healthz", "GET,HEAD"),
            ("OPTIONS", "/v1/stats", "GET,HEAD"),
        ] {
            let reply = send(&web, request(method, path)).await;
            reply.refused("METHOD_NOT_ALLOWED");
            let mut known: Vec<&str> = reply.header("allow").unwrap().split(',').collect();
            let mut allowed: Vec<&str> = allowed.split(',').collect();
            known.sort_unstable();
            allowed.sort_unstable();
            assert_eq!(known, allowed, "{method} {path}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_body_has_to_be_json_of_a_bounded_size() {
    run(async |bench| {
        let web = web_with(bench, |options| options.json_bytes_max = 1_024);
        let raw = |kind: Option<&str>, body: Body| {
            let mut request = Request::post("/v1/uploads");
            if let Some(kind) = kind {
                request = request.header("content-type", kind);
            }
            request.body(body).unwrap()
        };
        let fine = json!({"extension": "mp4"}).to_string();
        for kind in [
            None,
            Some("text/plain"),
            Some("application/jsonp"),
            Some("application/x-www-form-urlencoded"),
        ] {
            send(&web, raw(kind, fine.clone().into()))
                .await
                .refused("UNSUPPORTED_MEDIA_TYPE");
        }
        for kind in ["application/json", "Application/JSON; charset=utf-8"] {
            assert_eq!(
                send(&web, raw(Some(kind), fine.clone().into()))
                    .await
                    .status,
                201
            );
        }
        let kind = Some("application/json");
        for body in ["", "{", "nonsense", "{\"extension\":\"mp4\"}{}", "\u{1}"] {
            send(&web, raw(kind, body.into()))
                .await
                .refused("BAD_REQUEST");
        }
        let long = json!({"extension": "m".repeat(1_024)}).to_string();
        let message = send(&web, raw(kind, long.clone().into()))
            .await
            .refused("PAYLOAD_TOO_LARGE");
        assert!(message.contains("1024"), "{message}");
        // Also when its length was not announced.
        let pieces = futures_util::stream::iter([Ok::<_, std::io::Error>(long)]);
        send(&web, raw(kind, Body::from_stream(pieces)))
            .await
            .refused("PAYLOAD_TOO_LARGE");
        let broken =
            futures_util::stream::iter([Ok(fine.clone()), Err(std::io::Error::other("planted"))]);
        send(&web, raw(kind, Body::from_stream(broken)))
            .await
            .refused("BAD_REQUEST");
    })
    .await;
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for() {
    run(async |bench| {
        let web = web_with(bench, |options| {
            options.idle_timeout = Duration::from_millis(100);
        });
        let never = futures_util::stream::pending::<Result<String, std::io::Error>>();
        let request = Request::post("/v1/uploads")
            .header("content-type", "application/json")
            .body(Body::from_stream(never))
            .unwrap();
        send(&web, request).await.refused("REQUEST_TIMEOUT");
    })
    .await;
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_answered() {
    run(async |bench| {
        let id = queued(&bench.clipbase).await;
        let web = web_with(bench, |options| {
            options.request_timeout = Duration::from_millis(100);
        });
        let mut raw = bench.database.raw().await;
        let lock = raw.transaction().await.unwrap();
        lock.batch_execute("LOCK TABLE jobs IN ACCESS EXCLUSIVE MODE")
            .await
            .unwrap();
        get(&web, &format!("/v1/jobs/{id}"))
            .await
            .refused("RESPONSE_TIMEOUT");
        lock.rollback().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_panic_is_an_answer_like_any_other() {
    run(async |bench| {
        let web = web_with(bench, |options| {
            options.metrics = Some(MetricsText::new(|| panic!("planted, by the test")));
        });
        for _ in 0..2 {
            get(&web, "/metrics").await.refused("INTERNAL");
        }
        get(&web, "/healthz").await.data(200);
    })
    .await;
}

#[tokio::test]
async fn a_request_keeps_the_name_that_it_came_with() {
    run(async |bench| {
        let web = web(bench);
        let named = |name: &str| {
            let mut request = request("GET", "/v1/jobs/x");
            request
                .headers_mut()
                .insert("x-request-id", name.parse().unwrap());
            request
        };
        let reply = send(&web, named("order-4711.b_c")).await;
        assert_eq!(reply.header("x-request-id"), Some("order-4711.b_c"));
        assert_eq!(reply.json()["request_id"], "order-4711.b_c");
        for odd in ["", "a b", "<script>", &"x".repeat(65)] {
            let reply = send(&web, named(odd)).await;
            assert_ne!(reply.header("x-request-id"), Some(odd));
        }
        let ids = [get(&web, "/healthz").await, get(&web, "/healthz").await];
        assert_ne!(ids[0].header("x-request-id"), ids[1].header("x-request-id"));
    })
    .await;
}

#[tokio::test]
async fn an_unknown_field_or_parameter_is_refused_by_name_everywhere() {
    run(async |bench| {
        let web = web(bench);
        let id = queued(&bench.clipbase).await;
        for path in [
            "/v1/jobs?status=queued",
            "/v1/jobs/ID/events?",
            "/v1/jobs/ID/result?",
        ] {
            let path = format!("{}&odd=1", path.replace("ID", &id.to_string()));
            get(&web, &path).await.names("odd");
        }
        for path in [
            "/v1/uploads",
            "/v1/jobs",
            "/v1/jobs/cancel",
            "/v1/jobs/retry",
        ] {
            let body: Value = json!({"odd": 1});
            send(&web, json_request("POST", path, &body))
                .await
                .names("odd");
        }
    })
    .await;
}
