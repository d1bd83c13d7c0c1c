//! Texts as ffmpeg writes them, as people write them, and as nobody should.

use proptest::prelude::*;

use super::*;

const TEXT: &str = "\u{feff}1\r\n00:00:01,000 --> 00:00:03,000\r\nOne\r\n\r\n2\r\n00:00:03,500 --> \
                    00:00:06,000\r\n<i>Two</i>\r\nlines\r\n\r\n3\r\n00:00:08,000 --> 00:00:15,000 \
                    X1:40\r\n<font size=\"9\">Thr</font>ee{\\fs20} {\\an8}\r\n";

fn cue(start_ms: i64, end_ms: i64, text: &str) -> Cue {
    Cue {
        start_ms,
        end_ms,
        text: text.to_owned(),
    }
}

#[test]
fn cues_are_read() {
    assert_eq!(
        parse(TEXT),
        [
            cue(1000, 3000, "One"),
            cue(3500, 6000, "<i>Two</i>\nlines"),
            cue(8000, 15_000, "Three {\\an8}"),
        ]
    );
}

#[test]
fn a_cue_may_hold_numbers_and_empty_lines() {
    let text = "1\n00:00:01,000 --> 00:00:02,000\n42\n\nis it\n\n2\n00:00:03.0 --> 00:00:04.5\nx\n";
    assert_eq!(
        parse(text),
        [cue(1000, 2000, "42\nis it"), cue(3000, 4500, "x")]
    );
}

#[test]
fn nonsense_is_left_out() {
    assert_eq!(parse(""), []);
    assert_eq!(parse("hello\n-->\n --> \n1 --> 2"), []);
    assert_eq!(parse("1\n00:00:02,000 --> 00:00:01,000\nbackwards\n"), []);
    assert_eq!(parse("1\n99999999:00:02,000 --> 00:00:01,000\nx\n"), []);
}

#[test]
fn a_cut_clamps_cues_at_both_edges_and_shifts_them() {
    let cues = parse(TEXT);
    assert_eq!(
        cut(&cues, 2000, 5000),
        [cue(0, 1000, "One"), cue(1500, 3000, "<i>Two</i>\nlines")]
    );
    assert_eq!(cut(&cues, 3000, 3500), []);
    assert_eq!(cut(&cues, 9000, 10_000), [cue(0, 1000, "Three {\\an8}")]);
}

#[test]
fn cues_are_numbered_from_one() {
    let text = write(&cut(&parse(TEXT), 3000, 3_700_000));
    assert!(text.starts_with("1\n00:00:00,500 --> 00:00:03,000\n<i>Two</i>\nlines\n\n2\n"));
    assert_eq!(write(&[]), "");
    assert!(write(&[cue(3_723_004, 3_723_005, "x")]).contains("01:02:03,004 --> 01:02:03,005"));
}

#[test]
fn an_arrow_in_the_text_does_not_become_a_time() {
    let cues = parse("1\n00:00:01,000 --> 00:00:02,000\na --> b\n");
    assert_eq!(cues, [cue(1000, 2000, "a -> b")]);
}

proptest! {
    #[test]
    fn no_text_panics(text in any::<String>()) {
        let _ = write(&cut(&parse(&text), 0, 1000));
    }

    #[test]
    fn no_almost_valid_text_panics(
        text in "([0-9]{0,3}\n)?([0-9]{1,7}:[0-9]{2}:[0-9]{2}[,.][0-9]{0,4} --> [0-9:,]{0,14}\n|[<{a>}\n-]{0,9})*"
    ) {
        let _ = write(&cut(&parse(&text), 0, 1000));
    }

    #[test]
    fn what_is_written_reads_back(
        cues in prop::collection::vec((0..1_000_000_i64, 1..1_000_000_i64, "[a-z<>{}é]{1,9}"), 0..9)
    ) {
        let cues: Vec<_> = cues
            .iter()
            .map(|(start, length, text)| cue(*start, start + length, text))
            .collect();
        // A first reading drops what a reader drops; from then on nothing changes.
        let read = parse(&write(&cues));
        prop_assert_eq!(parse(&write(&read)), read);
    }

    #[test]
    fn a_cut_lies_in_the_clip(
        spans in prop::collection::vec((0..20_000_i64, 1..9000_i64), 0..9),
        start in 0..10_000_i64,
        length in 1..10_000_i64,
    ) {
        let cues: Vec<_> = spans.iter().map(|(at, long)| cue(*at, at + long, "x")).collect();
        for kept in cut(&cues, start, start + length) {
            prop_assert!(0 <= kept.start_ms && kept.start_ms < kept.end_ms);
            prop_assert!(kept.end_ms <= length);
        }
    }
}
