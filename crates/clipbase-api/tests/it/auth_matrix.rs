//! Every route against every kind of key: the document says which scope a route needs, the list below says it again,
//! and the router is asked.

use std::collections::BTreeMap;
use std::time::Duration;

use clipbase::JobId;
use clipbase::api_keys::{NewApiKey, PlainKey, Scope};
use clipbase_api::MetricsText;
use clipbase_testkit::run;
use serde_json::Value;

use crate::keys::{keyed_local, unknown_key, with_key, wrong_secret};
use crate::support::{request, send};

const OPEN: Option<Scope> = None;
const READ: Option<Scope> = Some(Scope::JobsRead);
const WRITE: Option<Scope> = Some(Scope::JobsWrite);
const ADMIN: Option<Scope> = Some(Scope::Admin);

/// Each route, what it needs, and what a request without a body gets of it that is let through. A route that is new
/// is added here by hand.
const ROUTES: [(&str, Option<Scope>, &str); 26] = [
    ("DELETE /v1/jobs/{id}", WRITE, "404 NOT_FOUND"),
    ("GET /docs", OPEN, "200"),
    ("GET /healthz", OPEN, "200"),
    ("GET /metrics", READ, "200"),
    ("GET /openapi.json", OPEN, "200"),
    ("GET /readyz", OPEN, "200"),
    (
        "GET /storage/v1/object/sign/{bucket}/{job}/{file}",
        OPEN,
        "403 FORBIDDEN",
    ),
    (
        "GET /storage/v1/object/sign/{bucket}/{job}/{lease}/{file}",
        OPEN,
        "403 FORBIDDEN",
    ),
    ("GET /v1/jobs", READ, "200"),
    ("GET /v1/jobs/{id}", READ, "404 NOT_FOUND"),
    ("GET /v1/jobs/{id}/events", READ, "404 NOT_FOUND"),
    ("GET /v1/jobs/{id}/result", READ, "404 NOT_FOUND"),
    ("GET /v1/keys", ADMIN, "200"),
    ("GET /v1/keys/{id}", ADMIN, "404 NOT_FOUND"),
    ("GET /v1/live", READ, "200"),
    ("GET /v1/stats", READ, "200"),
    ("POST /v1/jobs", WRITE, "415 UNSUPPORTED_MEDIA_TYPE"),
    ("POST /v1/jobs/cancel", ADMIN, "415 UNSUPPORTED_MEDIA_TYPE"),
    ("POST /v1/jobs/retry", ADMIN, "415 UNSUPPORTED_MEDIA_TYPE"),
    ("POST /v1/jobs/{id}/cancel", WRITE, "404 NOT_FOUND"),
    ("POST /v1/jobs/{id}/retry", WRITE, "404 NOT_FOUND"),
    ("POST /v1/keys", ADMIN, "415 UNSUPPORTED_MEDIA_TYPE"),
    ("POST /v1/keys/{id}/revoke", ADMIN, "404 NOT_FOUND"),
    (
        "POST /v1/keys/{id}/rotate",
        ADMIN,
        "415 UNSUPPORTED_MEDIA_TYPE",
    ),
    ("POST /v1/uploads", WRITE, "415 UNSUPPORTED_MEDIA_TYPE"),
    (
        "PUT /storage/v1/object/upload/sign/{bucket}/{job}/{file}",
        OPEN,
        "403 FORBIDDEN",
    ),
];

const REFUSED: &str = "401 UNAUTHENTICATED";
const TOO_LITTLE: &str = "403 FORBIDDEN";

/// Who asks: with which key, and with what it may do; `None` for a key that is not accepted.
struct Caller {
    name: &'static str,
    key: Option<String>,
    holds: Option<Scope>,
}

impl Caller {
    fn expects(&self, needs: Option<Scope>, through: &'static str) -> &'static str {
        match (needs, self.holds) {
            (None, _) => through,
            (Some(_), None) => REFUSED,
            (Some(needs), Some(holds)) if holds == needs || holds == Scope::Admin => through,
            (Some(_), Some(_)) => TOO_LITTLE,
        }
    }
}

async fn callers(clipbase: &clipbase::Clipbase) -> Vec<Caller> {
    let make = async |scope: Scope| {
        let mut new = NewApiKey::new("matrix", scope.into());
        new.rate_limit_per_min = Some(60_000);
        clipbase.api_keys().create(&new).await.unwrap()
    };
    let (revoked, revoked_key) = make(Scope::Admin).await;
    clipbase.api_keys().revoke(revoked.id).await.unwrap();
    let (admin, admin_key) = make(Scope::Admin).await;
    let refused = |name, key: Option<String>| Caller {
        name,
        key,
        holds: None,
    };
    let accepted = |scope: Scope, key: &PlainKey| Caller {
        name: scope.as_str(),
        key: Some(key.expose().to_owned()),
        holds: Some(scope),
    };
    let (_, read) = make(Scope::JobsRead).await;
    let (_, write) = make(Scope::JobsWrite).await;
    vec![
        refused("no key", None),
        refused("nonsense", Some("planted".to_owned())),
        refused("a wrong secret", Some(wrong_secret(admin.id))),
        refused("an unknown id", Some(unknown_key())),
        refused("a revoked key", Some(revoked_key.expose().to_owned())),
        accepted(Scope::JobsRead, &read),
        accepted(Scope::JobsWrite, &write),
        accepted(Scope::Admin, &admin_key),
    ]
}

/// What the document says that each route needs.
fn documented(document: &[u8]) -> BTreeMap<String, Option<String>> {
    let document: Value = serde_json::from_slice(document).unwrap();
    let mut routes = BTreeMap::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let scope = operation["security"][0]["key"][0].as_str();
            let route = format!("{} {path}", method.to_uppercase());
            routes.insert(route, scope.map(str::to_owned));
        }
    }
    routes
}

#[tokio::test]
async fn every_route_lets_through_who_may_and_nobody_else() {
    run(async |bench| {
        let local = keyed_local(bench, |options| {
            options.metrics = Some(MetricsText::new(String::new));
            options.stream_time_max = Duration::from_millis(100);
        })
        .await;
        let listed: BTreeMap<String, Option<String>> = ROUTES
            .iter()
            .map(|(route, scope, _)| {
                let scope = scope.map(|scope| scope.as_str().to_owned());
                ((*route).to_owned(), scope)
            })
            .collect();
        assert_eq!(documented(local.api.openapi()), listed);
        let callers = callers(&bench.clipbase).await;
        let mut wrong = Vec::new();
        for (route, needs, through) in ROUTES {
            let (method, path) = route.split_once(' ').unwrap();
            let path = path.replace("{id}", &JobId::new().to_string());
            let path = path.replace(['{', '}'], "")
                + if path.contains("{job}") {
                    "?token=x"
                } else {
                    ""
                };
            for caller in &callers {
                let mut asked = request(method, &path);
                if let Some(key) = &caller.key {
                    asked = with_key(asked, key);
                }
                let reply = send(&local.api.router(), asked).await;
                let mut got = reply.status.as_u16().to_string();
                if !reply.status.is_success() {
                    got = format!("{got} {}", reply.json()["code"].as_str().unwrap());
                }
                if got != caller.expects(needs, through) {
                    wrong.push(format!("{route} with {}: {got}", caller.name));
                }
                let has_rate = reply.header("ratelimit-limit").is_some();
                if has_rate != (needs.is_some() && caller.holds.is_some()) {
                    wrong.push(format!("{route} with {}: rate {has_rate}", caller.name));
                }
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    })
    .await;
}
