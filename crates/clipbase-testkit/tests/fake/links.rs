//! Links to objects, and links to upload with.

use std::time::Duration;

use reqwest::Response;
use serde_json::{Value, json};

use crate::client::{Setup, answer, setup};

async fn sign(setup: &Setup, path: &str) -> String {
    let (_, signed) = setup
        .post(
            &format!("/object/sign/sources/{path}"),
            json!({"expiresIn": 60}),
        )
        .await;
    signed["signedURL"].as_str().unwrap().to_owned()
}

async fn fetch(setup: &Setup, link: &str) -> Response {
    setup.bare("GET", link).send().await.unwrap()
}

async fn refusal(setup: &Setup, link: &str) -> Value {
    let (status, body) = answer(setup.bare("GET", link)).await;
    assert_eq!(status, 400);
    body
}

#[tokio::test]
async fn a_link_is_relative_and_not_escaped_and_needs_no_key() {
    let setup = setup().await;
    setup.upload("sources/a/b%20c.mp4", "content").await;
    let link = sign(&setup, "a/b%20c.mp4").await;
    assert!(
        link.starts_with("/object/sign/sources/a/b c.mp4?token=eyJ"),
        "{link}"
    );
    let got = fetch(&setup, &link).await;
    assert_eq!(got.headers().get("cache-control"), None);
    assert_eq!(got.headers()["x-robots-tag"], "none");
    assert!(got.headers()["expires"].to_str().unwrap().ends_with(" GMT"));
    assert_eq!(got.headers().get("content-disposition"), None);
    assert_eq!(got.text().await.unwrap(), "content");
    let part = setup
        .bare("GET", &link)
        .header("range", "bytes=0-2")
        .send()
        .await
        .unwrap();
    assert_eq!(
        (part.status().as_u16(), part.text().await.unwrap()),
        (206, "con".to_owned())
    );
    let named = fetch(&setup, &format!("{link}&download=my%20clip%3B.mp4")).await;
    let disposition = "attachment; filename=my%20clip%3B.mp4; filename*=UTF-8''my%20clip%3B.mp4;";
    assert_eq!(named.headers()["content-disposition"], disposition);
    let unnamed = fetch(&setup, &format!("{link}&download=")).await;
    assert_eq!(unnamed.headers()["content-disposition"], "attachment;");
}

#[tokio::test]
async fn a_link_ends_and_cannot_be_changed() {
    let setup = setup().await;
    setup.server.put_objects("sources", ["a", "b"], "content");
    let link = sign(&setup, "a").await;
    assert_eq!(
        refusal(&setup, &link.replace("/a?", "/b?")).await["code"],
        "InvalidSignature"
    );
    assert_eq!(
        refusal(&setup, &format!("{link}x")).await["code"],
        "InvalidJWT"
    );
    assert_eq!(
        refusal(&setup, "/object/sign/sources/a?token=").await["code"],
        "InvalidJWT"
    );
    assert_eq!(
        refusal(&setup, "/object/sign/sources/a").await["code"],
        "InvalidRequest"
    );
    let upload = setup.request("POST", "/object/upload/sign/sources/c");
    let token = answer(upload).await.1["token"].as_str().unwrap().to_owned();
    let wrong_scope = refusal(&setup, &format!("/object/sign/sources/c?token={token}")).await;
    assert_eq!(wrong_scope["code"], "InvalidSignature");
    setup.delete("sources", &["a"]).await;
    assert_eq!(refusal(&setup, &link).await["code"], "NoSuchKey");
    setup.server.put_object("sources", "a", "the next");
    assert_eq!(fetch(&setup, &link).await.text().await.unwrap(), "the next");
    setup.server.advance_clock(Duration::from_secs(61));
    let expired = refusal(&setup, &link).await;
    assert_eq!(expired["code"], "InvalidJWT");
    assert_eq!(expired["message"], "\"exp\" claim timestamp check failed");
}

#[tokio::test]
async fn one_link_is_broken_for_keys_with_question_marks_and_many_are_right() {
    let setup = setup().await;
    setup.server.put_object("sources", "a?b", "content");
    let link = sign(&setup, "a%3Fb").await;
    assert!(
        link.starts_with("/object/sign/sources/a%3Fb?token="),
        "{link}"
    );
    assert_eq!(refusal(&setup, &link).await["code"], "InvalidSignature");
    let ask = json!({"expiresIn": 60, "paths": ["a?b", "no"]});
    let (_, links) = setup.post("/object/sign/sources", ask).await;
    let link = links[0]["signedURL"]
        .as_str()
        .unwrap()
        .replacen("a?b", "a%3Fb", 1);
    assert_eq!(fetch(&setup, &link).await.status(), 200);
    assert_eq!(
        (&links[1]["path"], &links[1]["signedURL"]),
        (&json!("no"), &Value::Null)
    );
    assert!(
        links[1]["error"]
            .as_str()
            .unwrap()
            .starts_with("Either the object does not exist")
    );
}

#[tokio::test]
async fn an_upload_link_stores_once_unless_it_replaces() {
    let setup = setup().await;
    for (upserts, second) in [("false", 400), ("true", 200)] {
        let path = format!("sources/{upserts}");
        let ask = setup.request("POST", &format!("/object/upload/sign/{path}"));
        let (status, signed) = answer(ask.header("x-upsert", upserts)).await;
        assert_eq!(status, 200);
        let link = signed["url"].as_str().unwrap();
        let token = signed["token"].as_str().unwrap();
        assert_eq!(link, format!("/object/upload/sign/{path}?token={token}"));
        let put = |content: &'static str| answer(setup.bare("PUT", link).body(content));
        assert_eq!(put("one").await, (200, json!({ "Key": path })));
        let (status, body) = put("two").await;
        assert_eq!(status, second);
        assert_eq!(body["code"] == "KeyAlreadyExists", upserts == "false");
    }
    assert_eq!(setup.server.content("sources", "false").unwrap(), "one");
    assert_eq!(setup.server.content("sources", "true").unwrap(), "two");
}

#[tokio::test]
async fn an_upload_link_lasts_two_hours() {
    let setup = setup().await;
    let (_, signed) = answer(setup.request("POST", "/object/upload/sign/sources/a")).await;
    let link = signed["url"].as_str().unwrap();
    setup
        .server
        .advance_clock(Duration::from_secs(2 * 60 * 60 + 1));
    let (_, refused) = answer(setup.bare("PUT", link).body("late")).await;
    assert_eq!(refused["code"], "InvalidJWT");
    assert_eq!(setup.server.object("sources", "a"), None);
}
