//! Asks ffprobe what a file is.

use std::collections::HashMap;
use std::path::Path;

use serde::Deserialize;

use super::args::{Args, file_url};
use super::limits::{ANSWER_BYTES_MAX, PROBE_TIME_MAX, SCAN_TIME_MAX};
use super::source::{FrameRate, Layout, Source, TextTrack};
use super::{diagnose, find, time};
use crate::clipper::ClipError;
use crate::process::{Run, Tool};

/// Containers that are read. All hold their media in themselves; sound-only ones are here so that a
/// song is called a song rather than an unknown container.
pub(super) const CONTAINERS: &str = "mov,matroska,avi,mpegts,mpeg,flv,ogg,asf,mxf,mp3,wav,flac,aac";

/// Exactly the facts that are used: tags of strangers stay where they are.
const FACTS: &str = "format=format_name,start_time,duration,size:stream=index,codec_type,codec_name,\
width,height,r_frame_rate,avg_frame_rate,has_b_frames,field_order,start_time,duration,channels:\
stream_tags=language:stream_disposition=default,attached_pic";

/// Subtitle codecs that are text and that ffmpeg can write as SubRip.
const TEXT_CODECS: &[&str] = &[
    "subrip", "srt", "mov_text", "ass", "ssa", "webvtt", "text", "eia_608",
];

/// ffprobe's answer.
#[derive(Debug, Deserialize)]
pub(super) struct Media {
    #[serde(default)]
    streams: Vec<Stream>,
    #[serde(default)]
    format: Format,
}

#[derive(Debug, Default, Deserialize)]
struct Format {
    #[serde(default, rename = "format_name")]
    name: String,
    start_time: Option<String>,
    duration: Option<String>,
    size: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Stream {
    index: u32,
    codec_type: String,
    codec_name: String,
    width: u32,
    height: u32,
    r_frame_rate: Option<String>,
    avg_frame_rate: Option<String>,
    has_b_frames: u32,
    field_order: Option<String>,
    start_time: Option<String>,
    channels: u32,
    tags: HashMap<String, String>,
    disposition: HashMap<String, i64>,
}

/// The input options that keep ffmpeg and ffprobe to one local file of a known container.
pub(super) fn input_locks() -> Args {
    Args::default()
        .pair("-protocol_whitelist", "file")
        .pair("-format_whitelist", CONTAINERS)
}

/// Reads the facts of a source whose path is absolute.
pub(super) async fn source(ffprobe: &Tool, path: &Path) -> Result<Source, ClipError> {
    let media = media(ffprobe, path).await?;
    let Some(video) = media.video() else {
        return Err(diagnose::not_a_video());
    };
    let index = video.index;
    let duration_us = match media.duration_us() {
        Some(duration) if duration > 0 => duration,
        // A recording that was never closed has no duration in its header.
        _ => scan_duration(ffprobe, path, index, media.start_us()).await?,
    };
    if duration_us < 1000 {
        return Err(diagnose::not_a_video());
    }
    Ok(media.describe(video, duration_us / 1000))
}

/// Asks for the facts of any media file.
pub(super) async fn media(ffprobe: &Tool, path: &Path) -> Result<Media, ClipError> {
    let args = input_locks()
        .words(&["-v", "error", "-print_format", "json"])
        .pair("-show_entries", FACTS)
        .pair("-i", file_url(path))
        .0;
    let run = Run {
        tool: ffprobe,
        args: &args,
        directory: None,
        variables: &[],
        time_max: PROBE_TIME_MAX,
    };
    let (exit, answer) = run.answer(ANSWER_BYTES_MAX).await.map_err(find::trouble)?;
    if !exit.success {
        return Err(diagnose::unreadable(&exit));
    }
    serde_json::from_str(&answer).map_err(|_| diagnose::not_a_video())
}

/// Finds the end of the picture by reading every packet's time.
async fn scan_duration(
    ffprobe: &Tool,
    path: &Path,
    index: u32,
    start_us: i64,
) -> Result<i64, ClipError> {
    let args = input_locks()
        .words(&["-v", "error", "-of", "csv=p=0"])
        .pair("-select_streams", index.to_string())
        .pair("-show_entries", "packet=pts_time,duration_time")
        .pair("-i", file_url(path))
        .0;
    let run = Run {
        tool: ffprobe,
        args: &args,
        directory: None,
        variables: &[],
        time_max: SCAN_TIME_MAX,
    };
    let mut end = start_us;
    let exit = run
        .lines(|line| {
            let mut fields = line.split(',');
            let pts = fields.next().and_then(time::parse_us);
            let length = fields.next().and_then(time::parse_us).unwrap_or(0);
            end = end.max(pts.map_or(start_us, |pts| pts.saturating_add(length)));
        })
        .await
        .map_err(find::trouble)?;
    if !exit.success {
        return Err(diagnose::unreadable(&exit));
    }
    Ok(end - start_us)
}

impl Media {
    /// How long it plays, where its header tells.
    pub(super) fn duration_us(&self) -> Option<i64> {
        self.format.duration.as_deref().and_then(time::parse_us)
    }

    /// When the picture begins.
    pub(super) fn video_start_us(&self) -> Option<i64> {
        let start = self.video()?.start_time.as_deref()?;
        time::parse_us(start)
    }

    pub(super) fn has_video(&self) -> bool {
        self.video().is_some()
    }

    pub(super) fn has_audio(&self) -> bool {
        self.audio().is_some()
    }

    fn start_us(&self) -> i64 {
        let start = self.format.start_time.as_deref();
        start.and_then(time::parse_us).unwrap_or(0)
    }

    /// The first moving picture: a cover is a stream too, but not a video.
    fn video(&self) -> Option<&Stream> {
        self.streams.iter().find(|stream| {
            stream.codec_type == "video"
                && !stream.has("attached_pic")
                && stream.width > 0
                && stream.height > 0
        })
    }

    fn audio(&self) -> Option<&Stream> {
        self.streams
            .iter()
            .find(|stream| stream.codec_type == "audio" && stream.channels > 0)
    }

    fn describe(&self, video: &Stream, duration_ms: i64) -> Source {
        let audio = self.audio();
        let subtitles = || {
            let streams = self.streams.iter();
            streams.filter(|stream| stream.codec_type == "subtitle")
        };
        let text_tracks: Vec<_> = subtitles().filter_map(Stream::text_track).collect();
        let size = self.format.size.as_deref();
        Source {
            container: self.format.name.clone(),
            duration_ms,
            size_bytes: size.and_then(|size| size.parse().ok()).unwrap_or(0),
            video_codec: video.codec_name.clone(),
            width: video.width,
            height: video.height,
            frame_rate: video.frame_rate(),
            audio_codec: audio.map(|audio| audio.codec_name.clone()),
            bitmap_tracks: subtitles().count() - text_tracks.len(),
            text_tracks,
            layout: Layout {
                start_us: self.start_us(),
                video_index: video.index,
                reordered_frames: video.has_b_frames,
                audio_index: audio.map(|audio| audio.index),
                audio_channels: audio.map_or(0, |audio| audio.channels),
            },
        }
    }
}

impl Stream {
    fn has(&self, disposition: &str) -> bool {
        self.disposition
            .get(disposition)
            .is_some_and(|set| *set != 0)
    }

    fn text_track(&self) -> Option<TextTrack> {
        TEXT_CODECS
            .contains(&self.codec_name.as_str())
            .then(|| TextTrack {
                index: self.index,
                codec: self.codec_name.clone(),
                language: self
                    .tags
                    .get("language")
                    .filter(|tag| !tag.is_empty() && *tag != "und")
                    .cloned(),
                default: self.has("default"),
            })
    }

    /// The rate that every frame's time is a multiple of, or the average where that is nonsense.
    ///
    /// An interlaced stream tells its fields a second there, which are twice its frames.
    fn frame_rate(&self) -> Option<FrameRate> {
        let base = self.r_frame_rate.as_deref().and_then(FrameRate::parse);
        let average = self.avg_frame_rate.as_deref().and_then(FrameRate::parse);
        let progressive = self.field_order.as_deref() == Some("progressive");
        match (base, average) {
            (Some(base), Some(average)) if !progressive && base.is_twice(average) => Some(average),
            (Some(base), _) if base.is_usual() => Some(base),
            (base, average) => average.or(base),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(streams: &str) -> Media {
        let text = format!(
            r#"{{"programs": [], "streams": [{streams}],
                "format": {{"format_name": "mpegts", "start_time": "1.456778",
                            "duration": "20.023222", "size": "12345"}}}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    const VIDEO: &str = r#"{"index": 0, "codec_type": "video", "codec_name": "h264", "width": 320,
        "height": 180, "r_frame_rate": "50/1", "avg_frame_rate": "25/1", "field_order": "tt",
        "start_time": "1.480000"}"#;

    #[test]
    fn facts_are_read() {
        let media = parse(VIDEO);
        let source = media.describe(media.video().unwrap(), 20_023);
        assert_eq!(source.layout.start_us, 1_456_778);
        assert_eq!(media.video_start_us(), Some(1_480_000));
        assert_eq!(source.size_bytes, 12_345);
        assert_eq!(source.frame_rate, FrameRate::parse("25/1"));
        assert_eq!(source.audio_codec, None);
    }

    #[test]
    fn a_cover_is_not_a_video() {
        let media = parse(
            r#"{"index": 0, "codec_type": "video", "codec_name": "mjpeg", "width": 9, "height": 9,
                "disposition": {"attached_pic": 1}}"#,
        );
        assert!(!media.has_video());
    }

    #[test]
    fn text_and_picture_subtitles_are_told_apart() {
        let media = parse(&format!(
            r#"{VIDEO}, {{"index": 1, "codec_type": "subtitle", "codec_name": "dvd_subtitle"}},
               {{"index": 2, "codec_type": "subtitle", "codec_name": "subrip",
                 "tags": {{"language": "eng"}}, "disposition": {{"default": 1}}}}"#
        ));
        let source = media.describe(media.video().unwrap(), 1);
        assert_eq!(source.bitmap_tracks, 1);
        assert_eq!(source.text_tracks.len(), 1);
        assert_eq!(source.text_tracks[0].language.as_deref(), Some("eng"));
        assert!(source.text_tracks[0].default);
    }
}
