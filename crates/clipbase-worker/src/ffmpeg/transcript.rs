//! Subtitles for a source without a text track: its sound, written down by a [`Transcriber`].

use super::job::{Job, SUBTITLES, scratch_error};
use super::{srt, time};
use crate::clipper::{ClipError, Stage};
use crate::space;
use crate::transcriber::{self, TranscribeRequest, Transcriber};

/// The range's sound in the scratch directory.
const AUDIO: &str = "audio.wav";
/// What it takes: 16,000 samples of two bytes a second.
const AUDIO_BYTES_PER_MS: u64 = 32;

/// Writes the subtitles and returns how many cues they have.
pub(super) async fn write(
    job: &Job<'_>,
    transcriber: &dyn Transcriber,
) -> Result<usize, ClipError> {
    job.reporter.report(Stage::Transcribing, 0, 1);
    let length_ms = job.source.clip_ms(job.request);
    space::check(
        &job.scratch,
        length_ms.unsigned_abs().saturating_mul(AUDIO_BYTES_PER_MS),
    )?;
    let args = job
        .input(&[], job.request.start_ms.saturating_mul(1000))
        .pair("-t", time::from_ms(length_ms))
        .pair(
            "-map",
            format!("0:{}", job.source.layout.audio_index.unwrap_or_default()),
        )
        .words(&["-vn", "-sn", "-dn", "-map_metadata", "-1"])
        .words(&["-ac", "1", "-ar", "16000", "-c:a", "pcm_s16le", "-f", "wav"])
        .last(format!("file:{AUDIO}"));
    job.ffmpeg(args, |_| {}).await?;
    let audio = job.file(AUDIO);
    let request = TranscribeRequest {
        audio: audio.clone(),
        language: job.request.subtitle_lang.clone(),
        scratch: job.scratch.clone(),
    };
    let text = transcriber.transcribe(&request).await?;
    tokio::fs::remove_file(&audio)
        .await
        .map_err(|error| scratch_error(&error))?;
    let cues = read(&text, length_ms)?;
    tokio::fs::write(job.file(SUBTITLES), srt::write(&cues))
        .await
        .map_err(|error| scratch_error(&error))?;
    job.reporter.report(Stage::Transcribing, 1, 1);
    Ok(cues.len())
}

/// Reads a transcript as any other subtitles, and keeps what lies in the clip. Silence has no cues, but a text
/// that is no SubRip is told: it would be lost without a word.
fn read(text: &str, length_ms: i64) -> Result<Vec<srt::Cue>, ClipError> {
    let text = text.trim_start_matches('\u{feff}');
    let cues = srt::parse(text);
    if cues.is_empty() && !text.trim().is_empty() {
        return Err(transcriber::invalid("it has no cue"));
    }
    if text.contains('\0') {
        return Err(transcriber::invalid("it holds NUL"));
    }
    Ok(srt::cut(&cues, 0, length_ms))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clipper::ClipErrorCode;

    #[test]
    fn a_transcript_is_cut_to_the_clip_and_nonsense_is_told() {
        let text =
            "1\n00:00:01,000 --> 00:00:09,000\nlong\n\n2\n00:00:09,500 --> 00:00:10,000\nx\n";
        let cues = read(text, 5_000).unwrap();
        assert_eq!((cues.len(), cues[0].end_ms), (1, 5_000));
        assert!(read(" \n", 5_000).unwrap().is_empty());
        for text in [
            "hello",
            "{\"text\": \"hello\"}",
            "1\n00:00:01,000 --> 00:00:09,000\n\0\n",
        ] {
            let error = read(text, 5_000).unwrap_err();
            assert_eq!(
                error.code(),
                ClipErrorCode::TranscriberOutputInvalid,
                "{text}"
            );
        }
    }
}
