//! A part of a video, in milliseconds.

use serde::Serialize;

use crate::error::{Error, Result};

/// The latest end of a clip: what whole seconds in the seed's column can say.
pub const RANGE_MILLIS_MAX: i64 = i32::MAX as i64 * 1000;

/// A part of a video, exact to the millisecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct ClipRange {
    start_ms: i64,
    end_ms: i64,
}

impl ClipRange {
    /// Makes a range of milliseconds from the source's beginning.
    ///
    /// # Errors
    /// `INVALID_INPUT` when it is negative, empty, backwards, or beyond [`RANGE_MILLIS_MAX`].
    pub fn from_millis(start_ms: i64, end_ms: i64) -> Result<Self> {
        if start_ms < 0 {
            return Err(Error::invalid("start", "must not be negative"));
        }
        if end_ms <= start_ms {
            return Err(Error::invalid("end", "must come after the start"));
        }
        if end_ms > RANGE_MILLIS_MAX {
            return Err(Error::invalid("end", "must be at most 2147483647 seconds"));
        }
        Ok(Self { start_ms, end_ms })
    }

    /// Returns the start in milliseconds.
    pub const fn start_ms(self) -> i64 {
        self.start_ms
    }

    /// Returns the end in milliseconds.
    pub const fn end_ms(self) -> i64 {
        self.end_ms
    }

    /// Returns the start in whole seconds, rounded down.
    #[allow(
        clippy::cast_possible_truncation,
        reason = "bounded by RANGE_MILLIS_MAX"
    )]
    pub const fn start_sec(self) -> i32 {
        (self.start_ms / 1000) as i32
    }

    /// Returns the end in whole seconds, rounded up.
    #[allow(
        clippy::cast_possible_truncation,
        reason = "bounded by RANGE_MILLIS_MAX"
    )]
    pub const fn end_sec(self) -> i32 {
        ((self.end_ms + 999) / 1000) as i32
    }
}

/// The range of a row: the exact one, or the whole seconds of a client that knows only those.
pub(crate) fn range_ms(
    start_sec: i32,
    end_sec: i32,
    start_ms: Option<i64>,
    end_ms: Option<i64>,
) -> (i64, i64) {
    (
        start_ms.unwrap_or_else(|| i64::from(start_sec) * 1000),
        end_ms.unwrap_or_else(|| i64::from(end_sec) * 1000),
    )
}

#[cfg(test)]
mod tests {

    use super::*;

    #[test]
    fn seconds_are_rounded_outwards() {
        let range = ClipRange::from_millis(1_234, 3_456).unwrap();
        assert_eq!((range.start_sec(), range.end_sec()), (1, 4));
        let range = ClipRange::from_millis(2_000, 3_000).unwrap();
        assert_eq!((range.start_sec(), range.end_sec()), (2, 3));
        let last = ClipRange::from_millis(0, RANGE_MILLIS_MAX).unwrap();
        assert_eq!(last.end_sec(), i32::MAX);
    }

    #[test]
    fn impossible_ranges_name_the_field() {
        for (start, end, field) in [
            (-1, 5, "start"),
            (5, 5, "end"),
            (6, 5, "end"),
            (0, i64::MAX, "end"),
        ] {
            let error = ClipRange::from_millis(start, end).unwrap_err();
            assert!(error.to_string().starts_with(field), "{error}");
        }
    }
}
