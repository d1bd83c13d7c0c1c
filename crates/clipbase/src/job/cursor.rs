//! Where a page of a list starts.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use uuid::Uuid;

use crate::error::{Error, Result};
use crate::ids::JobId;

/// Where a page of a list starts: after this row. Prints as text for links and command lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The time of creation of the page's last row.
    pub created_at: Timestamp,
    /// Its id.
    pub id: JobId,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}-{}",
            self.created_at.as_microsecond(),
            self.id.as_uuid().simple()
        )
    }
}

impl FromStr for Cursor {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let refuse = || Error::invalid("cursor", "is not one that a page ended with");
        let (micros, id) = text.rsplit_once('-').ok_or_else(refuse)?;
        let micros: i64 = micros.parse().map_err(|_| refuse())?;
        // No page ended before 1970; and the server takes no time before Christ.
        if micros < 0 {
            return Err(refuse());
        }
        let created_at = Timestamp::from_microsecond(micros).map_err(|_| refuse())?;
        let id = Uuid::try_parse(id).map_err(|_| refuse())?;
        Ok(Self {
            created_at,
            id: JobId::from_uuid(id),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_cursor_parses_back(micros in 0_i64..4_102_444_800_000_000, id: u128) {
            let created_at = Timestamp::from_microsecond(micros).unwrap();
            let cursor = Cursor { created_at, id: JobId::from_uuid(Uuid::from_u128(id)) };
            prop_assert_eq!(cursor.to_string().parse::<Cursor>().unwrap(), cursor);
        }

        #[test]
        fn a_cursor_before_all_jobs_is_refused(micros in i64::MIN..0, id: u128) {
            let text = format!("{micros}-{}", Uuid::from_u128(id).simple());
            prop_assert!(text.parse::<Cursor>().is_err());
        }

        #[test]
        fn no_text_makes_a_cursor_panic(text in ".*") {
            let _ = text.parse::<Cursor>();
        }
    }
}
