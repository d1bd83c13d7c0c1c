//! Who asks, and whether they may: the seam for keys, and the guard of every route.
//!
//! The API knows no keys. An [`Authenticator`] turns the credential of a request into a [`Principal`]; each route
//! names the [`Scope`] that it needs. Without an authenticator every request acts as the local admin, and then a web
//! page of another site must not be able to send one: see [`check_site`].

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use clipbase::{Code, Error};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, header};

use crate::envelope::{ApiError, ApiResult};
use crate::router::App;

/// What a route needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// To read jobs, events, results and statistics.
    JobsRead,
    /// To upload, and to create, cancel, retry and delete jobs.
    JobsWrite,
    /// Everything, and many jobs at once.
    Admin,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Scope; 3] = [Self::JobsRead, Self::JobsWrite, Self::Admin];

    /// Returns the scope's name: `jobs:read`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::JobsRead => "jobs:read",
            Self::JobsWrite => "jobs:write",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

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
    pub scopes: Vec<Scope>,
}

impl Principal {
    /// Tells whether it may use a route that needs the scope. An admin may use all.
    pub fn allows(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope) || self.scopes.contains(&Scope::Admin)
    }

    fn local_admin() -> Self {
        Self {
            key_id: LOCAL_ADMIN.to_owned(),
            name: "local admin".to_owned(),
            scopes: vec![Scope::Admin],
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
}

impl From<Error> for Denied {
    fn from(error: Error) -> Self {
        Self {
            error,
            retry_after: None,
        }
    }
}

/// Knows keys. Called once a request, before anything of it is read.
#[async_trait]
pub trait Authenticator: fmt::Debug + Send + Sync {
    /// Finds out who asks, by what came as `Authorization: Bearer …`; `None` when nothing did.
    ///
    /// # Errors
    /// A [`Denied`]; the request is answered with it.
    async fn authenticate(&self, credential: Option<&str>) -> Result<Principal, Denied>;
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
    let principal = match &app.options.authenticator {
        None => {
            check_site(
                request,
                &app.options.cors_origins,
                app.options.allow_anonymous,
            )?;
            Principal::local_admin()
        }
        Some(authenticator) => authenticator
            .authenticate(bearer(&request.headers))
            .await
            .map_err(refuse)?,
    };
    if principal.allows(scope) {
        Ok(principal)
    } else {
        Err(ApiError::new(
            Code::Forbidden,
            format!("this key lacks the scope {scope}"),
        ))
    }
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
    fn an_admin_may_do_all_and_others_what_they_were_given() {
        assert!(
            Scope::ALL
                .iter()
                .all(|scope| Principal::local_admin().allows(*scope))
        );
        let reader = Principal {
            scopes: vec![Scope::JobsRead],
            ..Principal::local_admin()
        };
        assert!(reader.allows(Scope::JobsRead));
        assert!(!reader.allows(Scope::JobsWrite) && !reader.allows(Scope::Admin));
    }
}
