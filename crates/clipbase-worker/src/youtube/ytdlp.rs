//! The fetcher built on the installed `yt-dlp`.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Notify;

use super::answer::{FOUND, Found, PROGRESS};
use super::{FetchRequest, Fetcher, address, answer};
use crate::clipper::{ClipError, ClipErrorCode, Progress, Stage};
use crate::process::{self, Exit, Run, Tool, Trouble};

/// How large a video may be unless the settings say otherwise: 2 GiB.
pub const BYTES_MAX: u64 = 2 * 1024 * 1024 * 1024;
/// How long a video may play unless the settings say otherwise.
pub const DURATION_MAX: Duration = Duration::from_secs(4 * 3600);
/// How long fetching may take unless the settings say otherwise.
pub const TIME_MAX: Duration = Duration::from_secs(3600);

/// yt-dlp's exit code for a video that its filter rejects.
const REJECTED: i32 = 101;

/// What is always said: one video, by the tool alone, into one file of a fixed name.
const ALWAYS: &[&str] = &[
    "--ignore-config",
    "--no-cache-dir",
    "--no-batch-file",
    "--no-playlist",
    "--no-cookies",
    "--no-cookies-from-browser",
    "--no-exec",
    "--no-mark-watched",
    "--no-simulate",
    "--no-mtime",
    "--no-continue",
    "--restrict-filenames",
    "--abort-on-unavailable-fragments",
    "--downloader",
    "native",
    "--fixup",
    "never",
    "--socket-timeout",
    "20",
    "--retries",
    "3",
    "--fragment-retries",
    "3",
    "--extractor-retries",
    "1",
    "--newline",
    "--progress",
    "--output",
    "source.%(ext)s",
];

/// Where yt-dlp is and how far it may go. Its `Debug` does not show the proxy.
#[derive(Clone)]
pub struct YtDlpSettings {
    /// The `yt-dlp` to use; looked up in the search path when absent.
    pub program: Option<PathBuf>,
    /// The `ffmpeg` that puts picture and sound together; yt-dlp looks for one itself when absent.
    pub ffmpeg: Option<PathBuf>,
    /// The caller's `PATH`. yt-dlp gets it, a home of its own and the proxy, and no other variable.
    pub search_path: Option<OsString>,
    /// How large a video may be, in bytes.
    pub bytes_max: u64,
    /// How long a video may play.
    pub duration_max: Duration,
    /// How long fetching may take.
    pub time_max: Duration,
    /// The tallest picture that is fetched, in lines.
    pub height_max: u32,
    /// The proxy through which everything goes: `http://user:password@host:port`. It is handed over in the
    /// environment, not among the arguments, which every user of the machine can read.
    pub proxy: Option<String>,
    /// For tests: fetch from this origin (`http://127.0.0.1:9000`) and nowhere else, and not from YouTube.
    pub only_from: Option<String>,
}

impl Default for YtDlpSettings {
    fn default() -> Self {
        Self {
            program: None,
            ffmpeg: None,
            search_path: None,
            bytes_max: BYTES_MAX,
            duration_max: DURATION_MAX,
            time_max: TIME_MAX,
            height_max: 1080,
            proxy: None,
            only_from: None,
        }
    }
}

impl fmt::Debug for YtDlpSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("YtDlpSettings")
            .field("program", &self.program)
            .field("bytes_max", &self.bytes_max)
            .field("duration_max", &self.duration_max)
            .field("time_max", &self.time_max)
            .field("has_proxy", &self.proxy.is_some())
            .finish_non_exhaustive()
    }
}

/// The installed yt-dlp, ready to fetch.
#[derive(Clone, Debug)]
pub struct YtDlp {
    tool: Tool,
    settings: YtDlpSettings,
}

impl YtDlp {
    /// Finds the program; runs nothing.
    ///
    /// # Errors
    /// `YTDLP_MISSING`, with the line that installs it.
    pub fn find(settings: YtDlpSettings) -> Result<Self, ClipError> {
        let search_path = settings.search_path.as_deref();
        let tool = process::find("yt-dlp", settings.program.as_deref(), None, search_path)
            .ok_or_else(missing)?;
        Ok(Self { tool, settings })
    }

    fn canonical(&self, url: &str) -> Result<String, ClipError> {
        match &self.settings.only_from {
            None => address::canonical(url),
            Some(origin) => address::within(origin, url),
        }
    }

    fn arguments(&self, url: &str, bytes_max: u64) -> Vec<OsString> {
        let settings = &self.settings;
        let height = settings.height_max;
        let extractor = if settings.only_from.is_some() {
            "generic"
        } else {
            "youtube"
        };
        let filter = format!(
            "!is_live & live_status!=?is_upcoming & duration<=?{}",
            settings.duration_max.as_secs()
        );
        let format = format!("bv*[height<=?{height}]+ba/b[height<=?{height}]");
        let mut args: Vec<OsString> = ALWAYS.iter().map(OsString::from).collect();
        for (name, value) in [
            // Whatever an address leads to, nothing but this extractor looks at it.
            ("--use-extractors", extractor.to_owned()),
            ("--max-filesize", bytes_max.to_string()),
            ("--break-match-filters", filter),
            ("--format", format),
            ("--merge-output-format", "mkv".to_owned()),
            (
                "--print",
                format!("pre_process:{FOUND}%(.{{duration,is_live,live_status}})j"),
            ),
            (
                "--progress-template",
                format!(
                    "download:{PROGRESS}%(progress.downloaded_bytes)s/%(progress.total_bytes)s"
                ),
            ),
        ] {
            args.extend([name.into(), value.into()]);
        }
        if let Some(ffmpeg) = &settings.ffmpeg {
            args.extend(["--ffmpeg-location".into(), ffmpeg.clone().into_os_string()]);
        }
        args.extend(["--".into(), url.into()]);
        args
    }

    /// Runs yt-dlp, and returns what it said of the video and how it ended.
    async fn run(
        &self,
        args: &[OsString],
        request: &FetchRequest,
        progress: &dyn Progress,
    ) -> Result<(Option<Found>, Exit), ClipError> {
        let home = request.scratch.as_os_str();
        // Plugins are looked for in the home directory and beside the program.
        let mut variables: Vec<(&'static str, &OsStr)> = vec![
            ("HOME", home),
            ("XDG_CONFIG_HOME", home),
            ("TMPDIR", home),
            ("YTDLP_NO_PLUGINS", OsStr::new("1")),
            ("PYTHONNOUSERSITE", OsStr::new("1")),
        ];
        if let Some(proxy) = &self.settings.proxy {
            let proxy = OsStr::new(proxy);
            variables.extend(["http_proxy", "https_proxy", "all_proxy"].map(|name| (name, proxy)));
        }
        let run = Run {
            tool: &self.tool,
            args,
            directory: Some(&request.scratch),
            variables: &variables,
            time_max: self.settings.time_max,
        };
        let (mut found, full) = (None, Notify::new());
        let on_line = |line: &str| {
            if let Some((done, total)) = answer::progress(line) {
                // A server that tells no length, or a wrong one.
                if done > request.bytes_max {
                    full.notify_one();
                }
                let percent = total.map_or(0, |total| done.saturating_mul(100) / total.max(1));
                progress.report(Stage::Probing, u8::try_from(percent.min(100)).unwrap_or(0));
            } else if let Some(facts) = Found::parse(line) {
                found = Some(facts);
            }
        };
        let (exit, stopped) = run
            .supervised(on_line, full.notified())
            .await
            .map_err(|trouble| self.trouble(trouble))?;
        if stopped.is_some() {
            return Err(too_large(request.bytes_max));
        }
        Ok((found, exit))
    }

    fn trouble(&self, trouble: Trouble) -> ClipError {
        match trouble {
            Trouble::Missing(_) => missing(),
            Trouble::TooLong(..) => ClipError::new(
                ClipErrorCode::YtdlpTimeLimit,
                format!(
                    "fetching the video took longer than {} s; try again, or raise the limit",
                    self.settings.time_max.as_secs_f64()
                ),
            ),
            Trouble::NotStarted(..) | Trouble::Unknown(_) => ClipError::new(
                ClipErrorCode::YtdlpFailed,
                "yt-dlp could not be run; check its installation",
            ),
        }
    }

    fn too_long(&self) -> ClipError {
        ClipError::new(
            ClipErrorCode::YoutubeTooLong,
            format!(
                "the video plays longer than {} s, the most that this worker fetches",
                self.settings.duration_max.as_secs()
            ),
        )
    }
}

#[async_trait]
impl Fetcher for YtDlp {
    fn check(&self, url: &str) -> Result<(), ClipError> {
        self.canonical(url).map(|_| ())
    }

    fn bytes_max(&self) -> u64 {
        self.settings.bytes_max
    }

    async fn fetch(
        &self,
        request: &FetchRequest,
        progress: &dyn Progress,
    ) -> Result<PathBuf, ClipError> {
        let bytes_max = request.bytes_max.min(self.settings.bytes_max);
        let request = FetchRequest {
            bytes_max,
            ..request.clone()
        };
        let args = self.arguments(&self.canonical(&request.url)?, bytes_max);
        let (found, exit) = self.run(&args, &request, progress).await?;
        tracing::debug!(code = exit.code, signal = exit.signal, "yt-dlp ended");
        let seconds = self.settings.duration_max.as_secs_f64();
        if let Some(found) = &found {
            // Checked here too, whatever the filter made of it.
            if found.is_live() {
                return Err(answer::unavailable());
            }
            if found.is_longer_than(seconds) {
                return Err(self.too_long());
            }
        }
        if exit.code == Some(REJECTED) {
            return Err(answer::unavailable());
        }
        if !exit.success {
            return Err(answer::failure(&exit.stderr));
        }
        // A video that is too large is passed over without a word.
        let (path, size) = only_file(&request.scratch)
            .await
            .ok_or_else(|| too_large(bytes_max))?;
        if size > bytes_max {
            return Err(too_large(bytes_max));
        }
        Ok(path)
    }

    async fn settled(&self) {
        self.tool.dying.settled().await;
    }
}

/// The one regular file that was fetched, by its name and not by what yt-dlp says.
async fn only_file(folder: &Path) -> Option<(PathBuf, u64)> {
    let mut entries = tokio::fs::read_dir(folder).await.ok()?;
    let mut only = None;
    while let Some(entry) = entries.next_entry().await.ok()? {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let facts = tokio::fs::symlink_metadata(entry.path()).await.ok()?;
        let is_whole = Path::new(&*name)
            .extension()
            .is_some_and(|extension| extension != "part" && extension != "ytdl");
        if facts.is_file() && name.starts_with("source.") && is_whole {
            if only.is_some() {
                return None;
            }
            only = Some((entry.path(), facts.len()));
        }
    }
    only
}

fn missing() -> ClipError {
    ClipError::new(
        ClipErrorCode::YtdlpMissing,
        "yt-dlp was not found or cannot be run; install it with `pipx install yt-dlp` or `brew install yt-dlp`",
    )
}

fn too_large(bytes_max: u64) -> ClipError {
    ClipError::new(
        ClipErrorCode::YoutubeTooLarge,
        format!(
            "the video is larger than {} MB, the most that this worker fetches",
            bytes_max / 1_000_000
        ),
    )
}
