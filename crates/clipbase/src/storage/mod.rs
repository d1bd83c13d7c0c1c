//! Object storage: typed keys and the backends behind one trait.

pub mod keys;

pub use keys::{Bucket, StorageKey};
