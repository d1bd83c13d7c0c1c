//! The dashboard: one page and its parts, in the binary. It is a client of the API like any other, and knows nothing
//! that a key of its user's would not show.

use axum::Router;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use clipbase::Code;
use http::header;

use crate::envelope::ApiError;
use crate::router::App;

const PAGE: &str = include_str!("dashboard/index.html");

/// Name, media type and text of everything that the page loads.
const PARTS: [(&str, &str, &str); 8] = [
    ("style.css", "text/css", include_str!("dashboard/style.css")),
    ("app.js", SCRIPT, include_str!("dashboard/app.js")),
    ("api.js", SCRIPT, include_str!("dashboard/api.js")),
    ("board.js", SCRIPT, include_str!("dashboard/board.js")),
    ("chart.js", SCRIPT, include_str!("dashboard/chart.js")),
    ("create.js", SCRIPT, include_str!("dashboard/create.js")),
    ("dom.js", SCRIPT, include_str!("dashboard/dom.js")),
    ("job.js", SCRIPT, include_str!("dashboard/job.js")),
];

const SCRIPT: &str = "text/javascript";

/// The page, and what it may load from where.
#[derive(Debug)]
pub(crate) struct Dashboard {
    html: Bytes,
    policy: String,
}

impl Dashboard {
    /// Where this server has the storage itself, the page follows its links at the address where the page was
    /// opened: a person says `localhost` where the links say 127.0.0.1, and a browser takes that for another server.
    pub(crate) fn new(storage_origins: &[String], has_own_links: bool) -> Self {
        let html = if has_own_links {
            let html = PAGE.replacen("<html ", "<html data-links=\"own\" ", 1);
            html.into()
        } else {
            Bytes::from_static(PAGE.as_bytes())
        };
        let storage = storage_origins.join(" ");
        let policy = format!(
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
             connect-src 'self' {storage}; media-src 'self' {storage}; form-action 'none'; base-uri 'none'; \
             frame-ancestors 'none'"
        );
        Self { html, policy }
    }
}

/// Adds the page to the routes. It is no part of the API's document.
pub(crate) fn mount(router: Router<App>) -> Router<App> {
    router
        .route("/", get(page))
        .route("/assets/{name}", get(part))
}

async fn page(State(app): State<App>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (
            header::CONTENT_SECURITY_POLICY,
            app.dashboard.policy.as_str(),
        ),
    ];
    (headers, app.dashboard.html.clone()).into_response()
}

async fn part(Path(name): Path<String>) -> Response {
    match PARTS.iter().find(|(known, _, _)| *known == name) {
        Some((_, kind, text)) => {
            let kind = format!("{kind}; charset=utf-8");
            ([(header::CONTENT_TYPE, kind)], *text).into_response()
        }
        None => ApiError::new(Code::NotFound, "there is no such route").into_response(),
    }
}
