//! The routes by which a supervisor watches a process that serves no API: a worker, a clean-up.

use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::get;
use clipbase::{Clipbase, Result};

use crate::health;
use crate::limits::deadline;
use crate::options::{ApiOptions, MetricsText};
use crate::router::{Api, App, dress};

/// How many connections may be open at once.
const CONNECTIONS_MAX: usize = 64;

impl Api {
    /// Builds `/healthz`, `/readyz` and `/metrics` alone. Whoever reaches the port may ask: they show states, counts
    /// and times, and nothing of a job. [`crate::serve`] serves them, within the same limits as the whole API.
    ///
    /// # Errors
    /// As [`Api::new`].
    pub fn probes(clipbase: Clipbase, metrics: MetricsText) -> Result<Self> {
        let app = App::new(
            clipbase,
            ApiOptions {
                allow_anonymous: true,
                metrics: Some(metrics),
                connections_max: CONNECTIONS_MAX,
                ..ApiOptions::default()
            },
        )?;
        let asked = Router::new()
            .route("/healthz", get(health::alive))
            .route("/readyz", get(health::ready))
            .route("/metrics", get(health::metrics))
            .route_layer(from_fn_with_state(app.options.request_timeout, in_time));
        let router = dress(asked, &app);
        Ok(Self::of(app, router))
    }
}

async fn in_time(State(limit): State<Duration>, request: Request, next: Next) -> Response {
    deadline(limit, next.run(request)).await
}
