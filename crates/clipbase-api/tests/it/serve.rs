//! The server: what it bounds, and how it ends.

use std::net::SocketAddr;
use std::time::Duration;

use clipbase::leases::Finish;
use clipbase::{Clipbase, Code};
use clipbase_api::{Api, ApiOptions, serve};
use clipbase_testkit::builders::claimed;
use clipbase_testkit::run;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::support::{PATIENCE, api, local, post, queued};

struct Served {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<clipbase::Result<()>>,
}

async fn start(clipbase: &Clipbase, set: impl FnOnce(&mut ApiOptions)) -> Served {
    start_api(api(clipbase, set)).await
}

async fn start_api(api: Api) -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let task = tokio::spawn(serve(listener, api, async {
        stopped.await.ok();
    }));
    Served {
        address,
        stop,
        task,
    }
}

impl Served {
    async fn stop(self) {
        self.stop.send(()).unwrap();
        self.task.await.unwrap().unwrap();
    }
}

/// A connection that sends and reads text as it is.
struct Wire(TcpStream);

impl Wire {
    async fn to(served: &Served) -> Self {
        Self(TcpStream::connect(served.address).await.unwrap())
    }

    async fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
    }

    /// Reads until the text has come, and returns all that came.
    async fn until(&mut self, wanted: &str) -> String {
        let mut text = String::new();
        let mut piece = [0; 4_096];
        while !text.contains(wanted) {
            let read = tokio::time::timeout(PATIENCE, self.0.read(&mut piece)).await;
            let count = read.expect("an answer").unwrap();
            assert_ne!(count, 0, "the connection ended after {text:?}");
            text.push_str(std::str::from_utf8(&piece[..count]).unwrap());
        }
        text
    }

    /// Reads until the server closes, and returns all that came.
    async fn hear_out(&mut self) -> String {
        let mut text = Vec::new();
        let read = tokio::time::timeout(PATIENCE, self.0.read_to_end(&mut text)).await;
        read.expect("the connection ends").unwrap();
        String::from_utf8(text).unwrap()
    }
}

fn ask(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
}

#[tokio::test]
async fn an_address_that_others_reach_needs_keys_or_a_word() {
    run(async |bench| {
        let open = || async { TcpListener::bind("0.0.0.0:0").await.unwrap() };
        let refused = serve(open().await, api(&bench.clipbase, |_| ()), async {}).await;
        assert_eq!(refused.unwrap_err().code(), Code::ConfigInvalid);
        let allowed = api(&bench.clipbase, |options| options.allow_anonymous = true);
        serve(open().await, allowed, async {}).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn requests_follow_each_other_on_one_connection() {
    run(async |bench| {
        let served = start(&bench.clipbase, |_| ()).await;
        let mut wire = Wire::to(&served).await;
        for _ in 0..3 {
            wire.send(&ask("/healthz")).await;
            let answer = wire.until("}}").await;
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        }
        served.stop().await;
        // A connection that is idle does not hold the end up.
        assert_eq!(wire.hear_out().await, "");
    })
    .await;
}

#[tokio::test]
async fn a_client_that_never_ends_its_headers_is_let_go() {
    run(async |bench| {
        let served = start(&bench.clipbase, |options| {
            options.idle_timeout = Duration::from_millis(100);
        })
        .await;
        let mut wire = Wire::to(&served).await;
        wire.send("GET /healthz HTTP/1.1\r\nHost: 127").await;
        let told = wire.hear_out().await;
        assert!(
            told.is_empty() || told.starts_with("HTTP/1.1 408"),
            "{told}"
        );
        served.stop().await;
    })
    .await;
}

#[tokio::test]
async fn an_upload_that_stalls_is_answered_and_stored_nowhere() {
    run(async |bench| {
        let local = local(bench, |_| ()).await;
        let data = post(
            &local.router,
            "/v1/uploads",
            &serde_json::json!({"extension": "mp4"}),
        )
        .await
        .data(201);
        let storage = local.storage.clone();
        let served = start(&local.clipbase, |options| {
            options.local_storage = Some(storage);
            options.idle_timeout = Duration::from_millis(100);
        })
        .await;
        let mut wire = Wire::to(&served).await;
        let link = data["url"].as_str().unwrap();
        wire.send(&format!(
            "PUT {link} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 10\r\n\r\nabc"
        ))
        .await;
        let answer = wire.until("REQUEST_TIMEOUT").await;
        assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
        served.stop().await;
    })
    .await;
}

/// A stream whose client reads nothing would hold its place for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_nobody_reads_loses_its_place() {
    run(async |bench| {
        let clipbase = &bench.clipbase;
        let served = start(clipbase, |options| {
            options.idle_timeout = Duration::from_millis(200);
            options.streams_max = 1;
        })
        .await;
        // More than the buffers of both ends hold.
        let id = queued(clipbase).await;
        let raw = bench.database.raw().await;
        let sql = "INSERT INTO job_events (job_id, type, data)
                   SELECT $1, 'note', jsonb_build_object('text', repeat('x', 8000)) FROM generate_series(1, 3000)";
        raw.execute(sql, &[&id.as_uuid()]).await.unwrap();
        let path = format!("/v1/jobs/{id}/events");
        let stream = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n\r\n");
        let mut deaf = Wire::to(&served).await;
        deaf.send(&stream).await;
        deaf.until("HTTP/1.1 200").await;
        clipbase_testkit::wait_until("the deaf one's place is free", async || {
            let mut other = Wire::to(&served).await;
            other.send(&stream).await;
            other.until("\r\n\r\n").await.starts_with("HTTP/1.1 200")
        })
        .await;
        served.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_shutdown_ends_streams_and_waits_for_what_runs() {
    run(async |bench| {
        let clipbase = &bench.clipbase;
        let served = start(clipbase, |_| ()).await;
        let lease = claimed(clipbase).await;
        let mut stream = Wire::to(&served).await;
        stream
            .send(&format!(
                "GET /v1/jobs/{}/events HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n\r\n",
                lease.job_id()
            ))
            .await;
        stream.until("event: progress").await;
        // A request that waits for a row.
        let mut raw = bench.database.raw().await;
        let lock = raw.transaction().await.unwrap();
        let sql = "SELECT FROM jobs WHERE id = $1 FOR UPDATE";
        lock.execute(sql, &[&lease.job_id().as_uuid()]).await.unwrap();
        let mut running = Wire::to(&served).await;
        let cancel = format!("POST /v1/jobs/{}/cancel HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", lease.job_id());
        running.send(&cancel).await;
        let watcher = bench.database.raw().await;
        clipbase_testkit::wait_until("the cancel waits for the row", async || {
            let sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
            watcher.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) == 1
        })
        .await;
        let stopping = tokio::spawn(served.stop());
        // The stream ends in good order, without an end of its job.
        let rest = stream.hear_out().await;
        assert!(rest.ends_with("0\r\n\r\n") && !rest.contains("event: end"), "{rest:?}");
        assert!(!stopping.is_finished());
        lock.rollback().await.unwrap();
        let answer = running.hear_out().await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        stopping.await.unwrap();
        assert!(clipbase.leases().finish(Finish::new(&lease)).await.is_ok());
    })
    .await;
}

#[tokio::test]
async fn a_shutdown_does_not_wait_for_ever() {
    run(async |bench| {
        let served = start(&bench.clipbase, |options| {
            options.drain_timeout = Duration::from_millis(50);
        })
        .await;
        let mut raw = bench.database.raw().await;
        let lock = raw.transaction().await.unwrap();
        lock.batch_execute("LOCK TABLE jobs IN ACCESS EXCLUSIVE MODE").await.unwrap();
        let mut running = Wire::to(&served).await;
        running.send(&ask("/v1/stats")).await;
        let watcher = bench.database.raw().await;
        clipbase_testkit::wait_until("the request waits", async || {
            let sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
            watcher.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) == 1
        })
        .await;
        tokio::time::timeout(PATIENCE, served.stop()).await.unwrap();
        lock.rollback().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn connections_are_bounded_and_a_closed_one_makes_room() {
    run(async |bench| {
        let served = start(&bench.clipbase, |options| options.connections_max = 1).await;
        let mut first = Wire::to(&served).await;
        first.send(&ask("/healthz")).await;
        first.until("}}").await;
        let mut second = Wire::to(&served).await;
        second.send(&ask("/healthz")).await;
        // The second waits in the kernel's queue: the first is still served.
        first.send(&ask("/healthz")).await;
        first.until("}}").await;
        drop(first);
        second.until("}}").await;
        served.stop().await;
    })
    .await;
}
