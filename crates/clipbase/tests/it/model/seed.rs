//! What a client does that knows the seed's tables and nothing of this library.

use clipbase::{JobId, JobStatus};

use super::reference::ModelJob;
use super::world::World;

impl World<'_> {
    pub(super) async fn seed_inserts(&mut self) {
        let id = JobId::new();
        self.note(format!("the seed inserts {id}"));
        let sql = "INSERT INTO jobs (id, source_type, source_key, start_sec, end_sec)
                   VALUES ($1, 'upload', 'sources/' || $1::uuid || '/source.mp4', 0, 5)";
        self.raw.execute(sql, &[&id.as_uuid()]).await.unwrap();
        self.jobs.insert(id, ModelJob::new(id, 3));
    }

    /// The status and an event beside it in one transaction, along any pair of states.
    pub(super) async fn seed_transitions(&mut self) {
        let id = self.any_job();
        let next = self.random.of(&JobStatus::ALL);
        let from = self.jobs.get(&id).map(|job| job.status);
        let says_more = self.random.percent(50) && from != Some(next);
        let code = (says_more && next == JobStatus::Failed).then_some("SEED_FAILED");
        let video =
            (says_more && next == JobStatus::Done).then(|| format!("results/{id}/clip.mp4"));
        self.note(format!(
            "the seed moves {id} to {next}, {code:?}, {video:?}"
        ));
        let moved = self
            .seed_transaction(id, next, code, video.as_deref())
            .await;
        let Some(job) = self.jobs.get_mut(&id) else {
            assert_eq!(moved, Err("23503".to_owned()));
            return;
        };
        let expected = job.by_sql(next, code, video.as_deref());
        self.expect(Ok(moved), Ok(expected.map_err(|()| "CB002".to_owned())));
    }

    async fn seed_transaction(
        &mut self,
        id: JobId,
        next: JobStatus,
        code: Option<&str>,
        video: Option<&str>,
    ) -> Result<(), String> {
        let transaction = self.raw.transaction().await.unwrap();
        let sql = "UPDATE jobs
                      SET status = $2::text::job_status, updated_at = now(),
                          error_code = coalesce($3::text, error_code),
                          result_video_key = coalesce($4::text, result_video_key)
                    WHERE id = $1";
        let uuid = id.as_uuid();
        let state = |error: tokio_postgres::Error| error.code().unwrap().code().to_owned();
        transaction
            .execute(sql, &[&uuid, &next.as_str(), &code, &video])
            .await
            .map_err(state)?;
        let sql =
            "INSERT INTO job_events (job_id, type, data) VALUES ($1, $2, '{\"from\": \"ts\"}')";
        let kind = format!("seed-{next}");
        transaction
            .execute(sql, &[&uuid, &kind])
            .await
            .map_err(state)?;
        transaction.commit().await.unwrap();
        Ok(())
    }

    pub(super) async fn seed_adds_an_event(&mut self) {
        let id = self.any_job();
        self.note(format!("the seed adds an event to {id}"));
        let sql = "INSERT INTO job_events (job_id, type) VALUES ($1, 'seed-note')";
        let added = self.raw.execute(sql, &[&id.as_uuid()]).await;
        assert_eq!(added.is_ok(), self.jobs.contains_key(&id));
        if let Some(job) = self.jobs.get_mut(&id) {
            job.events += 1;
        }
    }

    pub(super) async fn seed_beats(&mut self) {
        let id = self.job_in(JobStatus::Processing);
        let progress = i32::try_from(self.random.below(100)).unwrap();
        self.note(format!("the seed beats for {id} at {progress}"));
        let sql = "UPDATE jobs SET last_heartbeat_at = now(), progress = $2, updated_at = now()
                    WHERE id = $1 AND status = 'processing'";
        self.raw
            .execute(sql, &[&id.as_uuid(), &progress])
            .await
            .unwrap();
        if let Some(job) = self
            .jobs
            .get_mut(&id)
            .filter(|job| job.status == JobStatus::Processing)
        {
            job.progress = progress;
            job.is_lease_over = false;
        }
    }

    pub(super) async fn seed_deletes(&mut self) {
        let id = self.job_in(JobStatus::Done);
        self.note(format!("the seed deletes {id}"));
        let sql = "DELETE FROM jobs WHERE id = $1";
        let deleted = self.raw.execute(sql, &[&id.as_uuid()]).await.unwrap();
        assert_eq!(deleted == 1, self.jobs.contains_key(&id));
        if deleted == 1 {
            self.forget(id);
        }
    }
}
