//! The right frames: compared with the source's, picture by picture.

use std::path::Path;

use clipbase_worker::clipper::CutMethod;

use crate::support::{Scene, clip, difference, facts, picture, sample};

/// Above what encoding changes, and below what one frame changes in the counting test picture.
const SAME_MAX: f64 = 1.5;

fn assert_shows(clip: &Path, at: &str, source: &Path, source_at: &str) {
    let of_clip = picture(clip, at);
    let same = difference(&of_clip, &picture(source, source_at));
    assert!(same < SAME_MAX, "{at} differs from {source_at} by {same}");
}

/// The test can tell one frame from the next.
#[test]
fn neighbouring_frames_differ() {
    let a = picture(&sample(), "5.24");
    let b = picture(&sample(), "5.28");
    let off = difference(&a, &b);
    assert!(off > SAME_MAX, "{off}");
}

#[tokio::test]
async fn an_encoded_clip_starts_on_the_nearest_frame() {
    let scene = Scene::new();
    for (start_ms, frame) in [
        (1234, "1.24"),
        (1219, "1.20"),
        (1221, "1.24"),
        (5240, "5.24"),
    ] {
        let request = scene.request(&sample(), start_ms, start_ms + 1000);
        let clip = clip(&request).await.unwrap();
        assert_eq!(clip.method, CutMethod::Encoded);
        assert_shows(&clip.video, "0", &sample(), frame);
    }
}

#[tokio::test]
async fn every_frame_of_an_encoded_clip_is_the_sources() {
    let scene = Scene::new();
    let clip = clip(&scene.request(&sample(), 5240, 6240)).await.unwrap();
    let frames = [
        "-select_streams",
        "v",
        "-count_packets",
        "-show_entries",
        "stream=nb_read_packets",
    ];
    assert_eq!(facts(&clip.video, &frames), ["25"]);
    for (at, source_at) in [("0.04", "5.28"), ("0.48", "5.72"), ("0.96", "6.2")] {
        assert_shows(&clip.video, at, &sample(), source_at);
    }
}

#[tokio::test]
async fn a_copied_clip_starts_on_the_keyframe() {
    let scene = Scene::new();
    let clip = clip(&scene.request(&sample(), 4000, 6000)).await.unwrap();
    assert_eq!(clip.method, CutMethod::Copied);
    assert_shows(&clip.video, "0", &sample(), "4");
    assert_shows(&clip.video, "1.2", &sample(), "5.2");
}

/// A transport stream starts at 1.4 s, has no index, and seeking leads between its keyframes.
#[tokio::test]
async fn a_transport_stream_is_cut_on_the_very_frame() {
    let scene = Scene::new();
    let source = scene.of_sample("a.ts", &["-map", "0:v", "-map", "0:a", "-c", "copy"]);
    let seconds = |args: &[&str]| facts(&source, args)[0].parse::<f64>().unwrap();
    let origin = seconds(&["-show_entries", "format=start_time"]);
    let video = seconds(&["-select_streams", "v", "-show_entries", "stream=start_time"]);
    assert!(origin > 1.0, "the source starts at {origin}");
    // 5.72 s of the sample, counted from the beginning of the transport stream's presentation.
    let start_ms = (5000..7000)
        .find(|ms| f64::from(*ms) / 1000.0 >= 5.72 + video - origin)
        .unwrap();
    let request = scene.request(&source, start_ms.into(), i64::from(start_ms) + 1000);
    let clip = clip(&request).await.unwrap();
    assert_eq!(clip.method, CutMethod::Encoded);
    assert_shows(&clip.video, "0", &sample(), "5.72");
    assert_shows(&clip.video, "0.6", &sample(), "6.32");
}

#[tokio::test]
async fn sound_and_picture_stay_together() {
    let scene = Scene::new();
    // A beep of 40 ms at 6.0 s, as the picture turns from black to white.
    let picture =
        "color=black:size=320x180:rate=25:duration=10,drawbox=c=white:t=fill:enable='gte(t,6)'";
    let sound = "aevalsrc='if(gte(t,6),sin(880*2*PI*t),0)':s=44100:d=10";
    let args = [
        "-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", sound, "-g", "100", "-c:v", "libx264",
    ];
    let source = scene.make(
        "sync.ts",
        &[&args[..], &["-preset", "veryfast", "-c:a", "aac"]].concat(),
    );
    let clip = clip(&scene.request(&source, 5013, 8013)).await.unwrap();
    let first = |filter: &str, mark: &str| {
        let path = clip.video.to_str().unwrap();
        let args = [
            "-nostdin",
            "-hide_banner",
            "-i",
            path,
            "-vf",
            "blackdetect=d=0.1",
        ];
        let output = std::process::Command::new("ffmpeg")
            .args(args)
            .args(["-af", filter, "-f", "null", "-"])
            .output()
            .unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        let (_, rest) = text
            .split_once(mark)
            .unwrap_or_else(|| panic!("no {mark} in {text}"));
        let number: String = rest
            .trim_start()
            .chars()
            .take_while(|c| c.is_ascii_digit() || *c == '.')
            .collect();
        number.parse::<f64>().unwrap()
    };
    let filter = "silencedetect=n=-40dB:d=0.1";
    let black_end = first(filter, "black_end:");
    let silence_end = first(filter, "silence_end:");
    assert!(
        (black_end - silence_end).abs() < 0.045,
        "{black_end} and {silence_end}"
    );
    assert!((0.9..1.1).contains(&black_end), "{black_end}");
}
