//! Claims clip jobs, runs them and finishes them.
//!
//! [`runtime`] is the worker: it knows jobs and leases, and nothing of video. [`clipper`] is the seam to what
//! cuts video, and [`ffmpeg`] the clipper that ships.

pub mod clipper;
pub mod ffmpeg;
mod process;
pub mod runtime;

pub use runtime::{Observer, Worker, WorkerOptions};
