//! Streams whose key is lost while they are open.

use std::time::{Duration, Instant};

use axum::Router;
use clipbase::Settings;
use clipbase::api_keys::PlainKey;
use clipbase_testkit::{Bench, run};
use http::Request;
use metrics_util::debugging::DebuggingRecorder;
use serde_json::json;

use super::{key, keyed, number, stats, with_key};
use crate::streams::ear::{Ear, Said, open, progress};
use crate::streams::{statements, stream_request};
use crate::support::{api, queued, request};

/// How often these tests' keys are looked at.
const PERIOD: Duration = Duration::from_millis(100);

fn web(bench: &Bench) -> Router {
    let clipbase = bench.another(Settings::default());
    let set = api(&clipbase, |options| {
        keyed(&clipbase, options);
        options.keep_alive = PERIOD;
    });
    set.router()
}

async fn listening(web: &Router, asked: Request<axum::body::Body>, plain: &PlainKey) -> Ear {
    open(web, with_key(asked, plain.expose())).await
}

/// What is said last, comments and news of the queue aside.
async fn last_word(ear: &mut Ear) -> Option<Said> {
    let mut all = ear.hear_out().await;
    all.retain(|said| *said != Said::Board);
    all.pop()
}

#[tokio::test]
async fn a_revoked_key_ends_its_streams_and_no_others() {
    run(async |bench| {
        let web = web(bench);
        let id = queued(&bench.clipbase).await;
        let (lost, lost_plain) = key(&bench.clipbase, 60).await;
        let (_, other) = key(&bench.clipbase, 60).await;
        let mut events = listening(&web, stream_request(id, None), &lost_plain).await;
        let mut board = listening(&web, request("GET", "/v1/live"), &lost_plain).await;
        let mut spared = listening(&web, stream_request(id, Some(1)), &other).await;
        assert_eq!(spared.listen().await, Some(progress("queued", 0)));

        // From another process, as `clipbase keys revoke` does.
        bench.clipbase.api_keys().revoke(lost.id).await.unwrap();
        let refused = Said::Refused(json!({
            "code": "UNAUTHENTICATED",
            "message": "the API key of this stream does not hold any more",
        }));
        assert_eq!(last_word(&mut events).await.as_ref(), Some(&refused));
        assert_eq!(last_word(&mut board).await.as_ref(), Some(&refused));
        stats(&web, lost_plain.expose())
            .await
            .refused("UNAUTHENTICATED");

        assert_eq!(spared.hear().await, Some(Said::Comment));
        bench.clipbase.jobs().cancel(id).await.unwrap();
        let rest = spared.hear_out().await;
        assert_eq!(rest.last(), Some(&Said::End(json!({"status": "failed"}))));
    })
    .await;
}

#[tokio::test]
async fn a_key_that_may_no_longer_read_ends_its_streams() {
    run(async |bench| {
        let web = web(bench);
        let id = queued(&bench.clipbase).await;
        let (narrowed, plain) = key(&bench.clipbase, 60).await;
        let mut events = listening(&web, stream_request(id, None), &plain).await;
        let raw = bench.database.raw().await;
        let change = |scopes: &'static str| {
            let sql = "UPDATE api_keys SET scopes = $2 WHERE id = $1";
            let (raw, id) = (&raw, narrowed.id.as_uuid());
            async move { raw.execute(sql, &[&id, &scopes]).await.unwrap() }
        };
        change("jobs:write").await;
        let refused = Said::Refused(json!({
            "code": "FORBIDDEN",
            "message": "this needs an API key with the scope jobs:read",
        }));
        assert_eq!(last_word(&mut events).await, Some(refused));
        // Once it may read again, a stream of it lasts.
        change("jobs:read").await;
        let mut again = listening(&web, stream_request(id, Some(1)), &plain).await;
        assert_eq!(again.hear().await, Some(progress("queued", 0)));
        for _ in 0..3 {
            assert_eq!(again.hear().await, Some(Said::Comment));
        }
    })
    .await;
}

/// The tasks of a runtime of one thread run where the recorder listens.
#[tokio::test]
async fn one_statement_looks_at_all_keys_and_takes_nothing_from_their_rates() {
    let recorder: &'static DebuggingRecorder = Box::leak(Box::new(DebuggingRecorder::new()));
    let snapshotter = recorder.snapshotter();
    let _listening = metrics::set_default_local_recorder(recorder);
    run(async |bench: &Bench| {
        let web = web(bench);
        let id = queued(&bench.clipbase).await;
        let started = Instant::now();
        let mut ears = Vec::new();
        let mut keys = Vec::new();
        for _ in 0..3 {
            let (_, plain) = key(&bench.clipbase, 60).await;
            for _ in 0..5 {
                ears.push(listening(&web, stream_request(id, Some(1)), &plain).await);
            }
            keys.push(plain);
        }
        // Each says four times that it lives.
        for ear in &mut ears {
            assert_eq!(ear.hear().await, Some(progress("queued", 0)));
            for _ in 0..4 {
                assert_eq!(ear.hear().await, Some(Said::Comment));
            }
        }
        let looks = statements(&snapshotter, "api_keys.still_hold");
        let most = started.elapsed().as_nanos() / PERIOD.as_nanos() + 1;
        assert!(
            looks >= 1 && u128::from(looks) <= most,
            "{looks} looks, at most {most}"
        );
        for plain in &keys {
            let reply = stats(&web, plain.expose()).await;
            // Five streams and this: some of it may have come back.
            assert!(number(&reply, "ratelimit-remaining") >= 54);
        }
    })
    .await;
}
