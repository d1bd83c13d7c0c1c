//! The server behind the handle: its state, its port, its connections.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinHandle;

use super::auth::Keys;
use super::connection::{self, Connection};
use super::dispatch::Hook;
use super::faults::Faults;
use super::seen::Log;
use super::store::Store;
use super::{FakeOptions, route};

/// How many connections may wait for the server to accept them.
const BACKLOG: u32 = 1_024;

/// Everything that requests share.
pub(super) struct Server {
    pub(super) options: FakeOptions,
    pub(super) keys: Keys,
    pub(super) port: u16,
    pub(super) accepted: AtomicU64,
    pub(super) is_restricted: AtomicBool,
    pub(super) hook: Mutex<Option<Hook>>,
    store: Mutex<Store>,
    faults: Mutex<Faults>,
    log: Mutex<Log>,
    ahead: Mutex<Duration>,
    connections: Mutex<HashMap<u64, Weak<Connection>>>,
}

impl Server {
    pub(super) fn new(options: FakeOptions, port: u16) -> Self {
        Self {
            options,
            keys: Keys::new(),
            port,
            accepted: AtomicU64::new(0),
            is_restricted: AtomicBool::new(false),
            hook: Mutex::default(),
            store: Mutex::default(),
            faults: Mutex::default(),
            log: Mutex::default(),
            ahead: Mutex::default(),
            connections: Mutex::default(),
        }
    }

    /// The rows. Never held across an await.
    pub(super) fn store(&self) -> MutexGuard<'_, Store> {
        lock(&self.store)
    }

    pub(super) fn faults(&self) -> MutexGuard<'_, Faults> {
        lock(&self.faults)
    }

    pub(super) fn log(&self) -> MutexGuard<'_, Log> {
        lock(&self.log)
    }

    /// The base of the storage's addresses.
    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}{}", self.port, route::BASE)
    }

    /// The server's time.
    pub(super) fn now(&self) -> Timestamp {
        let time = SystemTime::now() + *lock(&self.ahead);
        Timestamp::try_from(time).expect("a time of this age")
    }

    pub(super) fn advance(&self, by: Duration) {
        *lock(&self.ahead) += by;
    }

    pub(super) fn register(&self, connection: &Arc<Connection>) {
        lock(&self.connections).insert(connection.number, Arc::downgrade(connection));
    }

    pub(super) fn forget(&self, number: u64) {
        lock(&self.connections).remove(&number);
    }

    /// How many connections are open.
    pub(super) fn open(&self) -> usize {
        lock(&self.connections).len()
    }

    /// Resets every connection that is open.
    pub(super) fn reset_all(&self) {
        let open: Vec<_> = lock(&self.connections).values().cloned().collect();
        for connection in open.iter().filter_map(Weak::upgrade) {
            connection.reset();
        }
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes a port without listening on it: clients are refused, and nobody else gets it.
pub(super) fn reserve(port: u16) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
    Ok(socket)
}

/// A port: somebody listens on it, or nobody does.
pub(super) enum Port {
    Up(JoinHandle<()>),
    Down(TcpSocket),
    /// It could not be moved from one to the other.
    Lost,
}

impl Port {
    /// Listens.
    pub(super) fn open(socket: TcpSocket, server: &Arc<Server>) -> io::Result<Self> {
        let listener = socket.listen(BACKLOG)?;
        Ok(Self::Up(tokio::spawn(accept(listener, Arc::clone(server)))))
    }

    /// Stops listening and resets what is open.
    pub(super) async fn down(self, server: &Arc<Server>) -> io::Result<Self> {
        let Self::Up(listening) = self else {
            return Ok(self);
        };
        listening.abort();
        // It ends by being aborted.
        listening.await.ok();
        server.reset_all();
        Ok(Self::Down(reserve(server.port)?))
    }

    /// Listens again.
    pub(super) fn up(self, server: &Arc<Server>) -> io::Result<Self> {
        match self {
            Self::Down(socket) => Self::open(socket, server),
            Self::Up(_) => Ok(self),
            Self::Lost => Err(io::Error::other("the port was lost")),
        }
    }
}

async fn accept(listener: TcpListener, server: Arc<Server>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Too many open files, or a client that left before it was accepted.
            tokio::task::yield_now().await;
            continue;
        };
        let number = server.accepted.fetch_add(1, Ordering::SeqCst) + 1;
        tokio::spawn(connection::serve(Arc::clone(&server), stream, number));
    }
}
