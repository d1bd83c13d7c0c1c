//! The database under test beside its model, and the comparison of the two.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Debug;

use clipbase::jobs::Idempotency;
use clipbase::leases::Lease;
use clipbase::storage::StorageKey;
use clipbase::{Clipbase, Code, Error, JobId, JobStatus, WorkerId};
use clipbase_testkit::Bench;
use tokio_postgres::Client;

use super::random::Random;
use super::reference::ModelJob;

const WORKERS: usize = 5;
/// Leases that the workers remember, most of them lost.
const LEASES_KEPT: usize = 60;
const HISTORY: usize = 25;

/// What an idempotency key stands for.
pub(super) struct Known {
    pub(super) shape: bool,
    pub(super) job: JobId,
    pub(super) has_run_out: bool,
}

pub(super) struct World<'a> {
    pub(super) bench: &'a Bench,
    pub(super) raw: Client,
    pub(super) random: Random,
    pub(super) jobs: BTreeMap<JobId, ModelJob>,
    pub(super) keys: BTreeMap<u32, Known>,
    pub(super) workers: Vec<WorkerId>,
    pub(super) leases: VecDeque<Lease>,
    pub(super) outbox: BTreeSet<String>,
    history: VecDeque<String>,
}

impl<'a> World<'a> {
    pub(super) async fn new(bench: &'a Bench, seed: u64) -> Self {
        Self {
            bench,
            raw: bench.database.raw().await,
            random: Random::new(seed),
            jobs: BTreeMap::new(),
            keys: BTreeMap::new(),
            workers: (0..WORKERS).map(|_| WorkerId::new()).collect(),
            leases: VecDeque::new(),
            outbox: BTreeSet::new(),
            history: VecDeque::new(),
        }
    }

    pub(super) fn clipbase(&self) -> &'a Clipbase {
        &self.bench.clipbase
    }

    pub(super) fn note(&mut self, what: String) {
        if self.history.len() == HISTORY {
            self.history.pop_front();
        }
        self.history.push_back(what);
    }

    pub(super) fn remember(&mut self, lease: Lease) {
        if self.leases.len() == LEASES_KEPT {
            self.leases.pop_front();
        }
        self.leases.push_back(lease);
    }

    pub(super) fn worker(&mut self) -> WorkerId {
        self.random.of(&self.workers)
    }

    /// Some job; now and then one that does not exist.
    pub(super) fn any_job(&mut self) -> JobId {
        if self.random.percent(3) {
            return JobId::new();
        }
        let ids: Vec<JobId> = self.jobs.keys().copied().collect();
        self.random.pick(&ids).copied().unwrap_or_else(JobId::new)
    }

    /// A job in this state, if there is one.
    pub(super) fn job_in(&mut self, status: JobStatus) -> JobId {
        let ids: Vec<JobId> = self
            .jobs
            .values()
            .filter(|job| job.status == status)
            .map(|job| job.id)
            .collect();
        match self.random.pick(&ids).copied() {
            Some(id) if self.random.percent(80) => id,
            _ => self.any_job(),
        }
    }

    /// A lease that holds, more often than not; otherwise any that was ever given.
    pub(super) fn lease(&mut self) -> Option<Lease> {
        let held: Vec<Lease> = self
            .leases
            .iter()
            .filter(|lease| {
                let job = self.jobs.get(&lease.job_id());
                job.is_some_and(|job| job.is_held_by(lease))
            })
            .cloned()
            .collect();
        if self.random.percent(70) && !held.is_empty() {
            return self.random.pick(&held).cloned();
        }
        let all: Vec<Lease> = self.leases.iter().cloned().collect();
        self.random.pick(&all).cloned()
    }

    /// A few leases on different jobs.
    pub(super) fn leases(&mut self, most: u32) -> Vec<Lease> {
        let mut chosen: BTreeMap<JobId, Lease> = BTreeMap::new();
        for _ in 0..self.random.below(most + 1) {
            if let Some(lease) = self.lease() {
                chosen.insert(lease.job_id(), lease);
            }
        }
        let mut chosen: Vec<Lease> = chosen.into_values().collect();
        if self.random.percent(50) {
            chosen.reverse();
        }
        chosen
    }

    pub(super) fn idempotency(key: u32) -> Idempotency {
        Idempotency::new("model", format!("key-{key}"))
    }

    /// What the model's job answers, or that it does not exist.
    pub(super) fn on<T>(
        &mut self,
        id: JobId,
        verb: impl FnOnce(&mut ModelJob) -> Result<T, Code>,
    ) -> Result<T, Code> {
        self.jobs.get_mut(&id).map_or(Err(Code::NotFound), verb)
    }

    /// The job is gone: what it owned is on its way to deletion, and its idempotency key is free.
    pub(super) fn forget(&mut self, id: JobId) {
        let job = self.jobs.remove(&id).unwrap();
        self.outbox
            .insert(StorageKey::source(id, "mp4").unwrap().to_string());
        for lease in 1..=job.lease {
            self.outbox
                .insert(StorageKey::result_video(id, lease).to_string());
            self.outbox
                .insert(StorageKey::result_srt(id, lease).to_string());
        }
        self.keys.retain(|_, known| known.job != id);
    }

    /// Compares an answer with the model's, by its error code where it failed.
    #[track_caller]
    #[allow(clippy::needless_pass_by_value, reason = "answers are made for it")]
    pub(super) fn expect<T: Debug + PartialEq>(
        &self,
        answer: Result<T, Error>,
        expected: Result<T, Code>,
    ) {
        let answer = answer.map_err(|error| error.code());
        assert_eq!(answer, expected, "after {:#?}", self.history);
    }

    /// Compares every row, and how many events it has, with the model.
    pub(super) async fn compare(&self) {
        let mut seen = 0;
        for status in JobStatus::ALL {
            let jobs = self.clipbase().jobs();
            let page = jobs.list_by_status(status, 1_000, None).await.unwrap();
            for row in page.jobs {
                let model = self.jobs.get(&row.id);
                assert!(
                    model.is_some_and(|job| job.matches(&row)),
                    "the row is {row:#?}\nand the model is {model:#?}\nafter {:#?}",
                    self.history
                );
                seen += 1;
            }
        }
        assert_eq!(seen, self.jobs.len(), "after {:#?}", self.history);
        let sql = "SELECT count(*) FROM job_events";
        let events: i64 = self.raw.query_one(sql, &[]).await.unwrap().get(0);
        let expected: i32 = self.jobs.values().map(|job| job.events).sum();
        assert_eq!(events, i64::from(expected), "after {:#?}", self.history);
    }

    /// Compares the outbox and the order of every log.
    pub(super) async fn compare_the_rest(&self) {
        let sql = "SELECT object_key FROM storage_deletions";
        let rows = self.raw.query(sql, &[]).await.unwrap();
        let outbox: BTreeSet<String> = rows.iter().map(|row| row.get(0)).collect();
        assert_eq!(outbox, self.outbox);
        for job in self.jobs.values() {
            let events = self.clipbase().events().list(job.id, 0, 1_000).await;
            let seqs: Vec<i32> = events.unwrap().iter().map(|event| event.seq).collect();
            let expected: Vec<i32> = (1..=job.events).collect();
            assert_eq!(seqs, expected, "{}", job.id);
        }
    }
}
