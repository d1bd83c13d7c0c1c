//! Signed links to the local storage.

use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::Body;
use clipbase::JobId;
use clipbase::storage::{DownloadName, LinkScope, SignOptions, Storage as _, StorageKey};
use clipbase_testkit::run;
use http::Request;
use serde_json::json;

use crate::support::{Local, Reply, done, get, local, post, request, send, store};

async fn clip(local: &Local, name: Option<&str>) -> (StorageKey, String) {
    let key = StorageKey::result_video(JobId::new(), 1);
    store(&local.clipbase, &key, "0123456789").await;
    let options = SignOptions {
        download_name: name.map(|name| DownloadName::new(name).unwrap()),
        ..SignOptions::default()
    };
    let link = local.storage.sign(&key, &options).await.unwrap();
    (key, link.expose().to_owned())
}

async fn ranged(web: &Router, link: &str, range: &str) -> Reply {
    let mut request = request("GET", link);
    request
        .headers_mut()
        .insert("range", range.parse().unwrap());
    send(web, request).await
}

fn put(link: &str, content: &'static str) -> Request<Body> {
    Request::put(link)
        .header("content-length", content.len())
        .body(content.into())
        .unwrap()
}

async fn upload_link(local: &Local) -> (StorageKey, String) {
    let data = post(&local.router, "/v1/uploads", &json!({"extension": "mp4"}))
        .await
        .data(201);
    let key = data["key"].as_str().unwrap().parse().unwrap();
    (key, data["url"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn a_link_serves_the_object_with_its_headers() {
    run(async |bench| {
        let local = local(bench, |_| ()).await;
        let (_, link) = clip(&local, None).await;
        let reply = get(&local.router, &link).await;
        assert_eq!(
            (reply.status.as_u16(), &reply.body[..]),
            (200, b"0123456789".as_slice())
        );
        for (name, value) in [
            ("content-type", "video/mp4"),
            ("content-length", "10"),
            ("accept-ranges", "bytes"),
            ("content-disposition", "inline"),
            ("cache-control", "private, no-cache"),
        ] {
            assert_eq!(reply.header(name), Some(value), "{name}");
        }
        assert!(
            reply
                .header("content-security-policy")
                .unwrap()
                .contains("sandbox")
        );
        let head = send(&local.router, request("HEAD", &link)).await;
        assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
        assert_eq!(head.header("content-length"), Some("10"));
        let (_, link) = clip(&local, Some("Ferien ü.mp4")).await;
        let reply = get(&local.router, &link).await;
        let name = "attachment; filename=\"Ferien _.mp4\"; filename*=UTF-8''Ferien%20%C3%BC.mp4";
        assert_eq!(reply.header("content-disposition"), Some(name));
    })
    .await;
}

#[tokio::test]
async fn a_part_is_served_as_a_part() {
    run(async |bench| {
        let local = local(bench, |_| ()).await;
        let (_, link) = clip(&local, None).await;
        for (range, body, content_range) in [
            ("bytes=0-0", "0", "bytes 0-0/10"),
            ("bytes=2-5", "2345", "bytes 2-5/10"),
            ("bytes=7-", "789", "bytes 7-9/10"),
            ("bytes=-4", "6789", "bytes 6-9/10"),
            ("bytes=5-5000", "56789", "bytes 5-9/10"),
        ] {
            let reply = ranged(&local.router, &link, range).await;
            assert_eq!(
                (reply.status.as_u16(), &reply.body[..]),
                (206, body.as_bytes()),
                "{range}"
            );
            assert_eq!(reply.header("content-range"), Some(content_range));
            assert_eq!(
                reply.header("content-length"),
                Some(body.len().to_string().as_str())
            );
        }
        for range in ["bytes=10-", "bytes=-0", "bytes=999-1000"] {
            let reply = ranged(&local.router, &link, range).await;
            reply.refused("RANGE_NOT_SATISFIABLE");
            assert_eq!(reply.header("content-range"), Some("bytes */10"), "{range}");
        }
        // What is not understood is ignored, and so is a part of another version.
        for range in ["bytes=0-1,3-4", "lines=1-2"] {
            assert_eq!(
                ranged(&local.router, &link, range).await.status,
                200,
                "{range}"
            );
        }
        let tag = get(&local.router, &link)
            .await
            .header("etag")
            .unwrap()
            .to_owned();
        for (known, status) in [(tag.as_str(), 206), ("\"old\"", 200)] {
            let mut request = request("GET", &link);
            request
                .headers_mut()
                .insert("range", "bytes=0-1".parse().unwrap());
            request
                .headers_mut()
                .insert("if-range", known.parse().unwrap());
            assert_eq!(send(&local.router, request).await.status, status);
        }
    })
    .await;
}

#[tokio::test]
async fn a_job_goes_from_upload_to_download() {
    run(async |bench| {
        let local = local(bench, |_| ()).await;
        let web = &local.router;
        let (key, link) = upload_link(&local).await;
        assert_eq!(
            send(web, put(&link, "a whole video")).await.data(200),
            json!({"size": 13})
        );
        let info = local.storage.info(&key).await.unwrap().unwrap();
        assert_eq!(info.size, 13);
        let source = json!({"upload": key.job().unwrap().to_string()});
        post(
            web,
            "/v1/jobs",
            &json!({"source": source, "start": 0, "end": 1}),
        )
        .await
        .data(202);
        let lease = done(&local.clipbase, true).await;
        let result = get(
            web,
            &format!("/v1/jobs/{}/result?name=holiday", lease.job_id()),
        )
        .await
        .data(200);
        let video = get(web, result["video"]["url"].as_str().unwrap()).await;
        assert_eq!(&video.body[..], b"a clip");
        assert!(
            video
                .header("content-disposition")
                .unwrap()
                .contains("holiday.mp4")
        );
        let srt = get(web, result["subtitles"]["url"].as_str().unwrap()).await;
        assert_eq!(srt.header("content-type"), Some("application/x-subrip"));
    })
    .await;
}

#[tokio::test]
async fn a_clip_of_a_later_lease_is_served_too() {
    run(async |bench| {
        let local = local(bench, |_| ()).await;
        let key = StorageKey::result_video(JobId::new(), 3);
        store(&local.clipbase, &key, "third").await;
        let link = local
            .storage
            .sign(&key, &SignOptions::default())
            .await
            .unwrap();
        assert_eq!(&get(&local.router, link.expose()).await.body[..], b"third");
    })
    .await;
}

#[tokio::test]
async fn a_link_that_was_altered_or_has_ended_opens_nothing() {
    run(async |bench| {
        let local = local(bench, |_| ()).await;
        let web = &local.router;
        let (key, link) = clip(&local, None).await;
        let (path, token) = link.split_once("?token=").unwrap();
        let (other, _) = clip(&local, None).await;
        let (_, upload) = upload_link(&local).await;
        let upload_token = upload.split_once("?token=").unwrap().1;
        let now = SystemTime::now();
        let ended = local
            .storage
            .signer()
            .sign(
                &key,
                LinkScope::Download,
                Duration::from_secs(10),
                None,
                now - Duration::from_secs(20),
            )
            .unwrap();
        let (claims, mac) = token.split_once('.').unwrap();
        let flipped = if mac.starts_with('A') { 'B' } else { 'A' };
        let bent = format!("{path}?token={claims}.{flipped}{}", &mac[1..]);
        let moved = link.replace(
            &key.job().unwrap().to_string(),
            &other.job().unwrap().to_string(),
        );
        let refusals = [
            bent,
            moved,
            ended.expose().to_owned(),
            format!("{path}?token="),
            format!("{path}?token=planted"),
            format!("{path}?token={}", "x".repeat(5_000)),
            format!("{path}?token={upload_token}"),
            link.replace("clip.mp4", "clip.srt"),
            link.replace("/results/", "/sources/"),
            link.replace("/results/", "/results%2f../results/"),
            link.replace("clip.mp4", "..%2f..%2fsigning.key"),
            link.replace("clip.mp4", "%00"),
        ];
        let mut told = Vec::new();
        for refused in &refusals {
            told.push(get(web, refused).await.refused("FORBIDDEN"));
        }
        // A stranger learns nothing from trying.
        assert!(told.windows(2).all(|pair| pair[0] == pair[1]), "{told:?}");
        get(web, path).await.names("token");
        for outside in [
            "/storage/v1/object/sign/../../../etc/passwd",
            "/storage/v1/object/sign/%2e%2e/%2e%2e/signing.key/x/y",
        ] {
            get(web, outside).await.refused("NOT_FOUND");
        }
        get(
            web,
            &format!("/storage/v1/object/sign/%2e%2e/%2e%2e/signing.key?token={token}"),
        )
        .await
        .refused("FORBIDDEN");
        // A download link stores nothing, and an upload link reads nothing.
        let as_upload = link.replace("/object/sign/", "/object/upload/sign/");
        send(web, put(&as_upload, "x")).await.refused("FORBIDDEN");
        local
            .storage
            .remove(std::slice::from_ref(&key))
            .await
            .unwrap();
        get(web, &link).await.refused("STORAGE_NOT_FOUND");
    })
    .await;
}

#[tokio::test]
async fn an_upload_that_is_wrongly_sent_stores_nothing() {
    run(async |bench| {
        let local = local(bench, |options| {
            options.upload_bytes_max = 10;
            options.idle_timeout = Duration::from_millis(100);
        })
        .await;
        let web = &local.router;
        let (key, link) = upload_link(&local).await;
        let bare = Request::put(&link).body(Body::empty()).unwrap();
        send(web, bare).await.refused("LENGTH_REQUIRED");
        let empty = Request::put(&link).header("content-length", 0);
        send(web, empty.body(Body::empty()).unwrap())
            .await
            .names("body");
        let form = Request::put(&link)
            .header("content-type", "multipart/form-data; boundary=x")
            .header("content-length", 1)
            .body("x".into())
            .unwrap();
        send(web, form).await.refused("UNSUPPORTED_MEDIA_TYPE");
        send(web, put(&link, "eleven byte"))
            .await
            .refused("PAYLOAD_TOO_LARGE");
        let streamed = |pieces: Vec<Result<&'static str, std::io::Error>>, hangs: bool| {
            use futures_util::StreamExt as _;
            let pieces = futures_util::stream::iter(pieces);
            let body = if hangs {
                Body::from_stream(pieces.chain(futures_util::stream::pending()))
            } else {
                Body::from_stream(pieces)
            };
            Request::put(&link)
                .header("content-length", 4)
                .body(body)
                .unwrap()
        };
        send(
            web,
            streamed(vec![Ok("ab"), Err(std::io::Error::other("planted"))], false),
        )
        .await
        .refused("BAD_REQUEST");
        send(web, streamed(vec![Ok("ab")], true))
            .await
            .refused("REQUEST_TIMEOUT");
        send(web, streamed(vec![Ok("ab")], false))
            .await
            .refused("STORAGE_UPLOAD_FAILED");
        assert_eq!(local.storage.info(&key).await.unwrap(), None);
        let left = std::fs::read_dir(local.directory.path().join(".incoming")).unwrap();
        assert_eq!(left.count(), 0);
        // And the link still works.
        send(web, put(&link, "ten bytes!")).await.data(200);
    })
    .await;
}

#[tokio::test]
async fn an_object_passes_piece_by_piece() {
    run(async |bench| {
        let local = local(bench, |_| ()).await;
        let (_, link) = upload_link(&local).await;
        let (count, piece) = (512, "0123456789abcdef".repeat(4_096));
        let size = count * piece.len();
        let pieces = futures_util::stream::iter(
            (0..count).map(move |_| Ok::<_, std::io::Error>(piece.clone())),
        );
        let upload = Request::put(&link)
            .header("content-length", size)
            .body(Body::from_stream(pieces))
            .unwrap();
        send(&local.router, upload).await.data(200);
        let key: StorageKey = link
            .split_once("/upload/sign/")
            .and_then(|(_, rest)| rest.split_once('?'))
            .and_then(|(key, _)| key.parse().ok())
            .unwrap();
        let link = local
            .storage
            .sign(&key, &SignOptions::default())
            .await
            .unwrap();
        let last = ranged(&local.router, link.expose(), "bytes=-16").await;
        assert_eq!(&last.body[..], b"0123456789abcdef");
        let all = get(&local.router, link.expose()).await;
        assert_eq!(all.body.len(), size);
    })
    .await;
}
