//! Creating a job once for each `Idempotency-Key`.

use axum::body::Body;
use clipbase::JobId;
use clipbase::storage::Operation;
use clipbase_testkit::run;
use http::Request;
use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use serde_json::{Value, json};

use super::{count, create, id_of, wish};
use crate::support::{job, json_request, send, uploaded, web, web_with};

fn keyed(body: &Value, key: &str) -> Request<Body> {
    let mut request = json_request("POST", "/v1/jobs", body);
    request
        .headers_mut()
        .insert("idempotency-key", key.parse().unwrap());
    request
}

/// The tasks of a runtime of one thread run where the recorder listens.
#[tokio::test]
async fn an_address_with_a_key_costs_one_statement() {
    let recorder: &'static DebuggingRecorder = Box::leak(Box::new(DebuggingRecorder::new()));
    let snapshotter = recorder.snapshotter();
    let _listening = metrics::set_default_local_recorder(recorder);
    run(async |bench| {
        let web = web_with(bench, |options| {
            options.youtube_hosts = vec!["youtu.be".to_owned()];
        });
        let body = wish(&json!({"youtube": "https://youtu.be/1"}));
        let other = wish(&json!({"youtube": "https://youtu.be/2"}));
        let first = send(&web, keyed(&body, "order-1")).await;
        let second = send(&web, keyed(&body, "order-1")).await;
        assert_eq!(first.header("idempotency-replayed"), None);
        assert_eq!(second.header("idempotency-replayed"), Some("true"));
        assert_eq!(first.data(202), second.data(202));
        send(&web, keyed(&other, "order-1"))
            .await
            .refused("IDEMPOTENCY_CONFLICT");
        let ran: Vec<(String, DebugValue)> = snapshotter
            .snapshot()
            .into_vec()
            .into_iter()
            .filter(|(key, ..)| key.key().name() == "clipbase_db_calls_total")
            .filter_map(|(key, _, _, value)| {
                let mut labels = key.key().labels();
                let name = labels.find(|label| label.key() == "statement")?.value();
                name.starts_with("jobs.").then(|| (name.to_owned(), value))
            })
            .collect();
        let expected = [("jobs.create".to_owned(), DebugValue::Counter(3))];
        assert_eq!(ran, expected);
    })
    .await;
}

#[tokio::test]
async fn the_same_request_again_is_the_same_job() {
    run(async |bench| {
        let web = web(bench);
        let source = uploaded(bench, &web).await;
        let mut body = wish(&source);
        body["expires_in"] = json!(3_600);
        let first = send(&web, keyed(&body, "order-1")).await;
        let second = send(&web, keyed(&body, "order-1")).await;
        assert_eq!(first.data(202), second.data(202));
        assert_eq!(second.header("idempotency-replayed"), Some("true"));
        assert_eq!(second.header("location"), first.header("location"));
        // Also when its source is gone by now.
        let key = job(&bench.clipbase, id_of(&first.data(202)))
            .await
            .source_key
            .unwrap();
        bench
            .clipbase
            .storage()
            .remove(&[key.parse().unwrap()])
            .await
            .unwrap();
        let third = send(&web, keyed(&body, "order-1")).await;
        assert_eq!(third.data(202)["id"], first.data(202)["id"]);
        assert_eq!(count(bench, "jobs").await, 1);
    })
    .await;
}

#[tokio::test]
async fn a_key_for_another_request_is_refused() {
    run(async |bench| {
        let web = web(bench);
        let (one, other) = (uploaded(bench, &web).await, uploaded(bench, &web).await);
        send(&web, keyed(&wish(&one), "order-1")).await.data(202);
        let mut longer = wish(&one);
        longer["end"] = json!(100);
        for body in [longer, wish(&other), wish(&json!({"job": one["upload"]}))] {
            send(&web, keyed(&body, "order-1"))
                .await
                .refused("IDEMPOTENCY_CONFLICT");
        }
        assert_eq!(count(bench, "jobs").await, 1);
        assert_eq!(bench.storage.calls(Operation::Copy), 0);
    })
    .await;
}

#[tokio::test]
async fn a_repeated_copy_is_made_once() {
    run(async |bench| {
        let web = web_with(bench, |options| {
            options.youtube_hosts = vec!["youtu.be".to_owned()];
        });
        let source = uploaded(bench, &web).await;
        let upload = create(&web, &wish(&source)).await.data(202);
        let address = create(&web, &wish(&json!({"youtube": "https://youtu.be/1"})))
            .await
            .data(202);
        for (key, earlier) in [("copy-1", &upload), ("copy-2", &address)] {
            let body = wish(&json!({"job": earlier["id"]}));
            let first = send(&web, keyed(&body, key)).await.data(202);
            let second = send(&web, keyed(&body, key)).await;
            assert_eq!(second.data(202), first);
            let other = wish(&json!({"job": first["id"]}));
            send(&web, keyed(&other, key))
                .await
                .refused("IDEMPOTENCY_CONFLICT");
        }
        assert_eq!(bench.storage.calls(Operation::Copy), 1);
        assert_eq!(
            (
                count(bench, "jobs").await,
                count(bench, "storage_deletions").await
            ),
            (4, 1)
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn twins_make_one_job() {
    run(async |bench| {
        let web = web(bench);
        let source = uploaded(bench, &web).await;
        let body = wish(&source);
        let twins = (0..8).map(|_| send(&web, keyed(&body, "order-1")));
        let replies = futures_util::future::join_all(twins).await;
        let ids: Vec<Value> = replies
            .iter()
            .map(|reply| reply.data(202)["id"].clone())
            .collect();
        assert!(ids.windows(2).all(|pair| pair[0] == pair[1]), "{ids:?}");
        let fresh = replies
            .iter()
            .filter(|reply| reply.header("idempotency-replayed").is_none());
        assert_eq!((fresh.count(), count(bench, "jobs").await), (1, 1));
    })
    .await;
}

#[tokio::test]
async fn a_key_that_none_can_be_is_refused() {
    run(async |bench| {
        let web = web(bench);
        let body = wish(&json!({"upload": JobId::new().to_string()}));
        for key in ["", &"x".repeat(256)] {
            send(&web, keyed(&body, key)).await.names("Idempotency-Key");
        }
        let mut odd = json_request("POST", "/v1/jobs", &body);
        odd.headers_mut().insert(
            "idempotency-key",
            http::HeaderValue::from_bytes(b"\xff").unwrap(),
        );
        send(&web, odd).await.names("idempotency-key");
        let mut twice = keyed(&body, "a");
        twice
            .headers_mut()
            .append("idempotency-key", "b".parse().unwrap());
        send(&web, twice).await.names("idempotency-key");
    })
    .await;
}
