//! Where a reconciliation goes on: a bucket, a place in its listing, and the first job not yet compared.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};
use uuid::Uuid;

use super::ReconcileSource;
use crate::error::{Error, Result};
use crate::storage::Bucket;

/// Where a reconciliation goes on. `Display` gives a text that `FromStr` reads.
#[derive(Clone, PartialEq, Eq)]
pub struct ReconcileCursor {
    pub(super) bucket: Bucket,
    /// Which of the two sources the place belongs to.
    pub(super) source: ReconcileSource,
    /// Rows of jobs before this one are compared.
    pub(super) from: Uuid,
    pub(super) place: Place,
}

/// How far a bucket's objects are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Start,
    After(String),
    End,
}

impl ReconcileCursor {
    pub(super) fn start(bucket: Bucket, source: ReconcileSource) -> Self {
        Self {
            bucket,
            source,
            from: Uuid::nil(),
            place: Place::Start,
        }
    }
}

impl fmt::Display for ReconcileCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = match self.source {
            ReconcileSource::Sql => "sql",
            _ => "list",
        };
        let (place, after) = match &self.place {
            Place::Start => ("start", ""),
            Place::After(after) => ("after", after.as_str()),
            Place::End => ("end", ""),
        };
        let bucket = self.bucket.name();
        write!(f, "1:{bucket}:{source}:{}:{place}:{after}", self.from)
    }
}

impl fmt::Debug for ReconcileCursor {
    /// Shows nothing: a server's cursor may hold a bucket's name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReconcileCursor(…)")
    }
}

impl Serialize for ReconcileCursor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl FromStr for ReconcileCursor {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        read(text).ok_or_else(|| {
            Error::invalid(
                "cursor",
                "is not one that a reconciliation gave; start anew",
            )
        })
    }
}

fn read(text: &str) -> Option<ReconcileCursor> {
    let mut parts = text.splitn(6, ':');
    if parts.next()? != "1" {
        return None;
    }
    let bucket = Bucket::named(parts.next()?)?;
    let source = match parts.next()? {
        "sql" => ReconcileSource::Sql,
        "list" => ReconcileSource::List,
        _ => return None,
    };
    let from = parts.next()?.parse().ok()?;
    let place = match (parts.next()?, parts.next()?) {
        ("start", "") => Place::Start,
        ("end", "") => Place::End,
        ("after", after) => Place::After(after.to_owned()),
        _ => return None,
    };
    Some(ReconcileCursor {
        bucket,
        source,
        from,
        place,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_cursor_reads_back(after in ".*", from in any::<u128>(), is_sql in any::<bool>(), kind in 0..3) {
            let cursor = ReconcileCursor {
                bucket: if kind == 0 { Bucket::Sources } else { Bucket::Results },
                source: if is_sql { ReconcileSource::Sql } else { ReconcileSource::List },
                from: Uuid::from_u128(from),
                place: match kind {
                    0 => Place::Start,
                    1 => Place::After(after),
                    _ => Place::End,
                },
            };
            prop_assert_eq!(cursor.to_string().parse::<ReconcileCursor>().unwrap(), cursor);
        }

        #[test]
        fn no_text_makes_it_panic(text in ".*") {
            let _ = text.parse::<ReconcileCursor>();
        }
    }

    #[test]
    fn what_it_did_not_write_is_refused() {
        let id = Uuid::nil();
        for text in [
            String::new(),
            format!("2:sources:list:{id}:start:"),
            format!("1:elsewhere:list:{id}:start:"),
            format!("1:sources:auto:{id}:start:"),
            "1:sources:list:x:start:".to_owned(),
            format!("1:sources:list:{id}:start:x"),
            format!("1:sources:list:{id}:start"),
        ] {
            assert!(text.parse::<ReconcileCursor>().is_err(), "{text}");
        }
    }
}
