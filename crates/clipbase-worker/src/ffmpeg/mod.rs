//! The clipper built on the installed `ffmpeg` and `ffprobe`.
//!
//! It never runs a shell, never reads anything but the one local file, and never trusts its own work: a
//! clip is returned only after it was probed and its first frame decoded. It reads no environment: where
//! the programs are comes as [`FfmpegSettings`].
//!
//! ```no_run
//! use clipbase_worker::ffmpeg::{Ffmpeg, FfmpegSettings};
//!
//! # async fn example() -> Result<(), clipbase_worker::clipper::ClipError> {
//! let ffmpeg = Ffmpeg::find(&FfmpegSettings {
//!     search_path: Some("/usr/local/bin:/usr/bin".into()),
//!     ..FfmpegSettings::default()
//! })?;
//! let source = ffmpeg.probe("talk.mp4".as_ref()).await?;
//! assert!(source.duration_ms > 0);
//! # Ok(())
//! # }
//! ```

mod args;
mod cut;
mod diagnose;
mod find;
mod frames;
mod job;
mod language;
pub mod limits;
mod probe;
mod progress;
mod references;
mod sniff;
mod source;
mod srt;
mod subtitles;
mod time;
mod transcript;
mod verify;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::clipper::{
    Clip, ClipError, ClipErrorCode, ClipRequest, Clipper, CutMethod, Progress, Stage,
};
use crate::process::Tool;
use crate::space;
use crate::transcriber::Transcriber;
use job::Job;
use progress::Reporter;
pub use source::{FrameRate, Source, TextTrack};

/// Where the programs are and how long they may run.
#[derive(Clone, Debug)]
pub struct FfmpegSettings {
    /// The `ffmpeg` to use; looked up in the search path when absent.
    pub ffmpeg: Option<PathBuf>,
    /// The `ffprobe` to use; looked up beside `ffmpeg`, then in the search path, when absent.
    pub ffprobe: Option<PathBuf>,
    /// The caller's `PATH`. Children get it and no other variable.
    pub search_path: Option<OsString>,
    /// How long one clip may take; longer ones fail with `TIME_LIMIT`.
    pub clip_time_max: Duration,
    /// How long a source may play; longer ones fail with `SOURCE_TOO_LONG`.
    pub source_duration_max: Option<Duration>,
    /// What writes down the sound where subtitles are wanted and the source has no text track; without it
    /// such clips fail with `NO_TEXT_TRACK`.
    pub transcriber: Option<Arc<dyn Transcriber>>,
}

impl Default for FfmpegSettings {
    fn default() -> Self {
        Self {
            ffmpeg: None,
            ffprobe: None,
            search_path: None,
            clip_time_max: limits::CLIP_TIME_MAX,
            source_duration_max: None,
            transcriber: None,
        }
    }
}

/// The installed programs, ready to cut.
#[derive(Clone, Debug)]
pub struct Ffmpeg {
    cutter: Tool,
    prober: Tool,
    clip_time_max: Duration,
    source_duration_max: Option<Duration>,
    transcriber: Option<Arc<dyn Transcriber>>,
}

impl Ffmpeg {
    /// Finds both programs; runs neither.
    ///
    /// # Errors
    /// `FFMPEG_MISSING`, with the line that installs them.
    pub fn find(settings: &FfmpegSettings) -> Result<Self, ClipError> {
        let search_path = settings.search_path.as_deref();
        let ffmpeg = find::tool("ffmpeg", settings.ffmpeg.as_deref(), None, search_path)?;
        let ffprobe = find::tool(
            "ffprobe",
            settings.ffprobe.as_deref(),
            ffmpeg.path.parent(),
            search_path,
        )?;
        Ok(Self {
            cutter: ffmpeg,
            prober: ffprobe,
            clip_time_max: settings.clip_time_max,
            source_duration_max: settings.source_duration_max,
            transcriber: settings.transcriber.clone(),
        })
    }

    /// Reads the facts of a source, so that bad input is refused before anything is stored.
    ///
    /// # Errors
    /// `SOURCE_MISSING`, `NOT_A_VIDEO`, `UNSUPPORTED_CONTAINER`.
    pub async fn probe(&self, source: &Path) -> Result<Source, ClipError> {
        let path = sniff::source(source).await?;
        probe::source(&self.prober, &path).await
    }

    /// Checks a request against a probed source: as [`Source::check`], with this clipper's limits and its
    /// transcriber.
    ///
    /// # Errors
    /// As [`Source::check`], and `SOURCE_TOO_LONG`.
    pub fn check(&self, source: &Source, request: &ClipRequest) -> Result<(), ClipError> {
        if let Some(most) = self.source_duration_max
            && u128::from(source.duration_ms.unsigned_abs()) > most.as_millis()
        {
            return Err(ClipError::new(
                ClipErrorCode::SourceTooLong,
                format!(
                    "the source plays longer than {} s, the most that is taken; use a shorter one",
                    most.as_secs_f64()
                ),
            ));
        }
        if self.transcriber.is_some() && source.needs_transcript(request) {
            return source.check_range(request);
        }
        source.check(request)
    }

    async fn cut(&self, request: &ClipRequest, progress: &dyn Progress) -> Result<Clip, ClipError> {
        let reporter = Reporter::new(progress);
        reporter.report(Stage::Probing, 0, 1);
        let scratch = job::scratch(&request.scratch)?;
        let path = sniff::source(&request.source).await?;
        let source = probe::source(&self.prober, &path).await?;
        self.check(&source, request)?;
        space::check(&scratch, source.clip_bytes(source.clip_ms(request)))?;
        let start = frames::start(&self.prober, &path, &source, request.start_ms).await?;
        reporter.report(Stage::Probing, 1, 1);
        let job = Job {
            ffmpeg: &self.cutter,
            ffprobe: &self.prober,
            request,
            path,
            scratch,
            source,
            reporter,
            time_max: self.clip_time_max,
        };
        job.run(start, self.transcriber.as_deref()).await
    }
}

#[async_trait]
impl Clipper for Ffmpeg {
    async fn clip(
        &self,
        request: &ClipRequest,
        progress: &dyn Progress,
    ) -> Result<Clip, ClipError> {
        let work = self.cut(request, progress);
        match tokio::time::timeout(self.clip_time_max, work).await {
            Ok(outcome) => outcome,
            Err(_) => Err(ClipError::new(
                ClipErrorCode::TimeLimit,
                format!(
                    "the clip took longer than {} seconds; cut a shorter range or raise the time limit",
                    self.clip_time_max.as_secs()
                ),
            )),
        }
    }

    async fn settled(&self) {
        self.cutter.dying.settled().await;
        self.prober.dying.settled().await;
        if let Some(transcriber) = &self.transcriber {
            transcriber.settled().await;
        }
    }
}

impl Job<'_> {
    async fn run(
        self,
        start: frames::Start,
        transcriber: Option<&dyn Transcriber>,
    ) -> Result<Clip, ClipError> {
        let mut cues = 0;
        if self.request.needs_text() {
            let transcriber = transcriber.filter(|_| self.source.needs_transcript(self.request));
            cues = if let Some(transcriber) = transcriber {
                transcript::write(&self, transcriber).await?
            } else {
                let lang = self.request.subtitle_lang.as_deref();
                let track = self.source.text_track(lang)?.clone();
                subtitles::extract(&self, &track).await?
            };
        }
        let (duration_ms, method) = self.picture(start, cues).await?;
        verify::done(&self);
        Ok(Clip {
            video: self.file(job::VIDEO),
            subtitles: self.request.subtitles.then(|| self.file(job::SUBTITLES)),
            duration_ms,
            method,
        })
    }

    /// Copies where that gives what was asked for, and encodes otherwise.
    async fn picture(
        &self,
        start: frames::Start,
        cues: usize,
    ) -> Result<(i64, CutMethod), ClipError> {
        let burn = self.request.burn_subtitles;
        if start.keyframe && !burn && self.source.picture_fits_mp4() {
            match self.copied(start).await {
                Ok(duration_ms) => return Ok((duration_ms, CutMethod::Copied)),
                // A full disk or a killed child would be met again.
                Err(error) if error.is_retryable() => return Err(error),
                Err(error) => {
                    tracing::debug!(code = error.code().as_str(), "copy refused, encoding");
                }
            }
        }
        // A file without cues is not one that the subtitles filter can open.
        cut::encode(self, start, burn && cues > 0).await?;
        Ok((verify::clip(self).await?, CutMethod::Encoded))
    }

    async fn copied(&self, start: frames::Start) -> Result<i64, ClipError> {
        cut::copy(self, start).await?;
        verify::clip(self).await
    }
}
