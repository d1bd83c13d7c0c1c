//! Around every request: its id, its span, its metrics, the envelope of its refusal, and the headers that keep
//! browsers from guessing.
//!
//! Labels and spans hold the route's template, never the path: a path may hold a key, and a query a token.

use std::any::Any;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use clipbase::JobId;
use clipbase::metrics::Metric;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use tracing::Instrument as _;

use crate::access::RateSlot;
use crate::envelope::{ApiError, seal};
use crate::request_id::{self, RequestId};

/// Every metric of this crate.
pub const METRICS: &[Metric] = &[
    Metric::counter(
        "clipbase_http_requests_total",
        &["route", "method", "status"],
        "requests answered",
    ),
    Metric::histogram(
        "clipbase_http_request_seconds",
        &["route", "method", "status"],
        "how long a request took until its answer's head was ready",
    ),
    Metric::gauge("clipbase_http_streams", &[], "event streams that are open"),
];

/// What stands for a path that no route has.
const UNMATCHED: &str = "unmatched";

/// The outermost layer.
pub(crate) async fn observe(mut request: Request, next: Next) -> Response {
    let id = RequestId::of(request.headers());
    let method = method_label(request.method());
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or(UNMATCHED, |path| path.as_str());
    let route: Arc<str> = route.into();
    // As grave as an error, so that whatever is logged at all says which request it belongs to.
    let span = tracing::error_span!(
        "http",
        method,
        route = &*route,
        request_id = %id,
        job_id = tracing::field::Empty,
        status = tracing::field::Empty,
        latency_us = tracing::field::Empty,
    );
    request.extensions_mut().insert(id.clone());
    let rate = RateSlot::default();
    request.extensions_mut().insert(rate.clone());
    let started = Instant::now();
    let response = next.run(request).instrument(span.clone()).await;
    let elapsed = started.elapsed();
    let (mut response, refusal) = seal(response, &id);
    let status = response.status().as_u16();
    span.record("status", status);
    span.record(
        "latency_us",
        u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX),
    );
    span.in_scope(|| tell(refusal.as_ref()));
    count(route, method, status, elapsed);
    if let Some(value) = id.to_header() {
        response.headers_mut().insert(request_id::HEADER, value);
    }
    rate.tell(response.headers_mut());
    secure(response.headers_mut());
    response
}

/// Says which job the request is about, for its log lines.
pub(crate) fn about(job: JobId) {
    tracing::Span::current().record("job_id", tracing::field::display(job));
}

/// The two metrics share the text of their labels, which each copies, and its recorder again.
fn count(route: Arc<str>, method: &'static str, status: u16, elapsed: Duration) {
    let status: Arc<str> = status.to_string().into();
    metrics::histogram!(
        "clipbase_http_request_seconds",
        "route" => Arc::clone(&route), "method" => method, "status" => Arc::clone(&status)
    )
    .record(elapsed.as_secs_f64());
    metrics::counter!(
        "clipbase_http_requests_total",
        "route" => route, "method" => method, "status" => status
    )
    .increment(1);
}

fn tell(refusal: Option<&ApiError>) {
    let Some(error) = refusal else {
        tracing::info!("answered");
        return;
    };
    let code = error.code.as_str();
    let cause = error.cause.as_ref().map(ToString::to_string);
    if error.code.status().is_server_error() {
        tracing::error!(code, cause, "failed");
    } else {
        tracing::info!(code, cause, "refused");
    }
}

/// Methods that clients make up do not become labels.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "OTHER",
    }
}

/// A route may set a header itself; what it leaves open is set here.
fn secure(headers: &mut HeaderMap) {
    const DEFAULTS: [(HeaderName, &str); 6] = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; frame-ancestors 'none'",
        ),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-site",
        ),
        (header::CACHE_CONTROL, "no-store"),
    ];
    for (name, value) in DEFAULTS {
        headers
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    }
}

/// What a panic is answered with. Its payload may hold a request's data, so it is not looked at.
pub(crate) fn panicked(_payload: Box<dyn Any + Send + 'static>) -> Response {
    tracing::error!("a handler panicked");
    ApiError::internal().into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_up_methods_share_a_label() {
        let odd = Method::from_bytes(b"BREW").unwrap();
        assert_eq!(method_label(&odd), "OTHER");
        assert_eq!(method_label(&Method::GET), "GET");
    }

    #[test]
    fn a_routes_own_header_stays() {
        let mut headers = HeaderMap::new();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        secure(&mut headers);
        assert_eq!(headers[header::CACHE_CONTROL], "no-cache");
        assert_eq!(headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
    }
}
