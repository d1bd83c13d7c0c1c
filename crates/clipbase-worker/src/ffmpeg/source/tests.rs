//! Requests against facts, without any file.

use std::path::PathBuf;

use super::*;

fn track(index: u32, language: Option<&str>, default: bool) -> TextTrack {
    TextTrack {
        index,
        codec: "subrip".into(),
        language: language.map(Into::into),
        default,
    }
}

fn source() -> Source {
    Source {
        container: "mov,mp4,m4a,3gp,3g2,mj2".into(),
        duration_ms: 20_000,
        size_bytes: 1_000_000,
        video_codec: "h264".into(),
        width: 320,
        height: 180,
        frame_rate: FrameRate::parse("25/1"),
        audio_codec: Some("aac".into()),
        text_tracks: vec![],
        bitmap_tracks: 0,
        layout: Layout {
            start_us: 0,
            video_index: 0,
            reordered_frames: 2,
            audio_index: Some(1),
            audio_channels: 2,
        },
    }
}

fn request(start_ms: i64, end_ms: i64) -> ClipRequest {
    ClipRequest {
        source: PathBuf::new(),
        start_ms,
        end_ms,
        subtitles: false,
        burn_subtitles: false,
        subtitle_lang: None,
        scratch: PathBuf::new(),
    }
}

fn range_code(start_ms: i64, end_ms: i64) -> Option<ClipErrorCode> {
    source()
        .check(&request(start_ms, end_ms))
        .err()
        .map(|error| error.code())
}

#[test]
fn ranges_are_checked_against_the_duration() {
    use ClipErrorCode::{RangeBeyondEnd, RangeInvalid};
    assert_eq!(range_code(0, 20_000), None);
    assert_eq!(range_code(0, 20_150), None);
    assert_eq!(range_code(0, 20_151), Some(RangeBeyondEnd));
    assert_eq!(range_code(20_000, 20_100), Some(RangeBeyondEnd));
    assert_eq!(range_code(5, 5), Some(RangeInvalid));
    assert_eq!(range_code(6, 5), Some(RangeInvalid));
    assert_eq!(range_code(-1, 5), Some(RangeInvalid));
    assert_eq!(range_code(i64::MIN, i64::MAX), Some(RangeInvalid));
    assert_eq!(range_code(0, i64::MAX), Some(RangeBeyondEnd));
}

#[test]
fn a_range_slightly_past_the_end_stops_at_the_end() {
    assert_eq!(source().clip_ms(&request(19_000, 20_100)), 1000);
}

#[test]
fn the_default_text_track_wins_over_the_first() {
    let mut source = source();
    source.text_tracks = vec![track(2, Some("eng"), false), track(3, Some("ger"), true)];
    assert_eq!(source.text_track(None).unwrap().index, 3);
    assert_eq!(source.text_track(Some("auto")).unwrap().index, 3);
    assert_eq!(source.text_track(Some("en")).unwrap().index, 2);
    assert_eq!(source.text_track(Some("deu")).unwrap().index, 3);
}

#[test]
fn a_missing_language_names_those_that_exist() {
    let mut source = source();
    source.text_tracks = vec![track(2, Some("eng"), false), track(3, None, false)];
    let error = source.text_track(Some("fr")).unwrap_err();
    assert_eq!(error.code(), ClipErrorCode::NoTextTrack);
    assert!(error.message().contains("eng, untagged"), "{error}");
}

#[test]
fn pictures_are_not_text() {
    let mut source = source();
    let code = |source: &Source| source.text_track(None).unwrap_err().code();
    assert_eq!(code(&source), ClipErrorCode::NoTextTrack);
    source.bitmap_tracks = 1;
    assert_eq!(code(&source), ClipErrorCode::SubtitlesNotText);
}

#[test]
fn burning_alone_needs_a_text_track_too() {
    let burn = ClipRequest {
        burn_subtitles: true,
        ..request(0, 1000)
    };
    let error = source().check(&burn).unwrap_err();
    assert_eq!(error.code(), ClipErrorCode::NoTextTrack);
}

#[test]
fn only_fitting_codecs_in_exact_containers_are_copied() {
    let mut source = source();
    assert!(source.picture_fits_mp4() && source.sound_fits_mp4());
    source.audio_codec = Some("vorbis".into());
    assert!(!source.sound_fits_mp4());
    source.container = "avi".into();
    assert!(!source.picture_fits_mp4());
    source.container = "matroska,webm".into();
    source.video_codec = "mpeg2video".into();
    assert!(!source.picture_fits_mp4());
}

#[test]
fn unusual_frame_rates_are_replaced() {
    let mut source = source();
    for (given, used) in [
        (Some("30000/1001"), "30000/1001"),
        (Some("90000/1"), "25/1"),
        (Some("1/1"), "25/1"),
        (Some("0/0"), "25/1"),
        (None, "25/1"),
    ] {
        source.frame_rate = given.and_then(FrameRate::parse);
        assert_eq!(source.clip_rate().to_string(), used);
    }
}

#[test]
fn the_space_needed_is_the_share_of_the_source_and_the_reserve() {
    let source = source();
    assert_eq!(source.clip_bytes(10_000), 600_000 + SPACE_RESERVE_BYTES);
    assert_eq!(source.clip_bytes(i64::MAX), 1_200_000 + SPACE_RESERVE_BYTES);
}
