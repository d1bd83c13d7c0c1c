//! An external command that writes down what is said: a script that the test writes.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clipbase_worker::clipper::{Clip, ClipError, ClipErrorCode, ClipRequest, Clipper as _};
use clipbase_worker::ffmpeg::{Ffmpeg, FfmpegSettings};
use clipbase_worker::transcriber::{CommandSettings, CommandTranscriber};

use crate::support::{SEARCH_PATH, Scene, facts, sample};

/// Tells its arguments and keeps the sound, then says two cues, the second one past the end.
const SAYS: &str = r#"
printf '%s\n' "$@" > "$0.args"
cp "$1" "$0.wav"
printf '1\n00:00:00,500 --> 00:00:01,000\nspoken\n\n2\n00:00:01,900 --> 00:00:09,000\nlate\n'
"#;

fn script(scene: &Scene, body: &str) -> PathBuf {
    Scene::executable(&scene.path("writer"), &format!("#!/bin/sh\n{body}\n"))
}

fn command(program: PathBuf, args: &[&str]) -> CommandSettings {
    let args = args.iter().map(|arg| (*arg).to_owned());
    let mut settings = CommandSettings::new(program, args);
    settings.search_path = Some(SEARCH_PATH.into());
    settings
}

async fn clip_with(settings: CommandSettings, request: &ClipRequest) -> Result<Clip, ClipError> {
    let ffmpeg = Ffmpeg::find(&FfmpegSettings {
        search_path: Some(SEARCH_PATH.into()),
        transcriber: Some(Arc::new(CommandTranscriber::find(settings).unwrap())),
        ..FfmpegSettings::default()
    });
    ffmpeg.unwrap().clip(request, &()).await
}

/// Two seconds of the sample without its text tracks.
fn silent_of_text(scene: &Scene) -> ClipRequest {
    let source = scene.of_sample("mute.mp4", &["-map", "0:v", "-map", "0:a", "-c", "copy"]);
    ClipRequest {
        subtitles: true,
        ..scene.request(&source, 4_000, 6_000)
    }
}

const CUT: &str = "1\n00:00:00,500 --> 00:00:01,000\nspoken\n\n\
                   2\n00:00:01,900 --> 00:00:02,000\nlate\n\n";

#[tokio::test]
async fn speech_is_written_down_where_there_is_no_text() {
    let scene = Scene::new();
    let program = script(&scene, SAYS);
    let mut request = silent_of_text(&scene);
    request.subtitle_lang = Some("de".into());
    let settings = command(program, &["{audio}", "--language={language}", "a b; $(c)"]);
    let clip = clip_with(settings, &request).await.unwrap();
    let text = std::fs::read_to_string(clip.subtitles.unwrap()).unwrap();
    assert_eq!(text, CUT);
    // Arguments reach the command as they are: no shell has read them.
    let args = std::fs::read_to_string(scene.path("writer.args")).unwrap();
    let args: Vec<&str> = args.lines().collect();
    assert!(args[0].ends_with("/audio.wav"), "{args:?}");
    assert_eq!(args[1..], ["--language=de", "a b; $(c)"]);
    let sound = facts(
        &scene.path("writer.wav"),
        &[
            "-show_entries",
            "stream=codec_name,sample_rate,channels,duration",
        ],
    );
    assert_eq!(sound, ["pcm_s16le,16000,1,2.000000"]);
    assert!(!request.scratch.join("audio.wav").exists());
}

#[tokio::test]
async fn the_text_may_come_in_a_file_and_be_burned() {
    let scene = Scene::new();
    let body = format!("{{ {SAYS} }} > \"$2\"; echo noise");
    let request = ClipRequest {
        subtitles: true,
        burn_subtitles: true,
        ..silent_of_text(&scene)
    };
    let settings = command(script(&scene, &body), &["{audio}", "{output}"]);
    let clip = clip_with(settings, &request).await.unwrap();
    let text = std::fs::read_to_string(clip.subtitles.unwrap()).unwrap();
    assert_eq!(text, CUT);
}

#[tokio::test]
async fn a_source_with_text_is_not_written_down() {
    let scene = Scene::new();
    let program = script(&scene, "exit 9");
    let mut request = ClipRequest {
        subtitles: true,
        ..scene.request(&sample(), 4_000, 6_000)
    };
    let settings = command(program, &["{audio}"]);
    clip_with(settings.clone(), &request).await.unwrap();
    // A language that it lacks is still one that it lacks.
    request.subtitle_lang = Some("fr".into());
    let error = clip_with(settings.clone(), &request).await.unwrap_err();
    assert_eq!(error.code(), ClipErrorCode::NoTextTrack);
    // Nothing can be written down without sound.
    let source = scene.of_sample("still.mp4", &["-map", "0:v", "-c", "copy"]);
    let request = ClipRequest {
        subtitles: true,
        ..scene.request(&source, 4_000, 6_000)
    };
    let error = clip_with(settings, &request).await.unwrap_err();
    assert_eq!(error.code(), ClipErrorCode::NoTextTrack);
}

#[tokio::test]
async fn a_command_that_fails_or_says_nonsense_is_told() {
    for (body, args, code) in [
        ("exit 3", &["{audio}"][..], ClipErrorCode::TranscriberFailed),
        ("sleep 3600", &["{audio}"], ClipErrorCode::TranscriberFailed),
        (
            "echo hello",
            &["{audio}"],
            ClipErrorCode::TranscriberOutputInvalid,
        ),
        (
            "true",
            &["{audio}", "{output}"],
            ClipErrorCode::TranscriberOutputInvalid,
        ),
        (
            "ln -s /etc/passwd \"$2\"",
            &["{audio}", "{output}"],
            ClipErrorCode::TranscriberOutputInvalid,
        ),
        ("yes", &["{audio}"], ClipErrorCode::TranscriberOutputInvalid),
        (
            "printf '\\377' > \"$2\"",
            &["{audio}", "{output}"],
            ClipErrorCode::TranscriberOutputInvalid,
        ),
    ] {
        let scene = Scene::new();
        let mut settings = command(script(&scene, body), args);
        if body.starts_with("sleep") {
            settings.time_max = Duration::from_millis(200);
        }
        let request = silent_of_text(&scene);
        let error = clip_with(settings, &request).await.unwrap_err();
        assert_eq!(error.code(), code, "{body}");
        let scratch = scene.directory.path().to_str().unwrap().to_owned();
        assert!(!error.message().contains(&scratch), "{error}");
    }
}

#[tokio::test]
async fn silence_has_no_cues() {
    let scene = Scene::new();
    let settings = command(script(&scene, "true"), &["{audio}"]);
    let clip = clip_with(settings, &silent_of_text(&scene)).await.unwrap();
    let text = std::fs::read_to_string(clip.subtitles.unwrap()).unwrap();
    assert_eq!(text, "");
}
