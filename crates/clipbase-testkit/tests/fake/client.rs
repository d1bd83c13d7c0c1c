//! Requests to the server: with a plain client, and byte by byte.

use std::time::Duration;

use bytes::Bytes;
use clipbase_testkit::fake_supabase::{BucketSettings, FakeOptions, FakeSupabase};
use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A server with the buckets `sources` and `results`, and a client with its service key.
pub(crate) struct Setup {
    pub(crate) server: FakeSupabase,
    pub(crate) client: Client,
}

/// A client that keeps its connections.
pub(crate) fn client() -> Client {
    // It is the same one, whichever test comes first.
    rustls::crypto::ring::default_provider()
        .install_default()
        .ok();
    Client::builder()
        .timeout(Duration::from_secs(60))
        .build()
        .unwrap()
}

pub(crate) async fn setup() -> Setup {
    setup_with(FakeOptions::default()).await
}

pub(crate) async fn setup_with(options: FakeOptions) -> Setup {
    let server = FakeSupabase::start_with(options).await;
    for bucket in ["sources", "results"] {
        server.set_bucket(bucket, BucketSettings::default());
    }
    Setup {
        server,
        client: client(),
    }
}

impl Setup {
    /// A request without a key.
    pub(crate) fn bare(&self, method: &str, path: &str) -> RequestBuilder {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        self.client.request(method, self.server.url() + path)
    }

    /// A request with the service key.
    pub(crate) fn request(&self, method: &str, path: &str) -> RequestBuilder {
        self.bare(method, path)
            .bearer_auth(self.server.service_key())
    }

    pub(crate) async fn upload(&self, path: &str, content: impl Into<Bytes>) -> Response {
        let request = self.request("POST", &format!("/object/{path}"));
        request
            .header("content-type", "video/mp4")
            .header("x-upsert", "true")
            .body(content.into())
            .send()
            .await
            .unwrap()
    }

    /// Posts a document and returns what comes back.
    pub(crate) async fn post(&self, path: &str, document: Value) -> (u16, Value) {
        answer(self.request("POST", path).json(&document)).await
    }

    pub(crate) async fn get(&self, path: &str) -> Response {
        self.request("GET", path).send().await.unwrap()
    }

    pub(crate) async fn delete(&self, bucket: &str, paths: &[&str]) -> (u16, Value) {
        let request = self.request("DELETE", &format!("/object/{bucket}"));
        answer(request.json(&json!({ "prefixes": paths }))).await
    }

    /// A connection without a client.
    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(("127.0.0.1", self.server.port()))
            .await
            .unwrap()
    }

    /// The head of an upload with the service key.
    pub(crate) fn upload_head(&self, path: &str, length: usize, more: &str) -> String {
        format!(
            "POST /storage/v1/object/{path} HTTP/1.1\r\nhost: storage\r\nauthorization: Bearer {}\r\n\
             content-type: video/mp4\r\ncontent-length: {length}\r\n{more}\r\n",
            self.server.service_key()
        )
    }
}

/// Sends a request and reads its answer as JSON; an empty one is null.
pub(crate) async fn answer(request: RequestBuilder) -> (u16, Value) {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let body = response.bytes().await.unwrap();
    if body.is_empty() {
        return (status, Value::Null);
    }
    (status, serde_json::from_slice(&body).unwrap())
}

/// Reads an answer's head up to its empty line.
pub(crate) async fn read_head(stream: &mut TcpStream) -> std::io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    Ok(String::from_utf8(head).unwrap())
}

/// Reads an answer with its body, as its `content-length` tells.
pub(crate) async fn read_answer(stream: &mut TcpStream) -> std::io::Result<(String, String)> {
    let head = read_head(stream).await?;
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    Ok((head, String::from_utf8(body).unwrap()))
}

/// Sends text.
pub(crate) async fn send(stream: &mut TcpStream, text: impl AsRef<[u8]>) {
    stream.write_all(text.as_ref()).await.unwrap();
}

/// Compares an answer's status, `statusCode` and `code`.
#[track_caller]
pub(crate) fn check(name: &str, got: &(u16, Value), want: (u16, &str, &str)) {
    let text = |field: &str| got.1[field].as_str().unwrap_or_default().to_owned();
    let got = (got.0, text("statusCode"), text("code"));
    let want = (want.0, want.1.to_owned(), want.2.to_owned());
    assert_eq!(got, want, "{name}");
}

/// A request by its name, and what it is answered with.
pub(crate) type Row = (
    &'static str,
    RequestBuilder,
    (u16, &'static str, &'static str),
);

pub(crate) async fn check_all(rows: Vec<Row>) {
    for (name, request, want) in rows {
        check(name, &answer(request).await, want);
    }
}
