//! What yt-dlp says, understood: lines that it was told to print, and its errors. Pure.

use serde::Deserialize;

use crate::clipper::{ClipError, ClipErrorCode};
use crate::space;

/// Marks lines about the video, before anything is fetched.
pub(super) const FOUND: &str = "clipbase-found:";
/// Marks lines about how far it is.
pub(super) const PROGRESS: &str = "clipbase-progress:";

/// What is known of a video before it is fetched.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Found {
    duration: Option<f64>,
    #[serde(default)]
    is_live: Option<bool>,
    live_status: Option<String>,
}

impl Found {
    pub(super) fn parse(line: &str) -> Option<Self> {
        serde_json::from_str(line.strip_prefix(FOUND)?).ok()
    }

    pub(super) fn is_longer_than(&self, seconds: f64) -> bool {
        self.duration.is_some_and(|duration| duration > seconds)
    }

    pub(super) fn is_live(&self) -> bool {
        let status = self.live_status.as_deref();
        self.is_live == Some(true) || matches!(status, Some("is_live" | "is_upcoming"))
    }
}

/// Reads `1024/665143`, or `1024/NA`: bytes that are here, and of how many.
pub(super) fn progress(line: &str) -> Option<(u64, Option<u64>)> {
    let (done, total) = line.strip_prefix(PROGRESS)?.split_once('/')?;
    Some((number(done)?, number(total)))
}

fn number(text: &str) -> Option<u64> {
    text.split('.').next()?.parse().ok()
}

/// What YouTube says of a video that nobody can have, in lower case.
const UNAVAILABLE: &[&str] = &[
    "private video",
    "video unavailable",
    "video is unavailable",
    "is not available",
    "has been removed",
    "been terminated",
    "confirm your age",
    "age-restricted",
    "members-only",
    "join this channel",
    "premieres in",
    "live event will begin",
    "offline",
    "does not exist",
    "requested format is not available",
    "requires payment",
    "http error 404",
    "http error 410",
];

/// What it says when it turns this machine away.
const BLOCKED: &[&str] = &[
    "not a bot",
    "http error 403",
    "http error 429",
    "too many requests",
    "rate-limited",
];

/// Turns yt-dlp's standard error into one of our codes. Its own words stay where they are: they may name a
/// proxy, an address or a path.
pub(super) fn failure(stderr: &str) -> ClipError {
    let text = stderr.to_lowercase();
    let says = |signs: &[&str]| signs.iter().any(|sign| text.contains(sign));
    if says(&["no space left on device", "disk quota exceeded"]) {
        return space::no_space();
    }
    // A proxy that refuses is no word of YouTube's.
    if says(&["proxy"]) {
        return ClipError::new(
            ClipErrorCode::YtdlpFailed,
            "the video could not be fetched through the proxy; check the proxy of this worker",
        );
    }
    if says(BLOCKED) {
        return ClipError::new(
            ClipErrorCode::YoutubeBlocked,
            "YouTube turns this machine away; try again later, or through another address",
        );
    }
    if says(UNAVAILABLE) {
        return unavailable();
    }
    ClipError::new(
        ClipErrorCode::YtdlpFailed,
        "yt-dlp could not fetch the video; try again, and see that the worker has the newest yt-dlp",
    )
}

pub(super) fn unavailable() -> ClipError {
    ClipError::new(
        ClipErrorCode::YoutubeUnavailable,
        "the video cannot be had: it is private, removed, restricted or live; give a public one that has ended",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_sorted_by_what_they_say() {
        let code = |text: &str| failure(text).code();
        for (text, wanted) in [
            (
                "ERROR: [youtube] x: Private video. Sign in if you've been granted access",
                ClipErrorCode::YoutubeUnavailable,
            ),
            (
                "ERROR: [youtube] x: Video unavailable. This video has been removed by the uploader",
                ClipErrorCode::YoutubeUnavailable,
            ),
            (
                "ERROR: [youtube] x: Sign in to confirm you’re not a bot. Use --cookies",
                ClipErrorCode::YoutubeBlocked,
            ),
            (
                "ERROR: [youtube] x: Unable to download: HTTP Error 429: Too Many Requests",
                ClipErrorCode::YoutubeBlocked,
            ),
            (
                "ERROR: unable to download video data: HTTP Error 403: Forbidden",
                ClipErrorCode::YoutubeBlocked,
            ),
            (
                "ERROR: [youtube] x: Sign in to confirm your age",
                ClipErrorCode::YoutubeUnavailable,
            ),
            (
                "ERROR: unable to write data: [Errno 28] No space left on device",
                ClipErrorCode::NoSpace,
            ),
            (
                "ERROR: Unable to connect to proxy: HTTP Error 403",
                ClipErrorCode::YtdlpFailed,
            ),
            (
                "ERROR: [youtube] x: Unable to extract player response",
                ClipErrorCode::YtdlpFailed,
            ),
            ("", ClipErrorCode::YtdlpFailed),
        ] {
            assert_eq!(code(text), wanted, "{text}");
        }
    }

    #[test]
    fn lines_are_read() {
        assert_eq!(
            progress("clipbase-progress:1024/665143"),
            Some((1024, Some(665_143)))
        );
        assert_eq!(progress("clipbase-progress:10.0/NA"), Some((10, None)));
        assert_eq!(progress("[download] 3%"), None);
        let found = Found::parse(r#"clipbase-found:{"id": "v", "duration": 212.5}"#).unwrap();
        assert!(found.is_longer_than(212.0) && !found.is_longer_than(213.0) && !found.is_live());
        let live = Found::parse(r#"clipbase-found:{"live_status": "is_live", "is_live": null}"#);
        assert!(live.unwrap().is_live());
        assert!(Found::parse("clipbase-found:{").is_none());
    }
}
