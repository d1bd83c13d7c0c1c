//! The state machine once more, in memory and by itself: what each verb must do to a job.

use clipbase::leases::{Failure, Finished, Lease, Surrendered, Verdict};
use clipbase::storage::StorageKey;
use clipbase::{Code, Job, JobId, JobStatus, Priority, WorkerId};

use JobStatus::{Done, Failed, Processing, Queued};

const RELEASES_MAX: i32 = 20;

/// Where a job's expiry comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expiry {
    None,
    Retention,
    Chosen,
}

/// What the row must say, and what decides its future.
#[derive(Clone, Debug, PartialEq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "they are columns, and independent"
)]
pub(super) struct ModelJob {
    pub(super) id: JobId,
    pub(super) status: JobStatus,
    pub(super) priority: Priority,
    pub(super) lease: i32,
    pub(super) worker: Option<WorkerId>,
    pub(super) attempts: i32,
    pub(super) max_attempts: i32,
    pub(super) releases: i32,
    pub(super) progress: i32,
    pub(super) video: Option<String>,
    pub(super) srt: Option<String>,
    pub(super) code: Option<String>,
    pub(super) message: Option<String>,
    pub(super) is_canceled: bool,
    pub(super) events: i32,
    pub(super) is_due: bool,
    pub(super) is_lease_over: bool,
    pub(super) expiry: Expiry,
    pub(super) is_source_deleted: bool,
}

/// Who moves a job: under a lease, or above it.
#[derive(Clone, Copy, Debug)]
pub(super) enum By<'a> {
    Lease(&'a Lease),
    Operator,
}

impl ModelJob {
    pub(super) fn new(id: JobId, max_attempts: i32) -> Self {
        Self {
            id,
            status: Queued,
            priority: Priority::Normal,
            lease: 0,
            worker: None,
            attempts: 0,
            max_attempts,
            releases: 0,
            progress: 0,
            video: None,
            srt: None,
            code: None,
            message: None,
            is_canceled: false,
            events: 1,
            is_due: true,
            is_lease_over: false,
            expiry: Expiry::None,
            is_source_deleted: false,
        }
    }

    /// Tells where the row differs, by the columns that both know.
    pub(super) fn matches(&self, row: &Job) -> bool {
        let seen = Self {
            id: row.id,
            status: row.status,
            priority: row.priority,
            lease: row.lease,
            worker: row.worker_id,
            attempts: row.attempts,
            max_attempts: row.max_attempts,
            progress: row.progress,
            video: row.result_video_key.clone(),
            srt: row.result_srt_key.clone(),
            code: row.error_code.clone(),
            message: row.error_message.clone(),
            is_canceled: row.cancel_requested_at.is_some(),
            events: row.event_seq,
            ..self.clone()
        };
        let ended = row.finished_at.is_some() == self.status.is_terminal();
        let leased = row.lease_expires_at.is_some() == (self.status == Processing);
        let expires = row.expires_at.is_some() == (self.expiry != Expiry::None);
        let lost_its_source = row.source_deleted_at.is_some() == self.is_source_deleted;
        seen == *self && ended && leased && expires && lost_its_source
    }

    pub(super) fn is_held_by(&self, lease: &Lease) -> bool {
        (self.status, self.lease, self.worker)
            == (Processing, lease.number(), Some(lease.worker_id()))
    }

    pub(super) fn is_claimable(&self) -> bool {
        self.status == Queued && self.is_due
    }

    fn may(&self, by: By<'_>) -> bool {
        match by {
            By::Lease(lease) => self.is_held_by(lease),
            By::Operator => true,
        }
    }

    pub(super) fn claim(&mut self, worker: Option<WorkerId>) {
        self.status = Processing;
        self.lease += 1;
        self.attempts += 1;
        self.worker = worker;
        self.progress = 0;
        self.is_lease_over = false;
        self.events += 1;
    }

    pub(super) fn finish(&mut self, lease: &Lease, with_srt: bool) -> Finished {
        let video = lease.video_key().to_string();
        let srt = with_srt.then(|| lease.srt_key().to_string());
        if self.is_held_by(lease) {
            self.end_well(video, srt);
            self.expire_by_retention();
            return Finished::Done;
        }
        let holder = (Done, lease.number(), Some(lease.worker_id()));
        let is_same = (self.status, self.lease, self.worker) == holder
            && (self.video.as_ref(), &self.srt) == (Some(&video), &srt);
        if is_same {
            Finished::Repeated
        } else {
            Finished::Lost
        }
    }

    pub(super) fn end_well(&mut self, video: String, srt: Option<String>) {
        self.status = Done;
        self.progress = 100;
        self.video = Some(video);
        self.srt = srt;
        self.events += 1;
    }

    pub(super) fn end_badly(&mut self, code: &str, message: Option<&str>) {
        self.status = Failed;
        self.code = Some(code.to_owned());
        self.message = message.map(str::to_owned);
        self.events += 1;
    }

    pub(super) fn expire_by_retention(&mut self) {
        if self.expiry == Expiry::None {
            self.expiry = Expiry::Retention;
        }
    }

    fn fail_for(&mut self, code: &str, message: Option<&str>) -> Surrendered {
        self.end_badly(code, message);
        self.expire_by_retention();
        Surrendered::Failed
    }

    pub(super) fn back_into_the_queue(&mut self) -> Surrendered {
        self.status = Queued;
        self.worker = None;
        self.progress = 0;
        self.is_due = true;
        self.events += 1;
        Surrendered::Queued
    }

    pub(super) fn fail(&mut self, lease: &Lease, failure: &Failure) -> Result<(), Code> {
        if !self.is_held_by(lease) {
            return Err(Code::LeaseLost);
        }
        self.fail_for(failure.code(), Some(failure.message()));
        Ok(())
    }

    fn cancel_wins(&mut self) -> Option<Surrendered> {
        self.is_canceled
            .then(|| self.fail_for("CANCELED", Some("canceled on request")))
    }

    pub(super) fn fail_retryable(
        &mut self,
        lease: &Lease,
        failure: &Failure,
    ) -> Result<Surrendered, Code> {
        if !self.is_held_by(lease) {
            return Err(Code::LeaseLost);
        }
        if let Some(end) = self.cancel_wins() {
            return Ok(end);
        }
        if self.attempts < self.max_attempts {
            return Ok(self.back_into_the_queue());
        }
        Ok(self.fail_for(failure.code(), Some(failure.message())))
    }

    pub(super) fn release(&mut self, lease: &Lease) -> Result<Surrendered, Code> {
        if !self.is_held_by(lease) {
            return Err(Code::LeaseLost);
        }
        if let Some(end) = self.cancel_wins() {
            return Ok(end);
        }
        if self.releases < RELEASES_MAX {
            self.releases += 1;
            self.attempts -= 1;
            return Ok(self.back_into_the_queue());
        }
        if self.attempts < self.max_attempts {
            return Ok(self.back_into_the_queue());
        }
        Ok(self.fail_for("RELEASE_LIMIT", None))
    }

    pub(super) fn reap(&mut self) -> Surrendered {
        assert_eq!(self.status, Processing);
        if let Some(end) = self.cancel_wins() {
            return end;
        }
        if self.attempts < self.max_attempts {
            return self.back_into_the_queue();
        }
        let message = "the worker was lost and no attempt is left";
        self.fail_for("WORKER_LOST", Some(message))
    }

    pub(super) fn beat(&mut self, lease: &Lease, progress: Option<u8>) -> Verdict {
        if !self.is_held_by(lease) {
            return Verdict::Lost;
        }
        self.is_lease_over = false;
        self.progress = self.progress.max(progress.map_or(0, i32::from));
        if self.is_canceled {
            Verdict::CancelRequested
        } else {
            Verdict::GoOn
        }
    }

    pub(super) fn log(&mut self, lease: &Lease) -> Result<i32, Code> {
        if !self.is_held_by(lease) {
            return Err(Code::LeaseLost);
        }
        self.events += 1;
        Ok(self.events)
    }

    /// Answers whether the job has ended by it.
    pub(super) fn cancel(&mut self) -> Result<bool, Code> {
        match self.status {
            Queued => {
                self.progress = 0;
                self.fail_for("CANCELED", Some("canceled before it was claimed"));
                Ok(true)
            }
            Processing => {
                self.events += i32::from(!self.is_canceled);
                self.is_canceled = true;
                Ok(false)
            }
            Failed if self.code.as_deref() == Some("CANCELED") => Ok(true),
            Done | Failed => Err(Code::InvalidTransition),
        }
    }

    pub(super) fn retry(&mut self) -> Result<(), Code> {
        if self.status != Failed || self.is_source_deleted {
            return Err(Code::InvalidTransition);
        }
        if self.expiry == Expiry::Retention {
            self.expiry = Expiry::None;
        }
        self.start_afresh();
        Ok(())
    }

    pub(super) fn start_afresh(&mut self) {
        self.attempts = 0;
        self.code = None;
        self.message = None;
        self.is_canceled = false;
        self.video = None;
        self.srt = None;
        self.back_into_the_queue();
    }

    /// A caller that thinks in states. `Actor::Worker` has [`ModelJob::take`].
    pub(super) fn become_(
        &mut self,
        next: JobStatus,
        by: By<'_>,
        video: Option<&StorageKey>,
        failure: Option<&Failure>,
    ) -> Result<(), Code> {
        let refusal = match by {
            By::Lease(_) => Code::LeaseLost,
            By::Operator => Code::InvalidTransition,
        };
        if !self.may(by) || !self.status.can_become(next) {
            return Err(refusal);
        }
        match (self.status, next) {
            (_, Done) => {
                self.end_well(video.unwrap().to_string(), None);
                self.expire_by_retention();
            }
            (Failed, _) => return self.retry(),
            (_, Queued) => {
                if self.cancel_wins().is_none() {
                    self.back_into_the_queue();
                }
            }
            (from, _) => {
                let (code, message) = match (from, failure) {
                    (_, Some(failure)) => (failure.code(), Some(failure.message())),
                    (Queued, None) => ("CANCELED", Some("canceled before it was claimed")),
                    (_, None) if self.is_canceled => ("CANCELED", None),
                    (_, None) => ("UNSPECIFIED", None),
                };
                self.fail_for(code, message);
                self.progress *= i32::from(from == Processing);
            }
        }
        Ok(())
    }

    /// Answers whether the source goes.
    pub(super) fn lose_source(&mut self) -> bool {
        let goes = self.status.is_terminal() && !self.is_source_deleted;
        if goes {
            self.is_source_deleted = true;
            self.events += 1;
        }
        goes
    }

    pub(super) fn take(&mut self, worker: WorkerId) -> Result<(), Code> {
        if self.status != Queued {
            return Err(Code::InvalidTransition);
        }
        self.claim(Some(worker));
        Ok(())
    }

    /// The seed's own transaction: an UPDATE of the status and an event beside it.
    pub(super) fn by_sql(
        &mut self,
        next: JobStatus,
        code: Option<&str>,
        video: Option<&str>,
    ) -> Result<(), ()> {
        let is_retry_without_source =
            (self.status, next) == (Failed, Queued) && self.is_source_deleted;
        if (next != self.status && !self.status.can_become(next)) || is_retry_without_source {
            return Err(());
        }
        let is_canceled = self.is_canceled;
        match (self.status, next) {
            (from, to) if from == to => {
                self.events += i32::from(code.is_some() || video.is_some());
                self.code = code.map(str::to_owned).or_else(|| self.code.take());
                self.video = video.map(str::to_owned).or_else(|| self.video.take());
            }
            (_, Processing) => self.claim(None),
            (_, Done) => {
                let assumed = format!("results/{}/clip.mp4", self.id);
                self.end_well(video.map_or(assumed, str::to_owned), self.srt.clone());
            }
            (Failed, _) => {
                if self.expiry == Expiry::Retention {
                    self.expiry = Expiry::Chosen;
                }
                self.start_afresh();
            }
            // A requested cancel wins over the way back, whatever code came along.
            (Processing, Queued) if is_canceled => {
                self.end_badly("CANCELED", Some("canceled on request"));
            }
            (from, _) if from == Queued || is_canceled => {
                self.end_badly(code.unwrap_or("CANCELED"), None);
            }
            (_, Queued) => {
                self.back_into_the_queue();
            }
            (_, Failed) => self.end_badly(code.unwrap_or("UNSPECIFIED"), None),
        }
        self.events += 1;
        Ok(())
    }
}
