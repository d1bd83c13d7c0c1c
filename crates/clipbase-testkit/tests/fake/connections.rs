//! Connections: refused uploads that poison them, and a server that goes away.

use std::time::Duration;

use clipbase_testkit::fake_supabase::{Call, FakeOptions};

use crate::client::{read_answer, read_head, send, setup, setup_with};

const LARGE: usize = 256 * 1024;

#[tokio::test]
async fn a_refused_upload_is_answered_at_once_and_poisons_its_connection() {
    let setup = setup_with(FakeOptions {
        unread_reset: Duration::from_millis(100),
        ..FakeOptions::default()
    })
    .await;
    setup.server.put_object("sources", "a", "content");
    let mut stream = setup.connect().await;
    send(&mut stream, setup.upload_head("sources/a", LARGE, "")).await;
    // Not a byte of the body was sent, and the answer is there.
    let (head, body) = read_answer(&mut stream).await.unwrap();
    assert!(
        head.starts_with("HTTP/1.1 400") && body.contains("KeyAlreadyExists"),
        "{head}{body}"
    );
    assert!(
        !head.to_ascii_lowercase().contains("connection: close"),
        "{head}"
    );
    send(&mut stream, vec![0; LARGE]).await;
    send(
        &mut stream,
        "GET /storage/v1/status HTTP/1.1\r\nhost: storage\r\n\r\n",
    )
    .await;
    // No answer ever comes; what ends it is the server's patience.
    let error = read_head(&mut stream).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(setup.server.calls(Call::Health), 0);
}

#[tokio::test]
async fn a_small_refused_upload_does_no_harm() {
    let setup = setup().await;
    setup.server.put_object("sources", "a", "content");
    let mut stream = setup.connect().await;
    send(&mut stream, setup.upload_head("sources/a", 1_000, "")).await;
    read_answer(&mut stream).await.unwrap();
    send(&mut stream, vec![0; 1_000]).await;
    send(
        &mut stream,
        "GET /storage/v1/status HTTP/1.1\r\nhost: storage\r\n\r\n",
    )
    .await;
    let (head, _) = read_answer(&mut stream).await.unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert_eq!(setup.server.connections(), 1);
}

#[tokio::test]
async fn a_refused_upload_that_closes_its_connection_ends_well() {
    let setup = setup().await;
    setup.server.put_object("sources", "a", "content");
    let mut stream = setup.connect().await;
    let head = setup.upload_head("sources/a", LARGE, "connection: close\r\n");
    send(&mut stream, head).await;
    send(&mut stream, vec![0; LARGE]).await;
    let (head, _) = read_answer(&mut stream).await.unwrap();
    assert!(head.starts_with("HTTP/1.1 400"), "{head}");
    let end = read_head(&mut stream).await.unwrap_err();
    assert_eq!(end.kind(), std::io::ErrorKind::UnexpectedEof);
}

#[tokio::test]
async fn a_client_with_a_pool_hangs_after_a_refused_upload() {
    let setup = setup().await;
    setup.server.put_object("sources", "a", "content");
    let upload = setup
        .request("POST", "/object/sources/a")
        .body(vec![0; LARGE]);
    let refusal = upload.send().await.unwrap().text().await.unwrap();
    assert!(refusal.contains("KeyAlreadyExists"), "{refusal}");
    let next = setup
        .request("GET", "/object/sources/a")
        .timeout(Duration::from_millis(300));
    assert!(next.send().await.unwrap_err().is_timeout());
    assert_eq!(
        (
            setup.server.connections(),
            setup.server.calls(Call::Download)
        ),
        (1, 0)
    );
}

#[tokio::test]
async fn control_requests_share_a_connection_also_when_they_are_refused() {
    let setup = setup().await;
    for _ in 0..5 {
        let refused = setup
            .bare("DELETE", "/object/sources")
            .body(vec![b' '; LARGE]);
        assert!(
            !refused
                .send()
                .await
                .unwrap()
                .bytes()
                .await
                .unwrap()
                .is_empty()
        );
        let found = setup.get("/bucket/sources").await.bytes().await.unwrap();
        assert!(!found.is_empty());
    }
    assert_eq!(setup.server.connections(), 1);
}

#[tokio::test]
async fn a_server_goes_down_and_comes_back_on_its_port() {
    let setup = setup().await;
    setup.server.put_object("sources", "a", "content");
    let url = setup.server.url();
    let mut open = setup.connect().await;
    send(
        &mut open,
        setup.upload_head("sources/b", 10, "expect: 100-continue\r\n"),
    )
    .await;
    read_head(&mut open).await.unwrap();
    setup.server.go_down().await;
    setup.server.go_down().await;
    assert!(read_head(&mut open).await.is_err());
    let error = setup
        .request("GET", "/object/sources/a")
        .send()
        .await
        .unwrap_err();
    assert!(error.is_connect(), "{error:?}");
    setup.server.come_back().await;
    setup.server.come_back().await;
    assert_eq!(setup.server.url(), url);
    assert_eq!(
        setup.get("/object/sources/a").await.text().await.unwrap(),
        "content"
    );
    assert_eq!(setup.server.object("sources", "b"), None);
}

#[tokio::test]
async fn a_dropped_server_is_gone() {
    let setup = setup().await;
    let port = setup.server.port();
    let mut open = setup.connect().await;
    drop(setup);
    assert!(read_head(&mut open).await.is_err());
    clipbase_testkit::wait_until("nobody listens", async || {
        tokio::net::TcpStream::connect(("127.0.0.1", port))
            .await
            .is_err()
    })
    .await;
}

#[tokio::test]
async fn the_log_tells_what_was_sent_and_by_which_connection() {
    let setup = setup().await;
    setup.upload("sources/a%20b", "content").await;
    setup.get("/object/sources/no").await;
    let [upload, read] = &setup.server.requests()[..] else {
        panic!("two requests");
    };
    assert_eq!(
        (upload.call, upload.method.as_str()),
        (Call::Upload, "POST")
    );
    assert_eq!(
        (upload.bucket.as_deref(), upload.path.as_deref()),
        (Some("sources"), Some("a b"))
    );
    assert_eq!(upload.target, "/storage/v1/object/sources/a%20b");
    assert_eq!(upload.header("x-upsert"), Some("true"));
    assert_eq!((upload.status, upload.code.as_deref()), (Some(200), None));
    assert_eq!(
        (read.status, read.code.as_deref()),
        (Some(400), Some("NoSuchKey"))
    );
    assert_eq!((upload.number, read.number), (1, 2));
}

#[tokio::test]
async fn nothing_shows_a_key() {
    let setup = setup().await;
    let shown = format!("{:?}", setup.server);
    for key in [setup.server.service_key(), setup.server.secret_key()] {
        assert!(key.contains("canary") && !shown.contains(key));
    }
    assert!(setup.server.service_key().starts_with("eyJ"));
    assert!(setup.server.secret_key().starts_with("sb_secret_"));
}
