//! Turns a child's failure into a sentence.

use std::path::Path;

use super::limits::REASON_CHARS_MAX;
use crate::clipper::{ClipError, ClipErrorCode};
use crate::process::Exit;

/// Demuxers whose files name other files: reading one would read whatever it names.
const SCRIPTS: &[&str] = &[
    "hls",
    "concat",
    "concatf",
    "dash",
    "sdp",
    "rtsp",
    "imf",
    "applehttp",
    "webm_dash_manifest",
];

/// Demuxers of text and still pictures.
const NOT_MOVING: &[&str] = &[
    "image2",
    "srt",
    "ass",
    "webvtt",
    "tty",
    "gif",
    "apng",
    "ico",
    "lrc",
    "ffmetadata",
];

/// What went wrong when a child that works on the source failed.
pub(super) fn failure(exit: &Exit, private: &[&Path]) -> ClipError {
    let text = &exit.stderr;
    if text.contains("No space left on device") || text.contains("Disk quota exceeded") {
        return crate::space::no_space();
    }
    if let Some(signal) = exit.signal {
        return ClipError::new(
            ClipErrorCode::FfmpegKilled,
            format!(
                "{} was stopped from outside (signal {signal}); the machine may be short of memory",
                exit.tool
            ),
        );
    }
    for (sign, part) in [
        (
            "No such filter: 'subtitles'",
            "the subtitles filter (libass)",
        ),
        ("Unknown encoder 'libx264'", "the H.264 encoder (libx264)"),
    ] {
        if text.contains(sign) {
            return ClipError::new(
                ClipErrorCode::FfmpegMissing,
                format!(
                    "the installed ffmpeg lacks {part}; install a full build, for example with \
                     `apt-get install -y ffmpeg`"
                ),
            );
        }
    }
    ClipError::new(
        ClipErrorCode::FfmpegFailed,
        format!("{} failed: {}", exit.tool, reason(text, private)),
    )
}

/// What went wrong when ffprobe could not open the source.
pub(super) fn unreadable(exit: &Exit) -> ClipError {
    if exit.signal.is_some() {
        return failure(exit, &[]);
    }
    let Some(demuxer) = refused_demuxer(&exit.stderr) else {
        return not_a_video();
    };
    if SCRIPTS.contains(&demuxer) {
        return names_other_files();
    }
    if NOT_MOVING.contains(&demuxer) || demuxer.ends_with("_pipe") {
        return not_a_video();
    }
    ClipError::new(
        ClipErrorCode::UnsupportedContainer,
        "the source's container is not read; convert it to MP4, MOV, MKV or WebM",
    )
}

pub(super) fn not_a_video() -> ClipError {
    ClipError::new(
        ClipErrorCode::NotAVideo,
        "the source is not a video that can be read; give an MP4, MOV, MKV, WebM or another video file",
    )
}

pub(super) fn names_other_files() -> ClipError {
    ClipError::new(
        ClipErrorCode::UnsupportedContainer,
        "the source is a playlist or script that names other files; give the video file itself",
    )
}

/// Reads the demuxer from `[hls @ 0x55e3] Format not on whitelist '…'`.
fn refused_demuxer(stderr: &str) -> Option<&str> {
    let line = stderr
        .lines()
        .find(|line| line.contains("Format not on whitelist"))?;
    line.strip_prefix('[')?.split([',', ' ', ']']).next()
}

/// The last line that says something, without addresses and without any path.
fn reason(stderr: &str, private: &[&Path]) -> String {
    let mut text = stderr.to_owned();
    for path in private {
        let name = path.to_string_lossy();
        if !name.is_empty() {
            text = text.replace(&*name, "(file)");
        }
    }
    let line = text
        .lines()
        .rev()
        .map(without_prefix)
        .find(|line| !line.is_empty() && *line != "Conversion failed!")
        .unwrap_or("no reason given");
    line.split_whitespace()
        .map(|word| if word.contains('/') { "(path)" } else { word })
        .collect::<Vec<_>>()
        .join(" ")
        .chars()
        .filter(|c| !c.is_control())
        .take(REASON_CHARS_MAX)
        .collect()
}

/// Drops `[mov,mp4 @ 0x55e30297a4c0] ` from the start of a line.
fn without_prefix(line: &str) -> &str {
    let line = line.trim();
    match line.split_once("] ") {
        Some((prefix, rest)) if prefix.starts_with('[') => rest.trim(),
        _ => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit(stderr: &str) -> Exit {
        Exit {
            tool: "ffmpeg",
            success: false,
            code: Some(1),
            signal: None,
            stderr: stderr.to_owned(),
        }
    }

    #[test]
    fn a_full_disk_is_told_apart() {
        let text = "av_interleaved_write_frame(): No space left on device\nConversion failed!\n";
        assert_eq!(failure(&exit(text), &[]).code(), ClipErrorCode::NoSpace);
    }

    #[test]
    fn a_signal_is_retryable() {
        let killed = Exit {
            signal: Some(9),
            ..exit("")
        };
        let error = failure(&killed, &[]);
        assert_eq!(error.code(), ClipErrorCode::FfmpegKilled);
        assert!(error.is_retryable());
    }

    #[test]
    fn the_reason_names_no_path() {
        let text =
            "[mp4 @ 0x1] first\n[mov,mp4 @ 0x2] file:/srv/secret place/a.mp4: bad /etc/x thing\n";
        let error = failure(&exit(text), &[Path::new("/srv/secret place/a.mp4")]);
        assert_eq!(
            error.message(),
            "ffmpeg failed: file:(file): bad (path) thing"
        );
    }

    #[test]
    fn refused_demuxers_are_sorted_by_what_they_are() {
        let code = |name: &str| {
            unreadable(&exit(&format!(
                "[{name} @ 0x1] Format not on whitelist 'mov'\n"
            )))
            .code()
        };
        assert_eq!(code("hls"), ClipErrorCode::UnsupportedContainer);
        assert_eq!(code("concat"), ClipErrorCode::UnsupportedContainer);
        assert_eq!(code("rm"), ClipErrorCode::UnsupportedContainer);
        assert_eq!(code("png_pipe"), ClipErrorCode::NotAVideo);
        assert_eq!(code("srt"), ClipErrorCode::NotAVideo);
        assert_eq!(unreadable(&exit("")).code(), ClipErrorCode::NotAVideo);
    }

    #[test]
    fn a_build_without_libass_is_told_apart() {
        let text = "[AVFilterGraph @ 0x1] No such filter: 'subtitles'\n";
        assert_eq!(
            failure(&exit(text), &[]).code(),
            ClipErrorCode::FfmpegMissing
        );
    }
}
