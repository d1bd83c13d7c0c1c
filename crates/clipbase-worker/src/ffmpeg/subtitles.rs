//! Takes the range's subtitles out of the source's text track.

use super::job::{Job, SUBTITLES, TRACK, scratch_error};
use super::limits::{SUBTITLE_BYTES_MAX, SUBTITLE_LOOKBACK_MS};
use super::source::TextTrack;
use super::{srt, time};
use crate::clipper::{ClipError, ClipErrorCode, Stage};

/// Writes the cut subtitles and returns how many cues they have.
pub(super) async fn extract(job: &Job<'_>, track: &TextTrack) -> Result<usize, ClipError> {
    job.reporter.report(Stage::Subtitles, 0, 1);
    let request = job.request;
    let seek_ms = (request.start_ms - SUBTITLE_LOOKBACK_MS).max(0);
    let read_to = job.source.layout.start_us + request.end_ms * 1000;
    // The file's own timestamps are kept: shifted ones would squeeze a cue that began before the seek.
    let args = job
        .input(&["-copyts"], seek_ms * 1000)
        .pair("-map", format!("0:{}", track.index))
        .pair("-to", time::from_us(read_to))
        .words(&["-c:s", "srt", "-f", "srt"])
        .last(format!("file:{TRACK}"));
    job.ffmpeg(args, |_| {}).await?;
    let text = read(job).await?;
    let mut cues = srt::parse(&text);
    srt::shift(&mut cues, -(job.source.layout.start_us / 1000));
    let end_ms = request.start_ms + job.source.clip_ms(request);
    let cues = srt::cut(&cues, request.start_ms, end_ms);
    tokio::fs::write(job.file(SUBTITLES), srt::write(&cues))
        .await
        .map_err(|error| scratch_error(&error))?;
    job.reporter.report(Stage::Subtitles, 1, 1);
    Ok(cues.len())
}

/// Reads the extracted track, and removes it: only what was asked for stays.
async fn read(job: &Job<'_>) -> Result<String, ClipError> {
    let path = job.file(TRACK);
    let length = tokio::fs::metadata(&path)
        .await
        .map_err(|error| scratch_error(&error))?
        .len();
    if length > SUBTITLE_BYTES_MAX {
        return Err(ClipError::new(
            ClipErrorCode::FfmpegFailed,
            "the source's subtitle track is too large; ask for the clip without subtitles",
        ));
    }
    let bytes = tokio::fs::read(&path)
        .await
        .map_err(|error| scratch_error(&error))?;
    tokio::fs::remove_file(&path)
        .await
        .map_err(|error| scratch_error(&error))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
