//! The integration tests of the library, in one binary.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test and what helps it fail by panicking"
)]

mod claims;
mod cleanup;
mod connections;
mod events;
mod leaks;
mod leases;
mod lifecycle;
mod model;
mod plans;
mod races;
mod spawn;
mod storage;
mod support;
mod zombies;
