//! What a worker does not take, and what it waits for.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use clipbase::storage::{Operation, Storage as _, StorageKey, byte_stream};
use clipbase::{ClipRange, Job, JobStatus, NewJob, Source};
use clipbase_testkit::{Bench, builders, run, wait_until};
use clipbase_worker::WorkerOptions;
use clipbase_worker::clipper::{ClipError, ClipErrorCode, Progress, Stage};
use clipbase_worker::youtube::{FetchRequest, Fetcher};

use crate::at_work::{at_work, ends, folder, get, hasty, job};
use crate::obedient::{Obedient, Order};

/// Runs one job that never reaches the clipper.
async fn refused(bench: &Bench, new: &NewJob, change: impl FnOnce(&mut WorkerOptions)) -> Job {
    let (folder, clipper) = (folder(), Obedient::new());
    let mut options = hasty(&folder);
    change(&mut options);
    let at_work = at_work(&bench.clipbase, &clipper, options);
    bench.clipbase.jobs().create(new).await.unwrap();
    let job = ends(bench, new.id).await;
    assert_eq!(at_work.stop().await.failed, 1);
    assert_eq!(job.attempts, 1, "bad input is not tried again");
    assert_eq!(bench.storage.calls(Operation::Download), 0);
    job
}

async fn upload(bench: &Bench, bytes: usize) -> NewJob {
    let new = builders::new_job();
    let key = StorageKey::source(new.id, "mp4").unwrap();
    let content = byte_stream(vec![7; bytes]);
    let stored = bench
        .storage
        .upload_stream(content, bytes as u64, &key)
        .await;
    stored.unwrap();
    new
}

fn youtube(url: &str) -> NewJob {
    let range = ClipRange::from_millis(0, 1_000).unwrap();
    NewJob::new(clipbase::JobId::new(), Source::Youtube(url.into()), range)
}

#[tokio::test]
async fn what_is_too_large_too_long_or_absent_is_refused_before_it_is_fetched() {
    run(async |bench| {
        let large = upload(bench, 1_001).await;
        let job = refused(bench, &large, |options| {
            options.source_bytes_max = Some(1_000);
        })
        .await;
        assert_eq!(job.error_code.as_deref(), Some("SOURCE_TOO_LARGE"));

        let long = upload(bench, 1_000).await;
        let job = refused(bench, &long, |options| {
            options.clip_length_max = Some(Duration::from_millis(999));
        })
        .await;
        assert_eq!(job.error_code.as_deref(), Some("CLIP_TOO_LONG"));

        let wide = upload(bench, 1_000).await;
        let job = refused(bench, &wide, |options| {
            options.scratch_bytes_max = Some(1_999);
        })
        .await;
        assert_eq!(job.error_code.as_deref(), Some("SCRATCH_TOO_SMALL"));

        let absent = builders::new_job();
        let job = refused(bench, &absent, |_| ()).await;
        assert_eq!(job.error_code.as_deref(), Some("STORAGE_NOT_FOUND"));

        let video = youtube("https://www.youtube.com/watch?v=dQw4w9WgXcQ");
        let job = refused(bench, &video, |_| ()).await;
        assert_eq!(job.error_code.as_deref(), Some("YOUTUBE_DISABLED"));
    })
    .await;
}

#[tokio::test]
async fn a_job_waits_for_room_beside_another() {
    run(async |bench| {
        let (folder, clipper) = (folder(), Obedient::new());
        let ids = [job(bench).await, job(bench).await];
        let mut options = hasty(&folder);
        options.concurrency = 2;
        // One piece: each job takes all of it.
        options.scratch_bytes_max = Some(1_000_000);
        let at_work = at_work(&bench.clipbase, &clipper, options);
        clipper.begun().await;
        wait_until("both are claimed", async || {
            let mut claimed = 0;
            for id in ids {
                claimed += i32::from(get(bench, id).await.status == JobStatus::Processing);
            }
            claimed == 2
        })
        .await;
        for id in ids {
            clipper.order(Order::Clip);
            assert_eq!(ends(bench, id).await.status, JobStatus::Done);
        }
        assert_eq!(clipper.most_at_a_time(), 1);
        assert_eq!(at_work.stop().await.done, 2);
    })
    .await;
}

#[tokio::test]
async fn a_job_that_takes_too_long_is_stopped() {
    run(async |bench| {
        let (folder, clipper) = (folder(), Obedient::new());
        let id = job(bench).await;
        let mut options = hasty(&folder);
        options.run_time_max = Some(Duration::from_millis(100));
        let at_work = at_work(&bench.clipbase, &clipper, options);
        // The clipper never ends by itself.
        let job = ends(bench, id).await;
        assert_eq!(job.error_code.as_deref(), Some("TIME_LIMIT"));
        assert_eq!(at_work.stop().await.failed, 1);
    })
    .await;
}

/// Writes a file, or refuses.
#[derive(Debug)]
struct Planted(Option<ClipErrorCode>);

#[async_trait]
impl Fetcher for Planted {
    fn check(&self, url: &str) -> Result<(), ClipError> {
        let fits = url.contains("/watch?v=");
        let refused = || ClipError::new(ClipErrorCode::YoutubeUrlRefused, "as ordered");
        fits.then_some(()).ok_or_else(refused)
    }

    fn bytes_max(&self) -> u64 {
        1_000_000
    }

    async fn fetch(
        &self,
        request: &FetchRequest,
        progress: &dyn Progress,
    ) -> Result<PathBuf, ClipError> {
        assert_eq!(request.bytes_max, 500_000, "the worker's own bound is less");
        if let Some(code) = self.0 {
            return Err(ClipError::new(code, "as ordered"));
        }
        progress.report(Stage::Probing, 100);
        let path = request.scratch.join("source.mp4");
        std::fs::write(&path, "video").unwrap();
        Ok(path)
    }
}

fn fetching(code: Option<ClipErrorCode>) -> impl FnOnce(&mut WorkerOptions) {
    move |options| {
        options.source_bytes_max = Some(500_000);
        options.youtube = Some(Arc::new(Planted(code)));
    }
}

#[tokio::test]
async fn a_video_from_youtube_is_fetched_and_cut() {
    run(async |bench| {
        let (folder, clipper) = (folder(), Obedient::new());
        let video = youtube("https://www.youtube.com/watch?v=dQw4w9WgXcQ");
        bench.clipbase.jobs().create(&video).await.unwrap();
        let mut options = hasty(&folder);
        fetching(None)(&mut options);
        let at_work = at_work(&bench.clipbase, &clipper, options);
        clipper.begun().await;
        clipper.order(Order::Clip);
        assert_eq!(ends(bench, video.id).await.status, JobStatus::Done);
        assert_eq!(at_work.stop().await.done, 1);
    })
    .await;
}

#[tokio::test]
async fn a_video_that_cannot_be_had_ends_the_job_with_the_fetchers_code() {
    run(async |bench| {
        let video = youtube("https://www.youtube.com/watch?v=dQw4w9WgXcQ");
        let code = Some(ClipErrorCode::YoutubeUnavailable);
        let job = refused(bench, &video, fetching(code)).await;
        assert_eq!(job.error_code.as_deref(), Some("YOUTUBE_UNAVAILABLE"));
        let other = youtube("https://www.youtube.com/playlist?list=x");
        let job = refused(bench, &other, fetching(None)).await;
        assert_eq!(job.error_code.as_deref(), Some("YOUTUBE_URL_REFUSED"));
    })
    .await;
}
