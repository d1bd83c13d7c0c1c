//! The ffmpeg clipper with the real ffmpeg.
// `cfg(test)` tells clippy that helpers outside test functions are test code too.

#[cfg(test)]
mod content;
#[cfg(test)]
mod cutting;
#[cfg(test)]
mod refusal;
#[cfg(test)]
mod subtitles;
#[cfg(test)]
mod support;
