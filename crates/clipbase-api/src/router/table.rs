//! The table of routes: what each needs, how long it may take, and how it may refuse.
//!
//! The same table makes the router and the document, so that neither has a route that the other lacks.

use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use clipbase::Code;
use clipbase::api_keys::Scope;
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};
use utoipa_axum::routes;

use super::App;
use crate::access::guard;
use crate::envelope::{ApiCode, HttpCode};
use crate::limits::deadline;
use crate::{events, health, jobs, keys, live, local_links, openapi, result, stats, uploads};

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

pub(super) fn table(app: &App) -> OpenApiRouter<App> {
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
        Route::open(Some(usual)).with(app, routes!(super::document)),
        Route::open(Some(usual)).with(app, routes!(super::page)),
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
