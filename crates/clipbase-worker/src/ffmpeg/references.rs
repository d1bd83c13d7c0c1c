//! Looks for references to other files in a QuickTime or MP4 file, before any other program opens it.
//!
//! A movie may name the files that its media lie in. ffmpeg is told not to follow such names; this look is
//! the first of the two locks, and says clearly why the source is refused. It reads box headers and data
//! references only, and knows nothing of media. A file that is no chain of boxes is left to ffprobe.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;

/// How many boxes are looked at: a real movie has hundreds.
const BOXES_MAX: u32 = 100_000;
/// How deep boxes lie in each other where references are.
const DEPTH_MAX: u32 = 8;
/// Boxes that hold the boxes of interest.
const CONTAINERS: &[&[u8; 4]] = &[
    b"moov", b"trak", b"mdia", b"minf", b"dinf", b"rmra", b"rmda",
];
/// How a file begins that is a chain of such boxes.
const FIRST: &[&[u8; 4]] = &[
    b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"uuid", b"styp", b"junk",
];
/// The flag of a data reference: the media lie in this very file.
const SELF_CONTAINED: u8 = 1;

/// Tells whether the file names other files. One that cannot be read names none that we know of.
pub(super) fn names_other_files(path: &Path) -> bool {
    let Ok(mut file) = File::open(path) else {
        return false;
    };
    let Ok(length) = file.seek(SeekFrom::End(0)) else {
        return false;
    };
    let mut walk = Walk {
        file,
        left: BOXES_MAX,
        is_movie: false,
    };
    walk.boxes(0, length, 0).unwrap_or(false)
}

struct Walk {
    file: File,
    left: u32,
    is_movie: bool,
}

/// A box: its kind and where its content lies.
struct Found {
    kind: [u8; 4],
    content: u64,
    end: u64,
}

impl Walk {
    /// Looks through the boxes between two places. `None` ends a chain that is none.
    fn boxes(&mut self, mut at: u64, end: u64, depth: u32) -> Option<bool> {
        while at < end && depth <= DEPTH_MAX {
            self.left = self.left.checked_sub(1)?;
            let found = self.header(at, end)?;
            if !self.is_movie && !FIRST.contains(&&found.kind) {
                return Some(false);
            }
            self.is_movie = true;
            let refers = match &found.kind {
                // A reference movie, and a header that is packed and cannot be looked into.
                b"rdrf" | b"cmov" => true,
                b"dref" => self.references(&found)?,
                kind if CONTAINERS.contains(&kind) => self
                    .boxes(found.content, found.end, depth + 1)
                    .unwrap_or(false),
                _ => false,
            };
            if refers {
                return Some(true);
            }
            at = found.end;
        }
        Some(false)
    }

    /// Looks at the entries of a data reference box: each says whether it is this file.
    fn references(&mut self, found: &Found) -> Option<bool> {
        // Version and flags, and the number of entries.
        let mut at = found.content.checked_add(8)?;
        while at < found.end {
            self.left = self.left.checked_sub(1)?;
            let entry = self.header(at, found.end)?;
            let [_, _, _, flags] = self.read::<4>(entry.content)?;
            if flags & SELF_CONTAINED == 0 {
                return Some(true);
            }
            at = entry.end;
        }
        Some(false)
    }

    fn header(&mut self, at: u64, end: u64) -> Option<Found> {
        let [a, b, c, d, kind @ ..] = self.read::<8>(at)?;
        let kind: [u8; 4] = kind;
        let (length, header) = match u32::from_be_bytes([a, b, c, d]) {
            // To the end of what holds it.
            0 => (end - at, 8),
            1 => (u64::from_be_bytes(self.read::<8>(at.checked_add(8)?)?), 16),
            length => (u64::from(length), 8),
        };
        let box_end = at.checked_add(length)?;
        (length >= header).then_some(Found {
            kind,
            content: at + header,
            // A file that was cut off ends early.
            end: box_end.min(end),
        })
    }

    fn read<const N: usize>(&mut self, at: u64) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        self.file.seek(SeekFrom::Start(at)).ok()?;
        self.file.read_exact(&mut bytes).ok()?;
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn boxed(kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
        let length = u32::try_from(content.len() + 8).unwrap();
        [&length.to_be_bytes(), &kind[..], content].concat()
    }

    /// A movie whose only track has this data reference.
    fn movie(reference: &[u8]) -> Vec<u8> {
        let dref = boxed(b"dref", &[&[0, 0, 0, 0, 0, 0, 0, 1], reference].concat());
        let minf = boxed(b"minf", &boxed(b"dinf", &dref));
        let moov = boxed(b"moov", &boxed(b"trak", &boxed(b"mdia", &minf)));
        [boxed(b"ftyp", b"qt  "), boxed(b"mdat", &[7; 99]), moov].concat()
    }

    fn refers(bytes: &[u8]) -> bool {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        names_other_files(file.path())
    }

    #[test]
    fn a_reference_to_another_file_is_found() {
        assert!(!refers(&movie(&boxed(b"url ", &[0, 0, 0, 1]))));
        assert!(refers(&movie(&boxed(
            b"url ",
            b"\0\0\0\0file:///etc/passwd\0"
        ))));
        assert!(refers(&movie(&boxed(b"alis", &[0; 200]))));
        assert!(refers(&movie(&boxed(b"rsrc", &[0; 9]))));
        let rdrf = boxed(b"rmra", &boxed(b"rmda", &boxed(b"rdrf", b"\0\0\0\0url ")));
        assert!(refers(&boxed(b"moov", &rdrf)));
        assert!(refers(&boxed(b"moov", &boxed(b"cmov", &[]))));
    }

    #[test]
    fn what_is_no_movie_is_left_alone() {
        assert!(!refers(b""));
        assert!(!refers(b"\x1a\x45\xdf\xa3 matroska"));
        assert!(!refers(&boxed(b"RIFF", b"AVI dref")));
        assert!(!names_other_files(Path::new("/nonexistent")));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(at in 0..200_usize, bytes in prop::collection::vec(any::<u8>(), 0..16)) {
            let mut movie = movie(&boxed(b"url ", &[0, 0, 0, 1]));
            let at = at.min(movie.len());
            let end = (at + bytes.len()).min(movie.len());
            movie.splice(at..end, bytes);
            let _ = refers(&movie);
        }
    }
}
