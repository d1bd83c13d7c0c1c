//! The schema is owned by a role that is no superuser, as on Supabase, and used by one that owns nothing.

use std::sync::Arc;

use clipbase::leases::{ClaimOptions, Finish};
use clipbase::{Clipbase, DatabaseConfig, JobStatus, Settings, WorkerId, migrate};
use clipbase_testkit::TestDatabase;
use clipbase_testkit::builders::new_job;
use tokio_postgres::Client;

use crate::seed::{SeedClient, refused};

/// A database whose owner may not do more than Supabase's `postgres`, and a role with grants only. The
/// names carry the database's, since roles belong to the whole server.
struct Roles {
    database: TestDatabase,
    admin: Client,
    owner: String,
    user: String,
}

impl Roles {
    async fn new() -> Self {
        let database = TestDatabase::empty().await;
        let admin = database.raw().await;
        let (owner, user) = (
            format!("owner_{}", database.name()),
            format!("user_{}", database.name()),
        );
        let sql = format!(
            "CREATE ROLE {owner} LOGIN PASSWORD 'x' NOSUPERUSER;
             CREATE ROLE {user} LOGIN PASSWORD 'x' NOSUPERUSER;
             GRANT CREATE ON DATABASE {db} TO {owner};
             GRANT CREATE, USAGE ON SCHEMA public TO {owner};
             GRANT USAGE ON SCHEMA public TO {user};",
            db = database.name(),
        );
        admin.batch_execute(&sql).await.unwrap();
        Self {
            database,
            admin,
            owner,
            user,
        }
    }

    /// The handle of a role, without its own log-in: the session takes the role on.
    fn config(&self, role: &str) -> DatabaseConfig {
        let url = self.database.url();
        let mark = if url.contains('?') { '&' } else { '?' };
        DatabaseConfig::from_url(&format!("{url}{mark}options=-c%20role%3D{role}")).unwrap()
    }

    async fn seed_as(&self, role: &str) -> SeedClient {
        let client = SeedClient::on(&self.database).await;
        client
            .sql
            .batch_execute(&format!("SET ROLE {role}"))
            .await
            .unwrap();
        client
    }

    async fn drop_all(self) {
        let Self {
            database,
            admin,
            owner,
            user,
        } = self;
        let sql = format!(
            "DROP OWNED BY {user}; DROP OWNED BY {owner} CASCADE; DROP ROLE {user}; DROP ROLE {owner};"
        );
        admin.batch_execute(&sql).await.unwrap();
        database.drop_database().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_without_superuser_rights_migrates_and_works() {
    let roles = Roles::new().await;
    let config = roles.config(&roles.owner);
    migrate::migrate(&config).await.unwrap();
    let sql = "select count(*) from pg_class c join pg_namespace n on n.oid = c.relnamespace
                where n.nspname = 'public' and pg_get_userbyid(relowner) <> $1";
    let foreign: i64 = roles
        .admin
        .query_one(sql, &[&roles.owner])
        .await
        .unwrap()
        .get(0);
    assert_eq!(foreign, 0, "all of it is the owner's");

    let storage = Arc::new(clipbase::storage::MemoryStorage::new());
    let clipbase = Clipbase::new(&config, storage, Settings::default()).unwrap();
    clipbase.bootstrap().await.unwrap();
    let job = clipbase.jobs().create(&new_job()).await.unwrap();
    let options = ClaimOptions::new(WorkerId::new(), 1);
    let leases = clipbase.leases().claim(&options).await.unwrap();
    clipbase
        .leases()
        .finish(Finish::new(&leases[0]))
        .await
        .unwrap();
    clipbase.jobs().delete(job.id).await.unwrap();
    assert_eq!(clipbase.cleanup().drain(10).await.unwrap().total(), 3);
    assert_eq!(clipbase.inspect().drift().await.unwrap(), [""; 0]);
    roles.drop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_with_grants_and_a_policy_works_by_raw_sql_through_the_owners_triggers() {
    let roles = Roles::new().await;
    migrate::migrate(&roles.config(&roles.owner)).await.unwrap();
    let grants = format!(
        "GRANT SELECT, INSERT, UPDATE, DELETE ON public.jobs TO {user};
         GRANT SELECT, INSERT ON public.job_events TO {user};
         CREATE POLICY api ON public.jobs TO {user} USING (true) WITH CHECK (true);
         CREATE POLICY api ON public.job_events TO {user} USING (true) WITH CHECK (true);",
        user = roles.user,
    );
    roles.admin.batch_execute(&grants).await.unwrap();
    let mut seed = roles.seed_as(&roles.user).await;
    let id = seed.insert().await;
    seed.transition(id, JobStatus::Processing).await.unwrap();
    seed.transition(id, JobStatus::Done).await.unwrap();
    assert_eq!(seed.events(id).await.len(), 5);
    refused(
        seed.set_status(id, JobStatus::Queued).await,
        "CB002",
        "done to queued",
    );
    let outcome = seed
        .sql
        .batch_execute("select count(*) from storage_deletions")
        .await;
    refused(outcome, "42501", "storage_deletions");
    let sql = "delete from jobs where id = $1";
    assert_eq!(seed.sql.execute(sql, &[&id.as_uuid()]).await.unwrap(), 1);
    let admin = SeedClient::on(&roles.database).await;
    assert_eq!(
        admin.outbox(id).await.len(),
        3,
        "the trigger wrote what the role may not"
    );
    roles.drop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_with_grants_but_no_policy_sees_and_writes_nothing() {
    let roles = Roles::new().await;
    migrate::migrate(&roles.config(&roles.owner)).await.unwrap();
    let grants = format!("GRANT ALL ON ALL TABLES IN SCHEMA public TO {}", roles.user);
    roles.admin.batch_execute(&grants).await.unwrap();
    let owner = roles.seed_as(&roles.owner).await;
    let id = owner.insert().await;
    let seed = roles.seed_as(&roles.user).await;
    assert_eq!(seed.set_status(id, JobStatus::Processing).await.unwrap(), 0);
    let sql = "insert into jobs (source_type, source_key, start_sec, end_sec) values ('upload', 'k', 0, 1)";
    refused(
        seed.sql.batch_execute(sql).await,
        "42501",
        "row-level security",
    );
    refused(seed.add_event(id, "x").await, "42501", "row-level security");
    owner.row_is(id, &["event_seq = 1"]).await;
    roles.drop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_but_the_owner_calls_a_function_directly() {
    let roles = Roles::new().await;
    migrate::migrate(&roles.config(&roles.owner)).await.unwrap();
    let seed = roles.seed_as(&roles.user).await;
    let sql = "select public.clipbase_changes(null, null)";
    refused(
        seed.sql.batch_execute(sql).await,
        "42501",
        "clipbase_changes",
    );
    roles.drop_all().await;
}
