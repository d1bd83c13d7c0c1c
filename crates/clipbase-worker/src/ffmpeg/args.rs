//! Arguments of an ffmpeg command: an array, never a line that a shell would read.

use std::ffi::{OsStr, OsString};
use std::path::Path;

/// Names a local file so that ffmpeg reads it neither as an option nor as a URL.
pub(super) fn file_url(path: &Path) -> OsString {
    let mut url = OsString::from("file:");
    url.push(path);
    url
}

/// Collects arguments of several kinds.
#[derive(Default)]
pub(super) struct Args(pub(super) Vec<OsString>);

impl Args {
    pub(super) fn words(mut self, words: &[&str]) -> Self {
        self.0.extend(words.iter().map(OsString::from));
        self
    }

    pub(super) fn pair(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.0.push(name.into());
        self.0.push(value.as_ref().to_owned());
        self
    }

    pub(super) fn last(mut self, word: impl AsRef<OsStr>) -> Vec<OsString> {
        self.0.push(word.as_ref().to_owned());
        self.0
    }
}
