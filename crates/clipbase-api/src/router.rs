//! The API as a whole: what its handlers share, and what goes around all its routes.

mod table;

use std::ops::Deref;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::middleware::from_fn;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use clipbase::{Clipbase, Code, Result};
use http::{HeaderName, HeaderValue, Method, header};
use tokio::sync::Semaphore;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::access::RATE_NAMES;
use crate::access::holders::Holders;
use crate::dashboard::{self, Dashboard};
use crate::docs_page::{self, Page};
use crate::envelope::{ApiError, HttpCode};
use crate::events::follower::Follower;
use crate::health::Verdict;
use crate::live::Board;
use crate::observe::{observe, panicked};
use crate::openapi;
use crate::options::ApiOptions;

/// What the handlers share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) clipbase: Clipbase,
    pub(crate) options: ApiOptions,
    pub(crate) follower: Follower,
    pub(crate) board: Board,
    pub(crate) holders: Holders,
    pub(crate) dashboard: Dashboard,
    pub(crate) streams: Arc<Semaphore>,
    pub(crate) verdict: Verdict,
    documents: OnceLock<Documents>,
}

/// The routes' own description, for machines and for people.
#[derive(Debug)]
struct Documents {
    json: Bytes,
    page: Page,
}

/// The state of the router. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct App(Arc<Shared>);

impl Deref for App {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl App {
    pub(crate) fn new(clipbase: Clipbase, options: ApiOptions) -> Result<Self> {
        options.check()?;
        Ok(Self(Arc::new(Shared {
            follower: Follower::new(clipbase.clone(), options.follow_interval),
            board: Board::new(),
            holders: Holders::new(options.authenticator.clone(), options.keep_alive),
            dashboard: Dashboard::new(&options.storage_origins, options.local_storage.is_some()),
            streams: Arc::new(Semaphore::new(options.streams_max)),
            verdict: Verdict::default(),
            documents: OnceLock::new(),
            clipbase,
            options,
        })))
    }
}

/// The API: a router, its document, and what it was set up with.
#[derive(Clone, Debug)]
pub struct Api {
    app: App,
    router: Router,
}

impl Api {
    /// Builds the routes.
    ///
    /// # Errors
    /// `INVALID_INPUT` naming an option that is out of bounds.
    pub fn new(clipbase: Clipbase, options: ApiOptions) -> Result<Self> {
        let app = App::new(clipbase, options)?;
        let (inner, mut document) = table::table(&app).split_for_parts();
        openapi::bound_ttl(&mut document, &app.options.link_ttl);
        let document = serde_json::to_value(&document).map_err(|_| {
            clipbase::Error::failed(Code::ConfigInvalid, "the document cannot be written")
        })?;
        let page = docs_page::render(&document);
        let json = document.to_string().into();
        app.0.documents.get_or_init(|| Documents { json, page });
        let router = dress(dashboard::mount(inner), &app);
        Ok(Self { app, router })
    }

    pub(crate) fn of(app: App, router: Router) -> Self {
        Self { app, router }
    }

    /// Returns the router, to be served or nested by the caller.
    pub fn router(&self) -> Router {
        self.router.clone()
    }

    /// Returns the OpenAPI document, version 3.1, as JSON.
    pub fn openapi(&self) -> &[u8] {
        self.app
            .documents
            .get()
            .map_or(b"", |documents| documents.json.as_ref())
    }

    pub(crate) fn options(&self) -> &ApiOptions {
        &self.app.options
    }
}

/// Builds the routes of [`Api`] alone.
///
/// # Errors
/// As [`Api::new`].
pub fn router(clipbase: Clipbase, options: ApiOptions) -> Result<Router> {
    Ok(Api::new(clipbase, options)?.router())
}

/// What goes around all routes, from the inside out.
pub(crate) fn dress(inner: Router<App>, app: &App) -> Router {
    let mut router = inner
        .fallback(async || ApiError::new(Code::NotFound, "there is no such route"))
        .method_not_allowed_fallback(async || {
            ApiError::new(
                HttpCode::MethodNotAllowed,
                "the route does not know this method",
            )
        })
        .layer(CatchPanicLayer::custom(panicked));
    if !app.options.cors_origins.is_empty() {
        router = router.layer(cors(&app.options.cors_origins));
    }
    router.layer(from_fn(observe)).with_state(app.clone())
}

fn cors(origins: &[String]) -> CorsLayer {
    let origins = origins
        .iter()
        .filter_map(|origin| origin.parse::<HeaderValue>().ok());
    let custom = HeaderName::from_static;
    let [rate_limit, rate_remaining, rate_reset] = RATE_NAMES;
    CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins))
        .allow_methods([
            Method::GET,
            Method::HEAD,
            Method::POST,
            Method::PUT,
            Method::DELETE,
        ])
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            header::RANGE,
            custom("idempotency-key"),
            custom("last-event-id"),
            custom("x-request-id"),
        ])
        .expose_headers([
            header::LOCATION,
            header::RETRY_AFTER,
            header::CONTENT_RANGE,
            header::ACCEPT_RANGES,
            custom("idempotency-replayed"),
            custom("x-request-id"),
            rate_limit,
            rate_remaining,
            rate_reset,
        ])
        .max_age(Duration::from_secs(3_600))
}

/// This document, for machines.
#[utoipa::path(get, path = "/openapi.json", operation_id = "getDocument", tag = "service",
    responses((status = 200, description = "OpenAPI 3.1.", body = serde_json::Value)))]
async fn document(State(app): State<App>) -> Response {
    let json = app.documents.get().map(|documents| documents.json.clone());
    let kind = [(header::CONTENT_TYPE, "application/json")];
    (kind, json.unwrap_or_default()).into_response()
}

/// This document, for people.
#[utoipa::path(get, path = "/docs", operation_id = "getDocs", tag = "service",
    responses((status = 200, description = "A page.", body = String, content_type = "text/html")))]
async fn page(State(app): State<App>) -> Response {
    let Some(documents) = app.documents.get() else {
        return ApiError::internal().into_response();
    };
    let page = &documents.page;
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, page.policy.as_str()),
    ];
    (headers, page.html.clone()).into_response()
}
