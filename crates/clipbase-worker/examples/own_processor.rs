//! A processor of one's own around the clipper that ships: subtitles in capital letters.
//!
//! A worker runs any [`Clipper`]. This one lets ffmpeg cut, and then changes the text; leases, heartbeats,
//! retries, cancels, storage and shutdown are the worker's.
//!
//! ```text
//! cargo run -p clipbase-worker --example own_processor -- talk.mp4 1000 4500
//! ```
#![allow(clippy::print_stdout, reason = "an example tells what it did")]

use std::path::Path;

use async_trait::async_trait;
use clipbase_worker::clipper::{Clip, ClipError, ClipErrorCode, ClipRequest, Clipper, Progress};
use clipbase_worker::ffmpeg::{Ffmpeg, FfmpegSettings};

/// Raises the voice of whatever another clipper makes.
#[derive(Debug)]
struct Shouting<C>(C);

#[async_trait]
impl<C: Clipper> Clipper for Shouting<C> {
    async fn clip(
        &self,
        request: &ClipRequest,
        progress: &dyn Progress,
    ) -> Result<Clip, ClipError> {
        // Dropping this future drops the inner one, which stops its processes: nothing else to do for cancels.
        let clip = self.0.clip(request, progress).await?;
        if let Some(subtitles) = &clip.subtitles {
            shout(subtitles).await.map_err(|_| {
                // A code and a sentence for whoever asked; the code says whether trying again may help.
                ClipError::new(
                    ClipErrorCode::ScratchFailed,
                    "the subtitles could not be written; try again",
                )
            })?;
        }
        Ok(clip)
    }

    async fn settled(&self) {
        self.0.settled().await;
    }
}

async fn shout(path: &Path) -> std::io::Result<()> {
    let text = tokio::fs::read_to_string(path).await?;
    tokio::fs::write(path, text.to_uppercase()).await
}

/// Cuts one clip here. With a database it is `Worker::start(clipbase, Arc::new(Shouting(ffmpeg)), options)`.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(source), Some(start), Some(end)) =
        (arguments.next(), arguments.next(), arguments.next())
    else {
        return Err("usage: own_processor VIDEO START_MS END_MS".into());
    };
    let scratch = Path::new("shouted");
    std::fs::create_dir_all(scratch)?;
    let request = ClipRequest {
        source: source.into(),
        start_ms: start.parse()?,
        end_ms: end.parse()?,
        subtitles: true,
        burn_subtitles: false,
        subtitle_lang: None,
        scratch: scratch.into(),
    };
    let ffmpeg = Ffmpeg::find(&FfmpegSettings {
        search_path: Some("/usr/local/bin:/usr/bin:/bin:/opt/homebrew/bin".into()),
        ..FfmpegSettings::default()
    })?;
    let clip = Shouting(ffmpeg).clip(&request, &()).await?;
    println!("{} ({} ms)", clip.video.display(), clip.duration_ms);
    Ok(())
}

#[cfg(test)]
mod tests {
    use clipbase_worker::clipper::CutMethod;

    use super::*;

    /// Says what it is told.
    #[derive(Debug)]
    struct Quiet;

    #[async_trait]
    impl Clipper for Quiet {
        async fn clip(&self, request: &ClipRequest, _: &dyn Progress) -> Result<Clip, ClipError> {
            let subtitles = request.scratch.join("clip.srt");
            std::fs::write(&subtitles, "1\n00:00:00,000 --> 00:00:01,000\nhello\n").unwrap();
            Ok(Clip {
                video: request.scratch.join("clip.mp4"),
                subtitles: Some(subtitles),
                duration_ms: 1_000,
                method: CutMethod::Copied,
            })
        }
    }

    #[tokio::test]
    async fn it_shouts() {
        let scratch = tempfile::tempdir().unwrap();
        let request = ClipRequest {
            source: "talk.mp4".into(),
            start_ms: 0,
            end_ms: 1_000,
            subtitles: true,
            burn_subtitles: false,
            subtitle_lang: None,
            scratch: scratch.path().to_owned(),
        };
        let clip = Shouting(Quiet).clip(&request, &()).await.unwrap();
        let text = std::fs::read_to_string(clip.subtitles.unwrap()).unwrap();
        assert!(text.ends_with("\nHELLO\n"), "{text}");
    }
}
