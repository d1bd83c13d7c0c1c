//! Whether the process lives, whether it can work, and what it measures.
//!
//! The readiness checks run at most once a second, however often they are asked for, and each has its own time
//! limit: a probe never adds load to a database that is in trouble.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use clipbase::storage::{Bucket, StorageKey};
use clipbase::{Clipbase, Code, Error, Result, ServiceResult};
use http::{StatusCode, header};
use serde::Serialize;
use tokio::sync::Mutex;
use utoipa::ToSchema;

use crate::envelope::{Answer, ApiError, ApiResult, HttpCode};
use crate::openapi::Success;
use crate::router::App;

/// How long one check may take.
const CHECK_TIME_MAX: Duration = Duration::from_secs(2);
/// How long a verdict stands.
const VERDICT_TTL: Duration = Duration::from_secs(1);

/// What the process says of itself.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Alive {
    /// The version of this binary.
    #[schema(example = "0.1.0")]
    version: &'static str,
}

/// What one thing that the service needs says.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Check {
    /// `database`, `schema` or `storage`.
    #[schema(example = "database")]
    name: &'static str,
    /// Whether it works.
    ok: bool,
    /// Why not, as a stable code.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    /// The same in a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

/// Everything that the service needs.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Readiness {
    checks: Vec<Check>,
}

/// The last verdict, for as long as it stands.
#[derive(Debug, Default)]
pub(crate) struct Verdict(Mutex<Option<(Instant, Arc<Readiness>)>>);

/// Tells that the process lives. Asks nobody.
#[utoipa::path(get, path = "/healthz", operation_id = "getHealth", tag = "service",
    responses((status = 200, description = "It lives.", body = Success<Alive>)))]
pub(crate) async fn alive() -> Answer<Alive> {
    Answer(Alive {
        version: env!("CARGO_PKG_VERSION"),
    })
}

/// Tells whether database, schema and storage work, each with its verdict.
#[utoipa::path(get, path = "/readyz", operation_id = "getReadiness", tag = "service",
    responses(
        (status = 200, description = "All of them work.", body = Success<Readiness>),
        (status = 503, description = "`NOT_READY`: some do not; `data` says which.", body = crate::openapi::NotReady)))]
pub(crate) async fn ready(State(app): State<App>) -> Response {
    let verdict = app.verdict.of(&app.clipbase).await;
    if verdict.checks.iter().all(|check| check.ok) {
        return Answer(verdict.as_ref().clone()).into_response();
    }
    let failure = ServiceResult {
        data: Some(verdict.as_ref().clone()),
        ..ServiceResult::failure(
            HttpCode::NotReady.as_str(),
            "something that the service needs does not work",
        )
    };
    (StatusCode::SERVICE_UNAVAILABLE, Json(failure)).into_response()
}

/// The metrics of this process, in Prometheus' text form.
#[utoipa::path(get, path = "/metrics", operation_id = "getMetrics", tag = "service",
    responses((status = 200, description = "The metrics.", body = String, content_type = "text/plain")))]
pub(crate) async fn metrics(State(app): State<App>) -> ApiResult<Response> {
    let text = app.options.metrics.as_ref().map(crate::MetricsText::render);
    let text = text.ok_or_else(|| ApiError::new(Code::NotFound, "no metrics are kept here"))?;
    let kind = [(
        header::CONTENT_TYPE,
        "text/plain; version=0.0.4; charset=utf-8",
    )];
    Ok((kind, text).into_response())
}

impl Verdict {
    /// Whoever comes while the checks run waits for the same verdict.
    async fn of(&self, clipbase: &Clipbase) -> Arc<Readiness> {
        let mut last = self.0.lock().await;
        if let Some((at, verdict)) = last.as_ref()
            && at.elapsed() < VERDICT_TTL
        {
            return Arc::clone(verdict);
        }
        let (database, schema, storage) = tokio::join!(
            check("database", async {
                clipbase.inspect().server().await.map(|_| ())
            }),
            check("schema", clipbase.check_schema()),
            check("storage", check_storage(clipbase)),
        );
        let verdict = Arc::new(Readiness {
            checks: vec![database, schema, storage],
        });
        *last = Some((Instant::now(), Arc::clone(&verdict)));
        verdict
    }
}

async fn check(name: &'static str, work: impl Future<Output = Result<()>>) -> Check {
    let outcome = tokio::time::timeout(CHECK_TIME_MAX, work)
        .await
        .unwrap_or_else(|_| {
            let code = match name {
                "storage" => Code::StorageUnavailable,
                _ => Code::DbTimeout,
            };
            Err(Error::failed(code, "no answer in time"))
        });
    let error = outcome.err();
    Check {
        name,
        ok: error.is_none(),
        code: error.as_ref().map(|error| error.code().as_str()),
        message: error.map(|error| error.to_string()),
    }
}

/// The marker lies in each bucket that was bootstrapped.
async fn check_storage(clipbase: &Clipbase) -> Result<()> {
    for bucket in Bucket::ALL {
        let marker = StorageKey::InstallationMarker(bucket);
        if clipbase.storage().info(&marker).await?.is_none() {
            return Err(Error::failed(
                Code::StorageNotFound,
                "the storage is not set up; run `clipbase bootstrap`",
            ));
        }
    }
    Ok(())
}
