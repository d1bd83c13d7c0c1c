//! clipbase: the durable data layer for video-clip jobs on Supabase Postgres and Supabase Storage.
//!
//! Start with a [`Clipbase`]: it hands out the repositories.
//!
//! | what | where |
//! |---|---|
//! | create, read, change, move and delete jobs | [`Clipbase::jobs`] |
//! | what a worker does under a lease | [`Clipbase::leases`] |
//! | the log of each job | [`Clipbase::events`] |
//! | objects, by typed keys | [`Clipbase::storage`] |
//! | expiry and deletions | [`Clipbase::cleanup`] |
//! | a hint that there may be work | [`Clipbase::wakeups`] |
//! | who may call an API, and how often | [`Clipbase::api_keys`] |
//! | what is measured | [`metrics`] |
//! | the schema | [`migrate`] |

mod clipbase;

pub mod api_keys;
pub mod cleanup;
pub mod db;
pub mod error;
pub mod events;
pub mod ids;
pub mod inspect;
mod installation;
pub mod job;
pub mod jobs;
pub mod leases;
pub mod metrics;
pub mod migrate;
mod queue;
pub mod status;
pub mod storage;
pub mod transitions;
pub mod wakeups;

pub use clipbase::{Backoff, Clipbase, RETENTION_MAX, Retention, Settings};
pub use db::{DatabaseConfig, DatabaseMode};
pub use error::{Cause, Code, Error, Result, ServiceResult};
pub use ids::{ApiKeyId, EventId, InstallationId, JobId, WorkerId};
pub use job::{Change, ClipRange, Cursor, Job, JobPatch, NewJob, Priority, Source};
pub use status::JobStatus;
