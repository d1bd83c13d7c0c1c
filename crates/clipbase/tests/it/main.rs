//! The integration tests of the library, in one binary.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test and what helps it fail by panicking"
)]

mod leaks;
mod lifecycle;
mod plans;
mod spawn;
mod storage;
