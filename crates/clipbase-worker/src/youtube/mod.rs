//! Fetching a video from YouTube: off unless a worker is given a [`Fetcher`].
//!
//! [`YtDlp`] is the one that ships: the installed `yt-dlp`, held to one video of a fixed list of hosts, without
//! configuration, plugins, cookies or hooks, within bounds of size, length and time. Nothing that a stranger
//! wrote becomes an argument: the video's id is taken out of the address, and a new address is built from it.

mod address;
mod answer;
mod ytdlp;

use std::fmt;
use std::path::PathBuf;

use async_trait::async_trait;

use crate::clipper::{ClipError, Progress};
pub use ytdlp::{BYTES_MAX, DURATION_MAX, TIME_MAX, YtDlp, YtDlpSettings};

/// Brings a video to this machine.
#[async_trait]
pub trait Fetcher: Send + Sync + fmt::Debug {
    /// Checks an address without asking anybody.
    ///
    /// # Errors
    /// `YOUTUBE_URL_REFUSED`.
    fn check(&self, url: &str) -> Result<(), ClipError>;

    /// How large a video may be: so much room is set aside before it is fetched.
    fn bytes_max(&self) -> u64;

    /// Fetches the video and returns its file, which lies in the request's scratch directory. Dropping the
    /// future stops the work and leaves no process behind.
    ///
    /// # Errors
    /// The `YOUTUBE_…` and `YTDLP_…` codes, and `NO_SPACE`.
    async fn fetch(
        &self,
        request: &FetchRequest,
        progress: &dyn Progress,
    ) -> Result<PathBuf, ClipError>;

    /// Waits until nothing runs any more that dropped futures have left behind.
    async fn settled(&self) {}
}

/// What to fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchRequest {
    /// The address, as the job has it.
    pub url: String,
    /// How large the file may be; never more than the fetcher's own bound.
    pub bytes_max: u64,
    /// A private, empty directory. Everything is written here and nowhere else.
    pub scratch: PathBuf,
}
