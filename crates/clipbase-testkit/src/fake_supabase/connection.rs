//! One connection: its socket, how it is reset, and the bodies that nobody reads.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::dispatch;
use super::server::Server;

/// How much of a refused upload the server takes in before it stops reading: its stream's buffer.
const BUFFER_BYTES: usize = 64 * 1024;

/// A connection, as its requests see it.
pub(super) struct Connection {
    pub(super) number: u64,
    stream: Weak<TcpStream>,
    end: Notify,
    unread: Mutex<JoinSet<()>>,
}

impl Connection {
    /// Ends the connection with a reset.
    pub(super) fn reset(&self) {
        if let Some(stream) = self.stream.upgrade() {
            // A socket that is closed already cannot be reset.
            stream.set_zero_linger().ok();
        }
        self.end.notify_one();
    }

    /// Leaves a body that no handler read to the end. The body of a control request is thrown away; an upload's is
    /// taken into the buffer and no further, and the connection stays as it is, useless to the next request.
    pub(super) fn leave(
        self: &Arc<Self>,
        mut body: Incoming,
        drains: bool,
        unread_reset: Duration,
    ) {
        let connection = Arc::downgrade(self);
        let mut unread = self.unread.lock().unwrap_or_else(PoisonError::into_inner);
        unread.spawn(async move {
            let mut taken = 0;
            while drains || taken < BUFFER_BYTES {
                match body.frame().await {
                    Some(Ok(frame)) => taken += frame.data_ref().map_or(0, bytes::Bytes::len),
                    _ => return,
                }
            }
            tokio::time::sleep(unread_reset).await;
            if let Some(connection) = connection.upgrade() {
                connection.reset();
            }
            // Given up, the body would be drained, and the next request be found behind it.
            std::future::pending::<()>().await;
            drop(body);
        });
    }
}

/// Serves a connection until either side ends it.
pub(super) async fn serve(server: Arc<Server>, stream: TcpStream, number: u64) {
    // A socket that is gone already ends the connection below.
    stream.set_nodelay(true).ok();
    let stream = Arc::new(stream);
    let connection = Arc::new(Connection {
        number,
        stream: Arc::downgrade(&stream),
        end: Notify::new(),
        unread: Mutex::default(),
    });
    server.register(&connection);
    let service = service_fn(|request| {
        dispatch::respond(Arc::clone(&server), Arc::clone(&connection), request)
    });
    let http = http1::Builder::new().serve_connection(TokioIo::new(Socket(stream)), service);
    tokio::select! {
        biased;
        () = connection.end.notified() => {}
        // However it ended, the client has seen it.
        _ = http => {}
    }
    server.forget(number);
}

/// A socket that its connection can reset while it is being served.
struct Socket(Arc<TcpStream>);

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.0.poll_read_ready(context))?;
            match self.0.try_read(buffer.initialize_unfilled()) {
                Ok(read) => {
                    buffer.advance(read);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.0.poll_write_ready(context))?;
            match self.0.try_write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// The socket is closed when it is dropped.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
