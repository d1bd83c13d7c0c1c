//! The program that is killed: the whole life of two jobs, one step after the other. It may be run again
//! from its start after any of them.

use std::path::PathBuf;
use std::sync::Arc;

use clipbase::cleanup::UPLOAD_TTL;
use clipbase::jobs::Idempotency;
use clipbase::leases::{ClaimOptions, Failure, Finish, Lease};
use clipbase::storage::{StorageKey, byte_stream};
use clipbase::{
    Change, ClipRange, Clipbase, Code, DatabaseConfig, DatabaseMode, JobId, JobPatch, NewJob,
    Result, Settings, Source, WorkerId,
};
use serde::{Deserialize, Serialize};

use super::world;

/// What a source holds.
const VIDEO: &str = "a video that is long enough to be stored in pieces";

/// What a run of the program needs to know.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Orders {
    pub(super) mode: String,
    pub(super) database: String,
    pub(super) storage: world::Address,
    /// The job that is finished and the job that fails.
    pub(super) jobs: [JobId; 2],
    pub(super) worker: WorkerId,
    /// The worker of the run before this one.
    pub(super) dead: WorkerId,
    /// A folder for sources at work.
    pub(super) scratch: PathBuf,
}

/// A handle on one connection, so that the steps come one after the other.
pub(super) fn handle(
    mode: DatabaseMode,
    database: &str,
    storage: &world::Address,
) -> Result<Clipbase> {
    // Wake-ups come when they come: the steps have to be the same every time.
    let config = DatabaseConfig::from_url(database)?
        .with_wakeups(false)
        .with_mode(mode)
        .with_pool_size(1)?;
    Clipbase::new(&config, storage.open()?, Settings::default())
}

pub(super) async fn live(orders: &Orders) -> Result<()> {
    let clipbase = handle(orders.mode.parse()?, &orders.database, &orders.storage)?;
    clipbase.bootstrap().await?;
    clipbase.leases().reap_workers(&[orders.dead], 100).await?;
    for (job, succeeds) in orders.jobs.into_iter().zip([true, false]) {
        if create(&clipbase, job).await? {
            work(&clipbase, job, succeeds, orders).await?;
        }
    }
    for job in orders.jobs {
        let patch = JobPatch {
            expires_at: Change::Set("2020-01-01T00:00:00Z".parse().expect("a time")),
            ..JobPatch::default()
        };
        unless(Code::NotFound, clipbase.jobs().update(job, &patch).await)?;
    }
    world::clean_up(&clipbase).await
}

/// Uploads a source and makes its job, as a client does that knows nothing of an earlier try. Tells whether
/// there is a job: one that has been deleted is not made again while its objects are on their way out.
async fn create(clipbase: &Clipbase, id: JobId) -> Result<bool> {
    let key = StorageKey::source(id, "mp4")?;
    let announced = clipbase.cleanup().announce_upload(&key, UPLOAD_TTL).await;
    if unless(Code::DbConflict, announced)?.is_none() {
        return Ok(false);
    }
    store(clipbase, &key, VIDEO).await?;
    let range = ClipRange::from_millis(0, 1_000)?;
    let new = NewJob::new(id, Source::Upload(key), range);
    let request = Idempotency::new("crash", id.to_string());
    let created = clipbase.jobs().create_once(&new, &request).await;
    if matches!(&created, Err(error) if error.code() == Code::DbConflict) {
        // The request's key has run out, and its job is still there.
        return Ok(true);
    }
    Ok(unless(Code::StorageNotFound, created)?.is_some())
}

/// Does a job's work, unless that is done.
async fn work(clipbase: &Clipbase, id: JobId, succeeds: bool, orders: &Orders) -> Result<()> {
    let leases = clipbase.leases();
    let ttl = ClaimOptions::new(orders.worker, 1).lease_ttl;
    let Some(lease) = leases.claim_job(orders.worker, id, ttl).await? else {
        return Ok(());
    };
    let source = orders.scratch.join(id.to_string());
    let key = StorageKey::source(id, "mp4")?;
    clipbase.storage().download(&key, &source).await?;
    store(clipbase, &lease.video_key(), content(&lease)).await?;
    if !succeeds {
        let failure = Failure::new("NO_SUBTITLES", "the source holds no text")?;
        return leases.fail(&lease, &failure).await;
    }
    store(clipbase, &lease.srt_key(), "1").await?;
    let finish = Finish {
        with_srt: true,
        ..Finish::new(&lease)
    };
    leases.finish(finish).await
}

fn content(lease: &Lease) -> &'static str {
    if lease.number() == 1 {
        "a clip"
    } else {
        "the clip of a later lease"
    }
}

async fn store(clipbase: &Clipbase, key: &StorageKey, content: &'static str) -> Result<()> {
    let stream = byte_stream(content);
    let storage: &Arc<_> = clipbase.storage();
    storage
        .upload_stream(stream, content.len() as u64, key)
        .await
}

/// `None` for this code: what was asked for has gone its way already.
fn unless<T>(code: Code, outcome: Result<T>) -> Result<Option<T>> {
    match outcome {
        Err(error) if error.code() == code => Ok(None),
        outcome => outcome.map(Some),
    }
}
