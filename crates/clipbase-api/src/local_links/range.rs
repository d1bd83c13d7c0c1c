//! Which part of an object a request asks for (RFC 9110, section 14).

use http::{HeaderMap, header};

/// What is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// All of it: no part was asked for, several were, or one of another version.
    Whole,
    /// So many bytes from here on.
    From { start: u64, length: u64 },
}

/// Reads `Range` and `If-Range`; `None` when the object has no such part.
pub(super) fn asked_part(headers: &HeaderMap, tag: &str, size: u64) -> Option<Part> {
    let Some(range) = headers.get(header::RANGE) else {
        return Some(Part::Whole);
    };
    if headers
        .get(header::IF_RANGE)
        .is_some_and(|known| known != tag)
    {
        return Some(Part::Whole);
    }
    // A server may ignore a range that it does not understand.
    let Some((first, last)) = range.to_str().ok().and_then(single) else {
        return Some(Part::Whole);
    };
    let (start, end) = match (first, last) {
        (Some(first), last) => (
            first,
            last.map_or(size, |last| size.min(last.saturating_add(1))),
        ),
        // The last so many bytes.
        (None, Some(count)) if count > 0 => (size.saturating_sub(count), size),
        (None, _) => return None,
    };
    (start < end).then(|| Part::From {
        start,
        length: end - start,
    })
}

type Bounds = (Option<u64>, Option<u64>);

/// Reads `bytes=a-b`, `bytes=a-` or `bytes=-n`.
fn single(text: &str) -> Option<Bounds> {
    let (unit, set) = text.split_once('=')?;
    let (first, last) = set.trim().split_once('-')?;
    let number = |text: &str| -> Option<Option<u64>> {
        if text.is_empty() {
            return Some(None);
        }
        let is_digits = text.bytes().all(|b| b.is_ascii_digit());
        // A number beyond all sizes is one all the same.
        is_digits.then(|| Some(text.parse().unwrap_or(u64::MAX)))
    };
    let (first, last) = (number(first)?, number(last)?);
    let is_ordered = match (first, last) {
        (Some(first), Some(last)) => first <= last,
        (None, None) => false,
        _ => true,
    };
    (unit.eq_ignore_ascii_case("bytes") && is_ordered).then_some((first, last))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn part(range: &str, size: u64) -> Option<Part> {
        let mut headers = HeaderMap::new();
        headers.insert(header::RANGE, HeaderValue::from_str(range).unwrap());
        asked_part(&headers, "\"tag\"", size)
    }

    #[test]
    fn a_part_is_cut_to_the_object() {
        for (range, start, length) in [
            ("bytes=0-0", 0, 1),
            ("bytes=0-9", 0, 10),
            ("bytes=5-", 5, 5),
            ("bytes=5-999", 5, 5),
            ("bytes=-3", 7, 3),
            ("bytes=-999", 0, 10),
            ("Bytes=2-99999999999999999999999", 2, 8),
        ] {
            assert_eq!(
                part(range, 10),
                Some(Part::From { start, length }),
                "{range}"
            );
        }
    }

    #[test]
    fn what_lies_beyond_does_not_exist() {
        for (range, size) in [
            ("bytes=10-", 10),
            ("bytes=10-20", 10),
            ("bytes=-0", 10),
            ("bytes=0-", 0),
            ("bytes=-5", 0),
        ] {
            assert_eq!(part(range, size), None, "{range} of {size}");
        }
    }

    #[test]
    fn what_is_not_understood_is_ignored() {
        for range in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=9-5",
            "bytes=a-b",
            "bytes=0-1,3-4",
            "lines=0-1",
            "bytes=+1-2",
        ] {
            assert_eq!(part(range, 10), Some(Part::Whole), "{range}");
        }
        assert_eq!(
            asked_part(&HeaderMap::new(), "\"tag\"", 10),
            Some(Part::Whole)
        );
    }

    #[test]
    fn a_part_of_another_version_is_not_sent() {
        let mut headers = HeaderMap::new();
        headers.insert(header::RANGE, HeaderValue::from_static("bytes=0-0"));
        headers.insert(header::IF_RANGE, HeaderValue::from_static("\"old\""));
        assert_eq!(asked_part(&headers, "\"tag\"", 10), Some(Part::Whole));
        headers.insert(header::IF_RANGE, HeaderValue::from_static("\"tag\""));
        assert_ne!(asked_part(&headers, "\"tag\"", 10), Some(Part::Whole));
    }
}
