//! Times on the command line: `12.5`, `1:05`, `00:00:05.250`.

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
    fn a_time_is_shown_as_it_is_read() {
        for millis in [0, 250, 65_000, 3_723_004, 360_000_000] {
            assert_eq!(parse_millis(&show_millis(millis)), Ok(millis));
        }
    }
}
