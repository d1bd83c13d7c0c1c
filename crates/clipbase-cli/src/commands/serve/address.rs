//! Where the server listens, and how the outside reaches it.

use std::net::SocketAddr;

use tokio::net::TcpListener;
use url::Url;

use crate::failure::Failure;

pub(super) async fn bind(address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| {
        let what = format!("cannot listen on {address}: {error}; choose another with --listen");
        config(what)
    })
}

/// Checks `--public-url`, which links begin with.
pub(super) fn check_public_url(text: &str) -> Result<(), Failure> {
    let refuse = || {
        config(
            "--public-url must be where the outside reaches this server, with http or https and without a user, \
             a query or a fragment, as in https://clips.example",
        )
    };
    let url = Url::parse(text).map_err(|_| refuse())?;
    let is_plain = matches!(url.scheme(), "http" | "https")
        && url.has_host()
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    if is_plain { Ok(()) } else { Err(refuse()) }
}

/// Refuses to sign links for an address that is none: `http://0.0.0.0:8080` means another machine wherever it is
/// opened.
///
/// They are not made from the `Host` of the request that asks for them. That is the client's word, or whatever a proxy
/// in between makes of it: where an answer is cached or handed on, one forged `Host` would send the signed links of
/// others to a stranger's server. A list of names that may be believed would be `--public-url` under another name,
/// and an API's client needs whole addresses, not relative ones.
pub(super) fn check_links(listen: SocketAddr, public_url: Option<&str>) -> Result<(), Failure> {
    if public_url.is_some() || !listen.ip().is_unspecified() {
        return Ok(());
    }
    let port = match listen.port() {
        0 => 8080,
        port => port,
    };
    Err(config(format!(
        "--listen {listen} is no address that a link to a local file could lead to; say how the outside reaches this \
         server, as in --public-url http://clips.example:{port}"
    )))
}

fn config(message: impl Into<String>) -> Failure {
    Failure::new("CONFIG_INVALID", message)
}
