//! What cutting a clip means: request, outcome, progress and errors.
//!
//! A [`Clipper`] works on local files and knows nothing of jobs, leases, databases or storage. It writes
//! only inside the request's scratch directory, and stops at once when its future is dropped.
//!
//! A worker runs any clipper: `examples/own_processor.rs` puts one of its own around the one that ships.
//!
//! ```
//! use clipbase_worker::clipper::{
//!     Clip, ClipError, ClipErrorCode, ClipRequest, Clipper, CutMethod, Progress, Stage,
//! };
//!
//! /// Takes the source as it is.
//! #[derive(Debug)]
//! struct Whole;
//!
//! #[async_trait::async_trait]
//! impl Clipper for Whole {
//!     async fn clip(
//!         &self,
//!         request: &ClipRequest,
//!         progress: &dyn Progress,
//!     ) -> Result<Clip, ClipError> {
//!         progress.report(Stage::Cutting, 0);
//!         let video = request.scratch.join("clip.mp4");
//!         tokio::fs::copy(&request.source, &video).await.map_err(|_| {
//!             ClipError::new(ClipErrorCode::ScratchFailed, "the copy could not be written")
//!         })?;
//!         progress.report(Stage::Cutting, 100);
//!         Ok(Clip {
//!             video,
//!             subtitles: None,
//!             duration_ms: request.end_ms - request.start_ms,
//!             method: CutMethod::Copied,
//!         })
//!     }
//! }
//! ```

mod error;

use std::fmt;
use std::path::PathBuf;

use async_trait::async_trait;

pub use error::{ClipError, ClipErrorCode};

/// Cuts one clip out of one local file.
#[async_trait]
pub trait Clipper: Send + Sync + fmt::Debug {
    /// Cuts the clip. Dropping the future stops the work and leaves no process behind.
    async fn clip(&self, request: &ClipRequest, progress: &dyn Progress)
    -> Result<Clip, ClipError>;

    /// Waits until nothing runs any more that dropped futures have left behind. A worker that stops a clip
    /// waits for this before it tells the outcome and removes the scratch directory. A clipper that starts
    /// no processes needs none of its own.
    async fn settled(&self) {}
}

/// Hears how far a clip has come. Called often, so it must return at once.
pub trait Progress: Send + Sync {
    /// `percent` is of the whole clip, 0 to 100, and never goes back.
    fn report(&self, stage: Stage, percent: u8);
}

/// Nobody listens.
impl Progress for () {
    fn report(&self, _stage: Stage, _percent: u8) {}
}

/// What to cut: a local file and a range in milliseconds from the beginning of its presentation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClipRequest {
    /// The video. Any name is safe: it never reaches a shell and is never read as an option or a URL.
    pub source: PathBuf,
    /// Where the clip begins.
    pub start_ms: i64,
    /// Where the clip ends, not included.
    pub end_ms: i64,
    /// Whether to write the range's subtitles beside the clip.
    pub subtitles: bool,
    /// Whether to draw the subtitles into the picture.
    pub burn_subtitles: bool,
    /// Which text track: a two- or three-letter language code; `None` or `auto` is the default track.
    pub subtitle_lang: Option<String>,
    /// A private, empty directory. Everything is written here and nowhere else.
    pub scratch: PathBuf,
}

impl ClipRequest {
    /// Tells whether the source's text track is needed at all.
    pub fn needs_text(&self) -> bool {
        self.subtitles || self.burn_subtitles
    }
}

/// A finished and verified clip, lying in the scratch directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clip {
    /// The MP4 file.
    pub video: PathBuf,
    /// The subtitles in clip time (UTF-8 SubRip), when they were asked for. May hold no cue.
    pub subtitles: Option<PathBuf>,
    /// The clip's length as measured, not as asked.
    pub duration_ms: i64,
    /// How the picture was made.
    pub method: CutMethod,
}

/// How the clip's picture was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CutMethod {
    /// The source's own picture, bit for bit: the range starts on a keyframe.
    Copied,
    /// Decoded and encoded again, so that the clip starts on the very frame.
    Encoded,
}

impl CutMethod {
    /// Returns the word for logs and answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Copied => "copied",
            Self::Encoded => "encoded",
        }
    }
}

impl fmt::Display for CutMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What the clipper is doing, in the usual order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stage {
    /// Reading the source's facts.
    Probing,
    /// Extracting and cutting the text track. Before the picture, because burning needs the text.
    Subtitles,
    /// Writing down what is said, where the source has no text track.
    Transcribing,
    /// Copying the picture.
    Cutting,
    /// Encoding the picture.
    Encoding,
    /// Checking the clip.
    Verifying,
}

impl Stage {
    /// Returns the word for logs, events and progress bars.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Probing => "probing",
            Self::Subtitles => "subtitles",
            Self::Transcribing => "transcribing",
            Self::Cutting => "cutting",
            Self::Encoding => "encoding",
            Self::Verifying => "verifying",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
