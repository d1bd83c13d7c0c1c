//! The table of routes: what each needs, how long it may take, and how it may refuse.
//!
//! The same table makes the router and the document, so that neither has a route that the other lacks.

use std::ops::Deref;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use clipbase::api_keys::Scope;
use clipbase::{Clipbase, Code, Result};
use http::{HeaderName, HeaderValue, Method, header};
use tokio::sync::Semaphore;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{AllowOrigin, CorsLayer};
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};
use utoipa_axum::routes;

use crate::access::{RATE_NAMES, guard};
use crate::dashboard::{self, Dashboard};
use crate::docs_page::{self, Page};
use crate::envelope::{ApiCode, ApiError, HttpCode};
use crate::events::follower::Follower;
use crate::health::Verdict;
use crate::limits::deadline;
use crate::live::{self, Board};
use crate::observe::{observe, panicked};
use crate::options::ApiOptions;
use crate::{events, health, jobs, keys, local_links, openapi, result, stats, uploads};

/// What the handlers share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) clipbase: Clipbase,
    pub(crate) options: ApiOptions,
    pub(crate) follower: Follower,
    pub(crate) board: Board,
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
        options.check()?;
        let app = App(Arc::new(Shared {
            follower: Follower::new(clipbase.clone(), options.follow_interval),
            board: Board::new(),
            dashboard: Dashboard::new(&options.storage_origins),
            streams: Arc::new(Semaphore::new(options.streams_max)),
            verdict: Verdict::default(),
            documents: OnceLock::new(),
            clipbase,
            options,
        }));
        let (inner, mut document) = table(&app).split_for_parts();
        openapi::bound_ttl(&mut document, &app.options.link_ttl);
        let document = serde_json::to_value(&document).map_err(|_| {
            clipbase::Error::failed(Code::ConfigInvalid, "the document cannot be written")
        })?;
        let page = docs_page::render(&document);
        let json = document.to_string().into();
        app.0.documents.get_or_init(|| Documents { json, page });
        let router = finish(inner, &app);
        Ok(Self { app, router })
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

/// What a route is, beside its handler.
struct Route {
    scope: Option<Scope>,
    /// `None` where bodies flow for as long as they flow.
    time: Option<Duration>,
    codes: Vec<ApiCode>,
}

macro_rules! codes {
    ($($code:expr),* $(,)?) => { [$(ApiCode::from($code)),*] };
}

impl Route {
    fn open(time: Option<Duration>) -> Self {
        let codes = codes![HttpCode::Internal].to_vec();
        Self {
            scope: None,
            time,
            codes,
        }
        .timed()
    }

    fn needs(scope: Scope, time: Duration) -> Self {
        let codes = codes![
            HttpCode::Internal,
            Code::Unauthenticated,
            Code::Forbidden,
            Code::RateLimited,
            Code::DbUnavailable,
            Code::DbTimeout,
            Code::DbFailed,
            Code::DbInconsistent,
            Code::SchemaMismatch,
        ]
        .to_vec();
        Self {
            scope: Some(scope),
            time: Some(time),
            codes,
        }
        .timed()
    }

    fn timed(self) -> Self {
        match self.time {
            Some(_) => self.or(&codes![HttpCode::ResponseTimeout]),
            None => self,
        }
    }

    fn or(mut self, codes: &[ApiCode]) -> Self {
        self.codes.extend_from_slice(codes);
        self
    }

    fn takes_json(self) -> Self {
        self.or(&codes![
            HttpCode::BadRequest,
            HttpCode::RequestTimeout,
            HttpCode::PayloadTooLarge,
            HttpCode::UnsupportedMediaType,
            Code::InvalidInput,
        ])
    }

    fn takes_query(self) -> Self {
        self.or(&codes![Code::InvalidInput])
    }

    fn of_job(self) -> Self {
        self.or(&codes![Code::InvalidInput, Code::NotFound])
    }

    fn uses_storage(self) -> Self {
        self.or(&codes![
            Code::StorageUnavailable,
            Code::StorageDownloadFailed,
            Code::StorageSignFailed
        ])
    }

    fn with(
        self,
        app: &App,
        (schemas, mut paths, mut methods): UtoipaMethodRouter<App>,
    ) -> UtoipaMethodRouter<App> {
        let has_keys = app.options.authenticator.is_some();
        let documented = self.scope.filter(|_| has_keys);
        openapi::describe(&mut paths, documented, &self.codes);
        // One layer for both: with each more, axum boxes the route and its answer once more on every request.
        if self.scope.is_some() || self.time.is_some() {
            let state = (app.clone(), self.scope, self.time);
            methods = methods.route_layer(from_fn_with_state(state, gate));
        }
        (schemas, paths, methods)
    }
}

/// Around a route: its deadline, and within that its guard.
async fn gate(
    State((app, scope, time)): State<(App, Option<Scope>, Option<Duration>)>,
    request: Request,
    next: Next,
) -> Response {
    let answer = async {
        match scope {
            Some(scope) => guard(State((app, scope)), request, next).await,
            None => next.run(request).await,
        }
    };
    match time {
        Some(limit) => deadline(limit, answer).await,
        None => answer.await,
    }
}

fn table(app: &App) -> OpenApiRouter<App> {
    let usual = app.options.request_timeout;
    let read = || Route::needs(Scope::JobsRead, usual);
    let write = || Route::needs(Scope::JobsWrite, usual);
    let bulk = || Route::needs(Scope::Admin, usual).takes_json();
    let create = Route::needs(Scope::JobsWrite, usual.max(app.options.copy_timeout))
        .takes_json()
        .uses_storage()
        .or(&codes![
            Code::NotFound,
            Code::StorageNotFound,
            Code::StorageUploadFailed,
            Code::StorageQuota,
            Code::DbConflict,
            Code::IdempotencyConflict,
        ]);
    let upload = write()
        .takes_json()
        .uses_storage()
        .or(&codes![Code::DbConflict]);
    let outcome = read().of_job().takes_query().uses_storage().or(&codes![
        HttpCode::JobNotDone,
        HttpCode::JobFailed,
        HttpCode::ResultExpired,
        Code::StorageNotFound,
    ]);
    let events = read()
        .of_job()
        .takes_query()
        .or(&codes![HttpCode::Overloaded]);
    let stream = read().takes_query().or(&codes![HttpCode::Overloaded]);
    let moved = || {
        write()
            .of_job()
            .or(&codes![Code::InvalidTransition, Code::DbConflict])
    };
    let all = [
        upload.with(app, routes!(uploads::create)),
        create.with(app, routes!(jobs::create::create)),
        read().takes_query().with(app, routes!(jobs::read::list)),
        bulk().with(app, routes!(jobs::bulk::cancel)),
        bulk().with(app, routes!(jobs::bulk::retry)),
        read().of_job().with(app, routes!(jobs::read::get)),
        write().of_job().with(app, routes!(jobs::act::delete)),
        moved().with(app, routes!(jobs::act::cancel)),
        moved().with(app, routes!(jobs::act::retry)),
        events.with(app, routes!(events::get)),
        outcome.with(app, routes!(result::get)),
        read().with(app, routes!(stats::get)),
        stream.with(app, routes!(live::get)),
        Route::open(Some(usual)).with(app, routes!(health::alive)),
        Route::open(Some(usual)).with(app, routes!(health::ready)),
        Route::open(Some(usual)).with(app, routes!(document)),
        Route::open(Some(usual)).with(app, routes!(page)),
    ];
    let mut router = OpenApiRouter::with_openapi(openapi::base());
    for route in all {
        router = router.routes(route);
    }
    if app.options.metrics.is_some() {
        router = router.routes(read().with(app, routes!(health::metrics)));
    }
    if app.options.manage_keys {
        router = manage_keys(app, router);
    }
    if app.options.local_storage.is_some() {
        router = links(app, router);
    }
    router
}

/// The routes by which an admin manages keys.
fn manage_keys(app: &App, mut router: OpenApiRouter<App>) -> OpenApiRouter<App> {
    let admin = || Route::needs(Scope::Admin, app.options.request_timeout);
    let of_key = || admin().or(&codes![Code::InvalidInput, Code::NotFound]);
    // A machine may have no random bytes.
    let create = admin().takes_json().or(&codes![Code::ConfigInvalid]);
    let rotate = of_key()
        .takes_json()
        .or(&codes![Code::ConfigInvalid, Code::DbConflict]);
    for route in [
        create.with(app, routes!(keys::create)),
        admin().takes_query().with(app, routes!(keys::list)),
        of_key().with(app, routes!(keys::get)),
        of_key().with(app, routes!(keys::revoke)),
        rotate.with(app, routes!(keys::rotate)),
    ] {
        router = router.routes(route);
    }
    router
}

/// The routes that signed links of the local storage lead to. Their signature is their credential.
fn links(app: &App, mut router: OpenApiRouter<App>) -> OpenApiRouter<App> {
    let link = || {
        Route::open(None).or(&codes![
            Code::InvalidInput,
            Code::Forbidden,
            Code::StorageNotFound,
            Code::StorageUnavailable,
        ])
    };
    let download = || {
        link().or(&codes![
            Code::StorageDownloadFailed,
            HttpCode::RangeNotSatisfiable,
        ])
    };
    let upload = link().or(&codes![
        HttpCode::BadRequest,
        HttpCode::RequestTimeout,
        HttpCode::LengthRequired,
        HttpCode::PayloadTooLarge,
        HttpCode::UnsupportedMediaType,
        Code::StorageUploadFailed,
        Code::StorageQuota,
    ]);
    for route in [
        download().with(app, routes!(local_links::download)),
        download().with(app, routes!(local_links::download_later)),
        upload.with(app, routes!(local_links::upload)),
    ] {
        router = router.routes(route);
    }
    router
}

/// What goes around all routes, from the inside out.
fn finish(inner: Router<App>, app: &App) -> Router {
    let mut router = dashboard::mount(inner)
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
