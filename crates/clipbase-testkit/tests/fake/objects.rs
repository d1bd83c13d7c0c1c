//! Objects come and go, and readers see them whole.

use clipbase_testkit::fake_supabase::{BucketSettings, Content, FakeOptions};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::client::{Setup, answer, read_answer, read_head, send, setup, setup_with};

async fn both_kinds(body: impl AsyncFn(&Setup)) {
    body(&setup().await).await;
    let folder = tempfile::tempdir().unwrap();
    let content = Content::Folder(folder.path().to_owned());
    let setup = setup_with(FakeOptions {
        content,
        ..FakeOptions::default()
    })
    .await;
    body(&setup).await;
    let objects = setup.server.object_count("sources") + setup.server.object_count("results");
    clipbase_testkit::wait_until("no file is without its object", async || {
        std::fs::read_dir(folder.path()).unwrap().count() == objects
    })
    .await;
}

#[tokio::test]
async fn an_upload_comes_back_whole_and_in_parts() {
    both_kinds(async |setup| {
        let content: Vec<u8> = (0..700_000_u32).map(|n| (n % 251) as u8).collect();
        let uploaded = setup.upload("sources/a/b%20c.mp4", content.clone()).await;
        let uploaded: serde_json::Value = uploaded.json().await.unwrap();
        assert_eq!(uploaded["Key"], "sources/a/b c.mp4");
        let got = setup.get("/object/sources/a/b%20c.mp4").await;
        assert_eq!(got.headers()["content-type"], "video/mp4");
        assert_eq!(got.bytes().await.unwrap(), content);
        for (range, part) in [
            ("bytes=5-9", &content[5..10]),
            ("bytes=600000-", &content[600_000..]),
            ("bytes=-7", &content[699_993..]),
            ("bytes=699999-999999999", &content[699_999..]),
        ] {
            let request = setup.request("GET", "/object/authenticated/sources/a%2Fb%20c.mp4");
            let got = request.header("range", range).send().await.unwrap();
            assert_eq!(got.status(), 206);
            assert!(
                got.headers()["content-range"]
                    .to_str()
                    .unwrap()
                    .ends_with("/700000")
            );
            assert_eq!(got.bytes().await.unwrap(), part, "{range}");
        }
        let head = setup
            .request("HEAD", "/object/sources/a/b%20c.mp4")
            .send()
            .await
            .unwrap();
        assert_eq!(head.headers()["content-length"], "700000");
        let hash: [u8; 32] = Sha256::digest(&content).into();
        assert_eq!(setup.server.sha256("sources", "a/b c.mp4"), Some(hash));
        assert_eq!(
            setup.server.content("sources", "a/b c.mp4").unwrap(),
            content
        );
    })
    .await;
}

#[tokio::test]
async fn an_empty_object_is_an_object() {
    both_kinds(async |setup| {
        assert_eq!(setup.upload("sources/empty", "").await.status(), 200);
        let got = setup.get("/object/sources/empty").await;
        assert_eq!(got.headers()["content-length"], "0");
        assert_eq!(setup.server.object("sources", "empty").unwrap().size, 0);
    })
    .await;
}

#[tokio::test]
async fn a_replaced_object_keeps_its_id_and_its_first_day() {
    both_kinds(async |setup| {
        setup.upload("sources/a", "one").await;
        let before = setup.server.object("sources", "a").unwrap();
        setup
            .server
            .advance_clock(std::time::Duration::from_secs(10));
        let request = setup.request("PUT", "/object/sources/a").body("two");
        assert_eq!(answer(request).await.0, 200);
        let after = setup.server.object("sources", "a").unwrap();
        assert_eq!((before.id, before.created_at), (after.id, after.created_at));
        assert!(after.updated_at > before.updated_at && after.version != before.version);
        // A replacement needs nothing to replace.
        let request = setup.request("PUT", "/object/sources/new").body("three");
        assert_eq!(answer(request).await.0, 200);
    })
    .await;
}

/// Waits until the server reads an upload: it says so when it is asked to.
async fn begin(setup: &Setup, path: &str, length: usize, more: &str) -> tokio::net::TcpStream {
    let mut stream = setup.connect().await;
    let head = setup.upload_head(path, length, &format!("expect: 100-continue\r\n{more}"));
    send(&mut stream, head).await;
    let head = read_head(&mut stream).await.unwrap();
    assert!(head.starts_with("HTTP/1.1 100"), "{head}");
    stream
}

#[tokio::test]
async fn two_creations_that_run_together_both_succeed_and_the_last_to_end_wins() {
    both_kinds(async |setup| {
        let mut first = begin(setup, "sources/a", 5, "").await;
        let mut second = begin(setup, "sources/a", 6, "").await;
        for (stream, content) in [(&mut second, "second"), (&mut first, "first")] {
            send(stream, content).await;
            let (head, _) = read_answer(stream).await.unwrap();
            assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        }
        assert_eq!(setup.server.content("sources", "a").unwrap(), "first");
        let again = setup.request("POST", "/object/sources/a").body("third");
        assert_eq!(answer(again).await.1["code"], "KeyAlreadyExists");
    })
    .await;
}

#[tokio::test]
async fn readers_see_the_old_content_until_the_new_one_is_whole() {
    both_kinds(async |setup| {
        setup.upload("sources/a", "the old one").await;
        let mut stream = begin(setup, "sources/a", 11, "x-upsert: true\r\n").await;
        send(&mut stream, "the ").await;
        assert_eq!(
            setup.get("/object/sources/a").await.text().await.unwrap(),
            "the old one"
        );
        send(&mut stream, "new one").await;
        read_answer(&mut stream).await.unwrap();
        assert_eq!(
            setup.get("/object/sources/a").await.text().await.unwrap(),
            "the new one"
        );
    })
    .await;
}

#[tokio::test]
async fn an_upload_that_breaks_off_leaves_what_was_there() {
    both_kinds(async |setup| {
        setup.upload("sources/a", "old").await;
        for path in ["sources/a", "sources/b"] {
            let mut stream = begin(setup, path, 1_000, "x-upsert: true\r\n").await;
            send(&mut stream, "half of it").await;
        }
        clipbase_testkit::wait_until("both uploads have ended", async || {
            setup.server.open_connections() <= 1
        })
        .await;
        assert_eq!(setup.server.content("sources", "a").unwrap(), "old");
        assert_eq!(setup.server.object("sources", "b"), None);
    })
    .await;
}

#[tokio::test]
async fn info_and_etag_tell_versions_apart() {
    let setup = setup().await;
    let request = setup.request("POST", "/object/sources/a").body("content");
    let metadata = "eyJjbGlwIjoxfQ==";
    let request = request
        .header("cache-control", "max-age=5")
        .header("x-metadata", metadata);
    assert_eq!(answer(request).await.0, 200);
    let (_, info) = answer(setup.request("GET", "/object/info/sources/a")).await;
    assert_eq!(info["size"], 7);
    assert_eq!(info["content_type"], "application/octet-stream");
    assert_eq!(info["cache_control"], "max-age=5");
    assert_eq!(info["metadata"], json!({"clip": 1}));
    let got = setup.get("/object/sources/a").await;
    assert_eq!(got.headers()["cache-control"], "max-age=5");
    let etag = got.headers()["etag"].clone();
    let again = setup
        .request("GET", "/object/sources/a")
        .header("if-none-match", &etag);
    assert_eq!(again.send().await.unwrap().status(), 304);
    setup.upload("sources/a", "content").await;
    let again = setup
        .request("GET", "/object/sources/a")
        .header("if-none-match", &etag);
    assert_eq!(again.send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_bulk_removal_tells_the_rows_that_it_removed() {
    both_kinds(async |setup| {
        setup.server.put_objects("sources", ["a", "b", "b/c"], "x");
        let (status, rows) = setup.delete("sources", &["b", "no", "b", "a"]).await;
        let names: Vec<_> = rows
            .as_array()
            .unwrap()
            .iter()
            .map(|row| row["name"].clone())
            .collect();
        assert_eq!((status, names), (200, vec![json!("b"), json!("a")]));
        // Names are exact, never the beginnings of names.
        assert_eq!(setup.server.objects("sources")[0].path, "b/c");
        let one = answer(setup.request("DELETE", "/object/sources/b/c")).await;
        assert_eq!(one, (200, json!({"message": "Successfully deleted"})));
    })
    .await;
}

#[tokio::test]
async fn copies_and_moves() {
    both_kinds(async |setup| {
        setup.upload("sources/a", "one").await;
        setup.upload("results/b", "two").await;
        let mut document = json!({
            "bucketId": "sources", "sourceKey": "a",
            "destinationBucket": "results", "destinationKey": "b",
        });
        let copy = setup
            .request("POST", "/object/copy")
            .header("x-upsert", "true");
        assert_eq!(answer(copy.json(&document)).await.1["Key"], "results/b");
        assert_eq!(setup.server.content("results", "b").unwrap(), "one");
        assert_eq!(
            setup.server.object("results", "b").unwrap().content_type,
            "video/mp4"
        );
        document["destinationKey"] = json!("c");
        assert_eq!(setup.post("/object/move", document).await.0, 200);
        assert_eq!(setup.server.object("sources", "a"), None);
        let version = setup.server.object("results", "c").unwrap().version;
        let itself = json!({"bucketId": "results", "sourceKey": "c", "destinationKey": "c"});
        assert_eq!(setup.post("/object/copy", itself).await.0, 200);
        assert_eq!(
            setup.server.object("results", "c").unwrap().version,
            version
        );
        // The copy and the moved object share a file in a folder.
        setup.upload("results/b", "of its own").await;
    })
    .await;
}

#[tokio::test]
async fn buckets_are_made_and_changed() {
    let setup = setup().await;
    let made = setup
        .post("/bucket", json!({"name": "new", "public": false, "file_size_limit": "50MB", "allowed_mime_types": ["video/mp4"]}))
        .await;
    assert_eq!(made, (200, json!({"name": "new"})));
    let (_, bucket) = answer(setup.request("GET", "/bucket/new")).await;
    assert_eq!(
        (&bucket["file_size_limit"], &bucket["public"]),
        (&json!(50_000_000), &json!(false))
    );
    let change = json!({"public": true, "allowed_mime_types": null});
    let changed = answer(setup.request("PUT", "/bucket/new").json(&change)).await;
    assert_eq!(changed, (200, json!({"message": "Successfully updated"})));
    let settings = BucketSettings {
        public: true,
        file_size_limit: Some(50_000_000),
        allowed_mime_types: None,
    };
    assert_eq!(setup.server.bucket("new"), Some(settings));
    setup.upload("new/a", "content").await;
    let public = setup
        .bare("GET", "/object/public/new/a")
        .send()
        .await
        .unwrap();
    assert_eq!(public.text().await.unwrap(), "content");
    assert_eq!(
        setup
            .request("POST", "/bucket/new/empty")
            .send()
            .await
            .unwrap()
            .status(),
        200
    );
    assert_eq!(
        setup
            .request("DELETE", "/bucket/new")
            .send()
            .await
            .unwrap()
            .status(),
        200
    );
    let (_, buckets) = answer(setup.request("GET", "/bucket")).await;
    assert_eq!(buckets.as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn an_object_can_be_made_older() {
    let setup = setup().await;
    setup.server.put_object("sources", "a", "content");
    let before = setup.server.object("sources", "a").unwrap().updated_at;
    setup
        .server
        .set_age("sources", "a", std::time::Duration::from_secs(86_400));
    let (_, page) = setup.post("/object/list-v2/sources", json!({})).await;
    let updated: jiff::Timestamp = page["objects"][0]["updated_at"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!(before.duration_since(updated).as_secs() >= 86_390);
}
