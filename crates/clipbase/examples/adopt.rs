//! Measures how long a database of the seed is locked while it is adopted:
//!
//! ```text
//! createdb adoption
//! cargo run --release -p clipbase --example adopt postgresql://localhost/adoption 100000
//! ```
//!
//! The database must be empty. It is filled with so many jobs, three events each, and migrated.
#![allow(clippy::print_stdout, reason = "an example reports on the terminal")]

use std::time::Instant;

use clipbase::{DatabaseConfig, migrate};
use tokio_postgres::NoTls;

const SEED: &str = include_str!("../tests/it/seed.sql");

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: adopt DATABASE_URL [JOBS]";
    let url = arguments.next().ok_or(usage)?;
    let jobs: i32 = arguments.next().map_or(Ok(100_000), |text| text.parse())?;
    let (client, connection) = tokio_postgres::connect(&url, NoTls).await?;
    tokio::spawn(connection);
    client.batch_execute(SEED).await?;
    client.batch_execute(&fill(jobs)).await?;
    client.batch_execute("CHECKPOINT").await?;
    let size =
        "SELECT pg_size_pretty(pg_database_size(current_database())), pg_current_wal_lsn()::text";
    let before = client.query_one(size, &[]).await?;
    let started = Instant::now();
    migrate::migrate(&DatabaseConfig::from_url(&url)?).await?;
    let elapsed = started.elapsed();
    let wal = "SELECT pg_size_pretty(pg_wal_lsn_diff(pg_current_wal_lsn(), $1::text::pg_lsn))";
    let wal: String = client
        .query_one(wal, &[&before.get::<_, &str>(1)])
        .await?
        .get(0);
    let after = client.query_one(size, &[]).await?;
    println!(
        "{jobs} jobs, {} events: {:.1} s, WAL {wal}, database {} before and {} after",
        jobs * 3,
        elapsed.as_secs_f64(),
        before.get::<_, &str>(0),
        after.get::<_, &str>(0),
    );
    Ok(())
}

/// A tenth queued, a few at work, the rest ended.
fn fill(jobs: i32) -> String {
    format!(
        "INSERT INTO jobs (status, priority, source_type, source_key, start_sec, end_sec, progress, attempts,
                           result_video_key, error_code, created_at)
         SELECT status::job_status, 'normal', 'upload', 'sources/' || n || '/source.mp4', 0, 30,
                CASE status WHEN 'done' THEN 100 ELSE 0 END, CASE status WHEN 'queued' THEN 0 ELSE 1 END,
                CASE status WHEN 'done' THEN 'results/' || n || '/clip.mp4' END,
                CASE status WHEN 'failed' THEN 'E_FFMPEG' END, now() - n * interval '1 second'
           FROM (SELECT n, CASE WHEN n % 10 = 0 THEN 'queued' WHEN n % 1000 = 1 THEN 'processing'
                                WHEN n % 10 = 2 THEN 'failed' ELSE 'done' END AS status
                   FROM generate_series(1, {jobs}) AS n) AS job;
         INSERT INTO job_events (job_id, ts, type, data)
         SELECT id, created_at + step * interval '1 second', 'transition', jsonb_build_object('next', 'done', 'step', step)
           FROM jobs CROSS JOIN generate_series(1, 3) AS step;
         ANALYZE;"
    )
}
