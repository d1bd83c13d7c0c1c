//! clipbase: the durable data layer for video-clip jobs.

pub mod error;
pub mod ids;
pub mod status;
pub mod storage;

pub use error::{Cause, Code, Error, Result, ServiceResult};
pub use ids::{EventId, InstallationId, JobId, WorkerId};
pub use status::JobStatus;
