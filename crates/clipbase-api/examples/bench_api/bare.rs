//! The yardstick: what a careful person would write by hand for these three routes and nothing else. The statements
//! are the library's, out of its registry.

use std::time::SystemTime;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::serve::ListenerExt as _;
use axum::{Json, Router};
use clipbase::db::statement::all;
use clipbase::db::{POOL_SIZE, Statement};
use clipbase::{JobId, JobStatus};
use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_postgres::types::ToSql;
use tokio_postgres::{NoTls, Row};
use uuid::Uuid;

/// Jobs of a page, and the one more that tells whether there is a next page.
const PAGE: usize = 50;
/// A key's life, in seconds.
const KEY_TTL: f64 = 86_400.0;

/// The pool, and the statements.
#[derive(Clone)]
struct Bare {
    pool: Pool,
    create: &'static Statement,
    get: &'static Statement,
    list: &'static Statement,
}

pub(crate) fn router(database: &str) -> Router {
    let config: tokio_postgres::Config = database.parse().unwrap();
    let recycling = ManagerConfig {
        recycling_method: RecyclingMethod::Fast,
    };
    let manager = Manager::from_config(config, NoTls, recycling);
    let pool = Pool::builder(manager).max_size(POOL_SIZE).build().unwrap();
    let named = |name| all().find(|statement| statement.name == name).unwrap();
    let bare = Bare {
        pool,
        create: named("jobs.create"),
        get: named("jobs.get"),
        list: named("jobs.list"),
    };
    Router::new()
        .route("/v1/jobs", get(list).post(create))
        .route("/v1/jobs/{id}", get(read))
        .with_state(bare)
}

pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    end: impl Future<Output = ()> + Send + 'static,
) {
    let listener = listener.tap_io(|stream| stream.set_nodelay(true).unwrap());
    axum::serve(listener, router)
        .with_graceful_shutdown(end)
        .await
        .unwrap();
}

impl Bare {
    async fn rows(&self, statement: &Statement, params: &[&(dyn ToSql + Sync)]) -> Vec<Row> {
        let client = self.pool.get().await.unwrap();
        let prepared = client
            .prepare_typed_cached(statement.sql, statement.params)
            .await
            .unwrap();
        client.query(&prepared, params).await.unwrap()
    }
}

async fn read(State(bare): State<Bare>, Path(id): Path<Uuid>) -> Response {
    let rows = bare.rows(bare.get, &[&id]).await;
    match rows.first() {
        Some(row) => Json(Job::read(row, 0)).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn list(State(bare): State<Bare>) -> Response {
    let states = JobStatus::ALL.map(JobStatus::as_str);
    let limit = i64::try_from(PAGE).unwrap() + 1;
    let after: Option<SystemTime> = None;
    let rows = bare
        .rows(
            bare.list,
            &[&states.as_slice(), &after, &Uuid::max(), &limit],
        )
        .await;
    let jobs: Vec<Job<'_>> = rows
        .iter()
        .take(PAGE)
        .map(|row| Job::read(row, 0))
        .collect();
    let next = jobs.last().filter(|_| rows.len() > PAGE).map(|job| job.id);
    Json(Page { jobs, next }).into_response()
}

async fn create(State(bare): State<Bare>, headers: HeaderMap, Json(new): Json<NewJob>) -> Response {
    let (id, kind) = match new.source.upload {
        Some(id) => (id, "upload"),
        None => (JobId::new().as_uuid(), "youtube"),
    };
    let key = new
        .source
        .upload
        .map(|id| format!("sources/{id}/source.mp4"));
    let millis = [new.start, new.end].map(in_millis);
    let [start, end] = millis;
    let seconds = [start / 1000, (end + 999) / 1000].map(|seconds| i32::try_from(seconds).unwrap());
    let request = headers
        .get("idempotency-key")
        .map(|value| value.to_str().unwrap());
    let once = request.map(|_| ("bare", [0_u8; 32], KEY_TTL));
    let never: Option<SystemTime> = None;
    let rows = bare
        .rows(
            bare.create,
            &[
                &id,
                &"normal",
                &0_i32,
                &kind,
                &key,
                &new.source.youtube,
                &seconds[0],
                &seconds[1],
                &start,
                &end,
                &false,
                &false,
                &"auto",
                &3_i32,
                &never,
                &never,
                &None::<Value>,
                &once.map(|(scope, _, _)| scope),
                &request,
                &once.as_ref().map(|(_, print, _)| print.as_slice()),
                &once.map(|(_, _, ttl)| ttl),
                &None::<f64>,
            ],
        )
        .await;
    // After whether it is new, and the fingerprint.
    let job = Job::read(&rows[0], 2);
    let location = [(header::LOCATION, format!("/v1/jobs/{}", job.id))];
    (StatusCode::ACCEPTED, location, Json(job)).into_response()
}

#[allow(clippy::cast_possible_truncation, reason = "a clip's seconds")]
fn in_millis(seconds: f64) -> i64 {
    (seconds * 1000.0) as i64
}

#[derive(Deserialize)]
struct NewJob {
    source: NewSource,
    start: f64,
    end: f64,
}

#[derive(Deserialize)]
struct NewSource {
    youtube: Option<String>,
    upload: Option<Uuid>,
}

#[derive(Serialize)]
struct Page<'a> {
    jobs: Vec<Job<'a>>,
    next: Option<Uuid>,
}

/// What the API shows of a job, as the row has it.
#[derive(Serialize)]
struct Job<'a> {
    id: Uuid,
    status: &'a str,
    progress: i32,
    source_type: &'a str,
    source_url: Option<&'a str>,
    start_ms: Option<i64>,
    end_ms: Option<i64>,
    with_subtitles: bool,
    burn_subtitles: bool,
    subtitle_lang: Option<&'a str>,
    priority: &'a str,
    shard: i32,
    attempts: i32,
    max_attempts: i32,
    error_code: Option<&'a str>,
    error_message: Option<&'a str>,
    event_seq: i32,
    created_at: Timestamp,
    updated_at: Timestamp,
    run_at: Timestamp,
    started_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
    cancel_requested_at: Option<Timestamp>,
    expires_at: Option<Timestamp>,
}

impl<'a> Job<'a> {
    /// Reads the job that starts at a column. The numbers are those of the statement's declaration.
    fn read(row: &'a Row, first: usize) -> Self {
        Self {
            id: row.get(first),
            status: row.get(first + 1),
            priority: row.get(first + 2),
            shard: row.get(first + 3),
            source_type: row.get(first + 4),
            source_url: row.get(first + 6),
            start_ms: row.get(first + 9),
            end_ms: row.get(first + 10),
            with_subtitles: row.get(first + 11),
            burn_subtitles: row.get(first + 12),
            subtitle_lang: row.get(first + 13),
            progress: row.get(first + 14),
            attempts: row.get(first + 15),
            max_attempts: row.get(first + 16),
            run_at: row.get(first + 21),
            cancel_requested_at: row.get(first + 22),
            error_code: row.get(first + 25),
            error_message: row.get(first + 26),
            created_at: row.get(first + 27),
            updated_at: row.get(first + 28),
            started_at: row.get(first + 29),
            finished_at: row.get(first + 30),
            expires_at: row.get(first + 31),
            event_seq: row.get(first + 33),
        }
    }
}
