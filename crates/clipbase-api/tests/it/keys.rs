//! API keys over HTTP: managed by an admin, limited in their rate, revoked everywhere at once, and never shown again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use clipbase::api_keys::{ApiKey, NewApiKey, PlainKey, Scope, Scopes};
use clipbase::storage::{LocalSigner, LocalStorage};
use clipbase::{ApiKeyId, Clipbase, Settings};
use clipbase_api::{Api, ApiOptions, KeyAuthenticator};
use clipbase_testkit::{Bench, run};
use http::Request;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Reply, api, json_request, request, send};

mod routes;
mod secrets;
mod streams;

/// Turns keys on.
pub(crate) fn keyed(clipbase: &Clipbase, options: &mut ApiOptions) {
    options.authenticator = Some(Arc::new(KeyAuthenticator::new(clipbase)));
    options.manage_keys = true;
}

/// The API with keys over a handle of its own, as another process has it.
pub(crate) fn process(bench: &Bench) -> Router {
    let clipbase = bench.another(Settings::default());
    api(&clipbase, |options| keyed(&clipbase, options)).router()
}

/// The API with keys and every route that there is.
pub(crate) struct KeyedLocal {
    pub(crate) api: Api,
    _directory: TempDir,
}

pub(crate) async fn keyed_local(bench: &Bench, set: impl FnOnce(&mut ApiOptions)) -> KeyedLocal {
    let directory = tempfile::tempdir().unwrap();
    let signer = LocalSigner::open(directory.path(), "").await.unwrap();
    let storage = LocalStorage::open(directory.path(), signer).await.unwrap();
    let api = api(&bench.clipbase, |options| {
        keyed(&bench.clipbase, options);
        options.local_storage = Some(storage);
        set(options);
    });
    KeyedLocal {
        api,
        _directory: directory,
    }
}

pub(crate) fn with_key(mut request: Request<Body>, key: &str) -> Request<Body> {
    let value = format!("Bearer {key}").parse().unwrap();
    request.headers_mut().insert("authorization", value);
    request
}

/// The key's id with a secret of the right length that is not its own.
pub(crate) fn wrong_secret(id: ApiKeyId) -> String {
    format!("cb_{}_{}", id.as_uuid().simple(), "w".repeat(43))
}

pub(crate) fn unknown_key() -> String {
    wrong_secret(ApiKeyId::new())
}

/// A key with all scopes and this rate.
pub(crate) async fn key(clipbase: &Clipbase, per_minute: u32) -> (ApiKey, PlainKey) {
    let new = NewApiKey {
        rate_limit_per_min: Some(per_minute),
        ..NewApiKey::new("a test's", Scope::ALL.into_iter().collect::<Scopes>())
    };
    clipbase.api_keys().create(&new).await.unwrap()
}

async fn stats(router: &Router, key: &str) -> Reply {
    send(router, with_key(request("GET", "/v1/stats"), key)).await
}

fn number(reply: &Reply, header: &str) -> u64 {
    let text = reply.header(header);
    let text = text.unwrap_or_else(|| panic!("no {header}: {} {:?}", reply.status, reply.body));
    text.parse().unwrap()
}

#[tokio::test]
async fn every_answer_says_where_the_rate_stands() {
    run(async |bench| {
        let web = process(bench);
        let (_, plain) = key(&bench.clipbase, 3).await;
        for (path, remaining, reset) in [("/v1/stats", 2, 20), ("/v1/jobs/x", 1, 40)] {
            let reply = send(&web, with_key(request("GET", path), plain.expose())).await;
            assert_eq!(number(&reply, "ratelimit-limit"), 3);
            assert_eq!(number(&reply, "ratelimit-remaining"), remaining);
            // Some of it may have passed already.
            let stands = number(&reply, "ratelimit-reset");
            assert!((1..=reset).contains(&stands), "{stands}");
            assert_eq!(reply.header("retry-after"), None);
        }
        // A refusal for another reason has spent a request too.
        let post = request("POST", "/v1/jobs");
        send(&web, with_key(post, plain.expose()))
            .await
            .refused("UNSUPPORTED_MEDIA_TYPE");
        let early = stats(&web, plain.expose()).await;
        early.refused("RATE_LIMITED");
        assert_eq!(early.status, 429);
        assert_eq!(number(&early, "ratelimit-limit"), 3);
        assert_eq!(number(&early, "ratelimit-remaining"), 0);
        let (wait, reset) = (
            number(&early, "retry-after"),
            number(&early, "ratelimit-reset"),
        );
        assert!(
            (1..=20).contains(&wait) && wait <= reset && reset <= 60,
            "{wait} {reset}"
        );
        // Who shows no key that is known has no rate.
        let unknown = stats(&web, &unknown_key()).await;
        unknown.refused("UNAUTHENTICATED");
        assert_eq!(unknown.header("ratelimit-limit"), None);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_share_one_rate() {
    const CALLERS: usize = 200;
    const LIMIT: u32 = 40;
    run(async |bench| {
        let webs = [process(bench), process(bench)];
        let (_, plain) = key(&bench.clipbase, LIMIT).await;
        let started = Instant::now();
        let calls = (0..CALLERS).map(|number| {
            let (web, key) = (webs[number % 2].clone(), plain.expose().to_owned());
            tokio::spawn(async move { stats(&web, &key).await })
        });
        let mut passed = 0;
        for reply in futures_util::future::join_all(calls).await {
            let reply = reply.unwrap();
            assert_eq!(number(&reply, "ratelimit-limit"), u64::from(LIMIT));
            if reply.status == 200 {
                passed += 1;
            } else {
                reply.refused("RATE_LIMITED");
                assert!(number(&reply, "retry-after") >= 1);
            }
        }
        // The burst, and what came back while the callers were at it; twice the limit in no minute.
        let shares = started.elapsed().as_secs_f64() * f64::from(LIMIT) / 60.0;
        let most = f64::from(LIMIT) + shares.ceil();
        assert!(passed >= LIMIT, "the burst is the caller's: {passed}");
        assert!(
            f64::from(passed) <= most.min(f64::from(2 * LIMIT)),
            "{passed} of {most}"
        );
    })
    .await;
}

#[tokio::test]
async fn a_revocation_holds_everywhere_from_the_next_request_on() {
    run(async |bench| {
        let webs = [process(bench), process(bench)];
        let (_, admin) = key(&bench.clipbase, 60).await;
        let (used, plain) = key(&bench.clipbase, 60).await;
        for web in &webs {
            // Twice: from then on its secret is remembered.
            stats(web, plain.expose()).await.data(200);
            stats(web, plain.expose()).await.data(200);
        }
        let revoke = request("POST", &format!("/v1/keys/{}/revoke", used.id));
        let revoked = send(&webs[0], with_key(revoke, admin.expose()))
            .await
            .data(200);
        assert_eq!(revoked["is_active"], false);
        for web in webs.iter().rev() {
            stats(web, plain.expose()).await.refused("UNAUTHENTICATED");
            stats(web, admin.expose()).await.data(200);
        }
    })
    .await;
}

#[tokio::test]
async fn whatever_is_wrong_with_a_key_the_answer_is_the_same_to_the_byte() {
    run(async |bench| {
        let web = process(bench);
        let (known, plain) = key(&bench.clipbase, 60).await;
        let (gone, gone_key) = key(&bench.clipbase, 60).await;
        bench.clipbase.api_keys().revoke(gone.id).await.unwrap();
        let ask = async |key: Option<&str>| {
            let mut asked = request("GET", "/v1/stats");
            let id = "one-and-the-same".parse().unwrap();
            asked.headers_mut().insert("x-request-id", id);
            if let Some(key) = key {
                asked = with_key(asked, key);
            }
            send(&web, asked).await
        };
        let first = ask(Some(&wrong_secret(known.id))).await;
        first.refused("UNAUTHENTICATED");
        assert!(first.header("www-authenticate").is_some());
        for other in [
            Some(unknown_key()),
            Some(gone_key.expose().to_owned()),
            Some("nonsense".to_owned()),
            None,
        ] {
            let reply = ask(other.as_deref()).await;
            assert_eq!(reply.status, first.status);
            assert_eq!(reply.headers, first.headers);
            assert_eq!(reply.body, first.body);
        }
        ask(Some(plain.expose())).await.data(200);
    })
    .await;
}

/// An admin's call, and what it answers.
async fn call(web: &Router, admin: &PlainKey, method: &str, path: &str, body: &Value) -> Reply {
    let asked = if body.is_null() {
        request(method, path)
    } else {
        json_request(method, path, body)
    };
    send(web, with_key(asked, admin.expose())).await
}

/// What makes a key.
fn new_key() -> Value {
    json!({"name": "dashboard", "scopes": ["jobs:read"]})
}

/// How long a test's grace is.
const GRACE: Duration = Duration::from_secs(3_600);
