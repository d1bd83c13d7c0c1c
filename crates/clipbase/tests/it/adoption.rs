//! A database that the seed's own client made and filled is taken over as it is.

use clipbase::leases::{Finish, Surrendered};
use clipbase::{Clipbase, Code, DatabaseConfig, JobId, JobStatus, Settings, WorkerId, migrate};
use clipbase_testkit::TestDatabase;
use clipbase_testkit::builders::claim;
use uuid::Uuid;

use crate::seed::{self, SeedClient, refused};

mod wrong_shapes;

/// Rows of every status, as a year of the seed's client may have left them.
const ROWS: &str = "
insert into jobs (id, status, priority, source_type, source_key, source_url, start_sec, end_sec, with_subtitles,
                  burn_subtitles, progress, attempts, last_heartbeat_at, result_video_key, error_code,
                  created_at, updated_at) values
 (id(1), 'queued',     'normal', 'upload',  'sources/x/source.mp4', null, 0, 5, false, false, 0, 0, null, null, null, t(1), t(1)),
 (id(2), 'processing', 'high',   'upload',  'k', null, 0, 5, false, false, 42, 1, t(8), null, null, t(2), t(9)),
 (id(3), 'processing', 'low',    'upload',  'k', null, 0, 5, false, false, 0, 0, null, null, null, t(3), t(9)),
 (id(4), 'done',       'normal', 'upload',  'k', null, 0, 5, false, false, 100, 1, t(8), 'results/' || id(4) || '/clip.mp4', null, t(4), t(9)),
 (id(5), 'done',       'normal', 'upload',  'k', null, 0, 5, false, false, 100, 1, null, null, null, t(5), t(9)),
 (id(6), 'failed',     'normal', 'upload',  'k', null, 0, 5, false, false, 10, 2, null, null, 'E_OLD', t(6), t(9)),
 (id(7), 'failed',     'normal', 'upload',  'k', null, 0, 5, false, false, 10, 0, null, null, null, t(7), t(9)),
 (id(8), 'queued',     'urgent', 'upload',  'k', null, 0, 5, false, false, 150, -2, null, null, null, t(8), t(8)),
 (id(9), 'queued',     'normal', 'upload',  'k', null, 9, 3, false, false, -5, 0, null, null, null, t(9), t(9)),
 (id(10), 'queued',    'normal', 'upload',  'k', null, 0, 5, false, true, 0, 1, null, null, null, t(10), t(10)),
 (id(11), 'queued',    'normal', 'youtube', 'k', 'https://example.org/v', 0, 5, false, false, 0, 0, null, null, null, t(11), t(11)),
 (id(12), 'queued',    'normal', 'upload',  null, null, 0, 5, false, false, 0, 0, null, null, null, t(12), t(12));
insert into job_events (id, job_id, ts, type, data) values
 (id(103), id(6), t(7), 'c', null), (id(101), id(6), t(6), 'a', '{\"set\": {\"colour\": \"red\"}}'),
 (id(102), id(6), t(7), 'b', '{\"next\": \"failed\"}'), (id(104), id(2), t(2), 'transition', '{\"next\": \"processing\"}');";

const HELPERS: &str = "
create function id(n int) returns uuid language sql immutable
    as $$ select ('00000000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid $$;
create function t(n int) returns timestamptz language sql immutable
    as $$ select '2026-01-01T00:00:00Z'::timestamptz + make_interval(mins => n) $$;";

fn id(n: u32) -> JobId {
    JobId::from_uuid(Uuid::parse_str(&format!("00000000-0000-4000-8000-{n:012}")).unwrap())
}

/// A database of the seed, before the migration.
async fn seeded() -> (TestDatabase, SeedClient) {
    let database = TestDatabase::empty().await;
    let client = SeedClient::on(&database).await;
    for sql in [seed::SCHEMA, HELPERS, ROWS] {
        client.sql.batch_execute(sql).await.unwrap();
    }
    (database, client)
}

fn config(database: &TestDatabase) -> DatabaseConfig {
    DatabaseConfig::from_url(&database.url()).unwrap()
}

/// The migrated database, a client of the seed and a handle.
async fn adopted() -> (TestDatabase, SeedClient, Clipbase) {
    let (database, client) = seeded().await;
    migrate::migrate(&config(&database)).await.unwrap();
    let storage = std::sync::Arc::new(clipbase::storage::MemoryStorage::new());
    let clipbase = Clipbase::new(&config(&database), storage, Settings::default()).unwrap();
    clipbase.bootstrap().await.unwrap();
    (database, client, clipbase)
}

async fn assert_sound(clipbase: &Clipbase) {
    let page = clipbase.inspect().audit(None, 1_000).await.unwrap();
    assert!(page.problems.is_empty(), "{:#?}", page.problems);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_row_is_mapped_as_documented() {
    let (database, seed, clipbase) = adopted().await;
    let untouched =
        "lease = 0 and lease_expires_at is null and worker_id is null and started_at is null
                     and finished_at is null and run_at = created_at and max_attempts = 3";
    let ended = "lease = 1 and finished_at = updated_at and lease_expires_at is null and expires_at is null";
    for (n, conditions) in [
        (1, [untouched, "status = 'queued' and priority_rank = 1"]),
        (
            2,
            [
                "status = 'processing' and lease = 1 and attempts = 1 and started_at = t(8) and progress = 42",
                "lease_expires_at between now() + interval '1 second' and now() + interval '60 seconds'",
            ],
        ),
        (
            3,
            [
                "lease = 1 and attempts = 1 and started_at = updated_at",
                "priority_rank = 2",
            ],
        ),
        (
            4,
            [
                ended,
                "status = 'done' and result_video_key like 'results/%/clip.mp4'",
            ],
        ),
        (5, [ended, "status = 'done' and result_video_key is null"]),
        (6, [ended, "error_code = 'E_OLD' and attempts = 2"]),
        (7, [ended, "error_code = 'LEGACY_UNKNOWN'"]),
        (
            8,
            [
                untouched,
                "priority = 'normal' and progress = 100 and attempts = 0",
            ],
        ),
        (
            9,
            [untouched, "start_sec = 9 and end_sec = 3 and progress = 0"],
        ),
        (
            10,
            [
                "lease = 1 and attempts = 1 and status = 'queued'",
                "burn_subtitles and not with_subtitles",
            ],
        ),
        (
            11,
            [
                untouched,
                "source_type = 'youtube' and source_key is not null",
            ],
        ),
        (12, [untouched, "source_key is null"]),
    ] {
        seed.row_is(id(n), &conditions).await;
        seed.row_is(id(n), &["updated_at between t(1) and t(12)"])
            .await;
    }
    assert_sound(&clipbase).await;
    database.drop_database().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn old_events_are_numbered_by_time_and_the_snapshot_follows() {
    let (database, seed, clipbase) = adopted().await;
    let events = seed.events(id(6)).await;
    let kinds: Vec<&str> = events.iter().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(kinds, ["1 a", "2 b", "3 c", "4 adopted"]);
    let (_, snapshot) = events.into_iter().next_back().unwrap();
    let snapshot: serde_json::Value = serde_json::from_str(&snapshot).unwrap();
    assert_eq!(snapshot["by"], "migration");
    assert_eq!(snapshot["set"]["error_code"], "E_OLD");
    let nasty = clipbase.events().list(id(8), 0, 10).await.unwrap();
    let data = nasty[0].data.as_ref().unwrap();
    assert_eq!(
        (&data["seed_priority"], &data["seed_progress"]),
        (&"urgent".into(), &150.into())
    );
    seed.row_is(id(6), &["event_seq = 4"]).await;
    database.drop_database().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn adopted_rows_can_be_claimed_finished_retried_and_updated() {
    let (database, seed, clipbase) = adopted().await;
    // Its source was never named: it waits until somebody does.
    seed.update(id(12), "source_key = 'k'").await.unwrap();
    for n in [1, 8, 9, 10, 11, 12] {
        let lease = claim(&clipbase, id(n), WorkerId::new()).await;
        clipbase.leases().finish(Finish::new(&lease)).await.unwrap();
    }
    seed.row_is(id(10), &["result_video_key like 'results/%/2/clip.mp4'"])
        .await;
    for n in [6, 7] {
        clipbase.jobs().retry(id(n)).await.unwrap();
        let lease = claim(&clipbase, id(n), WorkerId::new()).await;
        assert_eq!((lease.number(), lease.work().attempt), (2, 1));
        assert_eq!(
            clipbase.leases().release(&lease).await.unwrap(),
            Surrendered::Queued
        );
    }
    for n in 1..=12 {
        seed.update(id(n), "shard = 3, updated_at = now()")
            .await
            .unwrap();
    }
    assert_sound(&clipbase).await;
    database.drop_database().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_was_processing_goes_on_or_is_reaped() {
    let (database, seed, clipbase) = adopted().await;
    seed.set_status(id(2), JobStatus::Done).await.unwrap();
    let set = "lease_expires_at = now() - interval '1 second'";
    seed.update(id(3), set).await.unwrap();
    let reaped = clipbase.leases().reap(10).await.unwrap();
    assert_eq!(reaped.len(), 1);
    seed.row_is(id(3), &["status = 'queued' and lease = 1"])
        .await;
    assert_sound(&clipbase).await;
    database.drop_database().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_objects_of_an_adopted_job_go_with_it() {
    let (database, seed, _) = adopted().await;
    seed.sql.batch_execute("delete from jobs").await.unwrap();
    let job = id(4);
    let results = [
        format!("results/{job}/clip.mp4"),
        format!("results/{job}/clip.srt"),
    ];
    assert_eq!(seed.outbox(job).await, results);
    assert_eq!(
        seed.outbox(id(1)).await,
        [""; 0],
        "its source lies in another folder"
    );
    database.drop_database().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn newer_rows_obey_the_rules_that_old_ones_break() {
    let (database, seed, _) = adopted().await;
    let insert = |columns: &str, values: &str| {
        format!("insert into jobs (source_type, start_sec, end_sec, {columns}) values {values}")
    };
    for (columns, values, rule) in [
        ("source_key", "('upload', 9, 3, 'k')", "jobs_range"),
        (
            "source_key, burn_subtitles",
            "('upload', 0, 3, 'k', true)",
            "jobs_burn_needs_subtitles",
        ),
        (
            "source_key",
            "('youtube', 0, 3, 'k')",
            "jobs_source_by_type",
        ),
        (
            "source_key, priority",
            "('upload', 0, 3, 'k', 'urgent')",
            "jobs_priority_known",
        ),
        (
            "source_key, progress",
            "('upload', 0, 3, 'k', 150)",
            "jobs_progress_percent",
        ),
    ] {
        let outcome = seed.sql.batch_execute(&insert(columns, values)).await;
        refused(outcome, "23514", rule);
    }
    database.drop_database().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_without_nasty_rows_gets_the_rules_without_exemptions() {
    let database = TestDatabase::empty().await;
    let client = SeedClient::on(&database).await;
    client.sql.batch_execute(seed::SCHEMA).await.unwrap();
    client.insert().await;
    migrate::migrate(&config(&database)).await.unwrap();
    let sql = "select count(*) from pg_constraint
                where conrelid = 'jobs'::regclass and contype = 'c' and pg_get_constraintdef(oid) like '%created_at%'";
    let exempting: i64 = client.sql.query_one(sql, &[]).await.unwrap().get(0);
    assert_eq!(exempting, 0);
    database.drop_database().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_seeds_api_keys_are_left_alone() {
    let (database, seed, _) = adopted().await;
    let sql = "insert into api_keys (name, key_hash) values ('n', 'h') returning scopes";
    let scopes: String = seed.sql.query_one(sql, &[]).await.unwrap().get(0);
    assert_eq!(scopes, "");
    database.drop_database().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_adopted_database_has_no_drift() {
    let (database, _, clipbase) = adopted().await;
    assert_eq!(clipbase.inspect().drift().await.unwrap(), [""; 0]);
    migrate::check(&config(&database)).await.unwrap();
    database.drop_database().await;
}

pub(crate) async fn migration_is_refused(database: &TestDatabase) -> String {
    let error = migrate::migrate(&config(database)).await.unwrap_err();
    assert_eq!(error.code(), Code::DbConflict, "{error:?}");
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(source, "sqlstate CB001");
    error.to_string()
}
