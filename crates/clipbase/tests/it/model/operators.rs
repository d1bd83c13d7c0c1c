//! What operators and clients do: create, change, cancel, retry, delete, reap.

use std::collections::BTreeSet;

use clipbase::jobs::{Actor, Canceled, Created};
use clipbase::leases::{Reaped, Surrendered};
use clipbase::storage::StorageKey;
use clipbase::{Change, Code, JobId, JobPatch, JobStatus, NewJob, Priority, WorkerId};
use clipbase_testkit::builders::new_job;
use jiff::Timestamp;

use super::reference::{By, Expiry, ModelJob};
use super::workers::patch_for;
use super::world::{Known, World};

impl World<'_> {
    fn new_job(&mut self) -> (NewJob, ModelJob) {
        let mut job = new_job();
        job.priority = self.random.of(&Priority::ALL);
        job.max_attempts = i32::try_from(1 + self.random.below(3)).unwrap();
        let mut model = ModelJob::new(job.id, job.max_attempts);
        model.priority = job.priority;
        if self.random.percent(10) {
            job.run_at = Some(far());
            model.is_due = false;
        }
        if self.random.percent(20) {
            job.expires_at = Some(far());
            model.expiry = Expiry::Chosen;
        }
        (job, model)
    }

    pub(super) async fn client_creates(&mut self) {
        let (job, model) = self.new_job();
        self.note(format!("creates {}", job.id));
        self.clipbase().jobs().create(&job).await.unwrap();
        self.jobs.insert(job.id, model);
        if self.random.percent(10) {
            let again = self.clipbase().jobs().create(&job).await;
            self.expect(again.map(|_| ()), Err(Code::DbConflict));
        }
    }

    pub(super) async fn client_creates_many(&mut self) {
        let (jobs, models): (Vec<_>, Vec<_>) = (0..3).map(|_| self.new_job()).unzip();
        self.note(format!("creates {} jobs", jobs.len()));
        self.clipbase().jobs().create_many(&jobs).await.unwrap();
        self.jobs
            .extend(models.into_iter().map(|job| (job.id, job)));
    }

    pub(super) async fn client_creates_once(&mut self) {
        let (key, shape) = (self.random.below(4), self.random.percent(70));
        let mut job = new_job();
        job.with_subtitles = shape;
        self.note(format!("creates {} once, key {key}, shape {shape}", job.id));
        let request = Self::idempotency(key);
        let answer = self.clipbase().jobs().create_once(&job, &request).await;
        let expected = match self.keys.get(&key) {
            Some(known) if !known.has_run_out && known.shape != shape => {
                Err(Code::IdempotencyConflict)
            }
            Some(known) if !known.has_run_out => Ok((false, known.job)),
            _ => Ok((true, job.id)),
        };
        if expected == Ok((true, job.id)) {
            let known = Known {
                shape,
                job: job.id,
                has_run_out: false,
            };
            self.keys.insert(key, known);
            self.jobs.insert(job.id, ModelJob::new(job.id, 3));
        }
        let answer = answer.map(|created| match created {
            Created::New(job) => (true, job.id),
            Created::Existing(job) => (false, job.id),
        });
        self.expect(answer, expected);
    }

    pub(super) async fn a_key_runs_out(&mut self) {
        let key = self.random.below(4);
        self.note(format!("key {key} runs out"));
        let sql = "UPDATE job_idempotency SET expires_at = now() - interval '1 s' WHERE key = $1";
        let name = Self::idempotency(key).key;
        self.raw.execute(sql, &[&name]).await.unwrap();
        if let Some(known) = self.keys.get_mut(&key) {
            known.has_run_out = true;
        }
    }

    pub(super) async fn operator_cancels(&mut self) {
        let id = self.any_job();
        self.note(format!("cancels {id}"));
        let answer = self.clipbase().jobs().cancel(id).await;
        let expected = self.on(id, ModelJob::cancel);
        let answer = answer.map(|canceled| matches!(canceled, Canceled::Ended(_)));
        self.expect(answer, expected);
    }

    pub(super) async fn operator_retries(&mut self) {
        let id = self.job_in(JobStatus::Failed);
        self.note(format!("retries {id}"));
        let answer = self.clipbase().jobs().retry(id).await;
        let expected = self.on(id, ModelJob::retry);
        self.expect(answer.map(|_| ()), expected);
    }

    pub(super) async fn operator_updates(&mut self) {
        let id = self.any_job();
        let mut patch = JobPatch::default();
        match self.random.below(5) {
            0 => patch.priority = Some(self.random.of(&Priority::ALL)),
            1 => patch.max_attempts = Some(i32::try_from(1 + self.random.below(4)).unwrap()),
            2 => patch.expires_at = self.random.of(&[Change::Clear, Change::Set(far())]),
            3 => patch.run_at = Some(self.random.of(&[Timestamp::UNIX_EPOCH, far()])),
            _ => patch.with_subtitles = Some(true),
        }
        self.note(format!("updates {id} by {patch:?}"));
        let answer = self.clipbase().jobs().update(id, &patch).await;
        let expected = self.on(id, |job| update(job, &patch));
        self.expect(answer.map(|_| ()), expected);
    }

    pub(super) async fn operator_transitions(&mut self) {
        let id = self.any_job();
        let next = self.random.of(&JobStatus::ALL);
        self.note(format!("an operator moves {id} to {next}"));
        let lease = self.jobs.get(&id).map_or(1, |job| job.lease.max(1));
        let patch = patch_for(next, id, lease, self.random.percent(50));
        let jobs = self.clipbase().jobs();
        let answer = jobs.transition(id, next, Actor::Operator, &patch).await;
        let expected = if next == JobStatus::Processing {
            Err(Code::InvalidInput)
        } else {
            self.on(id, |job| {
                let (video, failure) = (patch.result_video.as_ref(), patch.failure.as_ref());
                job.become_(next, By::Operator, video, failure)
            })
        };
        self.expect(answer.map(|_| ()), expected);
    }

    pub(super) async fn operator_deletes(&mut self) {
        let id = if self.random.percent(70) {
            self.job_in(JobStatus::Done)
        } else {
            self.any_job()
        };
        self.note(format!("deletes {id}"));
        let answer = self.clipbase().jobs().delete(id).await;
        let expected = self.on(id, |_| Ok(()));
        if expected.is_ok() {
            self.forget(id);
        }
        self.expect(answer, expected);
    }

    pub(super) async fn a_source_expires(&mut self) {
        let status = self.random.of(&[JobStatus::Failed, JobStatus::Done]);
        let id = self.job_in(status);
        self.note(format!("the source of {id} expires"));
        let sql = "UPDATE jobs SET source_expires_at = now() - interval '1 s'
                    WHERE id = $1 AND status IN ('done', 'failed')";
        self.raw.execute(sql, &[&id.as_uuid()]).await.unwrap();
        let answer = self.clipbase().cleanup().expire_sources(10).await;
        let goes = self.on(id, |job| Ok(job.lose_source())) == Ok(true);
        if goes {
            let key = StorageKey::source(id, "mp4").unwrap();
            self.outbox.insert(key.to_string());
        }
        self.expect(answer, Ok(if goes { vec![id] } else { Vec::new() }));
    }

    pub(super) async fn client_adds_an_event(&mut self) {
        let id = self.any_job();
        self.note(format!("adds an event to {id}"));
        let answer = self.clipbase().events().add(id, "viewed", None).await;
        let expected = self.on(id, |job| {
            job.events += 1;
            Ok(job.events)
        });
        self.expect(answer, expected);
    }

    pub(super) async fn leases_run_out(&mut self) {
        let id = self.job_in(JobStatus::Processing);
        self.note(format!("the lease of {id} runs out"));
        let sql = "UPDATE jobs SET lease_expires_at = lease_expires_at - interval '1 h',
                          last_heartbeat_at = now() - interval '1 h'
                    WHERE id = $1 AND status = 'processing'";
        self.raw.execute(sql, &[&id.as_uuid()]).await.unwrap();
        if let Some(job) = self.jobs.get_mut(&id) {
            job.is_lease_over = job.status == JobStatus::Processing;
        }
    }

    pub(super) async fn anybody_reaps(&mut self) {
        let limit = 1 + self.random.below(3);
        self.note(format!("reaps {limit}"));
        let reaped = self.clipbase().leases().reap(limit).await.unwrap();
        self.check_reaped(&reaped, limit, |job| job.is_lease_over);
    }

    pub(super) async fn somebody_reaps_a_worker(&mut self) {
        let (worker, limit) = (self.worker(), 1 + self.random.below(3));
        self.note(format!("reaps {limit} of {worker}"));
        let leases = self.clipbase().leases();
        let reaped = leases.reap_workers(&[worker], limit).await.unwrap();
        self.check_reaped(&reaped, limit, |job| job.worker == Some(worker));
        let other = leases.reap_workers(&[WorkerId::new()], limit).await;
        self.expect(other, Ok(Vec::new()));
    }

    fn check_reaped(&mut self, reaped: &[Reaped], limit: u32, is_due: impl Fn(&ModelJob) -> bool) {
        let due: BTreeSet<JobId> = self
            .jobs
            .values()
            .filter(|job| job.status == JobStatus::Processing && is_due(job))
            .map(|job| job.id)
            .collect();
        let taken: BTreeSet<JobId> = reaped.iter().map(|reaped| reaped.job).collect();
        assert!(taken.is_subset(&due), "{taken:?} of {due:?}");
        self.expect(Ok(reaped.len()), Ok(due.len().min(limit as usize)));
        let answers: Vec<Surrendered> = reaped.iter().map(|reaped| reaped.to).collect();
        let expected: Vec<Surrendered> = reaped
            .iter()
            .map(|reaped| self.jobs.get_mut(&reaped.job).unwrap().reap())
            .collect();
        self.expect(Ok(answers), Ok(expected));
    }
}

fn update(job: &mut ModelJob, patch: &JobPatch) -> Result<(), Code> {
    let is_settled = matches!(job.status, JobStatus::Processing | JobStatus::Done);
    if patch.with_subtitles.is_some() && is_settled {
        return Err(Code::InvalidTransition);
    }
    job.priority = patch.priority.unwrap_or(job.priority);
    job.max_attempts = patch.max_attempts.unwrap_or(job.max_attempts);
    job.is_due = patch
        .run_at
        .map_or(job.is_due, |time| time == Timestamp::UNIX_EPOCH);
    job.expiry = match patch.expires_at {
        Change::Keep => job.expiry,
        Change::Clear => Expiry::None,
        Change::Set(_) => Expiry::Chosen,
    };
    job.events += 1;
    Ok(())
}

fn far() -> Timestamp {
    "2200-01-01T00:00:00Z".parse().unwrap()
}
