//! Looks at a file's first bytes before any other program does.
//!
//! A playlist names other files, and reading it would read them: into a clip that a stranger downloads.
//! ffmpeg is told to refuse those formats too; this look is the first of the two locks, and it tells a
//! playlist from a file that is merely broken.

use std::path::{Path, PathBuf};

use tokio::io::AsyncReadExt as _;

use super::{diagnose, references};
use crate::clipper::{ClipError, ClipErrorCode};

/// How much is looked at: every format below declares itself in its first line or first element.
const HEAD_BYTES: u64 = 4096;

/// How playlists and scripts begin, in lower case, after white space.
const SCRIPT_HEADS: &[&str] = &[
    "#extm3u",
    "ffconcat",
    "v=0",
    "[playlist]",
    "[reference]",
    "rtsptext",
    "smiltext",
    "<smil",
    "<asx",
    "<mpd",
    "#ext-x-",
];

/// What an XML document must hold to be a manifest.
const MANIFEST_MARKS: &[&str] = &[
    "<mpd",
    "<smil",
    "<smoothstreamingmedia",
    "<assetmap",
    "<compositionplaylist",
];

/// Checks that the source is a regular file that is not a script, and returns its absolute path.
pub(super) async fn source(path: &Path) -> Result<PathBuf, ClipError> {
    let facts = tokio::fs::metadata(path).await.map_err(|_| missing())?;
    // A pipe or a device would block or never end; a directory is not a video.
    if !facts.is_file() || facts.len() == 0 {
        return Err(diagnose::not_a_video());
    }
    let file = tokio::fs::File::open(path).await.map_err(|_| missing())?;
    let mut head = Vec::new();
    file.take(HEAD_BYTES)
        .read_to_end(&mut head)
        .await
        .map_err(|_| missing())?;
    if is_script(&head) {
        return Err(diagnose::names_other_files());
    }
    let path = std::path::absolute(path).map_err(|_| missing())?;
    let movie = path.clone();
    // Seeks from box to box: on a thread that may block.
    let refers = tokio::task::spawn_blocking(move || references::names_other_files(&movie)).await;
    if refers.unwrap_or(false) {
        return Err(diagnose::names_other_files());
    }
    Ok(path)
}

fn missing() -> ClipError {
    ClipError::new(
        ClipErrorCode::SourceMissing,
        "the source file does not exist or cannot be read; check its name and permissions",
    )
}

fn is_script(head: &[u8]) -> bool {
    let text = String::from_utf8_lossy(head).to_ascii_lowercase();
    let text = text.trim_start_matches(['\u{feff}', ' ', '\t', '\r', '\n']);
    if SCRIPT_HEADS.iter().any(|start| text.starts_with(start)) {
        return true;
    }
    (text.starts_with("<?xml") || text.starts_with("<!"))
        && MANIFEST_MARKS.iter().any(|mark| text.contains(mark))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_are_recognized() {
        for text in [
            "#EXTM3U\n/etc/passwd\n",
            "\u{feff}\n #EXTM3U",
            "ffconcat version 1.0\nfile x\n",
            "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\n",
            "<?xml version=\"1.0\"?>\n<MPD xmlns=\"urn:mpeg:dash\">",
            "[Reference]\nRef1=http://x/",
        ] {
            assert!(is_script(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn videos_and_plain_text_are_not_scripts() {
        assert!(!is_script(b"\0\0\0\x20ftypisom"));
        assert!(!is_script(b"\x1a\x45\xdf\xa3"));
        assert!(!is_script(b"hello"));
        assert!(!is_script(b""));
    }
}
