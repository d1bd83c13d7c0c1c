//! Listing a bucket's folder in the byte order of the paths, a page at a time.
//!
//! Reads only; never follows a link. A page holds at most `limit` objects and the walk keeps at most
//! `limit` names of each folder on its way, however many the folder has. Each page reads the bucket's
//! folder once more, so a whole listing costs *pages × entries*: right for the thousands of jobs of a
//! local installation, not for millions.
//!
//! ```text
//! a file `x.1` comes before the folder `x`'s files, since `.` is before `/`:  x.1  x/1  x0
//! ```

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io;
use std::path::Path;
use std::time::SystemTime;

use super::files::stat;
use crate::storage::objects::timestamp;
use crate::storage::{Bucket, ListCursor, ListPage, ListedObject};

/// How many folders deep a listing looks. Ours lie at most two deep.
pub const LIST_DEPTH_MAX: usize = 32;

/// Returns the `limit` objects of a bucket's folder after a path.
pub(super) fn page(
    bucket: Bucket,
    folder: &Path,
    after: Option<&str>,
    limit: usize,
) -> io::Result<ListPage> {
    let mut walk = Walk {
        bucket,
        after: after.unwrap_or_default(),
        wanted: limit + 1,
        objects: Vec::new(),
    };
    walk.folder(folder, "", 0)?;
    let mut objects = walk.objects;
    // One object more than asked for tells whether there is a next page.
    let more = objects.len() > limit;
    objects.truncate(limit);
    let next = match objects.last() {
        Some(last) if more => Some(ListCursor::new(last.path.clone())),
        _ => None,
    };
    Ok(ListPage { objects, next })
}

struct Walk<'a> {
    bucket: Bucket,
    after: &'a str,
    wanted: usize,
    objects: Vec<ListedObject>,
}

impl Walk<'_> {
    fn is_full(&self) -> bool {
        self.objects.len() >= self.wanted
    }

    /// Takes the objects of a folder, in order, until there are enough. `prefix` is its path in the
    /// bucket, with a slash at the end.
    fn folder(&mut self, folder: &Path, prefix: &str, depth: usize) -> io::Result<()> {
        let mut floor = None;
        while !self.is_full() {
            let batch = self.smallest(folder, prefix, floor.as_deref())?;
            let complete = batch.len() < self.wanted;
            for (path, (name, found)) in batch {
                if self.is_full() {
                    return Ok(());
                }
                if found.is_dir() {
                    if depth < LIST_DEPTH_MAX {
                        self.folder(&folder.join(&name), &path, depth + 1)?;
                    }
                } else {
                    let updated = timestamp(found.modified().unwrap_or(SystemTime::UNIX_EPOCH));
                    self.objects.push(ListedObject::new(
                        self.bucket,
                        path.clone(),
                        found.len(),
                        updated,
                    ));
                }
                floor = Some(path);
            }
            if complete {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Returns the first entries of a folder that lie after the cursor and above `floor`, by path; a
    /// folder's path ends with a slash.
    fn smallest(
        &self,
        folder: &Path,
        prefix: &str,
        floor: Option<&str>,
    ) -> io::Result<BTreeMap<String, (OsString, Metadata)>> {
        let mut entries = BTreeMap::new();
        let names = match fs::read_dir(folder) {
            Ok(names) => names,
            // A folder that empties meanwhile is removed with its last object.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !prefix.is_empty() => {
                return Ok(entries);
            }
            Err(error) => return Err(error),
        };
        for entry in names {
            let entry = entry?;
            let kind = match entry.file_type() {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                outcome => outcome?,
            };
            if !kind.is_dir() && !kind.is_file() {
                continue;
            }
            let slash = if kind.is_dir() { "/" } else { "" };
            let path = format!("{prefix}{}{slash}", entry.file_name().to_string_lossy());
            let beyond_cursor =
                path.as_str() > self.after || (kind.is_dir() && self.after.starts_with(&path));
            let beyond_floor = floor.is_none_or(|floor| path.as_str() > floor);
            let too_late = entries.len() >= self.wanted
                && entries
                    .last_key_value()
                    .is_some_and(|(last, _)| &path > last);
            if !beyond_cursor || !beyond_floor || too_late {
                continue;
            }
            if let Some(found) = stat(&entry.path())? {
                entries.insert(path, (entry.file_name(), found));
                if entries.len() > self.wanted {
                    entries.pop_last();
                }
            }
        }
        Ok(entries)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(bucket: &Path, limit: usize) -> Vec<String> {
        let mut paths = Vec::new();
        let mut cursor: Option<ListCursor> = None;
        loop {
            let found = page(
                Bucket::Results,
                bucket,
                cursor.as_ref().map(ListCursor::as_str),
                limit,
            )
            .unwrap();
            assert!(found.objects.len() <= limit);
            paths.extend(found.objects.into_iter().map(|object| object.path));
            match found.next {
                Some(next) => cursor = Some(next),
                None => return paths,
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn pages_of_any_size_hold_every_path_once_and_in_order(
            mut paths in proptest::collection::btree_set("[a.0-]{1,2}(/[a.0-]{1,2}){0,3}", 0..40), limit in 1_usize..9,
        ) {
            let bucket = tempfile::tempdir().unwrap();
            paths.retain(|path| {
                // Names that a file system gives another meaning, and files where a folder is.
                if path.split('/').any(|name| matches!(name, "." | "..")) {
                    return false;
                }
                let file = bucket.path().join(path);
                fs::create_dir_all(file.parent().unwrap()).is_ok() && !file.is_dir() && fs::write(file, "").is_ok()
            });
            prop_assert_eq!(all(bucket.path(), limit), paths.into_iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn empty_folders_fill_no_page() {
        let bucket = tempfile::tempdir().unwrap();
        for number in 0..20 {
            fs::create_dir(bucket.path().join(format!("empty-{number:02}"))).unwrap();
        }
        fs::write(bucket.path().join("z"), "").unwrap();
        assert_eq!(all(bucket.path(), 1), ["z"]);
    }
}
