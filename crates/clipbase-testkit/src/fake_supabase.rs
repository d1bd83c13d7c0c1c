//! A Supabase Storage server in this process: real HTTP on a port of its own, and the measured behaviour of the
//! real one, its surprises included.
//!
//! It runs on threads of its own, so a test may block. Faults are ordered with [`FakeSupabase::fail`]; a test that
//! must act at an exact moment hooks in with [`FakeSupabase::on_request`]. It stops when it is dropped.
//!
//! ```
//! use clipbase_testkit::fake_supabase::{BucketSettings, Call, FakeSupabase, Fault, Rule};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let server = FakeSupabase::start().await;
//! server.set_bucket("results", BucketSettings::default());
//! server.put_object("results", "a/clip.mp4", "content");
//! server.fail(Rule::next(Call::DeleteMany, Fault::LoseAnswer));
//! assert!(server.url().ends_with("/storage/v1"));
//! assert_eq!(server.calls(Call::DeleteMany), 0);
//! # }
//! ```

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::Mutex;

mod auth;
mod buckets;
mod connection;
mod content;
mod dispatch;
mod download;
mod faults;
mod list;
mod observe;
mod refusal;
mod remove;
mod route;
mod seen;
mod server;
mod sign;
mod store;
mod transfer;
mod tus;
mod upload;

pub use content::Content;
pub use dispatch::{Action, Moment};
pub use faults::{Fault, Rule};
pub use observe::StoredObject;
pub use route::Call;
pub use seen::{REQUESTS_KEPT, SeenRequest};
pub use store::BucketSettings;

use server::{Port, Server};

/// How a server answers for an object whose row is there and whose content is not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ghosts {
    /// `NoSuchKey`, as with S3 behind it.
    #[default]
    NoSuchKey,
    /// 500 `InternalError`, as with files behind it.
    InternalError,
}

/// How a server is set up.
#[derive(Clone, Debug)]
pub struct FakeOptions {
    /// The port; 0 for a free one.
    pub port: u16,
    /// Where the objects' content lies.
    pub content: Content,
    /// What stands before `/upload/resumable/…` in a resumable upload's `Location`, as
    /// `https://internal.invalid/storage/v1`; `None` for the server's own base.
    pub location_base: Option<String>,
    /// The project's size limit in bytes.
    pub size_limit: u64,
    /// How long an upload link lasts.
    pub upload_link_lifetime: Duration,
    /// How long a resumable upload may take.
    pub upload_lifetime: Duration,
    /// After how long the server resets a connection on which a refused upload's body lies unread.
    pub unread_reset: Duration,
    /// What is said of content that is gone.
    pub ghosts: Ghosts,
}

impl Default for FakeOptions {
    /// A free port, content in memory, 50 GB, 2 hours, 24 hours, a minute.
    fn default() -> Self {
        Self {
            port: 0,
            content: Content::Memory,
            location_base: None,
            size_limit: 50_000_000_000,
            upload_link_lifetime: Duration::from_secs(2 * 60 * 60),
            upload_lifetime: Duration::from_secs(24 * 60 * 60),
            unread_reset: Duration::from_secs(60),
            ghosts: Ghosts::default(),
        }
    }
}

/// The server. See the module's page.
pub struct FakeSupabase {
    server: Arc<Server>,
    port: Mutex<Port>,
    runtime: Option<Runtime>,
}

impl fmt::Debug for FakeSupabase {
    /// Shows no key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeSupabase")
            .field("port", &self.server.port)
            .finish_non_exhaustive()
    }
}

impl Drop for FakeSupabase {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl FakeSupabase {
    /// Starts a server on a free port, without buckets.
    pub async fn start() -> Self {
        Self::start_with(FakeOptions::default()).await
    }

    /// Starts a server.
    pub async fn start_with(options: FakeOptions) -> Self {
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("fake-supabase")
            .enable_all()
            .build()
            .expect("threads for the server");
        let starting = runtime.spawn(async move {
            let socket = server::reserve(options.port).expect("the port is free");
            let port = socket.local_addr().expect("a bound socket").port();
            let server = Arc::new(Server::new(options, port));
            let port = Port::open(socket, &server).expect("the server listens");
            (server, port)
        });
        let (server, port) = starting.await.expect("the server starts");
        Self {
            server,
            port: Mutex::new(port),
            runtime: Some(runtime),
        }
    }

    /// The storage's base address, as `http://127.0.0.1:4711/storage/v1`.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.server.port
    }

    /// A key that may do everything, as a token: for `Authorization: Bearer`.
    pub fn service_key(&self) -> &str {
        &self.server.keys.service
    }

    /// A key that may do everything, opaque: for `apikey`.
    pub fn secret_key(&self) -> &str {
        &self.server.keys.secret
    }

    /// A key that sees nothing and may store nothing, as a token.
    pub fn powerless_key(&self) -> &str {
        &self.server.keys.powerless
    }

    /// A key whose time is over, as a token.
    pub fn expired_key(&self) -> &str {
        &self.server.keys.expired
    }

    /// Orders a fault.
    pub fn fail(&self, rule: Rule) {
        self.server.faults().add(rule);
    }

    /// Takes back every fault that was ordered.
    pub fn clear_faults(&self) {
        self.server.faults().clear();
    }

    /// How many rules are not used up.
    pub fn faults_left(&self) -> usize {
        self.server.faults().left()
    }

    /// Calls the hook at two moments of every request from now on. It may block, and may return an [`Action`] or
    /// nothing. There is one hook; a new one takes the old one's place.
    pub fn on_request<A: Into<Action>>(
        &self,
        hook: impl Fn(&SeenRequest, Moment) -> A + Send + Sync + 'static,
    ) {
        let hook: dispatch::Hook = Arc::new(move |request, moment| hook(request, moment).into());
        *server::lock(&self.server.hook) = Some(hook);
    }

    /// Takes the hook away.
    pub fn clear_hook(&self) {
        *server::lock(&self.server.hook) = None;
    }

    /// Puts the organisation over its quota (402 for everything), or back.
    pub fn set_restricted(&self, is_restricted: bool) {
        self.server
            .is_restricted
            .store(is_restricted, Ordering::SeqCst);
    }

    /// Moves the server's clock forward: links and resumable uploads end.
    pub fn advance_clock(&self, by: Duration) {
        self.server.advance(by);
    }

    /// Refuses connections from now on, and resets those that are open.
    pub async fn go_down(&self) {
        self.switch(false).await;
    }

    /// Takes connections again, on the same port.
    pub async fn come_back(&self) {
        self.switch(true).await;
    }

    async fn switch(&self, up: bool) {
        let mut port = self.port.lock().await;
        let before = std::mem::replace(&mut *port, Port::Lost);
        let server = Arc::clone(&self.server);
        let runtime = self.runtime.as_ref().expect("the server runs");
        let switching = runtime.spawn(async move {
            if up {
                before.up(&server)
            } else {
                before.down(&server).await
            }
        });
        let after = switching.await.expect("the server's threads run");
        *port = after.expect("the port is still the server's");
    }
}
