//! Reads, cuts and writes SubRip text. Pure, and total: any text is read without failing.

use std::fmt::Write as _;

/// One subtitle: when it is shown, in milliseconds, and its lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cue {
    pub(super) start_ms: i64,
    pub(super) end_ms: i64,
    pub(super) text: String,
}

/// Reads every cue that can be understood and leaves out the rest.
pub(super) fn parse(text: &str) -> Vec<Cue> {
    let mut cues: Vec<Cue> = Vec::new();
    let mut lines: Vec<&str> = Vec::new();
    for line in text.lines().map(str::trim_end) {
        if let Some((start_ms, end_ms)) = parse_times(line) {
            // What was gathered so far belongs to the cue before, but for this cue's number.
            if lines.last().is_some_and(|last| is_number(last)) {
                lines.pop();
            }
            finish(&mut cues, &mut lines);
            cues.push(Cue {
                start_ms,
                end_ms,
                text: String::new(),
            });
        } else {
            lines.push(line);
        }
    }
    finish(&mut cues, &mut lines);
    cues.retain(|cue| !cue.text.is_empty() && cue.end_ms > cue.start_ms);
    cues
}

/// Keeps what is shown in the range, in the time of the clip: cues over an edge are shortened.
pub(super) fn cut(cues: &[Cue], start_ms: i64, end_ms: i64) -> Vec<Cue> {
    let mut kept: Vec<_> = cues
        .iter()
        .filter(|cue| cue.start_ms < end_ms && cue.end_ms > start_ms)
        .map(|cue| Cue {
            start_ms: cue.start_ms.max(start_ms) - start_ms,
            end_ms: cue.end_ms.min(end_ms) - start_ms,
            text: cue.text.clone(),
        })
        .collect();
    kept.sort_by_key(|cue| (cue.start_ms, cue.end_ms));
    kept
}

/// Moves every cue; nothing is left out.
pub(super) fn shift(cues: &mut [Cue], by_ms: i64) {
    for cue in cues {
        cue.start_ms = cue.start_ms.saturating_add(by_ms);
        cue.end_ms = cue.end_ms.saturating_add(by_ms);
    }
}

/// Writes cues, numbered from 1. No cue gives an empty file, which is valid.
pub(super) fn write(cues: &[Cue]) -> String {
    let mut out = String::new();
    for (number, cue) in (1..).zip(cues) {
        // Writing into a string cannot fail.
        let _ = writeln!(
            out,
            "{number}\n{} --> {}\n{}\n",
            Clock(cue.start_ms),
            Clock(cue.end_ms),
            cue.text
        );
    }
    out
}

/// Gives the gathered lines to the last cue. Lines before the first cue belong to none.
fn finish(cues: &mut [Cue], lines: &mut Vec<&str>) {
    if let Some(cue) = cues.last_mut() {
        let kept: Vec<_> = lines
            .iter()
            .map(|line| plain(line))
            .filter(|line| !line.is_empty())
            .collect();
        cue.text = kept.join("\n");
    }
    lines.clear();
}

/// Drops fonts and drawing commands; bold, italic, underline and position stay.
fn plain(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some(at) = rest.find(['<', '{']) {
        let (before, tag) = rest.split_at(at);
        out.push_str(before);
        let close = if tag.starts_with('<') { '>' } else { '}' };
        let length = tag.find(close).map_or(1, |end| end + 1);
        let (tag, after) = tag.split_at(length);
        if !is_unwanted(tag) {
            out.push_str(tag);
        }
        rest = after;
    }
    out.push_str(rest);
    // The arrow would be read as a time line by the next reader.
    while out.contains("-->") {
        out = out.replace("-->", "->");
    }
    out.trim().to_owned()
}

fn is_unwanted(tag: &str) -> bool {
    let tag = tag.to_ascii_lowercase();
    tag.starts_with("<font")
        || tag.starts_with("</font")
        || (tag.starts_with("{\\") && !tag.starts_with("{\\an"))
}

fn is_number(line: &str) -> bool {
    let line = line.trim().trim_start_matches('\u{feff}');
    !line.is_empty() && line.bytes().all(|byte| byte.is_ascii_digit())
}

/// Reads `00:00:01,000 --> 00:00:03,000`, also with points, and with positions behind.
fn parse_times(line: &str) -> Option<(i64, i64)> {
    let (start, rest) = line.split_once("-->")?;
    let end = rest.split_whitespace().next()?;
    Some((parse_clock(start.trim())?, parse_clock(end)?))
}

fn parse_clock(text: &str) -> Option<i64> {
    let (whole, part) = text.split_once([',', '.'])?;
    let mut fields = whole.rsplit(':');
    let seconds = number(fields.next()?)?;
    let minutes = number(fields.next()?)?;
    let hours = fields.next().map_or(Some(0), number)?;
    if fields.next().is_some() || part.is_empty() {
        return None;
    }
    let part: String = part.chars().chain("00".chars()).take(3).collect();
    Some(((hours * 60 + minutes) * 60 + seconds) * 1000 + number(&part)?)
}

/// Reads at most six digits, so that no sum can overflow.
fn number(text: &str) -> Option<i64> {
    (text.len() <= 6 && !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| text.parse().ok())?
}

struct Clock(i64);

impl std::fmt::Display for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ms = self.0.max(0);
        write!(
            f,
            "{:02}:{:02}:{:02},{:03}",
            ms / 3_600_000,
            ms / 60_000 % 60,
            ms / 1000 % 60,
            ms % 1000
        )
    }
}

#[cfg(test)]
mod tests;
