//! Why a clip could not be made.
//!
//! The message is one sentence for whoever asked for the clip: what is wrong and how to mend it. It
//! names no directory of the machine that ran the job.

use std::borrow::Cow;
use std::fmt;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $retry:literal;)*) => {
        /// A stable, machine-readable reason. The list only ever grows.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum ClipErrorCode { $($(#[$doc])* $name,)* }

        impl ClipErrorCode {
            /// Every code, in the order of the documentation.
            pub const ALL: &'static [ClipErrorCode] = &[$(ClipErrorCode::$name,)*];

            /// Returns the code as it stands in rows and answers: `UPPER_SNAKE_CASE`.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// Tells whether the same request may succeed later or elsewhere: bad input never does.
            pub const fn is_retryable(self) -> bool {
                match self { $(Self::$name => $retry,)* }
            }
        }
    };
}

codes! {
    /// The source does not exist or cannot be read.
    SourceMissing = "SOURCE_MISSING", false;
    /// The source holds no moving picture.
    NotAVideo = "NOT_A_VIDEO", false;
    /// The source is a playlist or script that names other files, or a container that is not read.
    UnsupportedContainer = "UNSUPPORTED_CONTAINER", false;
    /// The range is empty, backwards or negative.
    RangeInvalid = "RANGE_INVALID", false;
    /// The range reaches past the end of the source.
    RangeBeyondEnd = "RANGE_BEYOND_END", false;
    /// Subtitles were asked for and the source has no fitting text track.
    NoTextTrack = "NO_TEXT_TRACK", false;
    /// Subtitles were asked for and the source's are pictures.
    SubtitlesNotText = "SUBTITLES_NOT_TEXT", false;
    /// The scratch directory's file system is too full.
    NoSpace = "NO_SPACE", true;
    /// The scratch directory cannot be used.
    ScratchFailed = "SCRATCH_FAILED", true;
    /// ffmpeg or ffprobe is not installed, or lacks a part that is needed.
    FfmpegMissing = "FFMPEG_MISSING", true;
    /// ffmpeg was stopped from outside, as when the machine runs out of memory.
    FfmpegKilled = "FFMPEG_KILLED", true;
    /// ffmpeg gave up.
    FfmpegFailed = "FFMPEG_FAILED", false;
    /// The work took longer than allowed.
    TimeLimit = "TIME_LIMIT", false;
    /// The clip was made, but is not what was asked for.
    OutputInvalid = "OUTPUT_INVALID", false;
    /// The source is larger than this worker takes.
    SourceTooLarge = "SOURCE_TOO_LARGE", false;
    /// The source plays longer than this worker takes.
    SourceTooLong = "SOURCE_TOO_LONG", false;
    /// The range is longer than this worker cuts.
    ClipTooLong = "CLIP_TOO_LONG", false;
    /// The job needs more of the scratch directory than all of this worker's jobs may take together.
    ScratchTooSmall = "SCRATCH_TOO_SMALL", false;
    /// The external transcriber is missing, gave up or took too long.
    TranscriberFailed = "TRANSCRIBER_FAILED", true;
    /// The external transcriber's answer is not SubRip text, or too much of it.
    TranscriberOutputInvalid = "TRANSCRIBER_OUTPUT_INVALID", false;
    /// This worker fetches no videos from YouTube.
    YoutubeDisabled = "YOUTUBE_DISABLED", false;
    /// The address is not that of one YouTube video.
    YoutubeUrlRefused = "YOUTUBE_URL_REFUSED", false;
    /// The video is private, removed, live, or not to be had without an account.
    YoutubeUnavailable = "YOUTUBE_UNAVAILABLE", false;
    /// The video is larger than this worker fetches.
    YoutubeTooLarge = "YOUTUBE_TOO_LARGE", false;
    /// The video plays longer than this worker fetches.
    YoutubeTooLong = "YOUTUBE_TOO_LONG", false;
    /// YouTube turns this machine's address away for now.
    YoutubeBlocked = "YOUTUBE_BLOCKED", true;
    /// yt-dlp is not installed.
    YtdlpMissing = "YTDLP_MISSING", true;
    /// yt-dlp gave up for another reason: the network, or a version that YouTube has left behind.
    YtdlpFailed = "YTDLP_FAILED", true;
    /// Fetching the video took longer than allowed.
    YtdlpTimeLimit = "YTDLP_TIME_LIMIT", true;
}

impl fmt::Display for ClipErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a clip could not be made. `Display` is a sentence fit for any client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ClipError {
    code: ClipErrorCode,
    message: Cow<'static, str>,
}

impl ClipError {
    /// An error with its sentence, which must name no path of this machine.
    pub fn new(code: ClipErrorCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// Returns the stable code.
    pub fn code(&self) -> ClipErrorCode {
        self.code
    }

    /// Returns the sentence, as `Display` does.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Tells whether the same request may succeed later or elsewhere.
    pub fn is_retryable(&self) -> bool {
        self.code.is_retryable()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn codes_are_unique_and_upper_snake_case() {
        let texts: HashSet<_> = ClipErrorCode::ALL.iter().map(|c| c.as_str()).collect();
        assert_eq!(texts.len(), ClipErrorCode::ALL.len());
        for text in texts {
            assert!(
                text.chars().all(|c| c.is_ascii_uppercase() || c == '_'),
                "{text}"
            );
        }
    }

    #[test]
    fn only_failures_of_the_machine_are_retryable() {
        let of_the_machine = [
            "NO_SPACE",
            "SCRATCH_FAILED",
            "FFMPEG_MISSING",
            "FFMPEG_KILLED",
            "TRANSCRIBER_FAILED",
            "YOUTUBE_BLOCKED",
            "YTDLP_MISSING",
            "YTDLP_FAILED",
            "YTDLP_TIME_LIMIT",
        ];
        let retryable: Vec<_> = ClipErrorCode::ALL
            .iter()
            .filter(|code| code.is_retryable())
            .map(|code| code.as_str())
            .collect();
        assert_eq!(retryable, of_the_machine);
    }
}
