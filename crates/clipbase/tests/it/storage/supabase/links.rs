//! Links as their users meet them: fetched, saved under a name, stored to.

use std::time::Duration;

use clipbase::storage::{DownloadName, LinkTtl, SignOptions, Storage, UPLOAD_LINK_TTL};
use clipbase_testkit::fake_supabase::{Call, FakeOptions, FakeSupabase};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Bench, video};

/// Sends a request to a link as anyone may, without a key; returns the answer's text.
async fn request(method: &str, link: &str, body: &str) -> String {
    let (host, path) = link
        .strip_prefix("http://")
        .unwrap()
        .split_once('/')
        .unwrap();
    let mut connection = tokio::net::TcpStream::connect(host).await.unwrap();
    let length = body.len();
    let request = format!(
        "{method} /{path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\
         content-type: video/mp4\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn a_link_leads_to_its_object_and_ends_with_its_time() {
    let bench = Bench::new().await;
    let key = video();
    bench.store(&key, "the clip").await.unwrap();
    let options = SignOptions {
        ttl: LinkTtl::new(Duration::from_secs(300)).unwrap(),
        download_name: Some(DownloadName::new("my clip & ü.mp4").unwrap()),
    };
    let one = bench.storage.sign(&key, &options).await.unwrap();
    let many = bench
        .storage
        .sign_many(std::slice::from_ref(&key), &options);
    let many = many.await.unwrap().pop().unwrap().unwrap();
    for link in [&one, &many] {
        let answer = request("GET", link.expose(), "").await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(answer.ends_with("the clip"), "{answer}");
        let name = "filename=my%20clip%20%26%20%C3%BC.mp4";
        assert!(answer.contains(name), "{answer}");
    }
    bench.server.advance_clock(Duration::from_secs(301));
    let answer = request("GET", one.expose(), "").await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
}

#[tokio::test]
async fn links_of_both_buckets_take_one_call_each() {
    let bench = Bench::new().await;
    let keys: Vec<_> = (0..50).map(|_| video()).collect();
    for key in &keys {
        bench.server.put_object("results", &key.path(), "x");
    }
    let options = SignOptions::default();
    let links = bench.storage.sign_many(&keys, &options).await.unwrap();
    assert!(links.iter().all(Result::is_ok));
    assert_eq!(bench.server.calls(Call::SignMany), 1);
    assert_eq!(bench.server.calls(Call::Sign), 0);
}

#[tokio::test]
async fn links_begin_with_the_public_address() {
    let bench = Bench::new().await;
    let key = video();
    bench.store(&key, "x").await.unwrap();
    let storage = bench.another(|config| {
        config
            .with_public_url("https://media.example/storage/")
            .unwrap()
    });
    let options = SignOptions::default();
    let download = storage.sign(&key, &options).await.unwrap();
    let upload = storage.sign_upload(&key).await.unwrap();
    for (link, kind) in [(&download, "sign"), (&upload, "upload/sign")] {
        let start = format!(
            "https://media.example/storage/object/{kind}/results/{}?token=",
            key.path()
        );
        assert!(link.expose().starts_with(&start), "{}", link.expose());
    }
}

#[tokio::test]
async fn an_upload_link_stores_its_object_and_may_replace_it() {
    let bench = Bench::new().await;
    let key = video();
    let link = bench.storage.sign_upload(&key).await.unwrap();
    assert_eq!(link.lifetime(), UPLOAD_LINK_TTL);
    for content in ["first", "second"] {
        let answer = request("PUT", link.expose(), content).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert_eq!(bench.content(&key).unwrap(), content.as_bytes());
    }
}

#[tokio::test]
async fn the_lifetime_of_an_upload_link_is_the_servers() {
    let server = FakeSupabase::start_with(FakeOptions {
        upload_link_lifetime: Duration::from_secs(90),
        ..FakeOptions::default()
    })
    .await;
    let storage = super::storage(&server);
    storage.ensure_buckets().await.unwrap();
    let link = storage.sign_upload(&video()).await.unwrap();
    assert_eq!(link.lifetime(), Duration::from_secs(90));
}
