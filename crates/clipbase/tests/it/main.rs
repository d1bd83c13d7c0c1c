//! The integration tests of the library, in one binary.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test and what helps it fail by panicking"
)]
#![allow(
    clippy::format_push_string,
    reason = "pages are small, and read better so"
)]

mod adoption;
mod api_keys;
mod bulk;
mod claims;
mod cleanup;
mod connections;
mod contract;
mod crash_points;
mod drizzle;
mod edges;
mod errors_page;
mod events;
mod generated;
mod leaks;
mod leases;
mod lifecycle;
mod migrations;
mod model;
mod observe;
mod plans;
mod races;
mod roles;
mod schema_laws;
mod schema_page;
mod seed;
mod seed_client;
mod spawn;
mod state_machine;
mod storage;
mod support;
mod wakeups;
mod zombies;
