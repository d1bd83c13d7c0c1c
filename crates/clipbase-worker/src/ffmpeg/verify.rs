//! Checks that the clip is what was asked for: nobody else will before it is delivered.

use super::args::Args;
use super::find;
use super::job::{Job, VIDEO};
use super::limits::{ANSWER_BYTES_MAX, DURATION_TOLERANCE_MS, PROBE_TIME_MAX};
use super::probe::{self, Media};
use crate::clipper::{ClipError, ClipErrorCode, Stage};
use crate::process::Run;

/// Checks the clip and returns its length in milliseconds.
pub(super) async fn clip(job: &Job<'_>) -> Result<i64, ClipError> {
    let path = job.file(VIDEO);
    let (media, ()) = tokio::try_join!(probe::media(job.ffprobe, &path), first_frame(job))
        .map_err(|error| match error.code() {
            // The clip, not the source, is what could not be read here.
            ClipErrorCode::NotAVideo | ClipErrorCode::FfmpegFailed => {
                invalid("it cannot be played")
            }
            _ => error,
        })?;
    let wanted_ms = job.source.clip_ms(job.request);
    let duration_ms = check(&media, wanted_ms, job.source.audio_codec.is_some())?;
    Ok(duration_ms)
}

/// Reports the end. Apart from the check, because a copied clip that fails it is encoded instead.
pub(super) fn done(job: &Job<'_>) {
    job.reporter.report(Stage::Verifying, 1, 1);
}

fn check(media: &Media, wanted_ms: i64, wants_audio: bool) -> Result<i64, ClipError> {
    if !media.has_video() {
        return Err(invalid("it has no picture"));
    }
    if wants_audio && !media.has_audio() {
        return Err(invalid("it has no sound"));
    }
    let duration_ms = media.duration_us().unwrap_or(0) / 1000;
    if (duration_ms - wanted_ms).abs() > DURATION_TOLERANCE_MS {
        return Err(invalid(&format!(
            "it is {duration_ms} ms long instead of {wanted_ms}"
        )));
    }
    // A copy that missed its keyframe has sound from the start and a picture from the next one.
    let video_start_ms = media.video_start_us().unwrap_or(0) / 1000;
    if video_start_ms.abs() > DURATION_TOLERANCE_MS {
        return Err(invalid(&format!(
            "its picture starts {video_start_ms} ms late"
        )));
    }
    Ok(duration_ms)
}

/// Decodes the first frame.
async fn first_frame(job: &Job<'_>) -> Result<(), ClipError> {
    let args = Args::default()
        .words(&["-nostdin", "-v", "error"])
        .words(&["-protocol_whitelist", "file", "-format_whitelist", "mov"])
        .pair("-i", format!("file:{VIDEO}"))
        .words(&["-map", "0:v:0", "-frames:v", "1", "-f", "framecrc"])
        .last("-");
    let run = Run {
        tool: job.ffmpeg,
        args: &args,
        directory: Some(&job.scratch),
        variables: &[],
        time_max: PROBE_TIME_MAX,
    };
    let (exit, answer) = run.answer(ANSWER_BYTES_MAX).await.map_err(find::trouble)?;
    let decoded = answer
        .lines()
        .any(|line| !line.is_empty() && !line.starts_with('#'));
    if exit.signal.is_some() {
        return Err(job.failure(&exit));
    }
    if exit.success && decoded {
        return Ok(());
    }
    Err(invalid("its first frame cannot be decoded"))
}

fn invalid(what: &str) -> ClipError {
    ClipError::new(
        ClipErrorCode::OutputInvalid,
        format!("the clip that was made is not right: {what}; the source may be damaged there"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn media(duration: &str, video_start: &str, audio: bool) -> Media {
        let audio = if audio {
            r#", {"index": 1, "codec_type": "audio", "codec_name": "aac", "channels": 2}"#
        } else {
            ""
        };
        serde_json::from_str(&format!(
            r#"{{"streams": [{{"index": 0, "codec_type": "video", "width": 2, "height": 2,
                "start_time": "{video_start}"}}{audio}], "format": {{"duration": "{duration}"}}}}"#
        ))
        .unwrap()
    }

    #[test]
    fn length_picture_and_sound_are_checked() {
        assert_eq!(check(&media("3.120", "0.0", true), 3000, true), Ok(3120));
        assert_eq!(check(&media("2.850", "0.0", false), 3000, false), Ok(2850));
        for (media, wants_audio) in [
            (media("3.151", "0.0", true), true),
            (media("2.849", "0.0", true), true),
            (media("N/A", "0.0", true), true),
            (media("3.000", "2.0", true), true),
            (media("3.000", "0.0", false), true),
            (serde_json::from_str("{}").unwrap(), false),
        ] {
            let error = check(&media, 3000, wants_audio).unwrap_err();
            assert_eq!(error.code(), ClipErrorCode::OutputInvalid);
        }
    }
}
