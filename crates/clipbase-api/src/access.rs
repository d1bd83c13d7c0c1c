//! Who asks, and whether they may: the seam for keys, and the guard of every route.
//!
//! The API knows no keys. An [`Authenticator`] turns the credential of a request into a [`Principal`]; each route
//! names the [`Scope`] that it needs. Without an authenticator every request acts as the local admin, and then a web
//! page of another site must not be able to send one: see [`check_site`]. What lasts longer than a request asks again:
//! [`holders`].

pub(crate) mod holders;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use clipbase::api_keys::{RateLimit, Scope, Scopes};
use clipbase::{Code, Error};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};

use crate::envelope::{ApiError, ApiResult};
use crate::router::App;

/// The key id of the principal that acts when there is no authenticator.
pub const LOCAL_ADMIN: &str = "local";

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// Names the key, never its secret: idempotency keys of different ids never meet. 1 to 128 bytes.
    pub key_id: String,
    /// A name for people.
    pub name: String,
    /// What it may do.
    pub scopes: Scopes,
    /// Where the key's rate stands after this request; `None` where it has none.
    pub rate: Option<RateLimit>,
}

impl Principal {
    fn local_admin() -> Self {
        Self {
            key_id: LOCAL_ADMIN.to_owned(),
            name: "local admin".to_owned(),
            scopes: Scope::Admin.into(),
            rate: None,
        }
    }
}

/// Why a credential was not taken.
#[derive(Debug)]
pub struct Denied {
    /// `UNAUTHENTICATED`, `FORBIDDEN`, `RATE_LIMITED`, or what kept the authenticator from finding out.
    pub error: Error,
    /// When to come back, for `RATE_LIMITED`.
    pub retry_after: Option<Duration>,
    /// Where the key's rate stands, for `RATE_LIMITED` of a key that is known.
    pub rate: Option<Box<RateLimit>>,
}

impl From<Error> for Denied {
    /// Takes the times of [`Error::RateLimited`] along.
    fn from(error: Error) -> Self {
        let (retry_after, rate) = match &error {
            Error::RateLimited { retry_after, rate } => (Some(*retry_after), rate.map(Box::new)),
            _ => (None, None),
        };
        Self {
            error,
            retry_after,
            rate,
        }
    }
}

/// Knows keys. Asked once a request, before anything of it is read, and from time to time for what goes on.
#[async_trait]
pub trait Authenticator: fmt::Debug + Send + Sync {
    /// Finds out who asks, by what came as `Authorization: Bearer …`; `None` when nothing did.
    ///
    /// # Errors
    /// A [`Denied`]; the request is answered with it.
    async fn authenticate(&self, credential: Option<&str>) -> Result<Principal, Denied>;

    /// Tells which of these keys, by [`Principal::key_id`], still hold, and what each may do now; it must cost their
    /// owners nothing. Asked once every [`ApiOptions::keep_alive`](crate::ApiOptions::keep_alive) while streams are
    /// open, for the keys of all of them together, 1,000 at most; the streams of a key that is not in the answer, or
    /// that may no longer read, are ended.
    ///
    /// `None`, as unless implemented, says that this is not known: streams then last until their time is up.
    ///
    /// # Errors
    /// What kept the authenticator from finding out. The streams go on, and it is asked again.
    async fn still_hold(
        &self,
        _key_ids: &[String],
    ) -> clipbase::Result<Option<HashMap<String, Scopes>>> {
        Ok(None)
    }
}

/// The headers that say where a key's rate stands, with what each means.
pub(crate) const RATE_HEADERS: [(&str, &str); 3] = [
    (
        "RateLimit-Limit",
        "Requests a minute that the key may send; as many may come at once.",
    ),
    ("RateLimit-Remaining", "Requests that the key may send now."),
    (
        "RateLimit-Reset",
        "After how many seconds `RateLimit-Remaining` is `RateLimit-Limit` again.",
    ),
];

/// Where a request leaves the rate of its key for its answer, whatever becomes of it on the way: a handler that
/// takes too long or panics has spent it too.
#[derive(Clone, Debug, Default)]
pub(crate) struct RateSlot(Arc<OnceLock<RateLimit>>);

impl RateSlot {
    fn leave(&self, rate: Option<RateLimit>) {
        if let Some(rate) = rate {
            // A request is authenticated once.
            self.0.get_or_init(|| rate);
        }
    }

    /// Writes the rate into the answer's headers, where there is one.
    pub(crate) fn tell(&self, headers: &mut HeaderMap) {
        let Some(rate) = self.0.get() else {
            return;
        };
        let values = [
            u64::from(rate.limit),
            u64::from(rate.remaining),
            whole_seconds(rate.reset_after),
        ];
        for (name, value) in RATE_NAMES.into_iter().zip(values) {
            headers.insert(name, value.into());
        }
    }
}

/// The names of [`RATE_HEADERS`] as they are sent.
pub(crate) const RATE_NAMES: [HeaderName; 3] = [
    HeaderName::from_static("ratelimit-limit"),
    HeaderName::from_static("ratelimit-remaining"),
    HeaderName::from_static("ratelimit-reset"),
];

/// A time as headers have it: rounded up, so that who waits for it does not come too early.
pub(crate) fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

/// Lets a request pass that may use the route, with its [`Principal`] as an extension.
pub(crate) async fn guard(
    State((app, scope)): State<(App, Scope)>,
    request: Request,
    next: Next,
) -> Response {
    let (mut parts, body) = request.into_parts();
    match admit(&app, scope, &parts).await {
        Ok(principal) => {
            tracing::debug!(key_id = %principal.key_id, scope = %scope, "admitted");
            parts.extensions.insert(principal);
            next.run(Request::from_parts(parts, body)).await
        }
        Err(refusal) => refusal.into_response(),
    }
}

async fn admit(app: &App, scope: Scope, request: &Parts) -> ApiResult<Principal> {
    let Some(authenticator) = &app.options.authenticator else {
        check_site(
            request,
            &app.options.cors_origins,
            app.options.allow_anonymous,
        )?;
        return Ok(Principal::local_admin());
    };
    let outcome = authenticator.authenticate(bearer(&request.headers)).await;
    if let Some(slot) = request.extensions.get::<RateSlot>() {
        slot.leave(match &outcome {
            Ok(principal) => principal.rate,
            Err(denied) => denied.rate.as_deref().copied(),
        });
    }
    let principal = outcome.map_err(refuse)?;
    principal.scopes.require(scope)?;
    Ok(principal)
}

fn refuse(denied: Denied) -> ApiError {
    let mut refusal = ApiError::from(denied.error);
    refusal.retry_after = denied.retry_after;
    if refusal.code == Code::Unauthenticated.into() {
        refusal = refusal.with_header(
            header::WWW_AUTHENTICATE,
            HeaderValue::from_static("Bearer realm=\"clipbase\""),
        );
    }
    refusal
}

/// The credential, without its scheme.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, credential) = value.split_once(' ')?;
    let credential = credential.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !credential.is_empty()).then_some(credential)
}

/// Keeps web pages out where no key is asked for. A page of another site can make a browser send a request to
/// loopback, with no more than its own address in `Origin`; one that has bound its own name to 127.0.0.1 (DNS
/// rebinding) is told by the name in `Host`.
fn check_site(request: &Parts, allowed: &[String], anywhere: bool) -> ApiResult<()> {
    let headers = &request.headers;
    let host = match headers.get(header::HOST) {
        Some(value) => Some(value.to_str().map_err(|_| foreign_site())?),
        None => request.uri.authority().map(http::uri::Authority::as_str),
    };
    if !anywhere && !host.is_none_or(is_loopback_name) {
        return Err(foreign_site());
    }
    let Some(origin) = headers.get(header::ORIGIN) else {
        return Ok(());
    };
    let is_harmless = matches!(request.method, Method::GET | Method::HEAD);
    let origin = origin.to_str().unwrap_or_default();
    let is_own = host.is_some_and(|host| {
        ["http://", "https://"]
            .iter()
            .any(|scheme| origin.strip_prefix(scheme) == Some(host))
    });
    // A browser shows the answer to another site's GET only where CORS allows it.
    if is_harmless || is_own || allowed.iter().any(|known| known == origin) {
        Ok(())
    } else {
        Err(foreign_site())
    }
}

fn foreign_site() -> ApiError {
    ApiError::new(
        Code::Forbidden,
        "a request from another site is refused where no key is asked for",
    )
}

/// Tells whether a `Host` means this machine itself.
fn is_loopback_name(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost")
        || address
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_goes_by_its_names_only() {
        for host in [
            "localhost",
            "LOCALHOST:80",
            "127.0.0.1:8080",
            "[::1]:80",
            "[::1]",
            "127.8.8.8",
        ] {
            assert!(is_loopback_name(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "10.0.0.1",
        ] {
            assert!(!is_loopback_name(host), "{host}");
        }
    }

    #[test]
    fn a_credential_needs_its_scheme() {
        let of = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, HeaderValue::from_static(value));
            bearer(&headers).map(str::to_owned)
        };
        assert_eq!(of("Bearer cb_1").as_deref(), Some("cb_1"));
        assert_eq!(of("bearer  cb_1 ").as_deref(), Some("cb_1"));
        for value in ["", "cb_1", "Basic cb_1", "Bearer", "Bearer  "] {
            assert_eq!(of(value), None, "{value}");
        }
    }

    #[test]
    fn a_part_of_a_second_counts_as_one() {
        for (time, seconds) in [
            (Duration::ZERO, 0),
            (Duration::from_micros(1), 1),
            (Duration::from_secs(2), 2),
            (Duration::from_millis(2_001), 3),
        ] {
            assert_eq!(whole_seconds(time), seconds);
        }
    }

    #[test]
    fn the_headers_are_documented_by_the_names_that_are_sent() {
        for ((written, _), sent) in RATE_HEADERS.into_iter().zip(RATE_NAMES) {
            assert_eq!(written.to_ascii_lowercase(), sent.as_str());
        }
    }

    #[test]
    fn a_refusal_takes_its_times_along() {
        let rate = RateLimit {
            limit: 1,
            remaining: 0,
            reset_after: Duration::from_secs(60),
            retry_after: Some(Duration::from_secs(59)),
        };
        let denied = Denied::from(Error::RateLimited {
            retry_after: Duration::from_secs(59),
            rate: Some(rate),
        });
        assert_eq!(denied.rate.as_deref(), Some(&rate));
        assert_eq!(refuse(denied).retry_after, Some(Duration::from_secs(59)));
    }
}
