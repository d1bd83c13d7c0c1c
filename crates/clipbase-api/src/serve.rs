//! The server: HTTP/1.1 on a listener, with a bound on everything that a client can hold on to, and an end.
//!
//! On shutdown it takes no more connections, ends the event streams (their clients come back to another process, and
//! resume), and waits for requests that are still running, up to a limit.

mod stall;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use clipbase::{Cause, Code, Error, Result};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use self::stall::StallGuard;
use crate::options::ApiOptions;
use crate::router::Api;

/// The most bytes of a request's head, and of what is read ahead of a body.
const BUFFER_BYTES_MAX: usize = 64 * 1024;
/// How long to wait before the next try when no connection can be accepted: no file handles, most likely.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Tells a stream that the server stops.
#[derive(Clone, Debug)]
pub(crate) struct Draining(CancellationToken);

impl Draining {
    pub(crate) async fn wait(&self) {
        self.0.cancelled().await;
    }
}

/// Serves the API until `shutdown` ends, and then until its requests have.
///
/// # Errors
/// `CONFIG_INVALID` without an authenticator, unless the address is a loopback one or anonymous use was allowed in so
/// many words.
pub async fn serve(
    listener: TcpListener,
    api: Api,
    shutdown: impl Future<Output = ()>,
) -> Result<()> {
    let address = listener.local_addr().map_err(|error| {
        Error::caused(
            Code::ConfigInvalid,
            "the listener has no address",
            Cause::io(&error),
        )
    })?;
    check_exposure(address, api.options())?;
    let options = api.options();
    let draining = CancellationToken::new();
    let connections = Arc::new(Semaphore::new(options.connections_max));
    let graceful = GracefulShutdown::new();
    tracing::info!(%address, "serving");
    tokio::pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut shutdown => break,
            accepted = accept(&listener, &connections) => accepted,
        };
        let Some((stream, permit)) = accepted else {
            continue;
        };
        connect(stream, permit, &api, &graceful, &draining);
    }
    drop(listener);
    tracing::info!("no more connections; waiting for those that are left");
    draining.cancel();
    if tokio::time::timeout(options.drain_timeout, graceful.shutdown())
        .await
        .is_err()
    {
        tracing::warn!("requests were still running at the end of the drain time");
    }
    Ok(())
}

fn check_exposure(address: SocketAddr, options: &ApiOptions) -> Result<()> {
    if options.authenticator.is_some() || options.allow_anonymous || address.ip().is_loopback() {
        return Ok(());
    }
    Err(Error::failed(
        Code::ConfigInvalid,
        "without keys the API serves loopback only; bind to 127.0.0.1, turn keys on, or allow anonymous use explicitly",
    ))
}

async fn accept(
    listener: &TcpListener,
    connections: &Arc<Semaphore>,
) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    // The room first: what waits in the kernel's queue costs nothing.
    let permit = Arc::clone(connections).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => Some((stream, permit)),
        Err(error) => {
            tracing::warn!(kind = ?error.kind(), "no connection could be accepted");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

fn connect(
    stream: TcpStream,
    permit: OwnedSemaphorePermit,
    api: &Api,
    graceful: &GracefulShutdown,
    draining: &CancellationToken,
) {
    // Small events are sent when they happen.
    stream.set_nodelay(true).ok();
    let idle = api.options().idle_timeout;
    let router = api.router();
    let draining = Draining(draining.clone());
    let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(draining.clone());
        router.clone().oneshot(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(idle)
        .max_buf_size(BUFFER_BYTES_MAX)
        .serve_connection(TokioIo::new(StallGuard::new(stream, idle)), service);
    let connection = graceful.watch(connection);
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            // A client that went away, or was too slow: nothing that the service can mend.
            tracing::debug!(timeout = error.is_timeout(), "a connection broke");
        }
        drop(permit);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_address_needs_keys_or_a_word() {
        let open: SocketAddr = "0.0.0.0:80".parse().unwrap();
        let loopback: SocketAddr = "[::1]:80".parse().unwrap();
        let mut options = ApiOptions::default();
        assert!(check_exposure(loopback, &options).is_ok());
        let refused = check_exposure(open, &options).unwrap_err();
        assert_eq!(refused.code(), Code::ConfigInvalid);
        options.allow_anonymous = true;
        assert!(check_exposure(open, &options).is_ok());
    }
}
