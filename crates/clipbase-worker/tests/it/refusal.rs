//! Input that must be refused, and how.

use std::path::Path;

use clipbase_worker::clipper::ClipErrorCode;
use clipbase_worker::ffmpeg::{Ffmpeg, FfmpegSettings};

use crate::support::{Scene, facts, ffmpeg, refusal, sample};

async fn code_of(scene: &Scene, source: &Path) -> ClipErrorCode {
    refusal(&scene.request(source, 0, 1000)).await
}

#[tokio::test]
async fn a_playlist_is_refused_whatever_its_name() {
    let scene = Scene::new();
    let sample = sample();
    let sample = sample.to_str().unwrap();
    let hls = format!("#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{sample}\n#EXT-X-ENDLIST\n");
    let passwd =
        "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n";
    let concat = format!("ffconcat version 1.0\nfile '{sample}'\n");
    let sdp = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=video 5004 RTP/AVP 96\r\n";
    let dash = "<?xml version=\"1.0\"?><MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\" type=\"static\"></MPD>";
    for (name, text) in [
        ("a.m3u8", hls.as_str()),
        ("b.mp4", &hls),
        ("c.mp4", passwd),
        ("d.ffconcat", &concat),
        ("e.mp4", &concat),
        ("f.sdp", sdp),
        ("g.mp4", sdp),
        ("h.mpd", dash),
        ("i.mp4", dash),
    ] {
        let source = scene.write(name, text);
        let code = code_of(&scene, &source).await;
        assert_eq!(code, ClipErrorCode::UnsupportedContainer, "{name}");
    }
}

/// The second lock: padding hides the playlist from the look at the first bytes, but not from ffmpeg.
#[tokio::test]
async fn a_playlist_behind_padding_is_refused_too() {
    let scene = Scene::new();
    let padding = "\n".repeat(5000);
    let text = format!("{padding}#EXTM3U\n#EXTINF:9,\nfile:///etc/passwd\n");
    let code = code_of(&scene, &scene.write("a.mp4", &text)).await;
    assert!(
        matches!(
            code,
            ClipErrorCode::UnsupportedContainer | ClipErrorCode::NotAVideo
        ),
        "{code}"
    );
}

/// A movie may keep its media in other files, and name them. ffmpeg could be made to follow such names.
#[tokio::test]
async fn a_movie_that_names_other_files_is_refused() {
    let scene = Scene::new();
    for name in ["a.mov", "b.mp4"] {
        let source = scene.of_sample(name, &["-t", "0.5", "-c", "copy", "-sn"]);
        assert_eq!(
            code_of(&scene, &source).await,
            ClipErrorCode::RangeBeyondEnd
        );
        let mut bytes = std::fs::read(&source).unwrap();
        let at = bytes.windows(4).rposition(|word| word == b"url ").unwrap();
        assert_eq!(bytes[at + 4..at + 8], [0, 0, 0, 1]);
        // No longer: the media lie in this file.
        bytes[at + 7] = 0;
        std::fs::write(&source, bytes).unwrap();
        let code = code_of(&scene, &source).await;
        assert_eq!(code, ClipErrorCode::UnsupportedContainer, "{name}");
    }
}

/// ffmpeg reads a name with `%d` as all pictures of such names, and a drawing may name any file.
#[tokio::test]
async fn drawings_and_rows_of_pictures_are_refused() {
    let scene = Scene::new();
    for number in 1..4 {
        scene.of_sample(&format!("row{number}.jpg"), &["-frames:v", "1"]);
    }
    let code = code_of(&scene, &scene.path("row%d.jpg")).await;
    assert_eq!(code, ClipErrorCode::SourceMissing);
    let svg = "<?xml version=\"1.0\"?><svg xmlns=\"http://www.w3.org/2000/svg\" width=\"9\" height=\"9\">\
               <image href=\"file:///etc/passwd\"/></svg>";
    let sources = [
        scene.path("row1.jpg"),
        scene.write("a.svg", svg),
        scene.write("b.mp4", svg),
        scene.of_sample("row.mjpeg", &["-t", "1", "-f", "image2pipe"]),
        scene.of_sample("a.gif", &["-t", "1", "-an", "-sn"]),
        scene.of_sample("a.apng", &["-t", "1", "-an", "-sn"]),
    ];
    for source in sources {
        let code = code_of(&scene, &source).await;
        let name = source.display();
        assert_eq!(code, ClipErrorCode::NotAVideo, "{name}");
    }
}

/// A name is never an option, an address or a pattern.
#[tokio::test]
async fn names_are_only_names() {
    let scene = Scene::new();
    let bytes = std::fs::read(sample()).unwrap();
    for name in [
        "-i",
        "http:x",
        "concat:a|b",
        "pipe:0",
        "a%03d.mp4",
        "a b'\"$(x);.mp4",
        "é\n.mp4",
    ] {
        let source = scene.path(name);
        std::fs::write(&source, &bytes).unwrap();
        let request = scene.request(&source, 4_000, 5_000);
        crate::support::clip(&request).await.unwrap();
    }
}

#[tokio::test]
async fn what_is_not_a_video_is_refused() {
    let scene = Scene::new();
    let sources = [
        scene.write("text.mp4", "hello, this is only text\n"),
        scene.write("text.txt", "hello, this is only text\n"),
        scene.write("empty.mp4", ""),
        scene.write("words.srt", "1\n00:00:01,000 --> 00:00:02,000\nHi\n"),
        scene.directory.path().to_owned(),
        Path::new("/dev/null").to_owned(),
        scene.of_sample("sound.m4a", &["-t", "2", "-vn", "-sn", "-c", "copy"]),
        scene.of_sample("sound.mp3", &["-t", "2", "-vn", "-sn"]),
        scene.of_sample("still.png", &["-frames:v", "1"]),
        scene.of_sample("still.jpg", &["-frames:v", "1"]),
    ];
    for source in sources {
        let code = code_of(&scene, &source).await;
        assert_eq!(code, ClipErrorCode::NotAVideo, "{}", source.display());
    }
}

#[tokio::test]
async fn a_song_with_a_cover_is_not_a_video() {
    let scene = Scene::new();
    let cover = scene.of_sample("cover.jpg", &["-frames:v", "1"]);
    let args = [
        "-i",
        cover.to_str().unwrap(),
        "-map",
        "0:a",
        "-map",
        "1:v",
        "-c:a",
        "copy",
    ];
    let more = ["-c:v", "copy", "-disposition:v:0", "attached_pic"];
    let source = scene.of_sample("song.m4a", &[&args[..], &more].concat());
    assert_eq!(
        facts(&source, &["-show_entries", "stream=codec_type"]),
        ["audio", "video"]
    );
    assert_eq!(code_of(&scene, &source).await, ClipErrorCode::NotAVideo);
}

#[tokio::test]
async fn a_missing_source_is_refused() {
    let scene = Scene::new();
    let code = code_of(&scene, &scene.path("nothing.mp4")).await;
    assert_eq!(code, ClipErrorCode::SourceMissing);
}

#[tokio::test]
async fn ranges_are_refused_with_the_sources_length() {
    let scene = Scene::new();
    for (start, end, code) in [
        (19_000, 21_000, ClipErrorCode::RangeBeyondEnd),
        (30_000, 31_000, ClipErrorCode::RangeBeyondEnd),
        (3000, 3000, ClipErrorCode::RangeInvalid),
        (-5, 3000, ClipErrorCode::RangeInvalid),
    ] {
        assert_eq!(refusal(&scene.request(&sample(), start, end)).await, code);
    }
    let source = ffmpeg().probe(&sample()).await.unwrap();
    let error = source
        .check(&scene.request(&sample(), 0, 30_000))
        .unwrap_err();
    assert!(error.message().contains("20.000 s"), "{error}");
}

#[tokio::test]
async fn a_missing_scratch_directory_is_told() {
    let scene = Scene::new();
    let mut request = scene.request(&sample(), 0, 1000);
    request.scratch = scene.path("nowhere/at/all");
    let code = refusal(&request).await;
    assert_eq!(code, ClipErrorCode::ScratchFailed);
}

#[tokio::test]
async fn a_damaged_video_is_refused_or_cut_but_never_mistaken() {
    let scene = Scene::new();
    let bytes = std::fs::read(sample()).unwrap();
    let source = scene.path("half.mp4");
    std::fs::write(&source, &bytes[..bytes.len() / 2]).unwrap();
    let code = refusal(&scene.request(&source, 15_000, 17_000)).await;
    assert!(
        matches!(
            code,
            ClipErrorCode::OutputInvalid | ClipErrorCode::FfmpegFailed
        ),
        "{code}"
    );
}

#[tokio::test]
async fn probing_tells_the_facts() {
    let source = ffmpeg().probe(&sample()).await.unwrap();
    assert_eq!(source.duration_ms, 20_000);
    assert_eq!((source.width, source.height), (320, 180));
    assert_eq!(source.video_codec, "h264");
    assert_eq!(source.audio_codec.as_deref(), Some("aac"));
    assert_eq!(source.frame_rate.unwrap().to_string(), "25/1");
    let languages: Vec<_> = source
        .text_tracks
        .iter()
        .map(|track| track.language.as_deref().unwrap())
        .collect();
    assert_eq!(languages, ["eng", "deu"]);
}

#[test]
fn a_machine_without_ffmpeg_is_told_how_to_get_it() {
    let error = Ffmpeg::find(&FfmpegSettings {
        search_path: Some("/nonexistent".into()),
        ..FfmpegSettings::default()
    })
    .unwrap_err();
    assert_eq!(error.code(), ClipErrorCode::FfmpegMissing);
}
