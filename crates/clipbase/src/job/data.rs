//! What a caller adds to an event.

use serde_json::Value;

use crate::error::{Error, Result};

/// The most bytes of JSON that a caller may add to an event.
pub const EVENT_DATA_BYTES_MAX: usize = 8 * 1024;
/// The keys of an event's data that clipbase writes itself.
pub const EVENT_KEYS_RESERVED: [&str; 3] = ["by", "from", "set"];

/// Checks what a caller adds to an event: an object, not too large, none of our keys, no text that JSON may
/// hold and PostgreSQL may not (U+0000).
pub(crate) fn check_event_data(data: Option<&Value>) -> Result<()> {
    let Some(data) = data else { return Ok(()) };
    let Value::Object(map) = data else {
        return Err(Error::invalid("data", "must be a JSON object"));
    };
    if let Some(key) = EVENT_KEYS_RESERVED
        .iter()
        .find(|key| map.contains_key(**key))
    {
        return Err(Error::invalid(
            "data",
            format!("must not use the key {key:?}: it is reserved"),
        ));
    }
    if data.to_string().len() > EVENT_DATA_BYTES_MAX {
        return Err(Error::invalid("data", "must be at most 8192 bytes of JSON"));
    }
    if has_nul(data) {
        return Err(Error::invalid(
            "data",
            "must not contain the character U+0000",
        ));
    }
    Ok(())
}

fn has_nul(data: &Value) -> bool {
    match data {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(has_nul),
        Value::Object(map) => map
            .iter()
            .any(|(key, value)| key.contains('\0') || has_nul(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn event_data_is_an_object_of_bounded_size() {
        assert!(check_event_data(Some(&json!([1]))).is_err());
        assert!(check_event_data(Some(&json!({"a": "x".repeat(EVENT_DATA_BYTES_MAX)}))).is_err());
        assert!(check_event_data(Some(&json!({"a": "\u{0}"}))).is_err());
        assert!(check_event_data(Some(&json!({"a": 1}))).is_ok());
    }
}
