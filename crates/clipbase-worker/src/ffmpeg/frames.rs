//! Finds the frame that a clip starts on, and whether it is a keyframe.

use std::path::Path;

use super::args::file_url;
use super::limits::{DURATION_TOLERANCE_MS, PREROLL_US, PROBE_TIME_MAX};
use super::probe::input_locks;
use super::source::{FrameRate, Source};
use super::{diagnose, find, time};
use crate::clipper::ClipError;
use crate::process::{Run, Tool};

/// How far before the start to seek in an indexed file: enough that rounding cannot lead past it.
const INDEXED_LOOKBACK_US: i64 = 500_000;
/// How far past the start to read: a slide show's next frame is that far away.
const LOOKAHEAD_US: i64 = 1_000_000;
/// People write times with three digits: a frame nearer than this is the one they mean.
const ROUNDING_US: i64 = 1000;

/// Where to begin cutting, in microseconds from the beginning of the presentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Start {
    /// The time of the nearest frame, or the time asked for where no frame is near.
    pub(super) at_us: i64,
    /// Whether the picture can be copied from there.
    pub(super) keyframe: bool,
}

/// Finds the frame nearest to the start.
pub(super) async fn start(
    ffprobe: &Tool,
    path: &Path,
    source: &Source,
    start_ms: i64,
) -> Result<Start, ClipError> {
    let asked_us = start_ms.saturating_mul(1000);
    let mut nearest = Nearest::new(asked_us);
    let origin_us = source.layout.start_us;
    let args = input_locks()
        .words(&["-v", "error", "-of", "csv=p=0"])
        .pair("-select_streams", source.layout.video_index.to_string())
        .pair("-show_entries", "packet=pts_time,flags")
        .pair("-read_intervals", interval(source, asked_us))
        .pair("-i", file_url(path))
        .0;
    let run = Run {
        tool: ffprobe,
        args: &args,
        directory: None,
        variables: &[],
        time_max: PROBE_TIME_MAX,
    };
    let exit = run
        .lines(|line| {
            if let Some((pts_us, keyframe)) = parse_packet(line) {
                nearest.offer(pts_us - origin_us, keyframe);
            }
        })
        .await
        .map_err(find::trouble)?;
    if !exit.success {
        return Err(diagnose::failure(&exit, &[path]));
    }
    Ok(nearest.decide(source.frame_rate.unwrap_or(FrameRate::DEFAULT)))
}

/// ffprobe's interval in the file's own timestamps.
fn interval(source: &Source, start_us: i64) -> String {
    let lookback = if source.is_indexed() {
        INDEXED_LOOKBACK_US
    } else {
        PREROLL_US
    };
    let origin = source.layout.start_us;
    let to = time::from_us((origin + start_us + LOOKAHEAD_US).max(0));
    if start_us <= lookback {
        return format!("%{to}");
    }
    let from = time::from_us((origin + start_us - lookback).max(0));
    format!("{from}%{to}")
}

/// Reads `4.000000,K_`. A packet marked as discarded lies before an edit list's start.
fn parse_packet(line: &str) -> Option<(i64, bool)> {
    let mut fields = line.split(',');
    let pts_us = time::parse_us(fields.next()?)?;
    let flags = fields.next()?;
    (!flags.contains('D')).then(|| (pts_us, flags.contains('K')))
}

struct Nearest {
    start_us: i64,
    best: Option<Start>,
}

impl Nearest {
    fn new(start_us: i64) -> Self {
        Self {
            start_us,
            best: None,
        }
    }

    fn offer(&mut self, at_us: i64, keyframe: bool) {
        let distance = |at: i64| (at - self.start_us).abs();
        if self
            .best
            .is_none_or(|best| distance(at_us) < distance(best.at_us))
        {
            self.best = Some(Start { at_us, keyframe });
        }
    }

    fn decide(self, rate: FrameRate) -> Start {
        let asked = Start {
            at_us: self.start_us,
            keyframe: false,
        };
        let Some(best) = self.best else { return asked };
        let near_us = rate
            .half_frame_us()
            .clamp(ROUNDING_US, DURATION_TOLERANCE_MS * 500);
        if (best.at_us - self.start_us).abs() <= near_us {
            return Start {
                at_us: best.at_us.max(0),
                ..best
            };
        }
        // The sound often begins a little before the picture. A clip from the very beginning takes
        // both as they are.
        if self.start_us == 0 && best.at_us <= DURATION_TOLERANCE_MS * 1000 {
            return Start { at_us: 0, ..best };
        }
        asked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decide(start_us: i64, frames: &[(i64, bool)]) -> Start {
        let mut nearest = Nearest::new(start_us);
        for (at_us, keyframe) in frames {
            nearest.offer(*at_us, *keyframe);
        }
        nearest.decide(FrameRate::DEFAULT)
    }

    fn at(at_us: i64, keyframe: bool) -> Start {
        Start { at_us, keyframe }
    }

    #[test]
    fn the_nearest_frame_is_taken_within_half_a_frame() {
        let frames = [(4_000_000, true), (4_080_000, false), (4_040_000, false)];
        assert_eq!(decide(4_000_000, &frames), at(4_000_000, true));
        assert_eq!(decide(4_019_000, &frames), at(4_000_000, true));
        assert_eq!(decide(4_021_000, &frames), at(4_040_000, false));
        assert_eq!(decide(3_980_000, &frames), at(4_000_000, true));
        assert_eq!(decide(3_979_000, &frames), at(3_979_000, false));
    }

    #[test]
    fn a_clip_from_the_very_beginning_tolerates_a_late_picture() {
        assert_eq!(decide(0, &[(80_000, true), (120_000, false)]), at(0, true));
        assert_eq!(decide(0, &[(800_000, true)]), at(0, false));
        assert_eq!(decide(0, &[]), at(0, false));
    }

    #[test]
    fn packets_are_parsed() {
        assert_eq!(parse_packet("4.000000,K_"), Some((4_000_000, true)));
        assert_eq!(parse_packet("3.560000,__,"), Some((3_560_000, false)));
        assert_eq!(parse_packet("0.000000,KD_"), None);
        assert_eq!(parse_packet("N/A,K_"), None);
        assert_eq!(parse_packet(""), None);
    }
}
