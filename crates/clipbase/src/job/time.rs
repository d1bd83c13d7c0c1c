//! Times in a video as people write them: `12.5`, `1:05`, `00:00:05.250`.

/// Reads a time as milliseconds.
///
/// # Errors
/// What is wrong and how to mend it, to be told with the field's name.
pub fn parse_millis(text: &str) -> Result<i64, &'static str> {
    let refuse = || "write a time as seconds (12.5) or as HH:MM:SS (00:01:05.250)";
    let parts: Vec<&str> = text.split(':').collect();
    let (clock, seconds) = match parts.as_slice() {
        [seconds] => (0, *seconds),
        [minutes, seconds] => (whole(minutes).ok_or_else(refuse)? * 60, *seconds),
        [hours, minutes, seconds] => {
            let minutes = whole(minutes)
                .filter(|minutes| *minutes < 60)
                .ok_or_else(refuse)?;
            (
                whole(hours).ok_or_else(refuse)? * 3600 + minutes * 60,
                *seconds,
            )
        }
        _ => return Err(refuse()),
    };
    let (integer, fraction) = seconds.split_once('.').unwrap_or((seconds, ""));
    let integer = whole(integer).ok_or_else(refuse)?;
    if parts.len() > 1 && integer >= 60 {
        return Err(refuse());
    }
    let is_fraction = fraction.bytes().all(|b| b.is_ascii_digit());
    if !is_fraction || (seconds.contains('.') && fraction.is_empty()) {
        return Err(refuse());
    }
    if fraction.len() > 3 && fraction.bytes().skip(3).any(|b| b != b'0') {
        return Err("times are exact to the millisecond: at most three decimals");
    }
    let millis: String = format!("{fraction:0<3}").chars().take(3).collect();
    let millis: i64 = millis.parse().map_err(|_| refuse())?;
    Ok((clock + integer) * 1000 + millis)
}

/// Digits, few enough that no sum of them overflows.
fn whole(text: &str) -> Option<i64> {
    let fits = (1..=10).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    fits.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_every_usual_form() {
        for (text, millis) in [
            ("0", 0),
            ("12.5", 12_500),
            ("90", 90_000),
            ("0.25", 250),
            ("7.1230", 7_123),
            ("1:05", 65_000),
            ("00:00:05", 5_000),
            ("01:02:03.004", 3_723_004),
        ] {
            assert_eq!(parse_millis(text), Ok(millis), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "-1",
            "1.",
            ".5",
            "1e3",
            "1:60",
            "1:2:3:4",
            "1:60:00",
            "0.0001",
            "١",
            "99999999999",
        ] {
            assert!(parse_millis(text).is_err(), "{text}");
        }
    }
}
