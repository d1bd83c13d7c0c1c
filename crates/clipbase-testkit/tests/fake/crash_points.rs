//! The hook: a test acts at the exact moment.

use std::sync::mpsc;
use std::sync::{Arc, Mutex};

use clipbase_testkit::fake_supabase::{Action, Call, Moment};
use serde_json::json;

use crate::client::setup;

#[tokio::test]
async fn a_hook_sees_a_request_before_and_after_its_effect() {
    let setup = setup().await;
    setup.server.put_object("sources", "a", "content");
    let moments = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&moments);
    setup.server.on_request(move |request, moment| {
        seen.lock().unwrap().push((request.call, moment));
    });
    setup.delete("sources", &["a"]).await;
    let want = [Moment::Arrived, Moment::Processed].map(|moment| (Call::DeleteMany, moment));
    assert_eq!(*moments.lock().unwrap(), want);
}

#[tokio::test]
async fn a_hook_that_blocks_holds_its_request_and_no_other() {
    let setup = setup().await;
    setup.server.put_object("sources", "a", "content");
    let (arrived, has_arrived) = mpsc::channel();
    let (go, may_go) = mpsc::channel();
    let may_go = Mutex::new(may_go);
    setup.server.on_request(move |request, moment| {
        if (request.call, moment) == (Call::DeleteMany, Moment::Arrived) {
            arrived.send(()).unwrap();
            may_go.lock().unwrap().recv().unwrap();
        }
    });
    let request = setup
        .request("DELETE", "/object/sources")
        .json(&json!({"prefixes": ["a"]}));
    let removal = tokio::spawn(request.send());
    tokio::task::spawn_blocking(move || has_arrived.recv().unwrap())
        .await
        .unwrap();
    assert_eq!(
        setup.get("/object/sources/a").await.text().await.unwrap(),
        "content"
    );
    go.send(()).unwrap();
    assert_eq!(removal.await.unwrap().unwrap().status(), 200);
    assert_eq!(setup.server.object("sources", "a"), None);
}

#[tokio::test]
async fn a_hook_drops_a_connection_before_or_after_the_effect() {
    let setup = setup().await;
    for (at, remains) in [(Moment::Arrived, true), (Moment::Processed, false)] {
        setup.server.put_object("sources", "a", "content");
        setup.server.on_request(move |_, moment| {
            if moment == at {
                Action::Drop
            } else {
                Action::Go
            }
        });
        let request = setup
            .request("DELETE", "/object/sources")
            .json(&json!({"prefixes": ["a"]}));
        request.send().await.unwrap_err();
        assert_eq!(setup.server.object("sources", "a").is_some(), remains);
    }
    setup.server.clear_hook();
    assert_eq!(setup.get("/bucket").await.status(), 200);
}

#[tokio::test]
async fn a_request_takes_effect_when_its_client_is_gone() {
    let setup = setup().await;
    setup.server.put_object("sources", "a", "content");
    let (arrived, mut has_arrived) = tokio::sync::mpsc::unbounded_channel();
    let (go, may_go) = mpsc::channel();
    let may_go = Mutex::new(may_go);
    setup.server.on_request(move |_, moment| {
        if moment == Moment::Arrived {
            arrived.send(()).unwrap();
            may_go.lock().unwrap().recv().unwrap();
        }
    });
    let request = setup
        .request("DELETE", "/object/sources")
        .json(&json!({"prefixes": ["a"]}));
    let removal = tokio::spawn(request.send());
    has_arrived.recv().await.unwrap();
    removal.abort();
    clipbase_testkit::wait_until("the client is gone", async || {
        setup.server.open_connections() == 0
    })
    .await;
    go.send(()).unwrap();
    clipbase_testkit::wait_until("the object is gone", async || {
        setup.server.object("sources", "a").is_none()
    })
    .await;
}
