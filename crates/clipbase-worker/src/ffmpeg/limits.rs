//! Every bound of the ffmpeg clipper, with its reason.

use std::time::Duration;

/// How long one look at a file's headers may take. Slow disks answer in seconds; a hang must not hold a
/// worker.
pub const PROBE_TIME_MAX: Duration = Duration::from_secs(60);

/// How long reading a whole file's timestamps may take, where its header does not tell the duration.
pub const SCAN_TIME_MAX: Duration = Duration::from_secs(600);

/// How long a clip may take unless the settings say otherwise.
pub const CLIP_TIME_MAX: Duration = Duration::from_secs(6 * 3600);

/// How much of ffprobe's answer is read. One stream takes about 600 bytes.
pub const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// How long a quoted reason from ffmpeg may be in an error's message.
pub const REASON_CHARS_MAX: usize = 200;

/// How far the clip's length may be from the range's: what a viewer does not notice, and more than the
/// few frames by which a copied clip's end overshoots.
pub const DURATION_TOLERANCE_MS: i64 = 150;

/// How far before the wanted frame to look for its keyframe and to begin decoding where a container has
/// no index: seeking lands between keyframes there, and ten seconds hold one in practice.
pub const PREROLL_US: i64 = 10_000_000;

/// How far before the range the text track is read: a cue shown longer than this before the range
/// starts is missed. Reading from the beginning would cost hours of input for a late clip.
pub const SUBTITLE_LOOKBACK_MS: i64 = 300_000;

/// How large an extracted text track may be. A day of dense subtitles is about 3 MB.
pub const SUBTITLE_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// Room left free beside the estimated clip.
pub const SPACE_RESERVE_BYTES: u64 = 16 * 1024 * 1024;

/// Frame rates within these bounds are kept when encoding; others are replaced by the default.
pub const FRAME_RATE_MIN: u32 = 10;
/// See [`FRAME_RATE_MIN`].
pub const FRAME_RATE_MAX: u32 = 120;
/// The rate of an encoded clip whose source's rate is unknown or out of bounds: few enough frames to be
/// cheap, enough that a slide show's cuts fall within the tolerance.
pub const FRAME_RATE_DEFAULT: u32 = 25;
