//! The HTTP API of clipbase: one router over one [`clipbase::Clipbase`].
//!
//! It owns the wire: routes, the envelope, limits, the OpenAPI document and the server that speaks HTTP/1.1. It
//! contains no SQL, names no bucket, reads no environment and installs no metrics recorder; all work is done by the
//! library's repositories. Who may do what is asked of an [`Authenticator`]; without one every request acts as the
//! local admin, and [`serve`] stays on loopback.
//!
//! ```no_run
//! # async fn example(clipbase: clipbase::Clipbase) -> Result<(), Box<dyn std::error::Error>> {
//! use clipbase_api::{Api, ApiOptions, serve};
//!
//! let api = Api::new(clipbase, ApiOptions::default())?;
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
//! serve(listener, api, async {
//!     tokio::signal::ctrl_c().await.ok();
//! })
//! .await?;
//! # Ok(())
//! # }
//! ```
//!
//! | what | where |
//! |---|---|
//! | what can be set, and its bounds | [`ApiOptions`] |
//! | who asks, and what for | [`Authenticator`], [`KeyAuthenticator`], [`Principal`], [`Scope`] |
//! | codes beside the library's | [`HttpCode`] |
//! | the document of all routes | [`Api::openapi`] |

mod access;
mod clock;
mod dashboard;
mod docs_page;
mod envelope;
mod events;
mod extract;
mod health;
mod jobs;
mod keys;
mod limits;
mod live;
mod local_links;
mod observe;
mod openapi;
mod options;
mod probes;
mod request_id;
mod result;
mod router;
mod serve;
mod stats;
mod uploads;

pub use access::{Authenticator, Denied, LOCAL_ADMIN, Principal};
pub use clipbase::api_keys::{RateLimit, Scope, Scopes};
pub use envelope::{ApiCode, HttpCode};
pub use keys::KeyAuthenticator;
pub use observe::METRICS;
pub use options::{ApiOptions, MetricsText, YOUTUBE_HOSTS};
pub use request_id::{REQUEST_ID_BYTES_MAX, RequestId};
pub use router::{Api, router};
pub use serve::serve;
