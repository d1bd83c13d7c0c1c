//! Plans: no statement reads a whole table, and none on a hot path sorts, whatever the tables hold.

pub(crate) mod arguments;
mod claim;
mod explain;
mod heartbeat;
mod laws;
mod outbox;
mod volume;
