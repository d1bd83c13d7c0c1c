//! The ffmpeg clipper with the real ffmpeg, and the worker with a clipper that obeys the test.
// `cfg(test)` tells clippy that helpers outside test functions are test code too.

#[cfg(test)]
mod at_work;
#[cfg(test)]
mod codes_page;
#[cfg(test)]
mod content;
#[cfg(test)]
mod cutting;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod obedient;
#[cfg(test)]
mod real;
#[cfg(test)]
mod refusal;
#[cfg(test)]
mod runtime;
#[cfg(test)]
mod subtitles;
#[cfg(test)]
mod support;
#[cfg(test)]
mod tally;
#[cfg(test)]
mod transcribing;
#[cfg(test)]
mod turns;
#[cfg(test)]
mod youtube;
