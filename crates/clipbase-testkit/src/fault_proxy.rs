//! A proxy before a test's database that stops at every message: to count what a program asks, to kill the
//! program at any point of it, and to lose, delay or break off answers.
//!
//! A **flight** is what a client sends before it waits: everything up to a Sync, a simple query, or the
//! start-up of a session. Each flight is held twice: when it has [`Moment::Arrived`] whole and the server
//! knows nothing of it, and when the server has [`Moment::Answered`] it, with all its effects, and the client
//! has heard nothing. What a flight's hook says there is done.
//!
//! A flight that was passed on is always carried out, even when its client is gone by then: the session is
//! kept until the server has answered.

mod session;
mod wire;

use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio_postgres::config::Host;

use crate::TestDatabase;

/// What a client has sent before it waits for an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flight {
    /// Its place among all flights of the proxy, from 0.
    pub number: usize,
    /// What it does: a statement's name, `prepare` and that name, `start-up`, or the SQL's first line.
    pub name: String,
}

/// How far a flight has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Moment {
    /// It is whole, and the server has not seen it.
    Arrived,
    /// The server has done it, and the client has not heard.
    Answered,
}

/// What happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on its way.
    Pass,
    /// The client's connection ends here. What has arrived stays undone; an answer is lost.
    Cut,
    /// So many bytes of the answer go on their way, and then the connection ends. As `Cut` for what has arrived.
    CutAfter(usize),
}

type Hook =
    Arc<dyn Fn(Flight, Moment) -> Pin<Box<dyn Future<Output = Verdict> + Send>> + Send + Sync>;

/// The proxy; it and its connections end when it is dropped.
pub struct FaultProxy {
    shared: Arc<Shared>,
    port: u16,
    database: String,
    accepting: JoinHandle<()>,
}

struct Shared {
    upstream: Upstream,
    hook: Mutex<Option<Hook>>,
    names: Mutex<Vec<String>>,
    refuses: AtomicBool,
    connections: AtomicUsize,
    /// Rises when all connections that are open have to end.
    cuts: watch::Sender<usize>,
}

/// Where the server listens.
#[derive(Clone)]
enum Upstream {
    Socket(PathBuf),
    Port(String, u16),
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl FaultProxy {
    /// Starts one before a database. Everything passes until [`FaultProxy::on_flight`] says otherwise.
    pub async fn before(database: &TestDatabase) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            upstream: Upstream::of(&database.url()),
            hook: Mutex::new(None),
            names: Mutex::default(),
            refuses: AtomicBool::new(false),
            connections: AtomicUsize::new(0),
            cuts: watch::Sender::new(0),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared)));
        let database = database.name().to_owned();
        Self {
            shared,
            port,
            database,
            accepting,
        }
    }

    /// The database's address through the proxy.
    pub fn url(&self) -> String {
        let (port, database) = (self.port, &self.database);
        format!("postgresql://postgres@127.0.0.1:{port}/{database}?sslmode=disable")
    }

    /// Asks this at each moment of each flight from here on. While it waits, so does the flight.
    pub fn on_flight<F>(&self, hook: impl Fn(Flight, Moment) -> F + Send + Sync + 'static)
    where
        F: Future<Output = Verdict> + Send + 'static,
    {
        let hook: Hook = Arc::new(move |flight, moment| Box::pin(hook(flight, moment)));
        *self.shared.hook.lock().unwrap() = Some(hook);
    }

    /// Lets everything pass from here on.
    pub fn pass_all(&self) {
        *self.shared.hook.lock().unwrap() = None;
    }

    /// Closes new connections at once, or no more.
    pub fn refuse(&self, refuses: bool) {
        self.shared.refuses.store(refuses, Ordering::SeqCst);
    }

    /// Ends all connections, whatever they are at.
    pub fn cut_all(&self) {
        self.shared.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// The names of the flights that have arrived, in their order.
    pub fn flights(&self) -> Vec<String> {
        self.shared.names.lock().unwrap().clone()
    }

    /// How many connections were asked for.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        // The connections are the task's, and go with it.
        self.accepting.abort();
    }
}

impl fmt::Debug for FaultProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultProxy").finish_non_exhaustive()
    }
}

impl Shared {
    /// Gives a flight its number.
    fn take_down(&self, name: String) -> Flight {
        let mut names = self.names.lock().unwrap();
        names.push(name.clone());
        Flight {
            number: names.len() - 1,
            name,
        }
    }

    async fn ask(&self, flight: Flight, moment: Moment) -> Verdict {
        let hook = self.hook.lock().unwrap().clone();
        match hook {
            Some(hook) => hook(flight, moment).await,
            None => Verdict::Pass,
        }
    }
}

impl Upstream {
    fn of(url: &str) -> Self {
        let config: tokio_postgres::Config = url.parse().unwrap();
        let port = config.get_ports().first().copied().unwrap_or(5432);
        match config
            .get_hosts()
            .first()
            .expect("the server has an address")
        {
            Host::Unix(directory) => Self::Socket(directory.join(format!(".s.PGSQL.{port}"))),
            Host::Tcp(host) => Self::Port(host.clone(), port),
        }
    }

    async fn connect(&self) -> std::io::Result<Box<dyn Stream>> {
        Ok(match self {
            Self::Socket(path) => Box::new(UnixStream::connect(path).await?),
            Self::Port(host, port) => Box::new(TcpStream::connect((host.as_str(), *port)).await?),
        })
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut sessions = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        shared.connections.fetch_add(1, Ordering::SeqCst);
        while sessions.try_join_next().is_some() {}
        if shared.refuses.load(Ordering::SeqCst) {
            continue;
        }
        let mut cut = shared.cuts.subscribe();
        let session = session::run(client, Arc::clone(&shared));
        sessions.spawn(async move {
            tokio::select! {
                () = session => {}
                _ = cut.changed() => {}
            }
        });
    }
}
