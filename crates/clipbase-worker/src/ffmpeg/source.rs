//! What is known about a source, and whether a request fits it.

use std::fmt;

use super::language;
use super::limits::{
    DURATION_TOLERANCE_MS, FRAME_RATE_DEFAULT, FRAME_RATE_MAX, FRAME_RATE_MIN, SPACE_RESERVE_BYTES,
};
use crate::clipper::{ClipError, ClipErrorCode, ClipRequest};

/// Codecs of pictures that MP4 players expect in an MP4.
const VIDEO_IN_MP4: &[&str] = &["h264", "hevc", "av1", "mpeg4", "vp9"];
/// Codecs of sound that MP4 players expect in an MP4.
const AUDIO_IN_MP4: &[&str] = &["aac", "mp3", "ac3", "eac3", "opus", "alac"];
/// Containers that tell every frame's time and which frames are keyframes.
const EXACT_TIMES: &[&str] = &["mov", "matroska", "mpegts", "flv"];
/// Containers whose index leads to the keyframe before a time.
const INDEXED: &[&str] = &["mov", "matroska", "flv", "avi"];

/// What is known about a source.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Source {
    /// ffmpeg's name of the container: `mov,mp4,m4a,3gp,3g2,mj2`.
    pub container: String,
    /// How long it plays.
    pub duration_ms: i64,
    /// How large the file is.
    pub size_bytes: u64,
    /// The picture's codec: `h264`.
    pub video_codec: String,
    /// The picture's width as stored; a rotated picture is shown with the sides exchanged.
    pub width: u32,
    /// The picture's height as stored.
    pub height: u32,
    /// Frames a second, where known.
    pub frame_rate: Option<FrameRate>,
    /// The sound's codec, if there is sound.
    pub audio_codec: Option<String>,
    /// Subtitle tracks that are text.
    pub text_tracks: Vec<TextTrack>,
    /// How many subtitle tracks are pictures, which cannot be turned into text.
    pub bitmap_tracks: usize,
    /// Where the streams stand in the file.
    pub(super) layout: Layout,
}

/// A subtitle track that is text.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TextTrack {
    /// The stream's number in the file.
    pub index: u32,
    /// Its codec: `subrip`.
    pub codec: String,
    /// Its language tag, where it has one.
    pub language: Option<String>,
    /// Whether players show it unasked.
    pub default: bool,
}

/// Frames a second, as a fraction: 30000/1001 is not 29.97.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameRate {
    /// Frames.
    pub frames: u32,
    /// In so many seconds.
    pub seconds: u32,
}

/// Where the streams stand in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// The timestamp of the presentation's beginning; 1.4 s in most transport streams.
    pub(super) start_us: i64,
    pub(super) video_index: u32,
    /// How many frames a decoder must hold back to show them in order.
    pub(super) reordered_frames: u32,
    pub(super) audio_index: Option<u32>,
    pub(super) audio_channels: u32,
}

impl Source {
    /// Checks that the range lies in the source and that the subtitles asked for exist.
    ///
    /// # Errors
    /// `RANGE_INVALID`, `RANGE_BEYOND_END`, `NO_TEXT_TRACK`, `SUBTITLES_NOT_TEXT`.
    pub fn check(&self, request: &ClipRequest) -> Result<(), ClipError> {
        self.check_range(request)?;
        if request.needs_text() {
            self.text_track(request.subtitle_lang.as_deref())?;
        }
        Ok(())
    }

    /// Checks that the range lies in the source.
    pub(super) fn check_range(&self, request: &ClipRequest) -> Result<(), ClipError> {
        if request.start_ms < 0 || request.end_ms <= request.start_ms {
            return Err(ClipError::new(
                ClipErrorCode::RangeInvalid,
                "the range is empty or negative; the end must come after the start, and the start must \
                 not be before 0",
            ));
        }
        let last = self.duration_ms.saturating_add(DURATION_TOLERANCE_MS);
        if request.start_ms >= self.duration_ms || request.end_ms > last {
            return Err(ClipError::new(
                ClipErrorCode::RangeBeyondEnd,
                format!(
                    "the range reaches past the end of the source, which is {} long",
                    Seconds(self.duration_ms)
                ),
            ));
        }
        Ok(())
    }

    /// Tells whether the subtitles must be written down: there is no text to take, but there is sound.
    pub(super) fn needs_transcript(&self, request: &ClipRequest) -> bool {
        request.needs_text() && self.text_tracks.is_empty() && self.layout.audio_index.is_some()
    }

    /// Chooses the text track: of the language given, or else the default one, or else the first.
    ///
    /// # Errors
    /// `NO_TEXT_TRACK`, `SUBTITLES_NOT_TEXT`.
    pub fn text_track(&self, lang: Option<&str>) -> Result<&TextTrack, ClipError> {
        let Some(first) = self.text_tracks.first() else {
            return Err(self.no_text());
        };
        let Some(lang) = lang.map(str::trim).filter(|lang| !is_auto(lang)) else {
            return Ok(self
                .text_tracks
                .iter()
                .find(|track| track.default)
                .unwrap_or(first));
        };
        self.text_tracks
            .iter()
            .find(|track| {
                let own = track.language.as_deref();
                own.is_some_and(|own| language::same(own, lang))
            })
            .ok_or_else(|| self.no_such_language(lang))
    }

    /// How long the clip will be: a range may reach past the end by less than the tolerance.
    pub(super) fn clip_ms(&self, request: &ClipRequest) -> i64 {
        request.end_ms.min(self.duration_ms) - request.start_ms
    }

    /// Tells whether the picture may be copied into an MP4 as it is.
    pub(super) fn picture_fits_mp4(&self) -> bool {
        VIDEO_IN_MP4.contains(&self.video_codec.as_str()) && self.is_one_of(EXACT_TIMES)
    }

    /// Tells whether the sound may be copied into an MP4 as it is.
    pub(super) fn sound_fits_mp4(&self) -> bool {
        let codec = self.audio_codec.as_deref();
        codec.is_none_or(|codec| AUDIO_IN_MP4.contains(&codec))
    }

    /// Tells whether seeking leads to a keyframe.
    pub(super) fn is_indexed(&self) -> bool {
        self.is_one_of(INDEXED)
    }

    pub(super) fn is_mov(&self) -> bool {
        self.is_one_of(&["mov"])
    }

    fn is_one_of(&self, names: &[&str]) -> bool {
        self.container.split(',').any(|name| names.contains(&name))
    }

    /// The rate to encode at.
    pub(super) fn clip_rate(&self) -> FrameRate {
        self.frame_rate
            .filter(|rate| rate.is_usual())
            .unwrap_or(FrameRate::DEFAULT)
    }

    /// By how much a frame is decoded before it is shown.
    pub(super) fn reorder_us(&self) -> i64 {
        let rate = self.frame_rate.unwrap_or(FrameRate::DEFAULT);
        2 * rate.half_frame_us() * i64::from(self.layout.reordered_frames)
    }

    /// How much room a clip may take: the source's share and a fifth, and the reserve.
    pub(super) fn clip_bytes(&self, length_ms: i64) -> u64 {
        let length = u128::from(length_ms.unsigned_abs());
        let whole = u128::from(self.duration_ms.unsigned_abs().max(1));
        let share = u128::from(self.size_bytes) * length.min(whole) * 12 / (whole * 10);
        u64::try_from(share)
            .unwrap_or(u64::MAX)
            .saturating_add(SPACE_RESERVE_BYTES)
    }

    fn no_text(&self) -> ClipError {
        if self.bitmap_tracks > 0 {
            return ClipError::new(
                ClipErrorCode::SubtitlesNotText,
                "the source's subtitles are pictures, not text; ask for the clip without subtitles",
            );
        }
        ClipError::new(
            ClipErrorCode::NoTextTrack,
            "the source has no subtitle track; ask for the clip without subtitles",
        )
    }

    fn no_such_language(&self, lang: &str) -> ClipError {
        let known: Vec<_> = self
            .text_tracks
            .iter()
            .map(|track| track.language.as_deref().unwrap_or("untagged"))
            .collect();
        let lang: String = lang.chars().filter(|c| !c.is_control()).take(20).collect();
        ClipError::new(
            ClipErrorCode::NoTextTrack,
            format!(
                "the source has no subtitle track in {lang:?}; it has: {}",
                known.join(", ")
            ),
        )
    }
}

impl FrameRate {
    pub(super) const DEFAULT: Self = Self {
        frames: FRAME_RATE_DEFAULT,
        seconds: 1,
    };

    /// Reads ffprobe's `30000/1001`; `None` for `0/0`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (frames, seconds) = text.split_once('/')?;
        let rate = Self {
            frames: frames.parse().ok()?,
            seconds: seconds.parse().ok()?,
        };
        (rate.frames > 0 && rate.seconds > 0).then_some(rate)
    }

    /// Half the time that a frame is shown.
    pub(super) fn half_frame_us(self) -> i64 {
        500_000 * i64::from(self.seconds) / i64::from(self.frames)
    }

    pub(super) fn is_usual(self) -> bool {
        let rate = self.frames / self.seconds;
        (FRAME_RATE_MIN..=FRAME_RATE_MAX).contains(&rate)
    }

    /// Tells whether this is twice the other, within a tenth.
    pub(super) fn is_twice(self, other: Self) -> bool {
        let this = u64::from(self.frames) * u64::from(other.seconds) * 10;
        let that = u64::from(other.frames) * u64::from(self.seconds) * 10;
        this.abs_diff(2 * that) <= that / 10
    }
}

impl fmt::Display for FrameRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.frames, self.seconds)
    }
}

struct Seconds(i64);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03} s", self.0 / 1000, self.0 % 1000)
    }
}

fn is_auto(lang: &str) -> bool {
    lang.is_empty() || lang.eq_ignore_ascii_case("auto")
}

#[cfg(test)]
mod tests;
