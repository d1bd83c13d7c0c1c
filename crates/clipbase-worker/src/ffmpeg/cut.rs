//! Cuts the picture and the sound: by copying, or by decoding and encoding.

use super::args::Args;
use super::frames::Start;
use super::job::{Job, SUBTITLES, VIDEO};
use super::limits::PREROLL_US;
use super::progress::out_time_us;
use super::time;
use crate::clipper::{ClipError, Stage};

/// The most channels that AAC players are sure to play.
const CHANNELS_MAX: u32 = 6;

/// Copies the picture from a keyframe on. The sound is copied too, where MP4 players know its codec.
pub(super) async fn copy(job: &Job<'_>, start: Start) -> Result<(), ClipError> {
    // ffmpeg stops copying by decoding time: what is shown at the end was decoded this much earlier.
    // Without it, a cut that ends before a keyframe would take that keyframe and more with it.
    let length_us = job.source.clip_ms(job.request) * 1000;
    let length_us = (length_us - job.source.reorder_us()).max(1);
    let mut args = streams(job, job.input(&[], before(start.at_us)))
        .pair("-t", time::from_us(length_us))
        // Frames before the keyframe, which seeking may lead to, would be hidden rather than left out.
        .words(&["-copypriorss", "0", "-c:v", "copy"]);
    if job.source.video_codec == "hevc" {
        // The tag that Apple's players insist on.
        args = args.words(&["-tag:v", "hvc1"]);
    }
    if job.source.layout.audio_index.is_some() {
        args = if job.source.sound_fits_mp4() {
            args.words(&["-c:a", "copy"])
        } else {
            encode_sound(job, args, 0)
        };
    }
    finish(job, args, Stage::Cutting).await
}

/// Decodes and encodes, so that the clip starts on the very frame.
pub(super) async fn encode(job: &Job<'_>, start: Start, burn: bool) -> Result<(), ClipError> {
    let from_us = before(start.at_us);
    // Without an index, seeking leads between keyframes: begin earlier and drop what is decoded too many.
    let seek_us = if job.source.is_indexed() {
        from_us
    } else {
        (from_us - PREROLL_US).max(0)
    };
    let skip_us = from_us - seek_us;
    let mut args = streams(job, job.input(&[], seek_us))
        .pair("-t", time::from_ms(job.source.clip_ms(job.request)))
        .pair("-vf", picture_filters(job, skip_us, burn))
        .words(&["-c:v", "libx264", "-preset", "veryfast", "-crf", "18"]);
    if job.source.layout.audio_index.is_some() {
        args = encode_sound(job, args, skip_us);
    }
    finish(job, args, Stage::Encoding).await
}

/// A frame's time rounded to microseconds may lie past the frame; one microsecond earlier never does.
fn before(at_us: i64) -> i64 {
    (at_us - 1).max(0)
}

/// Takes the first picture and the first sound, and nothing that tells of the source.
fn streams(job: &Job<'_>, args: Args) -> Args {
    let layout = &job.source.layout;
    let mut args = args.pair("-map", format!("0:{}", layout.video_index));
    if let Some(index) = layout.audio_index {
        args = args.pair("-map", format!("0:{index}"));
    }
    args.words(&["-sn", "-dn", "-map_chapters", "-1", "-map_metadata", "-1"])
}

/// Even sides, because H.264 with 4:2:0 colour has no others; a steady rate, because the first frame
/// then starts at zero and the last one has a length.
fn picture_filters(job: &Job<'_>, skip_us: i64, burn: bool) -> String {
    let mut filters = Vec::new();
    if skip_us > 0 {
        let skip = time::from_us(skip_us);
        filters.push(format!("trim=start={skip},setpts=PTS-{skip}/TB"));
    }
    if burn {
        filters.push(format!("subtitles={SUBTITLES}"));
    }
    filters.push(format!("fps=fps={}:start_time=0", job.source.clip_rate()));
    filters.push("scale=w='max(2,trunc(iw/2)*2)':h='max(2,trunc(ih/2)*2)'".to_owned());
    filters.push("format=yuv420p".to_owned());
    filters.join(",")
}

fn encode_sound(job: &Job<'_>, args: Args, skip_us: i64) -> Args {
    let mut filters = String::new();
    if skip_us > 0 {
        let skip = time::from_us(skip_us);
        filters = format!("atrim=start={skip},asetpts=PTS-{skip}/TB,");
    }
    // Gaps become silence; otherwise sound after a gap would run ahead of the picture.
    filters.push_str("aresample=async=1:first_pts=0");
    let args = args
        .pair("-af", filters)
        .words(&["-c:a", "aac", "-b:a", "160k"]);
    if job.source.layout.audio_channels > CHANNELS_MAX {
        return args.words(&["-ac", "2"]);
    }
    args
}

async fn finish(job: &Job<'_>, args: Args, stage: Stage) -> Result<(), ClipError> {
    let args = args
        .words(&["-movflags", "+faststart", "-f", "mp4"])
        .last(format!("file:{VIDEO}"));
    let whole_us = job.source.clip_ms(job.request) * 1000;
    job.reporter.report(stage, 0, whole_us);
    let reporter = &job.reporter;
    job.ffmpeg(args, |line| {
        if let Some(done_us) = out_time_us(line) {
            reporter.report(stage, done_us, whole_us);
        }
    })
    .await?;
    job.reporter.report(stage, whole_us, whole_us);
    Ok(())
}
