//! Jobs over HTTP: created, read, acted on, one by one and in bulk.

pub(crate) mod act;
pub(crate) mod bulk;
pub(crate) mod create;
pub(crate) mod read;
mod source;
mod time;
mod view;

pub(crate) use view::JobStatusName;
