//! Times as integers: milliseconds from people, microseconds inside ffmpeg, never floating point.

/// Writes milliseconds as ffmpeg reads them: `1234` is `1.234`.
pub(super) fn from_ms(ms: i64) -> String {
    from_us(ms.saturating_mul(1000))
}

/// Writes microseconds as ffmpeg reads them.
pub(super) fn from_us(us: i64) -> String {
    let sign = if us < 0 { "-" } else { "" };
    let us = us.unsigned_abs();
    format!("{sign}{}.{:06}", us / 1_000_000, us % 1_000_000)
}

/// Reads ffprobe's decimal seconds; `None` for `N/A` and anything else.
pub(super) fn parse_us(text: &str) -> Option<i64> {
    let text = text.trim();
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !is_number(whole) || !is_number(part) {
        return None;
    }
    let part: String = part.chars().chain("000000".chars()).take(6).collect();
    let us = whole
        .parse::<i64>()
        .ok()?
        .checked_mul(1_000_000)?
        .checked_add(part.parse().ok()?)?;
    Some(if negative { -us } else { us })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_are_exact() {
        assert_eq!(from_ms(1234), "1.234000");
        assert_eq!(from_ms(0), "0.000000");
        assert_eq!(from_us(-1), "-0.000001");
        assert_eq!(parse_us("4.023"), Some(4_023_000));
        assert_eq!(parse_us("-0.021333"), Some(-21_333));
        assert_eq!(parse_us("N/A"), None);
        assert_eq!(parse_us(""), None);
        assert_eq!(parse_us("99999999999999999999"), None);
    }

    proptest! {
        #[test]
        fn a_written_time_reads_back(us in -1_000_000_000_000_000_i64..1_000_000_000_000_000) {
            prop_assert_eq!(parse_us(&from_us(us)), Some(us));
        }

        #[test]
        fn no_text_panics(text in ".*") {
            let _ = parse_us(&text);
        }
    }
}
