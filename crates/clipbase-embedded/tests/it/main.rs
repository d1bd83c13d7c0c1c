//! A private server on this machine: its life, its users, its deaths.
//!
//! `CLIPBASE_TEST_PG_BIN` names another server than the one that is found. Run as root, the tests
//! cover root and an ordinary user.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "clippy.toml allows them in tests, but does not see that all of this is one"
)]

mod crash;
mod lifecycle;
mod program;
mod refusals;
mod sharing;
mod stale;
mod support;
mod users;
