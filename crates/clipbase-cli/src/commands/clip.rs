//! `clipbase clip`: the main job. File in, clip out, through the whole data layer.
//!
//! The command names its request by the file and what is asked of it, so that the same command finds its own
//! job again: one that was killed is finished, a finished one is copied out.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use clipbase::jobs::Idempotency;
use clipbase::storage::StorageKey;
use clipbase::{ClipRange, Job, JobStatus};
use clipbase_worker::Worker;
use clipbase_worker::clipper::ClipRequest;
use clipbase_worker::ffmpeg::Ffmpeg;
use clipbase_worker::runtime::Ran;
use serde::Serialize;
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use super::target::{copy_out, unwritable};
use super::wanted::Wanted;
use crate::context::{Context, Global, shutdown_token};
use crate::environment::Environment;
use crate::failure::Failure;
use crate::output::Output;
use crate::progress::Bar;
use crate::tools::find_ffmpeg;

/// Whose requests these are, among the idempotency keys of a shared database.
const SCOPE: &str = "clipbase clip";
/// How long the same command finds its job; the job itself may expire before.
const REQUEST_TTL: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Cut a clip out of a video: the main job.
///
/// Needs no configuration: it starts a private PostgreSQL, stores the source, queues a job, runs it, checks the
/// clip and copies it out. Killed at any moment, the same command finishes the job; after success it
/// copies the clip out again.
///
/// Example: clipbase clip talk.mp4 --start 00:00:05 --end 12.5 --subtitles
#[derive(Args)]
pub(crate) struct Clip {
    #[command(flatten)]
    wanted: Wanted,

    /// Write the clip here; by default INPUT-clip.mp4 in this folder
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,

    /// Make a new job, even if this one was done before
    #[arg(long)]
    again: bool,
}

/// What the command answers.
#[derive(Serialize)]
struct Done {
    job: Job,
    /// Where the clip was written.
    video: PathBuf,
    /// Where the subtitles were written.
    subtitles: Option<PathBuf>,
    /// Whether an earlier run had finished the job already.
    was_done_before: bool,
}

impl Clip {
    pub(crate) async fn run(
        self,
        global: &Global,
        environment: &Environment,
        output: Output,
    ) -> Result<(), Failure> {
        let bar = Bar::new(output);
        let shutdown = shutdown_token();
        let outcome = tokio::select! {
            outcome = self.make(global, environment, &bar, &shutdown) => outcome,
            // Whatever was begun is a job by now, or an announced upload: both find their end.
            () = hard_stop(&shutdown) => Err(Failure::interrupted()),
        };
        bar.clear();
        let done = outcome?;
        if done.was_done_before && !output.is_json() {
            eprintln!("done before; copied out again (--again makes a new job)");
        }
        output.success(&done, |done| {
            let mut text = format!("{}\n", done.video.display());
            if let Some(path) = &done.subtitles {
                text += &format!("{}\n", path.display());
            }
            text
        });
        Ok(())
    }

    async fn make(
        &self,
        global: &Global,
        environment: &Environment,
        bar: &Bar,
        shutdown: &CancellationToken,
    ) -> Result<Done, Failure> {
        bar.say("looking at the source");
        let range = self.wanted.range()?;
        let ffmpeg = find_ffmpeg(environment)?;
        self.check_source(&ffmpeg, global, range).await?;
        let out = self.target()?;
        let request = self.request(range)?;

        // Until there is a job, nothing has to be handed back: an interrupt ends the command at once.
        let (context, worker, job) = tokio::select! {
            prepared = self.prepare(global, environment, ffmpeg, &request, bar) => prepared?,
            () = shutdown.cancelled() => return Err(Failure::interrupted()),
        };
        let was_done_before = job.status == JobStatus::Done;
        let job = finish(&worker, &job, bar, shutdown).await?;
        bar.say("copying the clip out");
        let subtitles = copy_out(&context, &job, &out, self.wanted.subtitles).await?;
        Ok(Done {
            job,
            video: out,
            subtitles,
            was_done_before,
        })
    }

    /// Finds the job of an earlier run, or stores the source and makes one.
    async fn prepare(
        &self,
        global: &Global,
        environment: &Environment,
        ffmpeg: Ffmpeg,
        request: &Idempotency,
        bar: &Bar,
    ) -> Result<(Context, Worker, Job), Failure> {
        bar.say("starting");
        let context = Context::open_and_migrate(global, environment).await?;
        let options = context.worker_options();
        let worker = Worker::start(context.clipbase.clone(), Arc::new(ffmpeg), options)?;
        worker.reap().await?;
        let jobs = context.clipbase.jobs();
        if self.again {
            jobs.forget_request(request).await?;
        }
        let job = match self.find(&context, request).await? {
            Some(job) if job.status == JobStatus::Failed => jobs.retry(job.id).await?,
            Some(job) => job,
            None => self.create(&context, request, bar).await?,
        };
        Ok((context, worker, job))
    }

    /// Refuses bad input before anything is stored.
    async fn check_source(
        &self,
        ffmpeg: &Ffmpeg,
        global: &Global,
        range: ClipRange,
    ) -> Result<(), Failure> {
        let source = ffmpeg.probe(&self.wanted.input).await?;
        let request = ClipRequest {
            source: self.wanted.input.clone(),
            start_ms: range.start_ms(),
            end_ms: range.end_ms(),
            subtitles: self.wanted.subtitles,
            burn_subtitles: self.wanted.burn_subtitles,
            subtitle_lang: Some(self.wanted.subtitle_lang.clone()),
            scratch: global.data_dir.clone().unwrap_or_default(),
        };
        Ok(ffmpeg.check(&source, &request)?)
    }

    /// Where the clip goes: a place that can be written to, and not onto the source.
    fn target(&self) -> Result<PathBuf, Failure> {
        let stem = self
            .wanted
            .input
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy();
        let out = self
            .out
            .clone()
            .unwrap_or_else(|| PathBuf::from(format!("{stem}-clip.mp4")));
        let out = std::path::absolute(&out).unwrap_or(out);
        if out.is_dir() {
            return Err(Failure::input(format!(
                "--out {} is a folder; name a file",
                out.display()
            )));
        }
        let same = |a: &Path, b: &Path| matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b);
        if same(&out, &self.wanted.input) || same(&out.with_extension("srt"), &self.wanted.input) {
            return Err(Failure::input(
                "--out would overwrite the source; name another file",
            ));
        }
        let folder = out.parent().unwrap_or(Path::new("/"));
        // The one sure test of a folder is to write to it.
        match tempfile::NamedTempFile::new_in(folder) {
            Ok(_) => Ok(out),
            Err(error) => Err(unwritable(folder, error.kind())),
        }
    }

    /// The request's name: the file as it is now, and what is asked of it.
    fn request(&self, range: ClipRange) -> Result<Idempotency, Failure> {
        let unreadable = |error: std::io::Error| {
            let what = format!("{} cannot be read: {error}", self.wanted.input.display());
            Failure::new("SOURCE_MISSING", what)
        };
        let path = self.wanted.input.canonicalize().map_err(unreadable)?;
        let found = std::fs::metadata(&path).map_err(unreadable)?;
        let mut hash = Sha256::new();
        hash.update(path.as_os_str().as_encoded_bytes());
        let facts = format!(
            "\0{} {} {} {} {} {} {} {}",
            found.len(),
            found.mtime(),
            found.mtime_nsec(),
            range.start_ms(),
            range.end_ms(),
            self.wanted.subtitles,
            self.wanted.burn_subtitles,
            self.wanted.subtitle_lang,
        );
        hash.update(facts);
        let key: String = hash
            .finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let mut request = Idempotency::new(SCOPE, key);
        request.ttl = REQUEST_TTL;
        Ok(request)
    }

    /// The job that an earlier run of this command made, unless its clip is gone.
    async fn find(&self, context: &Context, request: &Idempotency) -> Result<Option<Job>, Failure> {
        let Some(job) = context.clipbase.jobs().find_request(request).await? else {
            return Ok(None);
        };
        let needed = match job.status {
            JobStatus::Done => job.result_video_key.as_deref(),
            _ => job.source_key.as_deref(),
        };
        let key: StorageKey = needed.unwrap_or_default().parse()?;
        if context.clipbase.storage().info(&key).await?.is_some() {
            return Ok(Some(job));
        }
        context.clipbase.jobs().forget_request(request).await?;
        Ok(None)
    }

    async fn create(
        &self,
        context: &Context,
        request: &Idempotency,
        bar: &Bar,
    ) -> Result<Job, Failure> {
        bar.say("storing the source");
        let job = self.wanted.store(context).await?;
        Ok(context
            .clipbase
            .jobs()
            .create_once(&job, request)
            .await?
            .into_job())
    }
}

/// Runs the job until it has a clip. What somebody must mend first is told at once, and the job waits in the
/// queue for the same command; what passes by itself is tried again as often as the job allows.
async fn finish(
    worker: &Worker,
    job: &Job,
    bar: &Bar,
    shutdown: &CancellationToken,
) -> Result<Job, Failure> {
    loop {
        let job = match worker.run_job(job.id, bar, shutdown).await? {
            Ran::Ended(job) => *job,
            Ran::Requeued(failure) if needs_mending(failure.code()) => {
                let what = format!("{}; then run the same command again", failure.message());
                return Err(Failure::new(failure.code().to_owned(), what));
            }
            Ran::Requeued(_) => continue,
            Ran::Stopped => return Err(Failure::interrupted()),
        };
        if job.status == JobStatus::Failed {
            let code = job.error_code.unwrap_or_else(|| "FAILED".to_owned());
            return Err(Failure::new(code, job.error_message.unwrap_or_default()));
        }
        return Ok(job);
    }
}

/// Tells whether trying again is useless until somebody has done something about this machine.
fn needs_mending(code: &str) -> bool {
    matches!(
        code,
        "NO_SPACE" | "STORAGE_QUOTA" | "SCRATCH_FAILED" | "FFMPEG_MISSING" | "CONFIG_INVALID"
    )
}

/// After Ctrl-C the job is released, which takes a moment; not for ever, though.
async fn hard_stop(shutdown: &CancellationToken) {
    shutdown.cancelled().await;
    tokio::time::sleep(Duration::from_secs(10)).await;
}
