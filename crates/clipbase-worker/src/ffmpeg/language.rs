//! Compares language tags: `en`, `eng`, `en-US` and `EN` are one language.

/// Two-letter code, three-letter code, and the older three-letter code where there is one.
const LANGUAGES: &[(&str, &str, &str)] = &[
    ("ar", "ara", ""),
    ("bg", "bul", ""),
    ("bn", "ben", ""),
    ("ca", "cat", ""),
    ("cs", "ces", "cze"),
    ("da", "dan", ""),
    ("de", "deu", "ger"),
    ("el", "ell", "gre"),
    ("en", "eng", ""),
    ("es", "spa", ""),
    ("et", "est", ""),
    ("eu", "eus", "baq"),
    ("fa", "fas", "per"),
    ("fi", "fin", ""),
    ("fr", "fra", "fre"),
    ("ga", "gle", ""),
    ("gl", "glg", ""),
    ("he", "heb", ""),
    ("hi", "hin", ""),
    ("hr", "hrv", ""),
    ("hu", "hun", ""),
    ("id", "ind", ""),
    ("is", "isl", "ice"),
    ("it", "ita", ""),
    ("ja", "jpn", ""),
    ("ko", "kor", ""),
    ("lt", "lit", ""),
    ("lv", "lav", ""),
    ("ms", "msa", "may"),
    ("nb", "nob", ""),
    ("nl", "nld", "dut"),
    ("no", "nor", ""),
    ("pl", "pol", ""),
    ("pt", "por", ""),
    ("ro", "ron", "rum"),
    ("ru", "rus", ""),
    ("sk", "slk", "slo"),
    ("sl", "slv", ""),
    ("sr", "srp", ""),
    ("sv", "swe", ""),
    ("sw", "swa", ""),
    ("ta", "tam", ""),
    ("te", "tel", ""),
    ("th", "tha", ""),
    ("tr", "tur", ""),
    ("uk", "ukr", ""),
    ("ur", "urd", ""),
    ("vi", "vie", ""),
    ("zh", "zho", "chi"),
];

/// Tells whether two tags name the same language.
pub(super) fn same(a: &str, b: &str) -> bool {
    canonical(a) == canonical(b)
}

/// The three-letter code of a known language; the tag's own first part otherwise.
fn canonical(tag: &str) -> String {
    let tag = tag.trim().to_ascii_lowercase();
    let first = tag.split(['-', '_']).next().unwrap_or_default();
    LANGUAGES
        .iter()
        .find(|(two, three, older)| {
            first == *two || first == *three || (!older.is_empty() && first == *older)
        })
        .map_or_else(|| first.to_owned(), |(_, three, _)| (*three).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_and_three_letter_codes_match() {
        assert!(same("en", "eng"));
        assert!(same("de", "ger"));
        assert!(same("deu", "ger"));
        assert!(same("EN-us", "eng"));
        assert!(same("tlh", "TLH"));
        assert!(!same("en", "de"));
        assert!(!same("en", ""));
    }
}
