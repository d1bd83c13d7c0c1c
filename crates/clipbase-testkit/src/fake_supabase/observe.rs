//! What a test sees of the server behind its back, and what it puts there.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use uuid::Uuid;

use super::FakeSupabase;
use super::content::Stored;
use super::route::Call;
use super::seen::SeenRequest;
use super::store::{About, BucketRow, BucketSettings, Row};

/// An object, as a test looks at it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoredObject {
    /// Its path in the bucket.
    pub path: String,
    /// Lasts as long as the path is taken.
    pub id: Uuid,
    /// New with every content.
    pub version: Uuid,
    /// Its size in bytes.
    pub size: u64,
    /// Its media type.
    pub content_type: String,
    /// Its `Cache-Control`, as it was sent.
    pub cache_control: String,
    /// When the path was taken.
    pub created_at: Timestamp,
    /// When its content was stored.
    pub updated_at: Timestamp,
}

impl FakeSupabase {
    /// The requests so far, the oldest first; the last [`REQUESTS_KEPT`](super::REQUESTS_KEPT).
    pub fn requests(&self) -> Vec<SeenRequest> {
        self.server.log().requests()
    }

    /// How many requests of a kind have come.
    pub fn calls(&self, call: Call) -> u64 {
        self.server.log().calls(call)
    }

    /// How many requests have come.
    pub fn total_calls(&self) -> u64 {
        self.server.log().total()
    }

    /// How many connections have been accepted.
    pub fn connections(&self) -> u64 {
        self.server.accepted.load(Ordering::SeqCst)
    }

    /// How many connections are open.
    pub fn open_connections(&self) -> usize {
        self.server.open()
    }

    /// Makes a bucket, or changes its settings; its objects stay.
    pub fn set_bucket(&self, name: &str, settings: BucketSettings) {
        let now = self.server.now();
        let buckets = &mut self.server.store().buckets;
        if let Some(row) = buckets.get_mut(name) {
            row.settings = settings;
            row.updated_at = now;
        } else {
            buckets.insert(name.to_owned(), BucketRow::new(settings, now));
        }
    }

    /// A bucket's settings; `None` where there is no such bucket.
    pub fn bucket(&self, name: &str) -> Option<BucketSettings> {
        let store = self.server.store();
        store.buckets.get(name).map(|row| row.settings.clone())
    }

    /// Removes a bucket with everything in it.
    pub fn remove_bucket(&self, name: &str) {
        self.server.store().buckets.remove(name);
    }

    /// A bucket's objects, in the byte order of their paths; none where there is no such bucket.
    pub fn objects(&self, bucket: &str) -> Vec<StoredObject> {
        let store = self.server.store();
        let rows = store
            .buckets
            .get(bucket)
            .into_iter()
            .flat_map(|row| &row.objects);
        rows.map(|(path, row)| seen_object(path, row)).collect()
    }

    /// One object.
    pub fn object(&self, bucket: &str, path: &str) -> Option<StoredObject> {
        let store = self.server.store();
        store.row(bucket, path).map(|row| seen_object(path, row))
    }

    /// How many objects a bucket has.
    pub fn object_count(&self, bucket: &str) -> usize {
        let store = self.server.store();
        store.buckets.get(bucket).map_or(0, |row| row.objects.len())
    }

    /// Stores an object, of type `application/octet-stream`, and its bucket if there is none. `Bytes` are shared,
    /// not copied, while content lies in memory.
    pub fn put_object(&self, bucket: &str, path: &str, content: impl Into<Bytes>) {
        self.put_objects(bucket, [path], content);
    }

    /// Stores the same content under many paths, as [`put_object`](Self::put_object); a million take seconds.
    pub fn put_objects<P: AsRef<str>>(
        &self,
        bucket: &str,
        paths: impl IntoIterator<Item = P>,
        content: impl Into<Bytes>,
    ) {
        let content = content.into();
        let size = content.len() as u64;
        let stored = Stored::new(content, &self.server.options.content);
        let stored = stored.expect("the folder can be written");
        let about = Arc::new(About {
            mime: "application/octet-stream".to_owned(),
            cache_control: "no-cache".to_owned(),
            user_metadata: None,
        });
        let now = self.server.now();
        let mut store = self.server.store();
        if !store.buckets.contains_key(bucket) {
            let row = BucketRow::new(BucketSettings::default(), now);
            store.buckets.insert(bucket.to_owned(), row);
        }
        for path in paths {
            let content = (stored.clone(), size, 0);
            store.put(bucket, path.as_ref(), content, Arc::clone(&about), now);
        }
    }

    /// An object's content; `None` where the object or its content is gone.
    pub fn content(&self, bucket: &str, path: &str) -> Option<Bytes> {
        self.stored(bucket, path)?
            .read()
            .expect("the content can be read")
    }

    /// The SHA-256 of an object's content, read piece by piece; `None` where the object or its content is gone.
    pub fn sha256(&self, bucket: &str, path: &str) -> Option<[u8; 32]> {
        self.stored(bucket, path)?
            .sha256()
            .expect("the content can be read")
    }

    fn stored(&self, bucket: &str, path: &str) -> Option<Stored> {
        Some(self.server.store().row(bucket, path)?.content.clone())
    }

    /// Makes an object look as old as this. Panics where there is no such object.
    pub fn set_age(&self, bucket: &str, path: &str, age: Duration) {
        let at = self.server.now() - age;
        let mut store = self.server.store();
        let row = store.row_mut(bucket, path).expect("the object exists");
        row.updated_at = at;
        row.created_at = row.created_at.min(at);
    }

    /// Takes an object's content away and leaves its row. Panics where there is no such object.
    pub fn remove_content(&self, bucket: &str, path: &str) {
        let mut store = self.server.store();
        let row = store.row_mut(bucket, path).expect("the object exists");
        row.content = Stored::Gone;
    }

    /// How many resumable uploads were begun and neither finished nor ended.
    pub fn unfinished_uploads(&self) -> usize {
        let store = self.server.store();
        store
            .uploads
            .values()
            .filter(|upload| upload.is_unfinished())
            .count()
    }
}

fn seen_object(path: &str, row: &Row) -> StoredObject {
    StoredObject {
        path: path.to_owned(),
        id: row.id,
        version: row.version,
        size: row.size,
        content_type: row.about.mime.clone(),
        cache_control: row.about.cache_control.clone(),
        created_at: row.created_at,
        updated_at: row.updated_at,
    }
}
