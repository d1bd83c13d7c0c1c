//! The ffmpeg clipper with the real ffmpeg, and the worker with a clipper that obeys the test.
// `cfg(test)` tells clippy that helpers outside test functions are test code too.

#[cfg(test)]
mod content;
#[cfg(test)]
mod cutting;
#[cfg(test)]
mod obedient;
#[cfg(test)]
mod refusal;
#[cfg(test)]
mod runtime;
#[cfg(test)]
mod subtitles;
#[cfg(test)]
mod support;
