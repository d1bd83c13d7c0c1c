//! Claims clip jobs, runs them and finishes them.
//!
//! [`runtime`] is the worker: it knows jobs and leases, and nothing of video. [`clipper`] is the seam to what
//! cuts video, and [`ffmpeg`] the clipper that ships; [`transcriber`] and [`youtube`] are the seams to what writes
//! down speech and to what fetches videos, both off unless configured.

pub mod clipper;
pub mod ffmpeg;
mod process;
pub mod runtime;
mod space;
pub mod transcriber;
pub mod youtube;

pub use runtime::{Observer, Worker, WorkerOptions};
