//! The table of refusals: HTTP status, `statusCode` and `code` of each.

use clipbase_testkit::fake_supabase::{BucketSettings, FakeOptions, Ghosts};
use serde_json::{Value, json};

use crate::client::{Setup, answer, check, check_all, read_answer, send, setup, setup_with};

/// Sends each line with its body, and compares status, `statusCode` and `code`.
async fn check_lines(setup: &Setup, rows: &[(&str, &str, &str)]) {
    for (line, body, want) in rows {
        let (method, path) = line.split_once(' ').unwrap();
        let (path, range) = path.split_once(' ').unwrap_or((path, "none"));
        let request = setup.request(method, path).header("range", range);
        let (status, told) = answer(request.body((*body).to_owned())).await;
        let text = |field: &str| told[field].as_str().unwrap_or("-").to_owned();
        let got = format!("{status} {} {}", text("statusCode"), text("code"));
        assert_eq!(got, *want, "{line} {body}");
    }
}

#[tokio::test]
async fn objects_are_refused_with_400_and_the_true_status_inside() {
    let setup = setup().await;
    setup
        .server
        .put_objects("sources", ["there", "too"], "content");
    let one_minute = r#"{"expiresIn":60}"#;
    let from_nothing = r#"{"bucketId":"sources","sourceKey":"no","destinationKey":"a"}"#;
    let to_nowhere =
        r#"{"bucketId":"sources","sourceKey":"too","destinationBucket":"no","destinationKey":"a"}"#;
    let to_another = r#"{"bucketId":"sources","sourceKey":"too","destinationKey":"there"}"#;
    check_lines(
        &setup,
        &[
            (
                "POST /object/sources/there",
                "x",
                "400 409 KeyAlreadyExists",
            ),
            ("POST /object/no/a", "x", "400 404 NoSuchBucket"),
            ("POST /object/sources/a%23b", "x", "400 400 InvalidKey"),
            ("POST /object/sources/a~b", "x", "400 400 InvalidKey"),
            ("GET /object/sources/no", "", "400 404 NoSuchKey"),
            ("GET /object/no/no", "", "400 404 NoSuchBucket"),
            (
                "GET /object/public/sources/there",
                "",
                "400 404 NoSuchBucket",
            ),
            (
                "GET /object/sources/there bytes=7-",
                "",
                "416 416 InvalidRange",
            ),
            (
                "GET /object/sources/there bytes=0-1,3-4",
                "",
                "416 416 InvalidRange",
            ),
            ("GET /object/info/sources/no", "", "400 404 NoSuchKey"),
            ("GET /object/info/no/no", "", "400 404 NoSuchKey"),
            (
                "POST /object/sign/sources/no",
                one_minute,
                "400 404 NoSuchKey",
            ),
            ("POST /object/sign/no/no", one_minute, "400 404 NoSuchKey"),
            ("DELETE /object/sources/no", "", "400 404 NoSuchKey"),
            ("DELETE /object/no/no", "", "400 404 NoSuchKey"),
            ("POST /object/copy", from_nothing, "400 404 NoSuchKey"),
            ("POST /object/move", from_nothing, "400 404 NoSuchKey"),
            ("POST /object/copy", to_nowhere, "400 404 NoSuchBucket"),
            ("POST /object/copy", to_another, "400 409 KeyAlreadyExists"),
            (
                "POST /object/move",
                to_another,
                "400 409 ResourceAlreadyExists",
            ),
            (
                "POST /object/upload/sign/no/a",
                "",
                "400 404 InvalidRequest",
            ),
            (
                "POST /object/upload/sign/sources/there",
                "",
                "400 409 KeyAlreadyExists",
            ),
        ],
    )
    .await;
    assert_eq!(setup.server.object_count("sources"), 2);
}

#[tokio::test]
async fn buckets_are_refused_with_400_and_the_true_status_inside() {
    let setup = setup().await;
    setup.server.put_object("sources", "there", "content");
    let too_large = r#"{"name":"big","file_size_limit":"60GB"}"#;
    let no_size = r#"{"name":"big","file_size_limit":"5 potatoes"}"#;
    check_lines(
        &setup,
        &[
            (
                "POST /bucket",
                r#"{"name":"sources"}"#,
                "400 409 BucketAlreadyExists",
            ),
            (
                "POST /bucket",
                r#"{"name":"a/b"}"#,
                "400 400 InvalidBucketName",
            ),
            (
                "POST /bucket",
                r#"{"name":""}"#,
                "400 400 InvalidBucketName",
            ),
            ("POST /bucket", "{}", "400 400 InvalidRequest"),
            ("POST /bucket", too_large, "400 413 EntityTooLarge"),
            ("POST /bucket", no_size, "400 400 InvalidRequest"),
            (
                "PUT /bucket/sources",
                r#"{"file_size_limit":"60GB"}"#,
                "400 413 EntityTooLarge",
            ),
            ("PUT /bucket/no", "{}", "400 404 NoSuchBucket"),
            ("GET /bucket/no", "", "400 404 NoSuchBucket"),
            ("POST /bucket/no/empty", "", "400 404 NoSuchBucket"),
            ("DELETE /bucket/no", "", "400 404 NoSuchBucket"),
            ("DELETE /bucket/sources", "", "400 409 ResourceNotEmpty"),
        ],
    )
    .await;
    let settings = BucketSettings::default();
    assert_eq!(setup.server.bucket("sources"), Some(settings));
}

#[tokio::test]
async fn documents_are_checked() {
    let setup = setup().await;
    setup.server.put_object("sources", "there", "content");
    let paths: Vec<_> = (0..1_001).map(|n| format!("{n}")).collect();
    let sign_all = json!({"expiresIn": 1, "paths": paths}).to_string();
    let remove_all = json!({"prefixes": paths}).to_string();
    let sign = "POST /object/sign/sources/there";
    check_lines(
        &setup,
        &[
            (sign, "", "400 400 InvalidRequest"),
            (sign, "{\"expiresIn\":", "400 400 InvalidRequest"),
            (sign, "[]", "400 400 InvalidRequest"),
            (sign, "{}", "400 400 InvalidRequest"),
            (sign, r#"{"expiresIn":0}"#, "400 400 InvalidRequest"),
            (sign, r#"{"expiresIn":1.5}"#, "400 400 InvalidRequest"),
            (
                "POST /object/sign/sources",
                r#"{"expiresIn":1,"paths":[]}"#,
                "400 400 InvalidRequest",
            ),
            (
                "POST /object/sign/sources",
                &sign_all,
                "400 400 InvalidRequest",
            ),
            (
                "DELETE /object/sources",
                r#"{"prefixes":[]}"#,
                "400 400 InvalidRequest",
            ),
            (
                "DELETE /object/sources",
                r#"{"prefixes":"there"}"#,
                "400 400 InvalidRequest",
            ),
            (
                "DELETE /object/sources",
                &remove_all,
                "400 400 InvalidRequest",
            ),
            ("POST /object/list/sources", "{}", "400 400 InvalidRequest"),
            (
                "POST /object/list-v2/sources",
                r#"{"limit":0}"#,
                "400 400 InvalidRequest",
            ),
            (
                "POST /object/list-v2/sources",
                r#"{"cursor":"!"}"#,
                "400 400 InvalidParameter",
            ),
            (
                "POST /object/copy",
                r#"{"bucketId":"sources"}"#,
                "400 400 InvalidRequest",
            ),
        ],
    )
    .await;
    let (_, refusal) = answer(setup.request("DELETE", "/object/sources").body(remove_all)).await;
    assert_eq!(refusal["error"], "Error");
    let message = "Bulk object requests are limited to 1000 objects per request.";
    assert_eq!(refusal["message"], message);
}

#[tokio::test]
async fn a_bucket_says_what_it_takes() {
    let setup = setup().await;
    let types = ["text/plain", "video/*", "*/*"].map(str::to_owned).to_vec();
    let settings = BucketSettings {
        file_size_limit: Some(10),
        allowed_mime_types: Some(types),
        ..BucketSettings::default()
    };
    setup.server.set_bucket("results", settings);
    let upload = |path: &str, mime: &'static str, content: &'static str| {
        let request = setup.request("POST", &format!("/object/results/{path}"));
        request.header("content-type", mime).body(content)
    };
    let mime = (400, "415", "InvalidMimeType");
    check_all(vec![
        ("allowed", upload("a", "text/plain", "x"), (200, "", "")),
        (
            "any of a kind",
            upload("b", "video/mp4", "x"),
            (200, "", ""),
        ),
        (
            "with parameters",
            upload("c", "text/plain; charset=utf-8", "x"),
            mime,
        ),
        ("not by any/any", upload("d", "image/png", "x"), mime),
        (
            "just fits",
            upload("e", "text/plain", "0123456789"),
            (200, "", ""),
        ),
        (
            "too large",
            upload("f", "text/plain", "01234567890"),
            (400, "413", "EntityTooLarge"),
        ),
    ])
    .await;
    // Nobody told the size, so nobody limits it.
    let pieces = futures_util::stream::iter((0..3).map(|_| Ok::<_, std::io::Error>("01234567890")));
    let request = upload("g", "video/mp4", "").body(reqwest::Body::wrap_stream(pieces));
    assert_eq!(answer(request).await.0, 200);
    assert_eq!(setup.server.object("results", "g").unwrap().size, 33);
}

#[tokio::test]
async fn missing_buckets_are_no_matter_to_lists_and_bulk_removals() {
    let setup = setup().await;
    assert_eq!(setup.delete("no", &["a"]).await, (200, json!([])));
    let list = setup.post("/object/list/no", json!({"prefix": ""})).await;
    assert_eq!(list, (200, json!([])));
    let links = setup
        .post("/object/sign/no", json!({"expiresIn": 60, "paths": ["a"]}))
        .await;
    assert_eq!((links.0, &links.1[0]["signedURL"]), (200, &Value::Null));
}

#[tokio::test]
async fn an_unknown_route_has_another_shape() {
    let setup = setup().await;
    for (method, path) in [
        ("GET", "/nowhere"),
        ("PATCH", "/bucket/sources"),
        ("GET", "/object/sources"),
    ] {
        let (status, body) = answer(setup.request(method, path)).await;
        assert_eq!((status, &body["statusCode"]), (404, &json!(404)), "{path}");
        assert_eq!(body.get("code"), None);
    }
    assert_eq!(
        setup.bare("GET", "/status").send().await.unwrap().status(),
        200
    );
}

#[tokio::test]
async fn a_ghost_is_found_by_reading_it_alone() {
    for (ghosts, want) in [
        (Ghosts::NoSuchKey, (400, "404", "NoSuchKey")),
        (Ghosts::InternalError, (500, "500", "InternalError")),
    ] {
        let setup = setup_with(FakeOptions {
            ghosts,
            ..FakeOptions::default()
        })
        .await;
        setup.server.put_object("sources", "there", "content");
        setup.server.remove_content("sources", "there");
        check(
            "read",
            &answer(setup.request("GET", "/object/sources/there")).await,
            want,
        );
        let head = setup
            .request("HEAD", "/object/sources/there")
            .send()
            .await
            .unwrap();
        assert_eq!(head.status(), 200);
        assert_eq!(setup.get("/object/info/sources/there").await.status(), 200);
        assert_eq!(
            setup
                .post("/object/sign/sources/there", json!({"expiresIn": 60}))
                .await
                .0,
            200
        );
        let removed = setup.delete("sources", &["there"]).await.1;
        assert_eq!(removed[0]["name"], "there");
    }
}

async fn raw(setup: &Setup, request: &str) -> String {
    let mut stream = setup.connect().await;
    send(&mut stream, request).await;
    read_answer(&mut stream).await.unwrap().0
}

#[tokio::test]
async fn garbage_is_a_bad_request() {
    let setup = setup().await;
    let key = setup.server.service_key();
    for line in [
        "this is not HTTP".to_owned(),
        "GET /storage/v1/object/sources/%ff%fe HTTP/1.1".to_owned(),
        "GET /storage/v1/object/sources/a%zz%2 HTTP/1.1".to_owned(),
        "GET /storage/v1/object/sources/../../etc HTTP/1.1".to_owned(),
        "POST /storage/v1/object/sign/sources/%2525%25 HTTP/1.1".to_owned(),
        "POST /storage/v1/upload/resumable HTTP/1.1\r\ntus-resumable: 1.0.0\r\nupload-length: 1\r\n\
         upload-metadata: bucketName ???,objectName"
            .to_owned(),
        "GET /storage/v1/object/sources/a HTTP/1.1\r\nrange: bytes=-\r\nif-none-match: \u{fffd}".to_owned(),
        format!("POST /storage/v1/object/sources/a HTTP/1.1\r\ncontent-length: {}9", u64::MAX),
    ] {
        let request = format!("{line}\r\nhost: storage\r\nauthorization: Bearer {key}\r\n\r\n");
        let head = raw(&setup, &request).await;
        assert!(head.starts_with("HTTP/1.1 400 "), "{line}: {head}");
    }
    assert_eq!(setup.get("/bucket/sources").await.status(), 200);
}
