//! Typed identifiers: a job's id cannot be passed where a worker's is meant.
//!
//! Ids of jobs and events are UUIDv7 made by the client (RFC 9562): rows that are written together lie
//! together in the index. The database's own default stays `gen_random_uuid()`, for rows written by hand.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::Error;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $field:literal, $new:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// Makes a fresh id.
            #[allow(clippy::new_without_default, reason = "an id has no default; each is new")]
            pub fn new() -> Self {
                Self(Uuid::$new())
            }

            /// Wraps an id that came from elsewhere.
            pub const fn from_uuid(id: Uuid) -> Self {
                Self(id)
            }

            /// Returns the bare UUID.
            pub const fn as_uuid(&self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0.hyphenated())
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self, Error> {
                Uuid::try_parse(text).map(Self).map_err(|_| {
                    Error::invalid($field, "is not a UUID such as 0198c0de-0000-7000-8000-000000000000")
                })
            }
        }
    };
}

id!(
    /// Identifies a job.
    JobId, "job_id", now_v7
);
id!(
    /// Identifies an event; within a job, events are ordered by their `seq` instead.
    EventId, "event_id", now_v7
);
id!(
    /// Identifies a worker *process*. It is random for each process, so that two workers that share a
    /// host name, or a worker that restarts, never share a lease.
    WorkerId, "worker_id", new_v4
);
id!(
    /// Identifies an API key; it is part of the key's text, and no secret.
    ApiKeyId, "key_id", now_v7
);
id!(
    /// Identifies an installation: the pair of one database and the buckets it writes to.
    InstallationId, "installation_id", new_v4
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_prints_as_it_parses() {
        let id = JobId::new();
        assert_eq!(id.to_string().parse::<JobId>().unwrap(), id);
    }

    #[test]
    fn text_that_is_no_uuid_names_the_field() {
        let error = "nonsense".parse::<JobId>().unwrap_err();
        assert_eq!(error.code().as_str(), "INVALID_INPUT");
        assert!(error.to_string().starts_with("job_id"), "{error}");
    }

    #[test]
    fn job_ids_made_later_sort_later() {
        let ids: Vec<JobId> = (0..100).map(|_| JobId::new()).collect();
        assert!(ids.windows(2).all(|pair| pair[0] < pair[1]));
    }
}
