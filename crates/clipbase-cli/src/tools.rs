//! The programs that a worker runs: ffmpeg, and, where configured, yt-dlp and a transcriber.

use std::sync::Arc;
use std::time::Duration;

use clipbase_worker::ffmpeg::{Ffmpeg, FfmpegSettings};
use clipbase_worker::transcriber::{CommandSettings, CommandTranscriber, Transcriber};
use clipbase_worker::youtube::{YtDlp, YtDlpSettings};

use crate::environment::Environment;
use crate::failure::Failure;

/// The ffmpeg that the environment names, or the one on `PATH`, with the transcriber of the environment.
pub(crate) fn find_ffmpeg(environment: &Environment) -> Result<Ffmpeg, Failure> {
    find_ffmpeg_for(environment, None)
}

/// As [`find_ffmpeg`], refusing longer sources.
pub(crate) fn find_ffmpeg_for(
    environment: &Environment,
    longest: Option<Duration>,
) -> Result<Ffmpeg, Failure> {
    let settings = FfmpegSettings {
        ffmpeg: environment.ffmpeg.clone(),
        ffprobe: environment.ffprobe.clone(),
        search_path: environment.search_path.clone(),
        transcriber: find_transcriber(environment)?,
        source_duration_max: longest,
        ..FfmpegSettings::default()
    };
    Ok(Ffmpeg::find(&settings)?)
}

/// The command of `CLIPBASE_TRANSCRIBER`: words between blanks, and no shell.
fn find_transcriber(environment: &Environment) -> Result<Option<Arc<dyn Transcriber>>, Failure> {
    let Some(line) = &environment.transcriber else {
        return Ok(None);
    };
    let mut words = line.split_whitespace().map(str::to_owned);
    let Some(program) = words.next() else {
        return Ok(None);
    };
    let mut settings = CommandSettings::new(program, words);
    settings.search_path.clone_from(&environment.search_path);
    let found = CommandTranscriber::find(settings).map_err(|error| {
        Failure::new("CONFIG_INVALID", format!("CLIPBASE_TRANSCRIBER: {error}"))
    })?;
    Ok(Some(Arc::new(found)))
}

/// The yt-dlp that the environment names, or the one on `PATH`.
pub(crate) fn find_ytdlp(environment: &Environment) -> Result<YtDlp, Failure> {
    let settings = YtDlpSettings {
        program: environment.ytdlp.clone(),
        ffmpeg: environment.ffmpeg.clone(),
        search_path: environment.search_path.clone(),
        proxy: environment.youtube_proxy.clone(),
        ..YtDlpSettings::default()
    };
    Ok(YtDlp::find(settings)?)
}
