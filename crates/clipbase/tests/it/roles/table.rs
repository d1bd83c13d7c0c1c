//! Every statement of the library, and which role may run it: as EXPLAIN judges, which looks at the privileges of
//! every part of a statement and runs none.

use clipbase::db::statement::all;
use clipbase_testkit::TestDatabase;

use super::{Explainer, ROLES};

const API: &[&str] = &["clipbase_api"];
const WORKER: &[&str] = &["clipbase_worker"];
const BOTH: &[&str] = &["clipbase_api", "clipbase_worker"];
const EVERYBODY: &[&str] = &ROLES;

/// Which roles may run a statement. What a role needs is the reason for its grants; where it may do more, since
/// another statement needs the same grants, that stands here too, so that nobody is surprised.
pub(super) fn who_may(statement: &str) -> &'static [&'static str] {
    match statement {
        "jobs.get"
        | "jobs.outcome"
        | "jobs.list"
        | "jobs.list_by_status"
        | "jobs.select"
        | "jobs.stats"
        | "jobs.throughput"
        | "events.list"
        | "events.follow"
        | "events.follow_many"
        | "inspect.server"
        | "inspect.user"
        | "inspect.queues"
        | "inspect.lost_leases"
        | "inspect.audit"
        | "installation.read"
        | "migrate.applied"
        | "cleanup.backlog"
        // They read no more than the ones above, or no table at all.
        | "cleanup.clock"
        | "cleanup.expired"
        | "cleanup.named_objects"
        | "cleanup.still_named"
        | "cleanup.objects_table"
        | "wakeups.notify" => EVERYBODY,
        "jobs.create"
        | "jobs.create_many"
        | "jobs.update"
        | "jobs.find_request"
        | "jobs.forget_request"
        | "cleanup.announce_upload"
        | "api_keys.create"
        | "api_keys.get"
        | "api_keys.list"
        | "api_keys.revoke"
        | "api_keys.rotate"
        | "api_keys.find_hash"
        | "api_keys.still_hold"
        | "api_keys.take" => API,
        "events.add"
        // One piece of SQL moves every job: who may cancel may write all that a finish writes, and
        // the reverse.
        | "jobs.move_many"
        | "jobs.transition"
        | "leases.claim"
        | "leases.claim_job"
        | "leases.turn"
        | "leases.finish"
        | "leases.heartbeat"
        | "leases.log"
        | "leases.surrender"
        | "leases.reap"
        // Both delete jobs and keys of requests, and both write and read the outbox.
        | "jobs.delete"
        | "cleanup.forget_requests"
        | "cleanup.expire"
        | "cleanup.confirm_deletions"
        | "cleanup.due_deletions"
        | "cleanup.due_work"
        | "cleanup.judge_objects"
        | "cleanup.plan_jobs"
        | "cleanup.plan_sources" => BOTH,
        "cleanup.take_deletions"
        | "cleanup.fail_deletions"
        | "cleanup.expire_sources"
        | "cleanup.plan_objects"
        | "cleanup.take_turn"
        | "cleanup.confirm_turn" => WORKER,
        // The owner's.
        "installation.adopt" => &[],
        _ => panic!("{statement} has no roles that may run it; add it here, and its grants to a migration"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_statement_may_be_run_by_those_roles_that_are_named_for_it() {
    let database = TestDatabase::new().await;
    let explainer = Explainer::new(&database).await;
    let client = &explainer.client;
    let mut wrong = Vec::new();
    for role in ROLES {
        let sql = format!("SET ROLE {role}");
        client.batch_execute(&sql).await.unwrap();
        for statement in all() {
            let is_allowed = explainer.may_run(statement).await;
            if is_allowed != who_may(statement.name).contains(&role) {
                let verb = if is_allowed { "may" } else { "may not" };
                wrong.push(format!("{role} {verb} run {}", statement.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    database.drop_database().await;
}

/// EXPLAIN looks at each part: the tables, the columns that are read and those that are written, and the rows that
/// are locked; also in a part that another one reads, in one that nobody reads, and in one that no row can come from.
#[tokio::test(flavor = "multi_thread")]
async fn explain_sees_a_missing_privilege_in_every_part_of_a_statement() {
    let database = TestDatabase::new().await;
    let explainer = Explainer::new(&database).await;
    let client = &explainer.client;
    let role = format!("probe_{}", database.name());
    let sql = format!(
        "CREATE ROLE {role};
         GRANT SELECT, UPDATE (progress) ON jobs TO {role};
         GRANT INSERT (job_id, type) ON job_events TO {role};
         SET ROLE {role}"
    );
    client.batch_execute(&sql).await.unwrap();
    for granted in [
        "SELECT id FROM jobs FOR UPDATE",
        "WITH moved AS (UPDATE jobs SET progress = 1 RETURNING id)
         INSERT INTO job_events (job_id, type) SELECT id, 'x' FROM moved",
    ] {
        let sql = format!("EXPLAIN {granted}");
        assert!(explainer.may(&sql).await, "{granted}");
    }
    for refused in [
        "WITH moved AS (UPDATE jobs SET progress = 1 RETURNING id)
         INSERT INTO job_events (job_id, type, data) SELECT id, 'x', '{}' FROM moved",
        "WITH moved AS (UPDATE jobs SET progress = 1, lease = 2 RETURNING id)
         INSERT INTO job_events (job_id, type) SELECT id, 'x' FROM moved",
        "WITH unread AS (UPDATE jobs SET lease = 2) SELECT 1",
        "SELECT 1 WHERE now() IS NULL AND EXISTS (SELECT FROM storage_deletions)",
        "INSERT INTO job_events (job_id, type) VALUES (gen_random_uuid(), 'x') RETURNING id",
        "SELECT seq FROM job_events FOR UPDATE",
        "DELETE FROM jobs",
        "SELECT (SELECT count(*) FROM job_idempotency)",
    ] {
        let sql = format!("EXPLAIN {refused}");
        assert!(!explainer.may(&sql).await, "{refused}");
    }
    let sql = format!("RESET ROLE; DROP OWNED BY {role}; DROP ROLE {role}");
    client.batch_execute(&sql).await.unwrap();
    database.drop_database().await;
}
