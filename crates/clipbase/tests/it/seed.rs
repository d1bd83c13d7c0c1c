//! A client that knows only the seed: raw SQL, as its Drizzle schema sends it.

use clipbase::{JobId, JobStatus};
use clipbase_testkit::TestDatabase;
use tokio_postgres::{Client, Error};

/// The seed's tables as `drizzle-kit generate` writes them.
pub(crate) const SCHEMA: &str = include_str!("seed.sql");

/// A TypeScript team's connection.
pub(crate) struct SeedClient {
    pub(crate) sql: Client,
}

impl SeedClient {
    pub(crate) async fn on(database: &TestDatabase) -> Self {
        Self {
            sql: database.raw().await,
        }
    }

    /// Inserts a job as the seed's API does.
    pub(crate) async fn insert(&self) -> JobId {
        let id = JobId::new();
        let key = format!("sources/{id}/source.mp4");
        self.sql
            .execute(
                "insert into jobs (id, source_type, source_key, start_sec, end_sec) \
                 values ($1, 'upload', $2, 3, 9)",
                &[&id.as_uuid(), &key],
            )
            .await
            .unwrap();
        id
    }

    /// Inserts a job and walks it to a state.
    pub(crate) async fn job_in(&self, status: JobStatus) -> JobId {
        let id = self.insert().await;
        let path: &[JobStatus] = match status {
            JobStatus::Queued => &[],
            JobStatus::Processing => &[JobStatus::Processing],
            JobStatus::Done => &[JobStatus::Processing, JobStatus::Done],
            JobStatus::Failed => &[JobStatus::Processing, JobStatus::Failed],
        };
        for next in path {
            self.set_status(id, *next).await.unwrap();
        }
        id
    }

    /// The first half of the seed's transaction.
    pub(crate) async fn set_status(&self, id: JobId, next: JobStatus) -> Result<u64, Error> {
        let set = format!("status = '{next}', updated_at = now()");
        self.update(id, &set).await
    }

    /// The seed's transaction: the job and its event.
    pub(crate) async fn transition(&mut self, id: JobId, next: JobStatus) -> Result<(), Error> {
        let tx = self.sql.transaction().await?;
        tx.execute(
            "update jobs set status = $2::text::job_status, updated_at = now() where id = $1",
            &[&id.as_uuid(), &next.as_str()],
        )
        .await?;
        tx.execute(
            "insert into job_events (job_id, type, data) \
             values ($1, 'transition', jsonb_build_object('next', $2::text))",
            &[&id.as_uuid(), &next.as_str()],
        )
        .await?;
        tx.commit().await
    }

    pub(crate) async fn update(&self, id: JobId, set: &str) -> Result<u64, Error> {
        let sql = format!("update jobs set {set} where id = $1");
        self.sql.execute(&sql, &[&id.as_uuid()]).await
    }

    pub(crate) async fn add_event(&self, id: JobId, kind: &str) -> Result<u64, Error> {
        let sql = "insert into job_events (job_id, type, data) values ($1, $2, '{\"a\": 1}')";
        self.sql.execute(sql, &[&id.as_uuid(), &kind]).await
    }

    /// Fails where one of the conditions does not hold for the job's row.
    #[track_caller]
    pub(crate) fn row_is<'a>(
        &'a self,
        id: JobId,
        conditions: &'a [&'a str],
    ) -> impl Future<Output = ()> + 'a {
        let caller = std::panic::Location::caller();
        async move {
            for condition in conditions {
                let sql =
                    format!("select ({condition}) is true, to_jsonb(jobs) from jobs where id = $1");
                let row = self.sql.query_one(&sql, &[&id.as_uuid()]).await.unwrap();
                let columns: serde_json::Value = row.get(1);
                assert!(
                    row.get::<_, bool>(0),
                    "{caller}: not {condition}: {columns:#}"
                );
            }
        }
    }

    /// The job's events as `seq type`, and their data as text.
    pub(crate) async fn events(&self, id: JobId) -> Vec<(String, String)> {
        let sql = "select seq || ' ' || type, coalesce(data::text, '') from job_events where job_id = $1 order by seq";
        let rows = self.sql.query(sql, &[&id.as_uuid()]).await.unwrap();
        rows.iter().map(|row| (row.get(0), row.get(1))).collect()
    }

    /// The keys in the outbox that a job left there, sorted.
    pub(crate) async fn outbox(&self, id: JobId) -> Vec<String> {
        let sql = "select object_key from storage_deletions where job_id = $1 order by object_key";
        let rows = self.sql.query(sql, &[&id.as_uuid()]).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }
}

/// Fails unless the database refused with this SQLSTATE, and says something of the kind.
#[track_caller]
pub(crate) fn refused<T: std::fmt::Debug>(outcome: Result<T, Error>, state: &str, words: &str) {
    let error = outcome.expect_err("the database refuses");
    let db = error.as_db_error().expect("the server answered");
    assert_eq!(db.code().code(), state, "{db:?}");
    assert!(db.message().contains(words), "{db:?}");
}
