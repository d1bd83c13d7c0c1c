//! Who may what: keys, scopes, and no keys at all.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::body::Body;
use clipbase::{Code, Error, JobId};
use clipbase_api::{ApiOptions, Authenticator, Denied, Principal, Scope};
use clipbase_testkit::{Bench, run};
use http::Request;
use serde_json::{Value, json};

use crate::support::{Reply, api, json_request, request, send, uploaded, web, web_with};

/// Takes `<scope>` as a key with that scope, and has a word for each other outcome.
#[derive(Debug)]
struct Keys;

#[async_trait]
impl Authenticator for Keys {
    async fn authenticate(&self, credential: Option<&str>) -> Result<Principal, Denied> {
        let refuse = |code, pause| {
            Err(Denied {
                error: Error::failed(code, "no"),
                retry_after: pause,
                rate: None,
            })
        };
        match credential {
            Some("often") => refuse(Code::RateLimited, Some(Duration::from_secs(7))),
            Some("broken") => refuse(Code::DbUnavailable, None),
            Some(known) if Scope::ALL.iter().any(|scope| scope.as_str() == known) => {
                Ok(Principal {
                    key_id: format!("key of {known}"),
                    name: "test".to_owned(),
                    scopes: Scope::ALL
                        .into_iter()
                        .filter(|scope| scope.as_str() == known)
                        .collect(),
                    rate: None,
                })
            }
            _ => refuse(Code::Unauthenticated, None),
        }
    }
}

fn keyed(options: &mut ApiOptions) {
    options.authenticator = Some(Arc::new(Keys));
}

fn with_key(mut request: Request<Body>, key: &str) -> Request<Body> {
    let value = format!("Bearer {key}").parse().unwrap();
    request.headers_mut().insert("authorization", value);
    request
}

/// Every route of the document that asks for a scope and whose answer ends, with a path that can be sent.
fn guarded(bench: &Bench) -> Vec<(String, String, String)> {
    let api = api(&bench.clipbase, |options| {
        keyed(options);
        options.metrics = Some(clipbase_api::MetricsText::new(String::new));
    });
    let document: Value = serde_json::from_slice(api.openapi()).unwrap();
    let mut routes = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            // A stream goes on for as long as it is let: the matrix of the keys has it.
            if path == "/v1/live" {
                continue;
            }
            if let Some(scope) = operation["security"][0]["key"][0].as_str() {
                let path = path.replace("{id}", &JobId::new().to_string());
                routes.push((method.to_uppercase(), path, scope.to_owned()));
            }
        }
    }
    routes
}

#[tokio::test]
async fn every_route_asks_for_the_scope_that_it_documents() {
    run(async |bench| {
        let web = web_with(bench, |options| {
            keyed(options);
            options.metrics = Some(clipbase_api::MetricsText::new(String::new));
            // The live stream ends.
            options.stream_time_max = Duration::from_millis(100);
        });
        let routes = guarded(bench);
        assert_eq!(routes.len(), 13, "{routes:?}");
        for (method, path, scope) in routes {
            for (key, other) in [
                ("jobs:read", "jobs:read"),
                ("jobs:write", "jobs:write"),
                ("admin", "all"),
            ] {
                let reply = send(&web, with_key(request(&method, &path), key)).await;
                let passes = other == "all" || scope == key;
                assert_eq!(
                    reply.status != 403,
                    passes,
                    "{method} {path} with {key}: {}",
                    reply.status
                );
            }
            let none = send(&web, request(&method, &path)).await;
            none.refused("UNAUTHENTICATED");
            assert_eq!(
                none.header("www-authenticate"),
                Some("Bearer realm=\"clipbase\"")
            );
        }
    })
    .await;
}

#[tokio::test]
async fn a_denial_is_told_as_it_is_before_the_request_is_read() {
    run(async |bench| {
        let web = web_with(bench, keyed);
        let ask = async |key: &str| -> Reply {
            // A body that would be refused, too.
            send(&web, with_key(request("POST", "/v1/jobs"), key)).await
        };
        let often = ask("often").await;
        often.refused("RATE_LIMITED");
        assert_eq!(often.header("retry-after"), Some("7"));
        ask("broken").await.refused("DB_UNAVAILABLE");
        ask("planted").await.refused("UNAUTHENTICATED");
        ask("jobs:read").await.refused("FORBIDDEN");
        ask("jobs:write").await.refused("UNSUPPORTED_MEDIA_TYPE");
        for open in ["/healthz", "/readyz", "/openapi.json", "/docs"] {
            assert_eq!(send(&web, request("GET", open)).await.status, 200, "{open}");
        }
    })
    .await;
}

#[tokio::test]
async fn idempotency_keys_of_different_principals_never_meet() {
    run(async |bench| {
        let open = web(bench);
        let web = web_with(bench, keyed);
        let mut ids = Vec::new();
        for key in ["jobs:write", "admin"] {
            let source = uploaded(bench, &open).await;
            let body = json!({"source": source, "start": 0, "end": 1});
            let mut request = with_key(json_request("POST", "/v1/jobs", &body), key);
            request
                .headers_mut()
                .insert("idempotency-key", "1".parse().unwrap());
            ids.push(send(&web, request).await.data(202)["id"].clone());
        }
        assert_ne!(ids[0], ids[1]);
    })
    .await;
}

fn from_site(method: &str, path: &str, host: &str, origin: Option<&str>) -> Request<Body> {
    let mut request = request(method, path);
    request.headers_mut().insert("host", host.parse().unwrap());
    if let Some(origin) = origin {
        request
            .headers_mut()
            .insert("origin", origin.parse().unwrap());
    }
    request
}

#[tokio::test]
async fn without_keys_a_page_of_another_site_can_do_nothing() {
    run(async |bench| {
        let web = web(bench);
        let cancel = format!("/v1/jobs/{}/cancel", JobId::new());
        let here = "127.0.0.1:8080";
        for (host, origin, passes) in [
            (here, None, true),
            (here, Some("http://127.0.0.1:8080"), true),
            ("localhost:8080", Some("http://localhost:8080"), true),
            (here, Some("https://evil.example"), false),
            (here, Some("http://127.0.0.1:9090"), false),
            (here, Some("null"), false),
            // A name of its own that leads here.
            ("evil.example", None, false),
            ("evil.example", Some("http://evil.example"), false),
        ] {
            let reply = send(&web, from_site("POST", &cancel, host, origin)).await;
            let code = if passes { "NOT_FOUND" } else { "FORBIDDEN" };
            reply.refused(code);
        }
        // A browser keeps another site's page from reading the answer; from a false name it could.
        let read = from_site("GET", "/v1/stats", here, Some("https://evil.example"));
        let reply = send(&web, read).await;
        reply.data(200);
        assert_eq!(reply.header("access-control-allow-origin"), None);
        let read = from_site("GET", "/v1/stats", "evil.example", None);
        send(&web, read).await.refused("FORBIDDEN");
    })
    .await;
}

#[tokio::test]
async fn pages_of_configured_origins_may_use_the_api() {
    run(async |bench| {
        let web = web_with(bench, |options| {
            options.cors_origins = vec!["https://app.example".to_owned()];
        });
        let preflight = |origin: &str| {
            let mut request = from_site("OPTIONS", "/v1/jobs", "127.0.0.1", Some(origin));
            let headers = request.headers_mut();
            headers.insert("access-control-request-method", "POST".parse().unwrap());
            headers.insert(
                "access-control-request-headers",
                "content-type,idempotency-key".parse().unwrap(),
            );
            request
        };
        let allowed = send(&web, preflight("https://app.example")).await;
        assert_eq!(allowed.status, 200);
        assert_eq!(
            allowed.header("access-control-allow-origin"),
            Some("https://app.example")
        );
        let foreign = send(&web, preflight("https://evil.example")).await;
        assert_eq!(foreign.header("access-control-allow-origin"), None);
        let post = from_site(
            "POST",
            &format!("/v1/jobs/{}/retry", JobId::new()),
            "127.0.0.1",
            Some("https://app.example"),
        );
        let refused = send(&web, post).await;
        refused.refused("NOT_FOUND");
        // A page can read refusals too, with their ids.
        assert_eq!(
            refused.header("access-control-allow-origin"),
            Some("https://app.example")
        );
        assert!(
            refused
                .header("access-control-expose-headers")
                .unwrap()
                .contains("x-request-id")
        );
    })
    .await;
}
