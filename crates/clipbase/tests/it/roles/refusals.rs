//! What a member of a group may not do is refused, in raw SQL and through the library.

use clipbase::api_keys::{NewApiKey, Scope};
use clipbase::leases::ClaimOptions;
use clipbase::{Code, Settings, WorkerId};
use clipbase_testkit::builders::new_job;
use clipbase_testkit::run;
use tokio_postgres::error::SqlState;

use super::{Member, ROLES};

/// What nobody may but the owner.
const NOBODY: &[&str] = &[
    "TRUNCATE jobs",
    "TRUNCATE job_events CASCADE",
    "ALTER TABLE jobs DISABLE TRIGGER clipbase_20_guard_status",
    "ALTER TABLE jobs DISABLE TRIGGER ALL",
    "ALTER TABLE jobs DISABLE ROW LEVEL SECURITY",
    "DROP TRIGGER clipbase_20_append_only ON job_events",
    "CREATE TRIGGER t BEFORE INSERT ON jobs FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "CREATE POLICY more ON jobs USING (true)",
    "CREATE TABLE public.t (id uuid REFERENCES jobs (id))",
    "SET session_replication_role = replica",
    "SELECT public.clipbase_changes(NULL, NULL)",
    "UPDATE job_events SET type = 'x'",
    "DELETE FROM job_events",
    "UPDATE jobs SET id = gen_random_uuid()",
    "UPDATE jobs SET created_at = now()",
    "UPDATE jobs SET source_key = 'sources/x/source.mp4'",
    "UPDATE clipbase_installation SET id = gen_random_uuid()",
    "UPDATE clipbase_installation SET database_identity = 'x'",
    "DELETE FROM clipbase_installation",
    "DELETE FROM clipbase_migrations",
    "UPDATE clipbase_migrations SET checksum = 'x'",
    "DELETE FROM api_keys",
    "UPDATE storage_deletions SET object_key = 'x'",
    "GRANT clipbase_api TO anon",
    "SET ROLE postgres",
];

/// What a role may not, and another one may.
fn refused_to(role: &str) -> &'static [&'static str] {
    match role {
        "clipbase_api" => &[
            "UPDATE jobs SET source_deleted_at = now()",
            "UPDATE storage_deletions SET attempts = 0",
            "UPDATE api_keys SET key_hash = 'x'",
            "UPDATE api_keys SET scopes = 'admin'",
            "INSERT INTO job_events (id, job_id, type) VALUES (gen_random_uuid(), gen_random_uuid(), 'x')",
        ],
        "clipbase_worker" => &[
            "INSERT INTO jobs (source_type, source_key, start_sec, end_sec) VALUES ('upload', 'k', 0, 1)",
            "UPDATE jobs SET max_attempts = 100",
            "UPDATE jobs SET start_sec = 0",
            "SELECT name FROM api_keys",
            "INSERT INTO api_keys (name, key_hash) VALUES ('x', 'x')",
            "SELECT fingerprint FROM job_idempotency",
            "SELECT key FROM job_idempotency",
            "INSERT INTO storage_deletions (object_key, reason, writable_until) VALUES ('k', 'unowned', now())",
        ],
        _ => &[
            "INSERT INTO jobs (source_type, source_key, start_sec, end_sec) VALUES ('upload', 'k', 0, 1)",
            "UPDATE jobs SET progress = 1",
            "DELETE FROM jobs",
            "SELECT id FROM jobs FOR UPDATE",
            "INSERT INTO job_events (job_id, type) VALUES (gen_random_uuid(), 'x')",
            "SELECT key_hash FROM api_keys",
            "SELECT id FROM api_keys",
            "SELECT fingerprint FROM job_idempotency",
            "SELECT object_key FROM storage_deletions",
            "DELETE FROM storage_deletions",
            "UPDATE clipbase_installation SET reconcile_due_at = now()",
        ],
    }
}

#[tokio::test]
async fn what_is_not_granted_is_refused() {
    run(async |bench| {
        bench.clipbase.jobs().create(&new_job()).await.unwrap();
        for role in ROLES {
            let member = Member::of(role, &bench.database).await;
            let raw = member.raw().await;
            for sql in NOBODY.iter().chain(refused_to(role)) {
                let error = raw.batch_execute(sql).await.expect_err(sql);
                assert_eq!(
                    error.code(),
                    Some(&SqlState::INSUFFICIENT_PRIVILEGE),
                    "{role}: {sql}"
                );
            }
            drop(raw);
            member.leave(&bench.database).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_refused_call_names_the_groups_and_is_not_worth_a_retry() {
    run(async |bench| {
        let worker = Member::of("clipbase_worker", &bench.database).await;
        let reader = Member::of("clipbase_reader", &bench.database).await;
        let (as_worker, as_reader) = (
            worker.clipbase(bench, Settings::default()),
            reader.clipbase(bench, Settings::default()),
        );
        let scopes = [Scope::Admin].into_iter().collect();
        let claim = ClaimOptions::new(WorkerId::new(), 1);
        for error in [
            as_worker
                .jobs()
                .create(&new_job())
                .await
                .map(drop)
                .unwrap_err(),
            as_worker
                .api_keys()
                .create(&NewApiKey::new("mine", scopes))
                .await
                .map(drop)
                .unwrap_err(),
            as_reader
                .leases()
                .claim(&claim)
                .await
                .map(drop)
                .unwrap_err(),
            as_reader
                .api_keys()
                .list(10, None)
                .await
                .map(drop)
                .unwrap_err(),
        ] {
            assert_eq!(error.code(), Code::DbFailed, "{error}");
            assert!(!error.code().is_retryable());
            let text = error.to_string();
            assert!(
                text.contains("clipbase_api") && text.contains("clipbase_worker"),
                "{text}"
            );
            assert!(format!("{error:?}").contains("42501"), "{error:?}");
        }
        drop((as_worker, as_reader));
        worker.leave(&bench.database).await;
        reader.leave(&bench.database).await;
    })
    .await;
}
