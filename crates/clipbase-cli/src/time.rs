//! Times on the command line: `12.5`, `1:05`, `00:00:05.250`; and lengths of time: `90s`, `12h`, `7d`.

use std::time::Duration;

use jiff::{Span, SpanRelativeTo};

/// Reads a length of time above zero; a day has 24 hours.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let refuse = || "write a length of time as 90s, 30m, 12h or 7d".to_owned();
    let span: Span = text.parse().map_err(|_| refuse())?;
    let relative = SpanRelativeTo::days_are_24_hours();
    let length = span.to_duration(relative).map_err(|_| refuse())?;
    match Duration::try_from(length) {
        Ok(length) if !length.is_zero() => Ok(length),
        _ => Err(refuse()),
    }
}

/// Reads a time as milliseconds.
pub(crate) fn parse_millis(text: &str) -> Result<i64, String> {
    clipbase::job::parse_millis(text).map_err(str::to_owned)
}

/// Writes milliseconds as a time: `00:00:05.250`.
pub(crate) fn show_millis(millis: i64) -> String {
    let (seconds, rest) = (millis / 1000, millis % 1000);
    format!(
        "{:02}:{:02}:{:02}.{rest:03}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_have_their_unit() {
        for (text, seconds) in [
            ("90s", 90),
            ("30m", 1_800),
            ("12h", 43_200),
            ("7d", 604_800),
            ("1d 2h", 93_600),
        ] {
            assert_eq!(
                parse_duration(text),
                Ok(Duration::from_secs(seconds)),
                "{text}"
            );
        }
        for text in ["", "7", "0s", "-1h", "1 month", "soon", "99999999999d"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_time_is_shown_as_it_is_read() {
        for millis in [0, 250, 65_000, 3_723_004, 360_000_000] {
            assert_eq!(parse_millis(&show_millis(millis)), Ok(millis));
        }
    }
}
