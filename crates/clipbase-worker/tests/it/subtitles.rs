//! Text tracks: chosen, cut, shifted, clamped and burned.

use std::path::Path;

use clipbase_worker::clipper::{ClipErrorCode, ClipRequest, CutMethod};

use crate::support::{Scene, clip, difference, picture, refusal, sample};

fn with_text(scene: &Scene, source: &Path, start_ms: i64, end_ms: i64) -> ClipRequest {
    ClipRequest {
        subtitles: true,
        ..scene.request(source, start_ms, end_ms)
    }
}

async fn text_of(request: &ClipRequest) -> String {
    let clip = clip(request).await.unwrap();
    std::fs::read_to_string(clip.subtitles.unwrap()).unwrap()
}

#[tokio::test]
async fn cues_are_cut_shifted_and_clamped() {
    let scene = Scene::new();
    let text = text_of(&with_text(&scene, &sample(), 1000, 4750)).await;
    let expected = "1\n00:00:00,000 --> 00:00:00,750\nHello number 1\n\n\
                    2\n00:00:01,250 --> 00:00:02,750\nHello number 2\n\n\
                    3\n00:00:03,250 --> 00:00:03,750\nHello number 3\n\n";
    assert_eq!(text, expected);
}

#[tokio::test]
async fn a_cue_that_began_long_before_the_range_is_kept() {
    let scene = Scene::new();
    let text = text_of(&with_text(&scene, &sample(), 18_000, 20_000)).await;
    assert_eq!(text, "1\n00:00:00,000 --> 00:00:01,000\nOne long line\n\n");
}

#[tokio::test]
async fn the_language_is_chosen_by_two_or_three_letters() {
    let scene = Scene::new();
    for (lang, word) in [
        (None, "Hello"),
        (Some("auto"), "Hello"),
        (Some("en"), "Hello"),
        (Some("eng"), "Hello"),
        (Some("de"), "Hallo"),
        (Some("ger"), "Hallo"),
        (Some("deu"), "Hallo"),
    ] {
        let mut request = with_text(&scene, &sample(), 0, 2000);
        request.subtitle_lang = lang.map(Into::into);
        let text = text_of(&request).await;
        assert!(text.contains(word), "{lang:?}: {text}");
    }
    let mut request = with_text(&scene, &sample(), 0, 2000);
    request.subtitle_lang = Some("fr".into());
    let error = clip(&request).await.unwrap_err();
    assert_eq!(error.code(), ClipErrorCode::NoTextTrack);
    assert!(error.message().contains("eng, deu"), "{error}");
}

#[tokio::test]
async fn text_of_every_codec_and_container_has_the_same_times() {
    let scene = Scene::new();
    let with = |codec: &'static str| ["-map", "0", "-c", "copy", "-c:s", codec];
    let late = [&with("srt")[..], &["-output_ts_offset", "7"]].concat();
    for (name, args) in [
        ("srt.mkv", &with("srt")[..]),
        ("ass.mkv", &with("ass")[..]),
        ("vtt.mkv", &with("webvtt")[..]),
        ("text.mov", &with("mov_text")[..]),
        ("late.mkv", &late[..]),
    ] {
        let source = scene.of_sample(name, args);
        let text = text_of(&with_text(&scene, &source, 4000, 6000)).await;
        // Matroska begins with the sound's priming, 23 ms before the picture.
        let times = [
            "00:00:00,250 --> 00:00:01,750",
            "00:00:00,273 --> 00:00:01,773",
        ];
        assert!(
            times.iter().any(|time| text.contains(time)),
            "{name}: {text}"
        );
        assert!(
            text.contains("Hello number 3") && !text.contains("font"),
            "{name}: {text}"
        );
    }
}

#[tokio::test]
async fn a_range_without_cues_has_an_empty_file_and_can_be_burned() {
    let scene = Scene::new();
    let request = ClipRequest {
        burn_subtitles: true,
        ..with_text(&scene, &sample(), 19_200, 20_000)
    };
    let clip = clip(&request).await.unwrap();
    assert_eq!(clip.method, CutMethod::Encoded);
    assert_eq!(
        std::fs::read_to_string(clip.subtitles.unwrap()).unwrap(),
        ""
    );
}

#[tokio::test]
async fn burning_changes_the_picture_only_while_a_cue_is_shown() {
    let scene = Scene::new();
    let request = ClipRequest {
        burn_subtitles: true,
        ..scene.request(&sample(), 4000, 6000)
    };
    let clip = clip(&request).await.unwrap();
    assert_eq!(clip.method, CutMethod::Encoded);
    assert_eq!(clip.subtitles, None, "the text was not asked for");
    // Text is drawn into the lower third.
    let lower = |picture: Vec<u8>| picture[120 * 320..].to_vec();
    let changed = |at: &str, source_at: &str| {
        let source = picture(&sample(), source_at);
        difference(&lower(picture(&clip.video, at)), &lower(source))
    };
    let while_shown = changed("1", "5");
    for (at, source_at) in [("0.04", "4.04"), ("1.88", "5.88")] {
        let before_or_after = changed(at, source_at);
        assert!(before_or_after < 1.0, "{at}: {before_or_after}");
        assert!(
            while_shown > 3.0 * before_or_after,
            "{while_shown}, {before_or_after}"
        );
    }
}

#[tokio::test]
async fn a_source_without_text_says_so() {
    let scene = Scene::new();
    let source = scene.of_sample("a.mp4", &["-t", "3", "-sn", "-c", "copy"]);
    let code = refusal(&with_text(&scene, &source, 0, 1000)).await;
    assert_eq!(code, ClipErrorCode::NoTextTrack);
}

#[tokio::test]
async fn subtitles_that_are_pictures_say_so() {
    let scene = Scene::new();
    // ffmpeg turns no text into pictures: the stream is one blank picture of a Blu-ray.
    let source = scene.path("blank.sup");
    std::fs::write(&source, blank_pgs()).unwrap();
    let args = [
        "-i",
        source.to_str().unwrap(),
        "-t",
        "3",
        "-map",
        "0:v",
        "-map",
        "1:s",
        "-c",
        "copy",
    ];
    let source = scene.of_sample("a.mkv", &args);
    let code = refusal(&with_text(&scene, &source, 0, 1000)).await;
    assert_eq!(code, ClipErrorCode::SubtitlesNotText);
}

/// A composition without objects at one second, and its end.
fn blank_pgs() -> Vec<u8> {
    let mut bytes = Vec::new();
    let composition: &[u8] = &[1, 64, 0, 180, 0x10, 0, 0, 0x80, 0, 0, 0];
    for (kind, body) in [(0x16, composition), (0x80, &[])] {
        bytes.extend(b"PG");
        bytes.extend(90_000_u32.to_be_bytes());
        bytes.extend([0; 4]);
        bytes.push(kind);
        bytes.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
        bytes.extend(body);
    }
    bytes
}
