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
use clipbase::{ClipRange, Job, JobId, JobStatus, NewJob, Source};
use clipbase_worker::Worker;
use clipbase_worker::clipper::ClipRequest;
use clipbase_worker::ffmpeg::Ffmpeg;
use clipbase_worker::runtime::Ran;
use serde::Serialize;
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use super::jobs::store_source;
use super::target::{copy_out, unwritable};
use crate::context::{Context, Global, find_ffmpeg, shutdown_token};
use crate::environment::Environment;
use crate::failure::Failure;
use crate::output::Output;
use crate::progress::Bar;
use crate::time::parse_millis;

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
    /// The video
    input: PathBuf,

    /// Where the clip starts: seconds (12.5) or HH:MM:SS (00:01:05.250)
    #[arg(long, value_name = "TIME", value_parser = parse_millis)]
    start: i64,

    /// Where the clip ends
    #[arg(long, value_name = "TIME", value_parser = parse_millis)]
    end: i64,

    /// Also write the subtitles, cut and shifted, beside the clip
    #[arg(long)]
    subtitles: bool,

    /// Draw the subtitles into the picture
    #[arg(long)]
    burn_subtitles: bool,

    /// Which text track: a language such as en, or auto
    #[arg(long, value_name = "LANG", default_value = "auto")]
    subtitle_lang: String,

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
        let range = ClipRange::from_millis(self.start, self.end)?;
        let ffmpeg = find_ffmpeg(environment)?;
        self.check_source(&ffmpeg, global, range).await?;
        let out = self.target()?;
        let request = self.request(range)?;

        // Until there is a job, nothing has to be handed back: an interrupt ends the command at once.
        let (context, worker, job) = tokio::select! {
            prepared = self.prepare(global, environment, ffmpeg, &request, range, bar) => prepared?,
            () = shutdown.cancelled() => return Err(Failure::interrupted()),
        };
        let was_done_before = job.status == JobStatus::Done;
        let job = finish(&worker, &job, bar, shutdown).await?;
        bar.say("copying the clip out");
        let subtitles = copy_out(&context, &job, &out).await?;
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
        range: ClipRange,
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
            None => self.create(&context, request, range, bar).await?,
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
        let source = ffmpeg.probe(&self.input).await?;
        source.check(&ClipRequest {
            source: self.input.clone(),
            start_ms: range.start_ms(),
            end_ms: range.end_ms(),
            subtitles: self.subtitles,
            burn_subtitles: self.burn_subtitles,
            subtitle_lang: Some(self.subtitle_lang.clone()),
            scratch: global.data_dir.clone().unwrap_or_default(),
        })?;
        Ok(())
    }

    /// Where the clip goes: a place that can be written to, and not onto the source.
    fn target(&self) -> Result<PathBuf, Failure> {
        let stem = self.input.file_stem().unwrap_or_default().to_string_lossy();
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
        if same(&out, &self.input) || same(&out.with_extension("srt"), &self.input) {
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
            let what = format!("{} cannot be read: {error}", self.input.display());
            Failure::new("SOURCE_MISSING", what)
        };
        let path = self.input.canonicalize().map_err(unreadable)?;
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
            self.subtitles,
            self.burn_subtitles,
            self.subtitle_lang,
        );
        hash.update(facts);
        let key: String = hash
            .finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Ok(Idempotency {
            scope: SCOPE.to_owned(),
            key,
            ttl: REQUEST_TTL,
        })
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
        range: ClipRange,
        bar: &Bar,
    ) -> Result<Job, Failure> {
        bar.say("storing the source");
        let id = JobId::new();
        let key = StorageKey::source(id, &extension(&self.input))?;
        let mut job = NewJob::new(id, Source::Upload(key.clone()), range);
        job.with_subtitles = self.subtitles || self.burn_subtitles;
        job.burn_subtitles = self.burn_subtitles;
        job.subtitle_lang.clone_from(&self.subtitle_lang);
        store_source(context, &self.input, &key).await?;
        Ok(context
            .clipbase
            .jobs()
            .create_once(&job, request)
            .await?
            .into_job())
    }
}

/// The extension that the source is stored under: its own where that is a plain one.
pub(crate) fn extension(input: &Path) -> String {
    let own = input
        .extension()
        .and_then(|extension| extension.to_str())
        .unwrap_or_default();
    if StorageKey::source(JobId::new(), own).is_ok() {
        own.to_owned()
    } else {
        "bin".to_owned()
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
