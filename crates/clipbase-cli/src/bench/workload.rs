//! The cases by the library: tasks that share the work.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use clipbase::leases::{ClaimOptions, Finish, Lease};
use clipbase::storage::StorageKey;
use clipbase::{ClipRange, Clipbase, JobId, NewJob, Source, WorkerId};
use tokio::task::JoinSet;

use super::BenchError;
use super::case::{Case, Step};

/// Jobs of one call while the tables are filled.
const SEED_BATCH: u32 = 1_000;

/// Fills the tables, and returns the leases that the case is about.
pub(crate) async fn prepare(
    clipbase: &Clipbase,
    case: &Case,
    jobs: u32,
) -> Result<Vec<Lease>, BenchError> {
    if case.step == Step::Create {
        return Ok(Vec::new());
    }
    let mut left = jobs;
    while left > 0 {
        let batch = left.min(SEED_BATCH);
        clipbase.jobs().create_many(&new_jobs(batch)?).await?;
        left -= batch;
    }
    let mut leases = Vec::new();
    if case.step == Step::Finish {
        let options = ClaimOptions::new(WorkerId::new(), SEED_BATCH);
        loop {
            let claimed = clipbase.leases().claim(&options).await?;
            if claimed.is_empty() {
                break;
            }
            leases.extend(claimed);
        }
    }
    Ok(leases)
}

/// Opens the connections and looks at the installation, once each.
pub(crate) async fn warm_up(clipbase: &Clipbase, case: &Case) -> Result<(), BenchError> {
    clipbase.check_installation().await?;
    let mut tasks = JoinSet::new();
    for _ in 0..case.tasks {
        let clipbase = clipbase.clone();
        tasks.spawn(async move { clipbase.jobs().stats().await.map(|_| 0) });
    }
    sum(tasks).await.map(|_| ())
}

/// Does the work and returns how many jobs it did.
pub(crate) async fn run(
    clipbase: &Clipbase,
    case: &Case,
    leases: Vec<Lease>,
    jobs: u32,
) -> Result<u64, BenchError> {
    let left = Arc::new(AtomicU32::new(jobs));
    let share = leases.len().div_ceil(case.tasks as usize).max(1);
    let mut shares = leases.chunks(share).map(<[Lease]>::to_vec);
    let mut tasks = JoinSet::new();
    for _ in 0..case.tasks {
        let (clipbase, batch, left) = (clipbase.clone(), case.batch, left.clone());
        let leases = shares.next().unwrap_or_default();
        match case.step {
            Step::Create => tasks.spawn(create(clipbase, batch, left)),
            Step::Claim => tasks.spawn(claim(clipbase, batch, left)),
            Step::Finish => tasks.spawn(finish(clipbase, batch, leases)),
            Step::Turn => tasks.spawn(turn(clipbase, batch)),
        };
    }
    sum(tasks).await
}

async fn sum(mut tasks: JoinSet<clipbase::Result<u64>>) -> Result<u64, BenchError> {
    let mut sum = 0;
    while let Some(done) = tasks.join_next().await {
        sum += done.map_err(|_| BenchError::Task)??;
    }
    Ok(sum)
}

/// Takes a batch of what is left to do.
fn take(left: &AtomicU32, batch: u32) -> u32 {
    let taken = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
        (left > 0).then(|| left.saturating_sub(batch))
    });
    taken.map_or(0, |before| before.min(batch))
}

async fn create(clipbase: Clipbase, batch: u32, left: Arc<AtomicU32>) -> clipbase::Result<u64> {
    let mut done = 0;
    loop {
        let count = take(&left, batch);
        if count == 0 {
            return Ok(done);
        }
        if batch == 1 {
            clipbase.jobs().create(&new_job()?).await?;
        } else {
            clipbase.jobs().create_many(&new_jobs(count)?).await?;
        }
        done += u64::from(count);
    }
}

async fn claim(clipbase: Clipbase, batch: u32, left: Arc<AtomicU32>) -> clipbase::Result<u64> {
    let options = ClaimOptions::new(WorkerId::new(), batch);
    let mut done = 0;
    while take(&left, batch) > 0 {
        done += clipbase.leases().claim(&options).await?.len() as u64;
    }
    Ok(done)
}

async fn finish(clipbase: Clipbase, batch: u32, leases: Vec<Lease>) -> clipbase::Result<u64> {
    for leases in leases.chunks(batch as usize) {
        let finishes: Vec<Finish<'_>> = leases.iter().map(Finish::new).collect();
        clipbase.leases().finish_many(&finishes).await?;
    }
    Ok(leases.len() as u64)
}

async fn turn(clipbase: Clipbase, batch: u32) -> clipbase::Result<u64> {
    let options = ClaimOptions::new(WorkerId::new(), batch);
    let mut held: Vec<Lease> = Vec::new();
    let mut done = 0;
    loop {
        let finishes: Vec<Finish<'_>> = held.iter().map(Finish::new).collect();
        let turn = clipbase.leases().turn(&finishes, &options).await?;
        done += turn.finished.len() as u64;
        held = turn.claimed;
        if held.is_empty() {
            return Ok(done);
        }
    }
}

fn new_job() -> clipbase::Result<NewJob> {
    let id = JobId::new();
    let source = Source::Upload(StorageKey::source(id, "mp4")?);
    Ok(NewJob::new(id, source, ClipRange::from_millis(0, 10_000)?))
}

fn new_jobs(count: u32) -> clipbase::Result<Vec<NewJob>> {
    (0..count).map(|_| new_job()).collect()
}
