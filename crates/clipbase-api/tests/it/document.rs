//! The OpenAPI document, and whether it tells the truth.

use std::collections::BTreeSet;
use std::time::Duration;

use clipbase::JobId;
use clipbase::storage::TtlBounds;
use clipbase_api::{Api, ApiCode, MetricsText};
use clipbase_testkit::{Bench, run};
use serde_json::{Value, json};

use crate::support::{api, get, local, request, send};

/// Every route there is.
const ROUTES: [&str; 21] = [
    "DELETE /v1/jobs/{id}",
    "GET /docs",
    "GET /healthz",
    "GET /metrics",
    "GET /openapi.json",
    "GET /readyz",
    "GET /storage/v1/object/sign/{bucket}/{job}/{file}",
    "GET /storage/v1/object/sign/{bucket}/{job}/{lease}/{file}",
    "GET /v1/jobs",
    "GET /v1/jobs/{id}",
    "GET /v1/jobs/{id}/events",
    "GET /v1/jobs/{id}/result",
    "GET /v1/live",
    "GET /v1/stats",
    "POST /v1/jobs",
    "POST /v1/jobs/cancel",
    "POST /v1/jobs/retry",
    "POST /v1/jobs/{id}/cancel",
    "POST /v1/jobs/{id}/retry",
    "POST /v1/uploads",
    "PUT /storage/v1/object/upload/sign/{bucket}/{job}/{file}",
];

async fn whole(bench: &Bench) -> (Api, Value) {
    let local = local(bench, |_| ()).await;
    let api = api(&bench.clipbase, |options| {
        options.metrics = Some(MetricsText::new(String::new));
        options.local_storage = Some(local.storage.clone());
    });
    let document = serde_json::from_slice(api.openapi()).unwrap();
    (api, document)
}

fn operations(document: &Value) -> Vec<(String, String, &Value)> {
    let mut all = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            all.push((method.to_uppercase(), path.clone(), operation));
        }
    }
    all
}

#[tokio::test]
async fn the_document_has_every_route_and_the_router_too() {
    run(async |bench| {
        let (api, document) = whole(bench).await;
        let documented: BTreeSet<String> = operations(&document)
            .into_iter()
            .map(|(method, path, _)| format!("{method} {path}"))
            .collect();
        let known: BTreeSet<String> = ROUTES.iter().map(|route| (*route).to_owned()).collect();
        assert_eq!(documented, known);
        // The router knows the path and the method: a made-up method is refused, listing exactly those documented.
        let paths: BTreeSet<String> = operations(&document)
            .into_iter()
            .map(|(_, path, _)| path)
            .collect();
        for path in paths {
            let sent = path
                .replace("{id}", &JobId::new().to_string())
                .replace(['{', '}'], "");
            let reply = send(&api.router(), request("BREW", &sent)).await;
            reply.refused("METHOD_NOT_ALLOWED");
            let allowed: BTreeSet<&str> = reply
                .header("allow")
                .unwrap()
                .split(',')
                .filter(|m| *m != "HEAD")
                .collect();
            let documented: Vec<(String, String, &Value)> = operations(&document);
            let documented: BTreeSet<&str> = documented
                .iter()
                .filter(|(_, known, _)| *known == path)
                .map(|(method, ..)| method.as_str())
                .collect();
            assert_eq!(allowed, documented, "{path}");
        }
    })
    .await;
}

#[tokio::test]
async fn the_document_is_openapi_3_1_in_shape() {
    run(async |bench| {
        let (_, document) = whole(bench).await;
        assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
        assert!(document["info"]["title"].is_string() && document["info"]["version"].is_string());
        let mut names = BTreeSet::new();
        for (method, path, operation) in operations(&document) {
            let place = format!("{method} {path}");
            assert!(
                names.insert(operation["operationId"].as_str().unwrap().to_owned()),
                "{place}"
            );
            assert!(operation["summary"].is_string(), "{place}");
            let in_path: BTreeSet<&str> = path
                .split('/')
                .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
                .collect();
            let parameters = operation["parameters"]
                .as_array()
                .map_or(&[][..], Vec::as_slice);
            let declared: BTreeSet<&str> = parameters
                .iter()
                .filter(|parameter| parameter["in"] == "path")
                .map(|parameter| parameter["name"].as_str().unwrap())
                .collect();
            assert_eq!(in_path, declared, "{place}");
            assert!(
                parameters
                    .iter()
                    .all(|parameter| parameter["schema"].is_object()),
                "{place}"
            );
            let responses = operation["responses"].as_object().unwrap();
            assert!(
                responses.keys().any(|status| status.starts_with('2')),
                "{place}"
            );
            for (status, response) in responses {
                assert!(response["description"].is_string(), "{place} {status}");
                assert!(
                    response["headers"]["X-Request-Id"].is_object(),
                    "{place} {status}"
                );
            }
            assert!(responses.contains_key("500"), "{place}");
        }
        check_references(&document, &document);
    })
    .await;
}

/// Every reference leads somewhere.
fn check_references(document: &Value, part: &Value) {
    match part {
        Value::Object(map) => {
            if let Some(reference) = map.get("$ref").and_then(Value::as_str) {
                let pointer = reference.strip_prefix('#').unwrap();
                assert!(
                    document.pointer(pointer).is_some(),
                    "{reference} leads nowhere"
                );
            }
            map.values()
                .for_each(|value| check_references(document, value));
        }
        Value::Array(list) => list
            .iter()
            .for_each(|value| check_references(document, value)),
        _ => {}
    }
}

#[tokio::test]
async fn the_document_tells_what_is_configured() {
    run(async |bench| {
        let bounds = TtlBounds::new(
            Duration::from_secs(60),
            Duration::from_secs(120),
            Duration::from_secs(90),
        );
        let api = api(&bench.clipbase, |options| {
            options.link_ttl = bounds.unwrap();
        });
        let document: Value = serde_json::from_slice(api.openapi()).unwrap();
        let result = &document["paths"]["/v1/jobs/{id}/result"]["get"];
        let parameters = result["parameters"].as_array().unwrap();
        let ttl = parameters.iter().find(|known| known["name"] == "ttl");
        let schema = &ttl.unwrap()["schema"];
        assert_eq!(
            (&schema["minimum"], &schema["maximum"]),
            (&json!(60), &json!(120))
        );
        // No key is asked for, so none is documented.
        let secured = operations(&document)
            .into_iter()
            .filter(|(_, _, operation)| operation.get("security").is_some());
        assert_eq!(secured.count(), 0);
    })
    .await;
}

#[tokio::test]
async fn the_document_lists_every_code() {
    run(async |bench| {
        let (_, document) = whole(bench).await;
        let listed: Vec<&str> = document["components"]["schemas"]["ErrorCode"]["enum"]
            .as_array()
            .unwrap()
            .iter()
            .map(|code| code.as_str().unwrap())
            .collect();
        let known: Vec<&str> = ApiCode::all().map(ApiCode::as_str).collect();
        assert_eq!(listed, known);
        let failure = &document["components"]["schemas"]["Failure"]["required"];
        assert_eq!(failure.as_array().unwrap().len(), 4);
    })
    .await;
}

#[tokio::test]
async fn the_document_is_served_and_readable() {
    run(async |bench| {
        let (api, document) = whole(bench).await;
        let served = get(&api.router(), "/openapi.json").await;
        assert_eq!(served.json(), document);
        let page = get(&api.router(), "/docs").await;
        let html = String::from_utf8(page.body.to_vec()).unwrap();
        assert!(
            page.header("content-type")
                .unwrap()
                .starts_with("text/html")
        );
        for route in ROUTES {
            let (_, path) = route.split_once(' ').unwrap();
            assert!(html.contains(&format!("<code>{path}</code>")), "{route}");
        }
        let policy = page.header("content-security-policy").unwrap();
        assert!(
            policy.starts_with("default-src 'none'") && !policy.contains("unsafe"),
            "{policy}"
        );
        // Nothing is loaded, from here or elsewhere; links lead to this service alone.
        for loading in [
            "<script",
            "<link",
            "<img",
            "src=",
            "@import",
            "url(",
            "href=\"http",
        ] {
            assert!(!html.contains(loading), "{loading}");
        }
    })
    .await;
}

#[tokio::test]
async fn what_is_not_served_is_not_documented() {
    run(async |bench| {
        let api = api(&bench.clipbase, |_| ());
        let document: Value = serde_json::from_slice(api.openapi()).unwrap();
        for path in ["/metrics", "/storage/v1/object/sign/{bucket}/{job}/{file}"] {
            assert!(document["paths"].get(path).is_none(), "{path}");
        }
    })
    .await;
}
