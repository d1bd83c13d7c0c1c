//! A worker with the real ffmpeg: nothing of it runs any more when an outcome is told.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use clipbase::leases::Failure;
use clipbase::storage::{Storage as _, StorageKey};
use clipbase::{ClipRange, JobId, JobStatus, NewJob, Source, WorkerId};
use clipbase_testkit::{Bench, builders, run, wait_until};
use clipbase_worker::ffmpeg::{Ffmpeg, FfmpegSettings};
use clipbase_worker::runtime::{JobStage, Observer, Outcome, Silent};
use clipbase_worker::{Worker, WorkerOptions};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::at_work::{at_work, ends, folder, get, hasty};
use crate::support::{SEARCH_PATH, Scene, sample};

/// A script in front of ffmpeg that tells the id of the process, which then becomes one that never ends.
fn endless(folder: &TempDir) -> (Ffmpeg, PathBuf) {
    let told = folder.path().join("pid");
    let program = Scene::executable(
        &folder.path().join("endless"),
        &format!(
            "#!/bin/sh\necho $$ > {told}.new && mv {told}.new {told}\n\
             exec ffmpeg -nostdin -v error -re -f lavfi -i testsrc -f null -\n",
            told = told.display()
        ),
    );
    let settings = FfmpegSettings {
        ffmpeg: Some(program),
        ffprobe: Some("/usr/bin/ffprobe".into()),
        search_path: Some(SEARCH_PATH.into()),
        ..FfmpegSettings::default()
    };
    (Ffmpeg::find(&settings).unwrap(), told)
}

async fn job(bench: &Bench) -> JobId {
    let id = JobId::new();
    let key = StorageKey::source(id, "mp4").unwrap();
    bench.storage.upload(&sample(), &key).await.unwrap();
    let range = ClipRange::from_millis(1_234, 3_000).unwrap();
    let new = NewJob::new(id, Source::Upload(key), range);
    bench.clipbase.jobs().create(&new).await.unwrap().id
}

async fn pid(told: &Path) -> String {
    wait_until("ffmpeg runs", async || told.exists()).await;
    std::fs::read_to_string(told).unwrap().trim().to_owned()
}

fn is_alive(pid: &str) -> bool {
    Path::new("/proc").join(pid).exists()
}

/// Looks, when an outcome is told, whether the process is there.
#[derive(Debug)]
struct Witness {
    told: PathBuf,
    seen: Mutex<Option<(Outcome, bool)>>,
}

impl Observer for Witness {
    fn stage(&self, _job: JobId, _stage: JobStage, _percent: u8) {}

    fn ended(&self, _job: JobId, outcome: Outcome, _failure: Option<&Failure>) {
        let pid = std::fs::read_to_string(&self.told).unwrap();
        *self.seen.lock().unwrap() = Some((outcome, is_alive(pid.trim())));
    }
}

fn unhurried(folder: &TempDir) -> WorkerOptions {
    let mut options = hasty(folder);
    options.shards = vec![0];
    options
}

#[tokio::test]
async fn a_cancel_is_told_when_ffmpeg_is_gone() {
    run(async |bench| {
        let folder = folder();
        let (ffmpeg, told) = endless(&folder);
        let id = job(bench).await;
        let worker =
            Worker::start(bench.clipbase.clone(), Arc::new(ffmpeg), unhurried(&folder)).unwrap();
        let witness = Arc::new(Witness {
            told: told.clone(),
            seen: Mutex::default(),
        });
        let never = CancellationToken::new();
        let task = {
            let (worker, witness) = (worker.clone(), witness.clone());
            tokio::spawn(async move { worker.run_until_idle(&never, witness).await })
        };
        let pid = pid(&told).await;
        assert!(is_alive(&pid));
        bench.clipbase.jobs().cancel(id).await.unwrap();
        // The row says so only when nothing runs any more.
        let job = ends(bench, id).await;
        assert!(!is_alive(&pid));
        assert_eq!(job.error_code.as_deref(), Some("CANCELED"));
        assert_eq!(task.await.unwrap().unwrap().failed, 1);
        let seen = *witness.seen.lock().unwrap();
        assert_eq!(seen, Some((Outcome::Failed, false)));
        let scratch = folder.path().join("scratch").join(worker.id().to_string());
        assert_eq!(std::fs::read_dir(scratch).unwrap().count(), 0);
    })
    .await;
}

#[tokio::test]
async fn a_lost_lease_stops_ffmpeg() {
    run(async |bench| {
        let folder = folder();
        let (ffmpeg, told) = endless(&folder);
        let id = job(bench).await;
        let at_work = at_work(&bench.clipbase, &ffmpeg, unhurried(&folder));
        let pid = pid(&told).await;
        let worker = get(bench, id).await.worker_id.unwrap();
        let leases = bench.clipbase.leases();
        let raw = bench.database.raw().await;
        assert_eq!(leases.reap_workers(&[worker], 10).await.unwrap().len(), 1);
        let sql = "UPDATE jobs SET shard = 7, run_at = now()";
        raw.batch_execute(sql).await.unwrap();
        builders::claim(&bench.clipbase, id, WorkerId::new()).await;
        wait_until("ffmpeg is gone", async || !is_alive(&pid)).await;
        let summary = at_work.stop().await;
        assert_eq!((summary.lost, summary.done), (1, 0));
    })
    .await;
}

#[tokio::test]
async fn a_stop_releases_the_job_when_ffmpeg_is_gone() {
    run(async |bench| {
        let folder = folder();
        let (ffmpeg, told) = endless(&folder);
        let id = job(bench).await;
        let at_work = at_work(&bench.clipbase, &ffmpeg, unhurried(&folder));
        let pid = pid(&told).await;
        assert_eq!(at_work.stop().await.requeued, 1);
        assert!(!is_alive(&pid));
        let job = get(bench, id).await;
        assert_eq!((job.status, job.attempts), (JobStatus::Queued, 0));
    })
    .await;
}

#[tokio::test]
async fn a_clip_by_the_real_ffmpeg_is_stored_and_done() {
    run(async |bench| {
        let folder = folder();
        let id = job(bench).await;
        let worker = Worker::start(
            bench.clipbase.clone(),
            Arc::new(crate::support::ffmpeg()),
            unhurried(&folder),
        )
        .unwrap();
        let never = CancellationToken::new();
        let summary = worker.run_until_idle(&never, Arc::new(Silent)).await;
        assert_eq!(summary.unwrap().done, 1);
        let clip = folder.path().join("clip.mp4");
        let key = StorageKey::result_video(id, 1);
        bench.storage.download(&key, &clip).await.unwrap();
        assert_eq!(crate::support::codecs(&clip), ["h264", "aac"]);
    })
    .await;
}

#[tokio::test]
async fn a_source_that_plays_too_long_is_refused() {
    let scene = Scene::new();
    let settings = FfmpegSettings {
        search_path: Some(SEARCH_PATH.into()),
        source_duration_max: Some(Duration::from_secs(19)),
        ..FfmpegSettings::default()
    };
    let ffmpeg = Ffmpeg::find(&settings).unwrap();
    let request = scene.request(&sample(), 0, 1_000);
    let error = clipbase_worker::clipper::Clipper::clip(&ffmpeg, &request, &())
        .await
        .unwrap_err();
    assert_eq!(error.code().as_str(), "SOURCE_TOO_LONG");
}
