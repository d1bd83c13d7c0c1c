//! The rate limit of a key, exact across processes: GCRA in the key's row, under the row's lock.
//!
//! `rate_full_at` is the time from which the whole rate is free again. A request may come while that is at
//! most a minute ahead, less one request's share, and puts it one share further. So a key may send its whole
//! rate at once, its rate on average, and in no minute more than both together.

use std::time::Duration;

use serde::{Serialize, Serializer};
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::scopes::Scopes;
use crate::db::Statement;
use crate::db::statement::{always, maybe};
use crate::error::Result;
use crate::jobs::row::Reader;

/// Requests a minute, where a key says nothing: the seed's default.
pub const RATE_LIMIT_DEFAULT: u32 = 60;
/// The most requests a minute that a key may have.
pub const RATE_LIMIT_MAX: u32 = 60_000;
/// The default and the bound as the column has them.
pub(super) const RATE_BOUNDS: [i32; 2] = [60, 60_000];

/// Where a key's rate stands, for the headers of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct RateLimit {
    /// Requests a minute; as many may come at once.
    pub limit: u32,
    /// Requests that may come now.
    pub remaining: u32,
    /// Until `remaining` is `limit` again. In seconds on the wire.
    #[serde(rename = "reset_after_secs", serialize_with = "as_seconds")]
    pub reset_after: Duration,
    /// Until the next request is let through, where this one was not. In seconds on the wire.
    #[serde(rename = "retry_after_secs", serialize_with = "as_optional_seconds")]
    pub retry_after: Option<Duration>,
}

fn as_seconds<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64())
}

#[expect(clippy::ref_option, reason = "serde passes the field by its reference")]
fn as_optional_seconds<S: Serializer>(
    time: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    time.map(|time| time.as_secs_f64()).serialize(serializer)
}

/// What became of a request of a key whose secret was found right.
#[derive(Debug)]
pub(super) enum Taken {
    /// It may go on.
    Passed {
        name: String,
        scopes: Scopes,
        rate: RateLimit,
    },
    /// It comes too early.
    TooEarly(RateLimit),
    /// The key is revoked.
    Revoked,
    /// The row has another hash than the secret was compared with, or is gone.
    Changed,
}

// The time is asked once the row is locked: callers that waited for each other are timed in the order in
// which they go. More than a minute ahead (with some room for rounding) nobody can be: a time that is, of a
// clock that was set back since, counts as none, so that it locks nobody out. The commit is asynchronous: a
// server's crash forgets requests of its last moments, never a revocation.
pub(super) static TAKE: Statement = Statement {
    name: "api_keys.take",
    sql: "-- api_keys.take
WITH fast AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true)),
held AS MATERIALIZED (
    SELECT key.*
      FROM fast
     CROSS JOIN LATERAL (
        SELECT id, name, scopes, sha256(convert_to(key_hash, 'UTF8')) = $2 AS is_same, revoked_at,
               last_used_at, rate_full_at,
               least(greatest(coalesce(rate_limit_per_min, $3), 0), $4)::int8 AS per_minute
          FROM public.api_keys WHERE id = $1
           FOR NO KEY UPDATE
      ) AS key
),
timed AS MATERIALIZED (SELECT held.*, clock_timestamp() AS at FROM held),
shared AS MATERIALIZED (
    -- One request's share of the minute, in microseconds, rounded up; and how much of it is spent.
    SELECT timed.*, (59999999 + per_minute) / nullif(per_minute, 0) AS share,
           (extract(epoch FROM greatest(least(coalesce(rate_full_at, at), at + interval '1 hour'), at) - at)
            * 1000000)::int8 AS ahead
      FROM timed
),
judged AS MATERIALIZED (
    SELECT shared.*, is_same AND (revoked_at IS NULL OR revoked_at > at) AS is_good,
           CASE WHEN ahead < 120000000 THEN least(ahead, per_minute * share) ELSE 0 END AS spent
      FROM shared
),
taken AS (
    UPDATE public.api_keys AS key
       SET rate_full_at = judged.at + (judged.spent + judged.share) * interval '1 microsecond',
           last_used_at = CASE WHEN judged.last_used_at > judged.at - interval '1 minute'
                               THEN key.last_used_at ELSE judged.at END
      FROM judged
     WHERE key.id = $1 AND key.id = judged.id AND judged.is_good
       AND judged.spent + judged.share <= judged.per_minute * judged.share
    RETURNING key.id
)
SELECT judged.is_same, judged.is_good, taken.id IS NOT NULL AS is_taken, judged.name, judged.scopes,
       judged.per_minute, coalesce(judged.share, 60000000) AS share, judged.spent
  FROM judged LEFT JOIN taken ON taken.id = judged.id",
    params: &[Type::UUID, Type::BYTEA, Type::INT4, Type::INT4],
    columns: &[
        maybe("is_same", Type::BOOL),
        maybe("is_good", Type::BOOL),
        maybe("is_taken", Type::BOOL),
        always("name", Type::VARCHAR),
        maybe("scopes", Type::VARCHAR),
        maybe("per_minute", Type::INT8),
        maybe("share", Type::INT8),
        maybe("spent", Type::INT8),
    ],
};

/// Reads the answer of [`TAKE`].
pub(super) fn read_taken(row: Option<&Row>) -> Result<Taken> {
    let Some(row) = row else {
        return Ok(Taken::Changed);
    };
    let mut row = Reader::new(row);
    let (is_same, is_good, is_taken): (bool, bool, bool) = (row.take()?, row.take()?, row.take()?);
    let (name, scopes): (String, Option<&str>) = (row.take()?, row.take()?);
    let spent = Spent {
        limit: positive(row.take()?),
        share: positive(row.take()?),
        used: positive(row.take()?),
    };
    Ok(if !is_same {
        Taken::Changed
    } else if !is_good {
        Taken::Revoked
    } else if is_taken {
        Taken::Passed {
            name,
            scopes: Scopes::read(scopes.unwrap_or_default()),
            rate: spent.after_one(),
        }
    } else {
        Taken::TooEarly(spent.too_early())
    })
}

fn positive(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// How much of its minute a key has used before a request, in microseconds.
struct Spent {
    limit: u64,
    share: u64,
    used: u64,
}

impl Spent {
    fn after_one(&self) -> RateLimit {
        let used = self.used + self.share;
        RateLimit {
            limit: small(self.limit),
            remaining: small((self.limit * self.share).saturating_sub(used) / self.share.max(1)),
            reset_after: Duration::from_micros(used),
            retry_after: None,
        }
    }

    fn too_early(&self) -> RateLimit {
        // A key without any rate is asked to come back after one share, a minute, for ever.
        let free_at = self.limit.saturating_sub(1) * self.share;
        let retry_after = match self.limit {
            0 => self.share,
            _ => self.used.saturating_sub(free_at),
        };
        RateLimit {
            limit: small(self.limit),
            remaining: 0,
            reset_after: Duration::from_micros(self.used),
            retry_after: Some(Duration::from_micros(retry_after)),
        }
    }
}

/// A limit, which is at most [`RATE_LIMIT_MAX`].
fn small(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(RATE_LIMIT_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;

    #[test]
    fn the_bounds_are_the_same_for_the_column() {
        let bounds = [RATE_LIMIT_DEFAULT, RATE_LIMIT_MAX].map(i64::from);
        assert_eq!(RATE_BOUNDS.map(i64::from), bounds);
    }

    #[test]
    fn the_last_request_of_a_burst_leaves_none() {
        let spent = |spent| Spent {
            limit: 60,
            share: SECOND,
            used: spent,
        };
        let first = spent(0).after_one();
        assert_eq!((first.remaining, first.reset_after.as_secs()), (59, 1));
        let last = spent(59 * SECOND).after_one();
        assert_eq!((last.remaining, last.reset_after.as_secs()), (0, 60));
        let next = spent(59 * SECOND + 400_000).too_early();
        assert_eq!(next.retry_after, Some(Duration::from_millis(400)));
        assert_eq!(next.remaining, 0);
    }

    #[test]
    fn a_part_of_a_share_is_no_request() {
        let half = Spent {
            limit: 10,
            share: 6 * SECOND,
            used: 3 * SECOND,
        };
        assert_eq!(half.after_one().remaining, 8);
    }

    #[test]
    fn a_key_without_a_rate_is_never_told_to_come_back_at_once() {
        let none = Spent {
            limit: 0,
            share: 60 * SECOND,
            used: 0,
        };
        assert_eq!(none.too_early().retry_after, Some(Duration::from_secs(60)));
    }

    #[test]
    fn times_are_seconds_on_the_wire() {
        let rate = Spent {
            limit: 60,
            share: SECOND,
            used: 59_500_000,
        }
        .too_early();
        assert_eq!(
            serde_json::to_string(&rate).unwrap(),
            r#"{"limit":60,"remaining":0,"reset_after_secs":59.5,"retry_after_secs":0.5}"#
        );
    }
}
