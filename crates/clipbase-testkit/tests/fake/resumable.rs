//! Resumable uploads survive what cuts them, and refuse in plain text.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use clipbase_testkit::fake_supabase::{BucketSettings, Call, FakeOptions, Fault, Rule};
use reqwest::{RequestBuilder, Response};

use crate::client::{Setup, answer, setup, setup_with};

fn metadata(bucket: &str, object: &str) -> String {
    [
        ("bucketName", bucket),
        ("objectName", object),
        ("contentType", "video/mp4"),
        ("cacheControl", "60"),
    ]
    .map(|(name, value)| format!("{name} {}", STANDARD.encode(value)))
    .join(",")
}

fn create(setup: &Setup, object: &str, length: u64) -> RequestBuilder {
    let request = setup.request("POST", "/upload/resumable");
    request
        .header("tus-resumable", "1.0.0")
        .header("upload-length", length)
        .header("upload-metadata", metadata("sources", object))
}

/// The path below the base: the host of a `Location` is not to be trusted.
fn path(location: &Response) -> String {
    let location = location.headers()["location"].to_str().unwrap();
    let (_, path) = location.split_once("/upload/resumable").unwrap();
    format!("/upload/resumable{path}")
}

fn patch(setup: &Setup, path: &str, offset: u64, content: &'static [u8]) -> RequestBuilder {
    let request = setup.request("PATCH", path);
    request
        .header("tus-resumable", "1.0.0")
        .header("upload-offset", offset)
        .header("content-type", "application/offset+octet-stream")
        .body(content)
}

async fn offset(setup: &Setup, path: &str) -> u64 {
    let head = setup.request("HEAD", path).header("tus-resumable", "1.0.0");
    let head = head.send().await.unwrap();
    assert_eq!(head.status(), 200);
    head.headers()["upload-offset"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap()
}

async fn refused(request: RequestBuilder) -> (u16, String) {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let kind = response.headers()["content-type"]
        .to_str()
        .unwrap()
        .to_owned();
    assert!(kind.starts_with("text/plain"), "{kind}");
    (status, response.text().await.unwrap().trim_end().to_owned())
}

#[tokio::test]
async fn an_upload_in_parts() {
    let setup = setup_with(FakeOptions {
        location_base: Some("https://internal.invalid/storage/v1".to_owned()),
        ..FakeOptions::default()
    })
    .await;
    let created = create(&setup, "a/b.mp4", 11).send().await.unwrap();
    assert_eq!(created.status(), 201);
    assert!(created.headers().contains_key("upload-expires"));
    let location = created.headers()["location"].to_str().unwrap();
    let id = location
        .strip_prefix("https://internal.invalid/storage/v1/upload/resumable/")
        .unwrap();
    let id = String::from_utf8(URL_SAFE_NO_PAD.decode(id).unwrap()).unwrap();
    assert!(id.starts_with("sources/a/b.mp4/"), "{id}");
    let path = path(&created);
    let first = patch(&setup, &path, 0, b"the ").send().await.unwrap();
    assert_eq!(
        (first.status().as_u16(), &first.headers()["upload-offset"]),
        (204, &"4".parse().unwrap())
    );
    assert_eq!(first.headers().get("tus-complete"), None);
    assert_eq!(setup.server.object("sources", "a/b.mp4"), None);
    assert_eq!(
        (
            offset(&setup, &path).await,
            setup.server.unfinished_uploads()
        ),
        (4, 1)
    );
    let last = patch(&setup, &path, 4, b"content").send().await.unwrap();
    assert_eq!(last.headers()["tus-complete"], "1");
    let object = setup.server.object("sources", "a/b.mp4").unwrap();
    assert_eq!(
        (object.content_type.as_str(), object.cache_control.as_str()),
        ("video/mp4", "max-age=60")
    );
    assert_eq!(
        setup.server.content("sources", "a/b.mp4").unwrap(),
        "the content"
    );
    // A client whose last answer was lost learns of the end.
    assert_eq!(
        (
            offset(&setup, &path).await,
            setup.server.unfinished_uploads()
        ),
        (11, 0)
    );
    let etag = setup.get("/object/sources/a/b.mp4").await.headers()["etag"].clone();
    assert!(etag.to_str().unwrap().ends_with("-2\""), "{etag:?}");
}

#[tokio::test]
async fn a_creation_may_bring_content_and_may_not_know_the_length() {
    let setup = setup().await;
    let whole =
        create(&setup, "whole", 5).header("content-type", "application/offset+octet-stream");
    let whole = whole.body("hello").send().await.unwrap();
    assert_eq!(
        (whole.status().as_u16(), &whole.headers()["tus-complete"]),
        (201, &"1".parse().unwrap())
    );
    assert_eq!(setup.server.content("sources", "whole").unwrap(), "hello");
    let request = setup
        .request("POST", "/upload/resumable")
        .header("tus-resumable", "1.0.0");
    let request = request.header("upload-defer-length", 1);
    let later = request
        .header("upload-metadata", metadata("sources", "later"))
        .send()
        .await
        .unwrap();
    let path = path(&later);
    let first = patch(&setup, &path, 0, b"hel").send().await.unwrap();
    assert_eq!(first.status(), 204);
    let last = patch(&setup, &path, 3, b"lo")
        .header("upload-length", 5)
        .send()
        .await
        .unwrap();
    assert_eq!(last.headers()["tus-complete"], "1");
    assert_eq!(setup.server.content("sources", "later").unwrap(), "hello");
}

#[tokio::test]
async fn what_arrived_before_a_cut_stays() {
    let setup = setup().await;
    let content: &[u8] = vec![7; 3 * 1024 * 1024].leak();
    let created = create(&setup, "a", content.len() as u64)
        .send()
        .await
        .unwrap();
    let path = path(&created);
    let cut = 1_234_567;
    setup
        .server
        .fail(Rule::next(Call::TusPatch, Fault::CutUpload { after: cut }));
    patch(&setup, &path, 0, content).send().await.unwrap_err();
    assert_eq!(offset(&setup, &path).await, cut);
    let rest = &content[usize::try_from(cut).unwrap()..];
    // An answer that is lost takes no content with it.
    setup
        .server
        .fail(Rule::next(Call::TusPatch, Fault::LoseAnswer));
    patch(&setup, &path, cut, rest).send().await.unwrap_err();
    assert_eq!(offset(&setup, &path).await, content.len() as u64);
    assert_eq!(setup.server.content("sources", "a").unwrap(), content);
}

#[tokio::test]
async fn a_new_request_takes_over_from_one_that_hangs() {
    let setup = setup().await;
    let created = create(&setup, "a", 10).send().await.unwrap();
    let path = path(&created);
    let mut stream = setup.connect().await;
    let head = format!(
        "PATCH /storage/v1{path} HTTP/1.1\r\nhost: storage\r\nauthorization: Bearer {}\r\ntus-resumable: 1.0.0\r\n\
         upload-offset: 0\r\ncontent-type: application/offset+octet-stream\r\ncontent-length: 10\r\n\
         expect: 100-continue\r\n\r\n",
        setup.server.service_key()
    );
    crate::client::send(&mut stream, head).await;
    crate::client::read_head(&mut stream).await.unwrap();
    assert_eq!(offset(&setup, &path).await, 0);
    // The request before was ended by that.
    assert!(crate::client::read_head(&mut stream).await.is_err());
    let last = patch(&setup, &path, 0, b"0123456789").send().await.unwrap();
    assert_eq!(last.status(), 204);
}

#[tokio::test]
async fn refusals_are_plain_text_with_their_true_status() {
    let setup = setup().await;
    let settings = BucketSettings {
        file_size_limit: Some(100),
        allowed_mime_types: Some(vec!["text/plain".to_owned()]),
        ..BucketSettings::default()
    };
    setup.server.set_bucket("results", settings);
    setup.server.put_object("sources", "there", "content");
    let at = |bucket: &str, object: &str, length: u64| {
        let request = setup
            .request("POST", "/upload/resumable")
            .header("tus-resumable", "1.0.0");
        request
            .header("upload-length", length)
            .header("upload-metadata", metadata(bucket, object))
    };
    let told = |status: u16, text: &str| (status, text.to_owned());
    let exists = told(409, "The resource already exists");
    assert_eq!(
        refused(at("no", "a", 1)).await,
        told(404, "Bucket not found")
    );
    assert_eq!(refused(at("sources", "there", 1)).await, exists);
    assert_eq!(
        refused(at("results", "a", 101)).await,
        told(413, "Maximum size exceeded")
    );
    assert_eq!(
        refused(at("results", "a", 1)).await,
        told(415, "mime type video/mp4 is not supported")
    );
    assert_eq!(refused(at("sources", "a#b", 1)).await.0, 400);
    assert_eq!(
        refused(setup.request("POST", "/upload/resumable")).await,
        told(412, "Tus-Resumable Required")
    );
    let powerless = setup
        .bare("POST", "/upload/resumable")
        .bearer_auth(setup.server.powerless_key());
    let powerless = powerless
        .header("tus-resumable", "1.0.0")
        .header("upload-length", 1);
    let powerless = powerless.header("upload-metadata", metadata("sources", "a"));
    assert_eq!(refused(powerless).await.0, 403);
}

#[tokio::test]
async fn refusals_of_what_is_under_way() {
    let setup = setup().await;
    let told = |status: u16, text: &str| (status, text.to_owned());
    let path = path(&create(&setup, "a", 5).send().await.unwrap());
    assert_eq!(
        refused(patch(&setup, &path, 3, b"x")).await,
        told(409, "Upload-Offset conflict")
    );
    assert_eq!(
        refused(patch(&setup, &path, 0, b"123456")).await,
        told(413, "upload's size exceeded")
    );
    let unknown = patch(&setup, "/upload/resumable/c291cmNlcy9hL2I", 0, b"x");
    assert_eq!(refused(unknown).await.0, 404);
    // Only a bad key is told in JSON, and HTTP says 400.
    let (status, body) = answer(
        setup
            .bare("POST", "/upload/resumable")
            .header("tus-resumable", "1.0.0"),
    )
    .await;
    assert_eq!((status, body["code"].as_str()), (400, Some("AccessDenied")));
    assert_eq!(body["message"], "Invalid Compact JWS");
    let head = setup
        .bare("HEAD", &path)
        .header("tus-resumable", "1.0.0")
        .send()
        .await
        .unwrap();
    assert_eq!(head.status(), 400);
    setup
        .server
        .advance_clock(Duration::from_secs(24 * 60 * 60 + 1));
    assert_eq!(refused(patch(&setup, &path, 0, b"x")).await.0, 410);
}

#[tokio::test]
async fn the_right_to_replace_is_asked_of_every_request() {
    let setup = setup().await;
    setup.server.put_object("sources", "a", "old");
    let created = create(&setup, "a", 6)
        .header("x-upsert", "true")
        .send()
        .await
        .unwrap();
    let path = path(&created);
    let first = patch(&setup, &path, 0, b"new")
        .header("x-upsert", "true")
        .send()
        .await
        .unwrap();
    assert_eq!(first.status(), 204);
    assert_eq!(refused(patch(&setup, &path, 3, b"er!")).await.0, 409);
    let last = patch(&setup, &path, 3, b"er!")
        .header("x-upsert", "true")
        .send()
        .await
        .unwrap();
    assert_eq!(last.status(), 204);
    assert_eq!(setup.server.content("sources", "a").unwrap(), "newer!");
}

#[tokio::test]
async fn the_first_of_two_uploads_to_end_wins() {
    let setup = setup().await;
    let one = path(&create(&setup, "a", 1).send().await.unwrap());
    let two = path(&create(&setup, "a", 1).send().await.unwrap());
    assert_eq!(
        patch(&setup, &two, 0, b"2").send().await.unwrap().status(),
        204
    );
    assert_eq!(refused(patch(&setup, &one, 0, b"1")).await.0, 409);
    assert_eq!(setup.server.content("sources", "a").unwrap(), "2");
}

#[tokio::test]
async fn an_unfinished_upload_can_be_ended() {
    let setup = setup().await;
    let path = path(&create(&setup, "a", 2).send().await.unwrap());
    let delete = || {
        setup
            .request("DELETE", &path)
            .header("tus-resumable", "1.0.0")
    };
    assert_eq!(delete().send().await.unwrap().status(), 204);
    assert_eq!(refused(delete()).await.0, 404);
    assert_eq!(setup.server.unfinished_uploads(), 0);
}

#[tokio::test]
async fn an_upload_links_token_opens_the_signed_endpoint_only() {
    let setup = setup().await;
    let (_, signed) = answer(setup.request("POST", "/object/upload/sign/sources/a")).await;
    let token = signed["token"].as_str().unwrap();
    let ask = |path: &str, object: &str| {
        let request = setup.bare("POST", path).header("tus-resumable", "1.0.0");
        let request = request
            .header("upload-length", 5)
            .header("x-signature", token);
        request.header("upload-metadata", metadata("sources", object))
    };
    let (_, plain) = answer(ask("/upload/resumable", "a")).await;
    assert_eq!(plain["message"], "Invalid Compact JWS");
    assert_eq!(
        refused(ask("/upload/resumable/sign", "b")).await,
        (400, "Invalid signature".to_owned())
    );
    let created = ask("/upload/resumable/sign", "a").send().await.unwrap();
    let path = path(&created);
    assert!(path.starts_with("/upload/resumable/sign/"), "{path}");
    let content = |token: &str| {
        let request = setup.bare("PATCH", &path).header("tus-resumable", "1.0.0");
        let request = request
            .header("x-signature", token)
            .header("upload-offset", 0);
        request
            .header("content-type", "application/offset+octet-stream")
            .body("hello")
    };
    assert_eq!(
        refused(content("")).await,
        (400, "Missing x-signature header".to_owned())
    );
    assert_eq!(content(token).send().await.unwrap().status(), 204);
    assert_eq!(setup.server.content("sources", "a").unwrap(), "hello");
}
