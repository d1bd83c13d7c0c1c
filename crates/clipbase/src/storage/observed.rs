//! What stands around a call of a storage: a span, a count and a time, by operation and code alone.
//!
//! Owns the metrics of storage calls, so that all backends are measured alike. It takes no path, key or bucket.

use tokio::time::Instant;
use tracing::Instrument as _;

use super::Operation;
use crate::error::Result;

/// Counts and times a call, failures included. The span names the backend too.
pub(super) async fn observed<T>(
    backend: &'static str,
    operation: Operation,
    call: impl Future<Output = Result<T>> + Send,
) -> Result<T> {
    let name = operation.name();
    let span = tracing::debug_span!("storage.call", operation = name, backend);
    let measured = async {
        let started = Instant::now();
        let outcome = call.await;
        let elapsed = started.elapsed();
        let code = outcome
            .as_ref()
            .err()
            .map_or("OK", |error| error.code().as_str());
        metrics::histogram!("clipbase_storage_call_seconds", "operation" => name)
            .record(elapsed.as_secs_f64());
        metrics::counter!("clipbase_storage_calls_total", "operation" => name, "outcome" => code)
            .increment(1);
        tracing::debug!(
            code,
            elapsed_us = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX),
            "storage call"
        );
        outcome
    };
    measured.instrument(span).await
}
