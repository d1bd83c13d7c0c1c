//! What no plan may do, for every declared statement: generic and custom, on tables of several shapes.

use clipbase::db::statement::all;
use clipbase_testkit::TestDatabase;
use tokio_postgres::Client;

use super::arguments;
use super::explain::{Plan, custom, describe, generic, is_planned_anew};
use super::volume::{Volume, fill, load};

/// Tables that grow: nothing reads them from one end to the other.
const TABLES: [&str; 5] = [
    "jobs",
    "job_events",
    "storage_deletions",
    "job_idempotency",
    "api_keys",
];

/// From here on, a server with its default settings compiles a plan each time it runs: longer than any of
/// ours takes.
const JIT_ABOVE_COST: f64 = 100_000.0;

/// Statements that may sort, and why the sort is small. All others may not.
const SORTS: [(&str, &str); 6] = [
    ("jobs.list", "a page of each of the four states"),
    ("cleanup.plan_jobs", "jobs of one moment, for a person"),
    ("cleanup.plan_sources", "jobs of one moment, for a person"),
    ("inspect.queues", "the shards at work, for a person"),
    (
        "inspect.audit",
        "one job's events at a time, for a person; from PostgreSQL 16 on",
    ),
    ("migrate.applied", "a handful of rows"),
];

/// Lists for people. Until the next ANALYZE they may sort what the statistics do not know of.
const TOLERATED: [&str; 10] = [
    "jobs.list",
    "jobs.list_by_status",
    "cleanup.backlog",
    "cleanup.due_deletions",
    "cleanup.expired",
    "cleanup.plan_jobs",
    "cleanup.plan_objects",
    "cleanup.plan_sources",
    "inspect.audit",
    "inspect.queues",
];

/// Index names of each statement's generic plan. `CLIPBASE_BLESS=1` writes it anew.
const SNAPSHOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/plans/indexes.txt");

#[tokio::test(flavor = "multi_thread")]
async fn every_statement_keeps_to_its_indexes() {
    let database = TestDatabase::new().await;
    let client = database.raw().await;
    let volume = Volume {
        jobs: rows(),
        is_one_moment: false,
    };
    fill(&client, volume).await;
    obey(&client, |_| true).await;
    compare_with_snapshot(&client).await;
    database.drop_database().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_thousand_jobs_of_one_moment_change_no_plan() {
    let database = TestDatabase::new().await;
    let client = database.raw().await;
    let volume = Volume {
        jobs: 50_000,
        is_one_moment: true,
    };
    fill(&client, volume).await;
    obey(&client, |_| true).await;
    database.drop_database().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bulk_load_that_nobody_analyzed_changes_no_hot_plan() {
    let database = TestDatabase::new().await;
    let client = database.raw().await;
    client.batch_execute("VACUUM ANALYZE").await.unwrap();
    let volume = Volume {
        jobs: 50_000,
        is_one_moment: false,
    };
    load(&client, volume).await;
    obey(&client, |name| !TOLERATED.contains(&name)).await;
    database.drop_database().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_hot_statement_is_planned_anew_for_a_single_job() {
    let database = TestDatabase::new().await;
    let client = database.raw().await;
    let volume = Volume {
        jobs: 20_000,
        is_one_moment: false,
    };
    fill(&client, volume).await;
    let mut planned = Vec::new();
    // A worker reaps every few seconds: planning that costs nothing to speak of.
    let rare = |name: &str| TOLERATED.contains(&name) || name == "leases.reap";
    for statement in all().filter(|statement| !rare(statement.name)) {
        let arguments = arguments::of(statement.name, 1);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        if is_planned_anew(&client, statement, &arguments).await {
            planned.push(statement.name);
        }
    }
    assert!(planned.is_empty(), "{planned:?}");
    database.drop_database().await;
}

/// How many jobs the volume has. More than the default shows the same plans, and takes its time.
#[expect(
    clippy::disallowed_methods,
    reason = "how much to seed is the environment's to say"
)]
fn rows() -> u32 {
    std::env::var("CLIPBASE_PLAN_ROWS").map_or(100_000, |text| text.parse().unwrap())
}

#[expect(
    clippy::disallowed_methods,
    reason = "whether to write the snapshot is the environment's to say"
)]
fn bless() -> bool {
    std::env::var_os("CLIPBASE_BLESS").is_some()
}

/// Plans every statement both ways and fails with all that is wrong.
async fn obey(client: &Client, is_bound: impl Fn(&str) -> bool) {
    let mut broken = Vec::new();
    for statement in all().filter(|statement| is_bound(statement.name)) {
        let arguments = arguments::of(statement.name, 500);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        for (mode, plan) in [
            ("generic", generic(client, statement).await),
            ("custom", custom(client, statement, &arguments).await),
        ] {
            for law in broken_laws(statement.name, &plan) {
                broken.push(format!(
                    "{} ({mode}): {law}\n{}",
                    statement.name,
                    describe(&plan)
                ));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

fn broken_laws(name: &str, plan: &Plan) -> Vec<String> {
    let scans = plan.seq_scans();
    let mut broken: Vec<String> = TABLES
        .iter()
        .filter(|table| scans.contains(*table))
        .map(|table| format!("reads all of {table}"))
        .collect();
    if plan.has("Sort") && SORTS.iter().all(|(allowed, _)| *allowed != name) {
        broken.push("sorts".to_owned());
    }
    if plan.cost > JIT_ABOVE_COST && !name.starts_with("inspect.") {
        broken.push(format!("is thought to cost {}", plan.cost));
    }
    broken
}

/// The laws hold on every major version; the snapshot shows what one of them chooses.
const SNAPSHOT_MAJOR: i32 = 15;

async fn compare_with_snapshot(client: &Client) {
    let sql = "SELECT current_setting('server_version_num')::int4 / 10000";
    let major: i32 = client.query_one(sql, &[]).await.unwrap().get(0);
    if major != SNAPSHOT_MAJOR {
        return;
    }
    let mut lines = Vec::new();
    for statement in all() {
        let plan = generic(client, statement).await;
        let indexes: Vec<&str> = plan.indexes().into_iter().collect();
        lines.push(format!("{}: {}\n", statement.name, indexes.join(" ")));
    }
    lines.sort();
    let found = lines.concat();
    if bless() {
        std::fs::write(SNAPSHOT, &found).unwrap();
    }
    let known = std::fs::read_to_string(SNAPSHOT).unwrap_or_default();
    assert_eq!(
        found, known,
        "plans use other indexes; CLIPBASE_BLESS=1 accepts them"
    );
}
