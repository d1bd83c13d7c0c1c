//! What comes out, for every kind of source.

use std::path::Path;
use std::time::{Duration, Instant};

use clipbase_worker::clipper::{Clip, Clipper as _, CutMethod, Stage};
use clipbase_worker::ffmpeg::{Ffmpeg, FfmpegSettings};

use crate::support::{Heard, SEARCH_PATH, Scene, clip, codecs, facts, ffmpeg, sample};

fn assert_length(clip: &Clip, wanted_ms: i64) {
    let off = (clip.duration_ms - wanted_ms).abs();
    assert!(off <= 150, "{} instead of {wanted_ms}", clip.duration_ms);
}

fn assert_starts_at_zero(path: &Path) {
    for start in facts(path, &["-show_entries", "stream=start_time"]) {
        let start: f64 = start.parse().unwrap();
        assert!((-0.001..0.15).contains(&start), "stream starts at {start}");
    }
}

#[tokio::test]
async fn a_range_from_a_keyframe_is_copied() {
    let scene = Scene::new();
    let clip = clip(&scene.request(&sample(), 4000, 7000)).await.unwrap();
    assert_eq!(clip.method, CutMethod::Copied);
    assert_length(&clip, 3000);
    assert_starts_at_zero(&clip.video);
    assert_eq!(codecs(&clip.video), ["h264", "aac"]);
    assert_eq!(clip.subtitles, None);
    let left: Vec<_> = std::fs::read_dir(scene.path("scratch")).unwrap().collect();
    assert_eq!(left.len(), 1, "only the clip is left");
}

#[tokio::test]
async fn a_range_from_another_frame_is_encoded() {
    let scene = Scene::new();
    let clip = clip(&scene.request(&sample(), 1234, 3456)).await.unwrap();
    assert_eq!(clip.method, CutMethod::Encoded);
    assert_length(&clip, 2222);
    assert_starts_at_zero(&clip.video);
    assert_eq!(codecs(&clip.video), ["h264", "aac"]);
}

#[tokio::test]
async fn the_whole_file_and_its_last_second_can_be_cut() {
    let scene = Scene::new();
    let whole = clip(&scene.request(&sample(), 0, 20_000)).await.unwrap();
    assert_eq!(whole.method, CutMethod::Copied);
    assert_length(&whole, 20_000);
    let last = clip(&scene.request(&sample(), 19_000, 20_100))
        .await
        .unwrap();
    assert_length(&last, 1000);
}

#[tokio::test]
async fn containers_with_exact_times_are_copied_from_a_keyframe() {
    for name in ["a.mkv", "a.mov", "a.ts", "a.flv"] {
        let scene = Scene::new();
        let source = scene.of_sample(name, &["-map", "0:v", "-map", "0:a", "-c", "copy"]);
        // The range counts from the beginning of presentation, which is the sound's in some containers.
        let keyframes = [
            "-select_streams",
            "v",
            "-show_entries",
            "packet=pts_time,flags",
        ];
        let seconds = |text: &str| text.parse::<f64>().unwrap();
        let origin = seconds(&facts(&source, &["-show_entries", "format=start_time"])[0]);
        let start = facts(&source, &keyframes)
            .iter()
            .filter_map(|line| {
                line.split_once(',')
                    .filter(|(_, flags)| flags.contains('K'))
            })
            .map(|(pts, _)| seconds(pts) - origin)
            .nth(2)
            .unwrap();
        let start_ms = (3900..4200)
            .find(|ms| f64::from(*ms) / 1000.0 >= start)
            .unwrap();
        let request = scene.request(&source, i64::from(start_ms), i64::from(start_ms) + 3000);
        let copied = clip(&request).await.unwrap();
        assert_eq!(copied.method, CutMethod::Copied, "{name}");
        assert_length(&copied, 3000);
        assert_starts_at_zero(&copied.video);
        let encoded = clip(&scene.request(&source, 5234, 7456)).await.unwrap();
        assert_eq!(encoded.method, CutMethod::Encoded, "{name}");
        assert_length(&encoded, 2222);
        assert_starts_at_zero(&encoded.video);
    }
}

#[tokio::test]
async fn a_webm_is_copied_with_its_sound_made_fit() {
    let scene = Scene::new();
    let codec = [
        "-c:v",
        "libvpx-vp9",
        "-deadline",
        "realtime",
        "-cpu-used",
        "8",
    ];
    let args = [&["-t", "4", "-g", "25"], &codec[..], &["-c:a", "libvorbis"]].concat();
    let source = scene.of_sample("a.webm", &args);
    let clip = clip(&scene.request(&source, 0, 2000)).await.unwrap();
    assert_eq!(codecs(&clip.video), ["vp9", "aac"]);
    assert_eq!(clip.method, CutMethod::Copied);
    assert_length(&clip, 2000);
}

#[tokio::test]
async fn an_avi_is_encoded() {
    let scene = Scene::new();
    let args = ["-t", "6", "-c:v", "mpeg4", "-bf", "2", "-c:a", "mp3"];
    let source = scene.of_sample("a.avi", &args);
    let clip = clip(&scene.request(&source, 2000, 4000)).await.unwrap();
    assert_eq!(clip.method, CutMethod::Encoded);
    assert_length(&clip, 2000);
}

#[tokio::test]
async fn a_source_without_sound_gives_a_clip_without_sound() {
    let scene = Scene::new();
    let source = scene.of_sample("silent.mp4", &["-an", "-sn", "-c", "copy"]);
    for start_ms in [2000, 2500] {
        let request = scene.request(&source, start_ms, start_ms + 1500);
        let clip = clip(&request).await.unwrap();
        assert_eq!(codecs(&clip.video), ["h264"]);
        assert_length(&clip, 1500);
    }
}

#[tokio::test]
async fn odd_sides_become_even_and_a_slide_show_keeps_its_length() {
    let scene = Scene::new();
    let picture = [
        "-f",
        "lavfi",
        "-i",
        "testsrc2=size=161x91:rate=1:duration=8",
    ];
    let args = [&picture[..], &["-c:v", "ffv1"]].concat();
    let source = scene.make("odd.mkv", &args);
    let clip = clip(&scene.request(&source, 1500, 4200)).await.unwrap();
    assert_length(&clip, 2700);
    let size = facts(&clip.video, &["-show_entries", "stream=width,height"]);
    assert_eq!(size, ["160,90"]);
}

#[tokio::test]
async fn a_rotated_picture_stays_upright_both_ways() {
    let scene = Scene::new();
    let plain = scene.of_sample("plain.mp4", &["-t", "4", "-sn", "-c", "copy"]);
    let args = [
        "-i",
        plain.to_str().unwrap(),
        "-c",
        "copy",
        "-metadata:s:v:0",
        "rotate=90",
    ];
    let source = scene.make("rotated.mp4", &args);
    let rotation = [
        "-select_streams",
        "v",
        "-show_entries",
        "stream_side_data=rotation",
    ];
    let rotated = facts(&source, &rotation);
    assert_eq!(rotated.len(), 1, "the source is rotated");
    let copied = clip(&scene.request(&source, 2000, 3000)).await.unwrap();
    assert_eq!(copied.method, CutMethod::Copied);
    assert_eq!(facts(&copied.video, &rotation), rotated);
    let encoded = clip(&scene.request(&source, 1000, 2000)).await.unwrap();
    let size = [
        "-select_streams",
        "v",
        "-show_entries",
        "stream=width,height",
    ];
    assert_eq!(facts(&encoded.video, &size), ["180,320"]);
}

#[tokio::test]
async fn a_recording_without_a_duration_is_measured() {
    let scene = Scene::new();
    let file = std::fs::File::create(scene.path("live.mkv")).unwrap();
    let status = std::process::Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-i"])
        .arg(sample())
        .args([
            "-t", "6", "-sn", "-c", "copy", "-f", "matroska", "-live", "1", "-",
        ])
        .stdout(file)
        .status()
        .unwrap();
    assert!(status.success());
    let source = scene.path("live.mkv");
    assert_eq!(
        facts(&source, &["-show_entries", "format=duration"]),
        ["N/A"]
    );
    let found = ffmpeg().probe(&source).await.unwrap();
    assert!(
        (5900..6400).contains(&found.duration_ms),
        "{}",
        found.duration_ms
    );
    let clip = clip(&scene.request(&source, 3100, 5100)).await.unwrap();
    assert_length(&clip, 2000);
}

#[tokio::test]
async fn any_file_name_is_safe() {
    let scene = Scene::new();
    let names = [
        "-dash with space.mp4",
        "http:colon and quo'te\".mp4",
        "per%03dcent\nnew line.mp4",
        "ünïcödé 片 $(touch x);`y`.mp4",
        "concat:a|b,c[d]=e.mp4",
    ];
    for name in names {
        let source = scene.path(name);
        std::fs::copy(sample(), &source).unwrap();
        let clip = clip(&scene.request(&source, 2000, 3000)).await.unwrap();
        assert_length(&clip, 1000);
    }
}

#[tokio::test]
async fn progress_is_told_from_zero_to_a_hundred_and_never_goes_back() {
    let scene = Scene::new();
    let heard = Heard::default();
    let mut request = scene.request(&sample(), 1234, 15_456);
    request.subtitles = true;
    ffmpeg().clip(&request, &heard).await.unwrap();
    let heard = heard.0.into_inner().unwrap();
    assert_eq!(heard.first(), Some(&(Stage::Probing, 0)));
    assert_eq!(heard.last(), Some(&(Stage::Verifying, 100)));
    assert!(
        heard.windows(2).all(|pair| pair[0].1 <= pair[1].1),
        "{heard:?}"
    );
    for stage in [Stage::Subtitles, Stage::Encoding] {
        assert!(heard.iter().any(|(heard, _)| *heard == stage), "{stage}");
    }
}

/// Finds running processes whose working directory is the scratch directory.
fn running_in(scratch: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return vec![];
    };
    entries
        .filter_map(Result::ok)
        .filter(|entry| {
            std::fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd == scratch)
        })
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "never came true: {what}");
        tokio::task::yield_now().await;
    }
}

/// A source that takes seconds to encode, made quickly.
fn long_source(scene: &Scene) -> std::path::PathBuf {
    let sample = sample();
    let args = [
        "-stream_loop",
        "5",
        "-i",
        sample.to_str().unwrap(),
        "-sn",
        "-c",
        "copy",
    ];
    scene.make("long.mp4", &args)
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropping_the_clip_kills_ffmpeg() {
    let scene = Scene::new();
    let request = scene.request(&long_source(&scene), 1100, 100_000);
    let scratch = request.scratch.canonicalize().unwrap();
    let task = tokio::spawn(async move { clip(&request).await });
    until("ffmpeg runs", || !running_in(&scratch).is_empty()).await;
    assert!(!task.is_finished());
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    until("ffmpeg is gone", || running_in(&scratch).is_empty()).await;
}

#[tokio::test]
async fn a_clip_that_takes_too_long_is_stopped() {
    let scene = Scene::new();
    let request = scene.request(&long_source(&scene), 1100, 100_000);
    let ffmpeg = Ffmpeg::find(&FfmpegSettings {
        search_path: Some(SEARCH_PATH.into()),
        clip_time_max: Duration::from_millis(400),
        ..FfmpegSettings::default()
    })
    .unwrap();
    let error = ffmpeg.clip(&request, &()).await.unwrap_err();
    assert_eq!(error.code().as_str(), "TIME_LIMIT");
    let scratch = request.scratch.canonicalize().unwrap();
    until("ffmpeg is gone", || running_in(&scratch).is_empty()).await;
}
