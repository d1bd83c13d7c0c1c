//! A moment of a video in a request: a number of seconds, or text such as `00:01:05.250`. Exact to the
//! millisecond; what is finer is refused rather than rounded.

use std::fmt;

use clipbase::job::{RANGE_MILLIS_MAX, parse_millis};
use serde::de::{Deserialize, Deserializer, Error, Visitor};
use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

/// Milliseconds from the source's beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClipTime(pub(crate) i64);

const TOO_FINE: &str = "times are exact to the millisecond: at most three decimals";
const OUT_OF_RANGE: &str = "must be 0 to 2147483647 seconds";

impl<'de> Deserialize<'de> for ClipTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TimeVisitor)
    }
}

struct TimeVisitor;

impl Visitor<'_> for TimeVisitor {
    type Value = ClipTime;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("seconds (12.5) or HH:MM:SS (\"00:01:05.250\")")
    }

    fn visit_u64<E: Error>(self, seconds: u64) -> Result<ClipTime, E> {
        i64::try_from(seconds)
            .ok()
            .and_then(|seconds| seconds.checked_mul(1000))
            .filter(|millis| *millis <= RANGE_MILLIS_MAX)
            .map(ClipTime)
            .ok_or_else(|| E::custom(OUT_OF_RANGE))
    }

    fn visit_i64<E: Error>(self, seconds: i64) -> Result<ClipTime, E> {
        u64::try_from(seconds)
            .map_err(|_| E::custom(OUT_OF_RANGE))
            .and_then(|seconds| self.visit_u64(seconds))
    }

    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::float_cmp,
        reason = "bounded before; and a decimal with three places is the nearest number to its thousandths"
    )]
    fn visit_f64<E: Error>(self, seconds: f64) -> Result<ClipTime, E> {
        if !(0.0..=RANGE_MILLIS_MAX as f64 / 1000.0).contains(&seconds) {
            return Err(E::custom(OUT_OF_RANGE));
        }
        let millis = (seconds * 1000.0).round();
        if millis / 1000.0 == seconds {
            Ok(ClipTime(millis as i64))
        } else {
            Err(E::custom(TOO_FINE))
        }
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<ClipTime, E> {
        let millis = parse_millis(text).map_err(E::custom)?;
        if millis <= RANGE_MILLIS_MAX {
            Ok(ClipTime(millis))
        } else {
            Err(E::custom(OUT_OF_RANGE))
        }
    }
}

impl PartialSchema for ClipTime {
    fn schema() -> RefOr<Schema> {
        let number = ObjectBuilder::new()
            .schema_type(Type::Number)
            .description(Some("Seconds, with at most three decimals."))
            .minimum(Some(0))
            .maximum(Some(RANGE_MILLIS_MAX / 1000))
            .examples([serde_json::json!(12.5)]);
        let text = ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some(
                "Seconds, MM:SS or HH:MM:SS, with at most three decimals.",
            ))
            .pattern(Some(
                r"^(([0-9]{1,5}:)?[0-5]?[0-9]:[0-5]?[0-9]|[0-9]{1,9})(\.[0-9]{1,3})?$",
            ))
            .examples([serde_json::json!("00:01:05.250")]);
        OneOfBuilder::new()
            .item(number)
            .item(text)
            .description(Some("A moment of the source, exact to the millisecond."))
            .into()
    }
}

impl ToSchema for ClipTime {}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<i64, String> {
        serde_json::from_str::<ClipTime>(json)
            .map(|time| time.0)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_time_is_exact_to_the_millisecond() {
        for (json, millis) in [
            ("0", 0),
            ("-0.0", 0),
            ("12.5", 12_500),
            ("0.001", 1),
            ("1e1", 10_000),
            ("2147483647", RANGE_MILLIS_MAX),
            ("2147483646.999", RANGE_MILLIS_MAX - 1),
            ("\"12.5\"", 12_500),
            ("\"00:01:05.250\"", 65_250),
        ] {
            assert_eq!(read(json), Ok(millis), "{json}");
        }
        for millis in (0..5_000).chain(1_000_000_000_000..1_000_000_002_000) {
            let json = format!("{}.{:03}", millis / 1000, millis % 1000);
            assert_eq!(read(&json), Ok(millis), "{json}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for json in [
            "-1",
            "-0.001",
            "0.0001",
            "12.34567",
            "2147483648",
            "1e300",
            "18446744073709551615",
            "null",
            "true",
            "[]",
            "\"\"",
            "\"1:2:3:4\"",
            "\"-1\"",
            "\"999999:00:00\"",
            "\"9999999999\"",
        ] {
            assert!(read(json).is_err(), "{json}");
        }
    }
}
