//! Faults on order happen where they were ordered, and nowhere else.

use clipbase_testkit::fake_supabase::{Call, Fault, Rule};
use clipbase_testkit::wait_until;
use serde_json::json;

use crate::client::{Setup, answer, setup};

async fn removal_fails(setup: &Setup) -> bool {
    let request = setup
        .request("DELETE", "/object/sources")
        .json(&json!({"prefixes": ["a"]}));
    request.send().await.is_err()
}

#[tokio::test]
async fn a_reset_comes_before_or_after_the_effect() {
    let setup = setup().await;
    for (fault, remains) in [(Fault::Reset, true), (Fault::LoseAnswer, false)] {
        setup.server.put_object("sources", "a", "content");
        setup.server.fail(Rule::next(Call::DeleteMany, fault));
        assert!(removal_fails(&setup).await);
        assert_eq!(setup.server.object("sources", "a").is_some(), remains);
        assert_eq!(setup.delete("sources", &["a"]).await.0, 200);
        let requests = setup.server.requests();
        let statuses: Vec<_> = requests
            .iter()
            .rev()
            .take(2)
            .map(|request| request.status)
            .collect();
        assert_eq!(statuses, [Some(200), None]);
    }
}

#[tokio::test]
async fn a_stall_ends_when_the_client_goes_away() {
    let setup = setup().await;
    let server = &setup.server;
    for (fault, remains) in [(Fault::Stall, true), (Fault::StallAfter, false)] {
        server.put_object("sources", "a", "content");
        let before = server.calls(Call::DeleteMany);
        server.fail(Rule::next(Call::DeleteMany, fault));
        let request = setup.request("DELETE", "/object/sources");
        let request = tokio::spawn(request.json(&json!({"prefixes": ["a"]})).send());
        wait_until("the request is there", async || {
            server.calls(Call::DeleteMany) > before
                && server.object("sources", "a").is_some() == remains
        })
        .await;
        assert!(!request.is_finished());
        request.abort();
        wait_until("the server has dropped the connection", async || {
            server.open_connections() == 0
        })
        .await;
        assert_eq!(server.object("sources", "a").is_some(), remains);
    }
}

#[tokio::test]
async fn a_download_breaks_off() {
    let setup = setup().await;
    setup.server.put_object("sources", "a", vec![1; 300_000]);
    for bytes in [0, 1, 100_000] {
        setup
            .server
            .fail(Rule::next(Call::Download, Fault::ShortBody { bytes }));
        let mut got = setup.get("/object/sources/a").await;
        assert_eq!(got.headers()["content-length"], "300000");
        let mut length = 0;
        let error = loop {
            match got.chunk().await {
                Ok(Some(piece)) => length += piece.len() as u64,
                Ok(None) => panic!("the body looked whole"),
                Err(error) => break error,
            }
        };
        assert!(error.is_body() || error.is_decode(), "{error:?}");
        assert!(length <= bytes);
    }
    setup.server.fail(Rule::next(
        Call::Download,
        Fault::ShortBody { bytes: 300_000 },
    ));
    let whole = setup.get("/object/sources/a").await.bytes().await.unwrap();
    assert_eq!(whole.len(), 300_000);
}

#[tokio::test]
async fn an_upload_is_cut() {
    let setup = setup().await;
    setup
        .server
        .fail(Rule::next(Call::Upload, Fault::CutUpload { after: 1_000 }));
    let request = setup
        .request("POST", "/object/sources/a")
        .body(vec![1; 1_000_000]);
    request.send().await.unwrap_err();
    assert_eq!(setup.server.object("sources", "a"), None);
    assert_eq!(setup.upload("sources/a", "content").await.status(), 200);
}

#[tokio::test]
async fn answers_stand_in_for_the_real_ones() {
    let setup = setup().await;
    setup.server.put_object("sources", "a", "content");
    let order = |fault| setup.server.fail(Rule::next(Call::DeleteMany, fault));
    let ask = || {
        setup
            .request("DELETE", "/object/sources")
            .json(&json!({"prefixes": ["a"]}))
    };
    for (fault, http, status, code) in [
        (Fault::slow_down(7), 429, "429", "SlowDown"),
        (
            Fault::refusal(544, "DatabaseTimeout"),
            544,
            "544",
            "DatabaseTimeout",
        ),
        (
            Fault::refusal(503, "DatabaseReadOnly"),
            400,
            "503",
            "DatabaseReadOnly",
        ),
        (
            Fault::refusal(500, "InternalError"),
            500,
            "500",
            "InternalError",
        ),
        (Fault::http(502, "BadGateway"), 502, "502", "BadGateway"),
        (
            Fault::refusal(413, "EntityTooLarge"),
            400,
            "413",
            "EntityTooLarge",
        ),
    ] {
        order(fault);
        let response = ask().send().await.unwrap();
        assert_eq!(response.status(), http);
        let wait = response.headers().get("retry-after").cloned();
        assert_eq!(wait.is_some(), http == 429);
        let body: serde_json::Value = response.json().await.unwrap();
        assert_eq!(
            (body["statusCode"].as_str(), body["code"].as_str()),
            (Some(status), Some(code))
        );
    }
    assert_eq!(
        setup.server.object_count("sources"),
        1,
        "none had an effect"
    );
}

#[tokio::test]
async fn answers_may_be_anything_but_the_servers_own() {
    let setup = setup().await;
    setup.server.put_object("sources", "a", "content");
    let order = |fault| setup.server.fail(Rule::next(Call::DeleteMany, fault));
    let ask = || {
        let request = setup.request("DELETE", "/object/sources");
        request.json(&json!({"prefixes": ["a"]}))
    };
    order(Fault::Html { status: 520 });
    let page = ask().send().await.unwrap();
    assert_eq!(
        (page.status().as_u16(), &page.headers()["content-type"]),
        (520, &"text/html".parse().unwrap())
    );
    assert!(page.text().await.unwrap().starts_with("<html>"));
    order(Fault::MalformedJson { status: 200 });
    let half = ask().send().await.unwrap().text().await.unwrap();
    serde_json::from_str::<serde_json::Value>(&half).unwrap_err();
    order(Fault::HugeError {
        status: 500,
        bytes: 5_000_000,
    });
    let (status, huge) = answer(ask()).await;
    assert_eq!(
        (status, huge["message"].as_str().unwrap().len()),
        (500, 5_000_000)
    );
    order(Fault::Plain {
        status: 423,
        text: "locked",
    });
    assert_eq!(ask().send().await.unwrap().text().await.unwrap(), "locked");
    assert_eq!(
        setup.server.object_count("sources"),
        1,
        "none had an effect"
    );
    assert_eq!(setup.server.faults_left(), 0);
}

#[tokio::test]
async fn a_proxys_page_is_read_by_a_client_in_the_middle_of_an_upload() {
    let setup = setup().await;
    setup
        .server
        .fail(Rule::next(Call::Upload, Fault::Html { status: 502 }));
    assert_eq!(
        setup.upload("sources/a", vec![0; 3_000_000]).await.status(),
        502
    );
    assert_eq!(setup.server.object("sources", "a"), None);
}

#[tokio::test]
async fn rules_are_used_up_in_order() {
    let setup = setup().await;
    let server = &setup.server;
    let status = |n: u16| Fault::http(n, "Ordered");
    server.fail(Rule::next(Call::ListBuckets, status(501)));
    server.fail(Rule::next(Call::ListBuckets, status(502)));
    server.fail(Rule::nth(Call::ListBuckets, 4, status(504)));
    server.fail(Rule::times(Call::GetBucket, 2, status(503)));
    server.fail(
        Rule::every(Call::GetBucket, 2, status(507))
            .only(|request| request.bucket.as_deref() == Some("results")),
    );
    let mut got = Vec::new();
    for _ in 0..6 {
        got.push(setup.get("/bucket").await.status().as_u16());
    }
    assert_eq!(got, [501, 502, 200, 504, 200, 200]);
    let mut got = Vec::new();
    for bucket in [
        "sources", "results", "results", "sources", "results", "results",
    ] {
        got.push(
            setup
                .get(&format!("/bucket/{bucket}"))
                .await
                .status()
                .as_u16(),
        );
    }
    // The sixth is the fourth for its bucket.
    assert_eq!(got, [503, 503, 507, 200, 200, 507]);
    server.clear_faults();
    server.fail(Rule::always(Call::List, status(503)).of_any_kind());
    assert_eq!(setup.get("/bucket").await.status(), 503);
    assert_eq!(server.calls(Call::ListBuckets), 7);
    assert_eq!(server.total_calls(), 13);
}
