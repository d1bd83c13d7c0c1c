//! The fake Supabase Storage behaves as the real one was seen to behave.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod client;
mod connections;
mod crash_points;
mod faults;
mod keys;
mod links;
mod listings;
mod objects;
mod refusals;
mod resumable;
