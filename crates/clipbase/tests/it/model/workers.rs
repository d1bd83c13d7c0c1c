//! What workers do: they claim, beat, log and give up, under leases that hold and under lost ones.

use std::collections::BTreeSet;

use clipbase::jobs::{Actor, TransitionPatch};
use clipbase::leases::{Beat, ClaimOptions, Failure, Finish, Finished, LEASE_TTL, Lease, Verdict};
use clipbase::storage::StorageKey;
use clipbase::{Code, JobId, JobStatus, Priority, WorkerId};

use super::reference::{By, ModelJob};
use super::world::World;

impl World<'_> {
    pub(super) async fn worker_claims_a_job(&mut self) {
        let (worker, id) = (self.worker(), self.job_in(JobStatus::Queued));
        self.note(format!("{worker} claims {id}"));
        let leases = self.clipbase().leases();
        let lease = leases.claim_job(worker, id, LEASE_TTL).await.unwrap();
        let is_claimable = self.jobs.get(&id).is_some_and(ModelJob::is_claimable);
        self.expect(Ok(lease.is_some()), Ok(is_claimable));
        self.claimed(worker, lease.as_slice());
    }

    pub(super) async fn worker_claims(&mut self) {
        let options = ClaimOptions::new(self.worker(), 1 + self.random.below(3));
        self.note(format!("claims with {options:?}"));
        let leases = self.clipbase().leases().claim(&options).await.unwrap();
        self.check_order(&leases, options.limit);
        self.claimed(options.worker, &leases);
    }

    pub(super) async fn worker_turns(&mut self) {
        let options = ClaimOptions::new(self.worker(), 1 + self.random.below(3));
        let (held, with_srt) = (self.leases(3), self.random.percent(30));
        self.note(format!(
            "turns {}, srt {with_srt}, with {options:?}",
            shorts(&held)
        ));
        let finishes = finishes(&held, with_srt);
        let leases = self.clipbase().leases();
        let turn = leases.turn(&finishes, &options).await.unwrap();
        self.check_order(&turn.claimed, options.limit);
        self.finished(&held, with_srt, turn.finished);
        self.claimed(options.worker, &turn.claimed);
    }

    /// The most urgent of the jobs that may be claimed, as many as asked for.
    fn check_order(&self, leases: &[Lease], limit: u32) {
        let rank = |priority| Priority::ALL.iter().position(|known| *known == priority);
        let mut open: Vec<_> = self
            .jobs
            .values()
            .filter(|job| job.is_claimable())
            .map(|job| rank(job.priority))
            .collect();
        open.sort_unstable();
        open.truncate(limit as usize);
        let taken: Vec<_> = leases
            .iter()
            .map(|lease| rank(lease.work().priority))
            .collect();
        self.expect(Ok(taken), Ok(open));
    }

    fn claimed(&mut self, worker: WorkerId, leases: &[Lease]) {
        let mut seen = BTreeSet::new();
        for lease in leases {
            assert!(seen.insert(lease.job_id()), "claimed twice: {lease:?}");
            let job = self.jobs.get_mut(&lease.job_id()).unwrap();
            assert!(job.is_claimable(), "{job:?}");
            job.claim(Some(worker));
            assert!(job.is_held_by(lease), "{lease:?} is not {job:?}");
            self.remember(lease.clone());
        }
    }

    pub(super) async fn worker_finishes(&mut self) {
        let Some(lease) = self.lease() else { return };
        let with_srt = self.random.percent(30);
        self.note(format!("finishes {}, srt {with_srt}", short(&lease)));
        let finish = finishes(std::slice::from_ref(&lease), with_srt)[0];
        let answer = self.clipbase().leases().finish(finish).await;
        let expected = self.on(lease.job_id(), |job| match job.finish(&lease, with_srt) {
            Finished::Done | Finished::Repeated => Ok(()),
            _ => Err(Code::LeaseLost),
        });
        self.expect(answer, expected);
    }

    pub(super) async fn worker_finishes_many(&mut self) {
        let (held, with_srt) = (self.leases(5), self.random.percent(30));
        self.note(format!("finishes all of {}, srt {with_srt}", shorts(&held)));
        let finishes = finishes(&held, with_srt);
        let answer = self.clipbase().leases().finish_many(&finishes).await;
        self.finished(&held, with_srt, answer.unwrap());
    }

    fn finished(&mut self, held: &[Lease], with_srt: bool, answers: Vec<Finished>) {
        let mut expected = Vec::new();
        for lease in held {
            let answer = self.on(lease.job_id(), |job| Ok(job.finish(lease, with_srt)));
            expected.push(answer.unwrap_or(Finished::Absent));
        }
        self.expect(Ok(answers), Ok(expected));
    }

    pub(super) async fn worker_beats(&mut self) {
        let held = self.leases(5);
        let progress = self
            .random
            .percent(70)
            .then(|| u8::try_from(self.random.below(101)).unwrap());
        self.note(format!("beats for {} at {progress:?}", shorts(&held)));
        let beats: Vec<Beat<'_>> = held.iter().map(|lease| Beat { lease, progress }).collect();
        let answer = self.clipbase().leases().heartbeat(&beats, LEASE_TTL).await;
        let mut expected = Vec::new();
        for lease in &held {
            let verdict = self.on(lease.job_id(), |job| Ok(job.beat(lease, progress)));
            expected.push(verdict.unwrap_or(Verdict::Lost));
        }
        self.expect(answer, Ok(expected));
    }

    pub(super) async fn worker_logs(&mut self) {
        let Some(lease) = self.lease() else { return };
        self.note(format!("logs for {}", short(&lease)));
        let answer = self.clipbase().leases().log(&lease, "note", None).await;
        let expected = self.on(lease.job_id(), |job| job.log(&lease));
        self.expect(answer, expected);
    }

    pub(super) async fn worker_fails(&mut self) {
        let Some(lease) = self.lease() else { return };
        let failure = Failure::new("BAD_INPUT", "no video in it").unwrap();
        if self.random.percent(40) {
            self.note(format!("fails {}", short(&lease)));
            let answer = self.clipbase().leases().fail(&lease, &failure).await;
            let expected = self.on(lease.job_id(), |job| job.fail(&lease, &failure));
            self.expect(answer, expected);
        } else {
            self.note(format!("fails {} for now", short(&lease)));
            let leases = self.clipbase().leases();
            let answer = leases.fail_retryable(&lease, &failure).await;
            let expected = self.on(lease.job_id(), |job| job.fail_retryable(&lease, &failure));
            self.expect(answer, expected);
        }
    }

    pub(super) async fn worker_releases(&mut self) {
        let Some(lease) = self.lease() else { return };
        self.note(format!("releases {}", short(&lease)));
        let answer = self.clipbase().leases().release(&lease).await;
        let expected = self.on(lease.job_id(), |job| job.release(&lease));
        self.expect(answer, expected);
    }

    pub(super) async fn worker_transitions(&mut self) {
        let Some(lease) = self.lease() else { return };
        let id = lease.job_id();
        let next = self.random.of(&JobStatus::ALL);
        self.note(format!("moves the job of {} to {next}", short(&lease)));
        let patch = patch_for(next, id, lease.number(), self.random.percent(50));
        let actor = Actor::Lease(&lease);
        let answer = self
            .clipbase()
            .jobs()
            .transition(id, next, actor, &patch)
            .await;
        let expected = if next == JobStatus::Processing {
            Err(Code::InvalidInput)
        } else {
            self.on(id, |job| {
                let (video, failure) = (patch.result_video.as_ref(), patch.failure.as_ref());
                job.become_(next, By::Lease(&lease), video, failure)
            })
        };
        self.expect(answer.map(|_| ()), expected);
    }

    pub(super) async fn worker_takes_a_job(&mut self) {
        let (worker, id) = (self.worker(), self.job_in(JobStatus::Queued));
        let next = self.random.of(&JobStatus::ALL);
        self.note(format!("{worker} takes {id} to {next}"));
        let patch = patch_for(next, id, 1, false);
        let actor = Actor::Worker(worker);
        let answer = self
            .clipbase()
            .jobs()
            .transition(id, next, actor, &patch)
            .await;
        let expected = if next == JobStatus::Processing {
            self.on(id, |job| job.take(worker))
        } else {
            Err(Code::InvalidInput)
        };
        self.expect(answer.map(|_| ()), expected);
    }
}

pub(super) fn patch_for(
    next: JobStatus,
    id: JobId,
    lease: i32,
    with_failure: bool,
) -> TransitionPatch {
    let failure = || Failure::new("GIVEN_UP", "as was decided").unwrap();
    TransitionPatch {
        result_video: (next == JobStatus::Done).then(|| StorageKey::result_video(id, lease)),
        failure: (next == JobStatus::Failed && with_failure).then(failure),
        ..TransitionPatch::default()
    }
}

fn finishes(held: &[Lease], with_srt: bool) -> Vec<Finish<'_>> {
    held.iter()
        .map(|lease| Finish {
            with_srt,
            ..Finish::new(lease)
        })
        .collect()
}

fn short(lease: &Lease) -> String {
    let (job, worker) = (lease.job_id(), lease.worker_id());
    format!("{job}#{} of {worker}", lease.number())
}

fn shorts(leases: &[Lease]) -> String {
    leases.iter().map(short).collect::<Vec<_>>().join(", ")
}
