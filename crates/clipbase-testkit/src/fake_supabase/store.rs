//! The rows: buckets, objects in the byte order of their names, unfinished uploads.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use super::content::Stored;
use super::tus::Upload;

/// What a bucket takes and who may read it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BucketSettings {
    /// Anyone may read it.
    pub public: bool,
    /// The largest object in bytes; `None` for the project's own limit.
    pub file_size_limit: Option<u64>,
    /// The media types that it takes, as `video/mp4` or `video/*`; `None` for any.
    pub allowed_mime_types: Option<Vec<String>>,
}

impl BucketSettings {
    /// Tells whether the bucket takes a media type: the whole text is compared, parameters too.
    pub(super) fn takes(&self, mime: &str) -> bool {
        let Some(allowed) = &self.allowed_mime_types else {
            return true;
        };
        allowed.iter().any(|entry| match entry.strip_suffix("/*") {
            Some("*") => false,
            Some(kind) => mime.split('/').next() == Some(kind),
            None => entry == mime,
        })
    }
}

/// An object's row.
#[derive(Clone, Debug)]
pub(super) struct Row {
    /// Lasts as long as the name is taken.
    pub(super) id: Uuid,
    /// New with every content.
    pub(super) version: Uuid,
    pub(super) size: u64,
    /// The parts that the content came in; 0 for a single request.
    pub(super) parts: u32,
    pub(super) about: Arc<About>,
    pub(super) created_at: Timestamp,
    pub(super) updated_at: Timestamp,
    pub(super) content: Stored,
}

/// What an upload says of its content.
#[derive(Debug)]
pub(super) struct About {
    pub(super) mime: String,
    pub(super) cache_control: String,
    pub(super) user_metadata: Option<Value>,
}

impl Row {
    /// The entity tag, in its quotes: opaque, as it is for all but small single uploads on the real server.
    pub(super) fn etag(&self) -> String {
        match self.parts {
            0 => format!("\"{}\"", self.version.simple()),
            parts => format!("\"{}-{parts}\"", self.version.simple()),
        }
    }

    /// The row as listings show it.
    pub(super) fn listed(&self, name: &str) -> Value {
        json!({
            "name": name,
            "id": self.id,
            "updated_at": instant(self.updated_at),
            "created_at": instant(self.created_at),
            "last_accessed_at": instant(self.created_at),
            "metadata": {
                "eTag": self.etag(),
                "size": self.size,
                "mimetype": self.about.mime,
                "cacheControl": self.about.cache_control,
                "lastModified": instant(self.updated_at),
                "contentLength": self.size,
                "httpStatusCode": 200,
            },
        })
    }
}

/// A bucket's row and its objects.
#[derive(Debug)]
pub(super) struct BucketRow {
    pub(super) settings: BucketSettings,
    pub(super) created_at: Timestamp,
    pub(super) updated_at: Timestamp,
    pub(super) objects: BTreeMap<Box<str>, Row>,
}

impl BucketRow {
    pub(super) fn new(settings: BucketSettings, now: Timestamp) -> Self {
        Self {
            settings,
            created_at: now,
            updated_at: now,
            objects: BTreeMap::new(),
        }
    }

    /// The objects from a name on.
    pub(super) fn from(&self, name: &str) -> impl Iterator<Item = (&str, &Row)> + use<'_> {
        self.objects
            .range::<str, _>((Bound::Included(name), Bound::Unbounded))
            .map(|(name, row)| (&**name, row))
    }

    /// The objects whose names begin with `prefix`, from `after` on without it.
    pub(super) fn named<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
    ) -> impl Iterator<Item = (&'a str, &'a Row)> {
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        self.objects
            .range::<str, _>((from, Bound::Unbounded))
            .map(|(name, row)| (&**name, row))
            .take_while(move |(name, _)| name.starts_with(prefix))
    }
}

/// Everything the server knows.
#[derive(Debug, Default)]
pub(super) struct Store {
    pub(super) buckets: BTreeMap<String, BucketRow>,
    pub(super) uploads: HashMap<String, Arc<Upload>>,
}

impl Store {
    pub(super) fn row(&self, bucket: &str, path: &str) -> Option<&Row> {
        self.buckets.get(bucket)?.objects.get(path)
    }

    pub(super) fn row_mut(&mut self, bucket: &str, path: &str) -> Option<&mut Row> {
        self.buckets.get_mut(bucket)?.objects.get_mut(path)
    }

    /// Swaps an object's content: the row keeps its id and its creation. `None` where the bucket is gone.
    pub(super) fn put(
        &mut self,
        bucket: &str,
        path: &str,
        content: (Stored, u64, u32),
        about: Arc<About>,
        now: Timestamp,
    ) -> Option<Uuid> {
        let objects = &mut self.buckets.get_mut(bucket)?.objects;
        let (stored, size, parts) = content;
        let mut row = Row {
            id: Uuid::new_v4(),
            version: Uuid::new_v4(),
            size,
            parts,
            about,
            created_at: now,
            updated_at: now,
            content: stored,
        };
        if let Some(old) = objects.get_mut(path) {
            row.id = old.id;
            row.created_at = old.created_at;
            *old = row;
            return Some(old.id);
        }
        let id = row.id;
        objects.insert(path.into(), row);
        Some(id)
    }
}

/// A time as the API writes it.
pub(super) fn instant(at: Timestamp) -> String {
    format!("{at:.3}")
}

/// A time as headers write it.
pub(super) fn http_date(at: Timestamp) -> String {
    at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// Tells whether an object may have this name.
pub(super) fn is_object_name(name: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(is_name_byte)
        && !name.split('/').any(|segment| matches!(segment, "." | ".."))
}

/// Tells whether a bucket may have this name.
pub(super) fn is_bucket_name(name: &str) -> bool {
    (1..=100).contains(&name.len()) && name.bytes().all(|b| is_name_byte(b) && b != b'/')
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_/!.*'() &$=@;:+,?-".contains(&byte)
}
