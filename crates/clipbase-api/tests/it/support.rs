//! Requests and answers, with what every answer has to keep checked on the way.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use clipbase::leases::{Failure, Finish, Lease};
use clipbase::storage::{LocalSigner, LocalStorage, StorageKey, byte_stream};
use clipbase::{Clipbase, Job, JobId, Settings};
use clipbase_api::{Api, ApiCode, ApiOptions};
use clipbase_testkit::Bench;
use clipbase_testkit::builders::{claimed, new_job};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::Value;
use tempfile::TempDir;
use tower::ServiceExt as _;

/// A wrong answer in place of none at all.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// What no refusal may show: the buckets as they stand in keys, and whatever a test has planted.
const CANARIES: [&str; 5] = ["sources/", "results/", "token=", "planted", "/tmp"];

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|_| panic!("no JSON: {} {:?}", self.status, self.body))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The data of a success.
    #[track_caller]
    pub(crate) fn data(&self, status: u16) -> Value {
        let json = self.json();
        assert_eq!(self.status, status, "{json}");
        assert_eq!(json["ok"], true, "{json}");
        assert_eq!(json.as_object().unwrap().len(), 2, "{json}");
        json["data"].clone()
    }

    /// Fails where this is not a refusal with the code, and returns its message.
    #[track_caller]
    pub(crate) fn refused(&self, code: &str) -> String {
        let json = self.json();
        assert_eq!(json["code"], code, "{json}");
        json["message"].as_str().unwrap().to_owned()
    }

    /// As [`Reply::refused`] with `INVALID_INPUT`, naming the field.
    #[track_caller]
    pub(crate) fn names(&self, field: &str) {
        let message = self.refused("INVALID_INPUT");
        assert!(message.starts_with(&format!("{field}:")), "{message}");
    }
}

/// Sends a request through the router, and holds the answer to what all answers promise.
pub(crate) async fn send(router: &Router, request: Request<Body>) -> Reply {
    let response = router.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = tokio::time::timeout(PATIENCE, body.collect())
        .await
        .expect("the answer ends")
        .unwrap()
        .to_bytes();
    let reply = Reply {
        status: parts.status,
        headers: parts.headers,
        body,
    };
    check(&reply);
    reply
}

/// What every answer promises.
pub(crate) fn check(reply: &Reply) {
    let id = reply.header("x-request-id").expect("a request id");
    assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(reply.header("referrer-policy"), Some("no-referrer"));
    let policy = reply.header("content-security-policy").unwrap();
    assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
    assert!(reply.headers.contains_key("cache-control"));
    if reply.status.is_success() || reply.status.is_redirection() {
        return;
    }
    let text = String::from_utf8(reply.body.to_vec()).unwrap();
    if text.is_empty() {
        // An answer to HEAD.
        return;
    }
    assert_eq!(reply.header("content-type"), Some("application/json"));
    let json = reply.json();
    let code = json["code"].as_str().expect("a code");
    let known = ApiCode::all().find(|known| known.as_str() == code);
    let known = known.unwrap_or_else(|| panic!("{code} is no code"));
    assert_eq!(reply.status, known.status(), "{json}");
    assert_eq!(json["ok"], false);
    assert!(!json["message"].as_str().unwrap().is_empty());
    if code != "NOT_READY" {
        assert_eq!(json["request_id"], id);
        assert_eq!(json.as_object().unwrap().len(), 4, "{json}");
    }
    for canary in CANARIES {
        assert!(!text.contains(canary), "{canary} in {text}");
    }
}

pub(crate) fn request(method: &str, path: &str) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri(path)
        .body(Body::empty())
        .unwrap()
}

pub(crate) fn json_request(method: &str, path: &str, body: &Value) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", "application/json")
        .body(body.to_string().into())
        .unwrap()
}

pub(crate) async fn get(router: &Router, path: &str) -> Reply {
    send(router, request("GET", path)).await
}

pub(crate) async fn post(router: &Router, path: &str, body: &Value) -> Reply {
    send(router, json_request("POST", path, body)).await
}

/// The router over the test's database and memory, with news that come at once.
pub(crate) fn web(bench: &Bench) -> Router {
    web_with(bench, |_| ())
}

pub(crate) fn web_with(bench: &Bench, set: impl FnOnce(&mut ApiOptions)) -> Router {
    api(&bench.clipbase, set).router()
}

pub(crate) fn api(clipbase: &Clipbase, set: impl FnOnce(&mut ApiOptions)) -> Api {
    let mut options = ApiOptions {
        follow_interval: Duration::from_millis(5),
        ..ApiOptions::default()
    };
    set(&mut options);
    Api::new(clipbase.clone(), options).unwrap()
}

/// A storage on disk with the router that serves its links.
pub(crate) struct Local {
    pub(crate) directory: TempDir,
    pub(crate) storage: LocalStorage,
    pub(crate) clipbase: Clipbase,
    pub(crate) router: Router,
}

pub(crate) async fn local(bench: &Bench, set: impl FnOnce(&mut ApiOptions)) -> Local {
    let directory = tempfile::tempdir().unwrap();
    let signer = LocalSigner::open(directory.path(), "").await.unwrap();
    let storage = LocalStorage::open(directory.path(), signer).await.unwrap();
    let clipbase = Clipbase::new(
        &bench.config(),
        Arc::new(storage.clone()),
        Settings::default(),
    )
    .unwrap();
    clipbase.bootstrap().await.unwrap();
    let api = api(&clipbase, |options| {
        options.local_storage = Some(storage.clone());
        set(options);
    });
    Local {
        directory,
        storage,
        router: api.router(),
        clipbase,
    }
}

pub(crate) async fn store(clipbase: &Clipbase, key: &StorageKey, content: &'static str) {
    let stream = byte_stream(content);
    let storage = clipbase.storage();
    storage
        .upload_stream(stream, content.len() as u64, key)
        .await
        .unwrap();
}

/// An upload as a client makes it: announced and stored. Returns what goes into a job as `source`.
pub(crate) async fn uploaded(bench: &Bench, router: &Router) -> Value {
    let asked = post(
        router,
        "/v1/uploads",
        &serde_json::json!({"extension": "mov"}),
    )
    .await;
    let data = asked.data(201);
    let key: StorageKey = data["key"].as_str().unwrap().parse().unwrap();
    store(&bench.clipbase, &key, "a video").await;
    data["source"].clone()
}

/// A job that waits.
pub(crate) async fn queued(clipbase: &Clipbase) -> JobId {
    clipbase.jobs().create(&new_job()).await.unwrap().id
}

/// A job that failed with this code.
pub(crate) async fn failed(clipbase: &Clipbase, code: &str) -> JobId {
    let lease = claimed(clipbase).await;
    let failure = Failure::new(code, "it failed").unwrap();
    clipbase.leases().fail(&lease, &failure).await.unwrap();
    lease.job_id()
}

/// A finished job with its clip, and with subtitles when asked.
pub(crate) async fn done(clipbase: &Clipbase, with_srt: bool) -> Lease {
    let lease = claimed(clipbase).await;
    store(clipbase, &lease.video_key(), "a clip").await;
    if with_srt {
        store(clipbase, &lease.srt_key(), "1\n").await;
    }
    let mut finish = Finish::new(&lease);
    finish.with_srt = with_srt;
    clipbase.leases().finish(finish).await.unwrap();
    lease
}

pub(crate) async fn job(clipbase: &Clipbase, id: JobId) -> Job {
    clipbase
        .jobs()
        .get(id)
        .await
        .unwrap()
        .expect("the job exists")
}
