//! What the library shows of itself: each edge is counted once, where it was taken, and log lines name their job.

mod edges;
mod spans;
