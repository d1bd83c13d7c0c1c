//! Copies and moves inside the storage.

use std::sync::Arc;

use serde_json::{Value, json};

use super::auth::Role;
use super::buckets::{required, text};
use super::content::Stored;
use super::dispatch::Asked;
use super::download::ghost;
use super::refusal::{Failure, Handled, Refusal, json};
use super::route::header;
use super::store::{Row, Store, is_object_name};

struct Ends {
    bucket: String,
    from: String,
    to_bucket: String,
    to: String,
}

impl Ends {
    fn read(document: &Value) -> Result<Self, Failure> {
        let bucket = required(document, "bucketId")?.to_owned();
        let from = required(document, "sourceKey")?.to_owned();
        let to = required(document, "destinationKey")?.to_owned();
        let to_bucket =
            text(document, "destinationBucket").map_or_else(|| bucket.clone(), str::to_owned);
        if !is_object_name(&to) {
            return Err(Refusal::invalid_key(&to).into());
        }
        Ok(Self {
            bucket,
            from,
            to_bucket,
            to,
        })
    }

    fn is_nowhere(&self) -> bool {
        self.bucket == self.to_bucket && self.from == self.to
    }

    fn source(&self, store: &Store, role: Role) -> Result<Row, Refusal> {
        let row = store.row(&self.bucket, &self.from);
        let row = row.filter(|_| role == Role::Service);
        row.cloned().ok_or_else(Refusal::missing_object)
    }

    fn is_taken(&self, store: &Store) -> Result<bool, Refusal> {
        let bucket = store.buckets.get(&self.to_bucket);
        let bucket = bucket.ok_or_else(Refusal::missing_bucket)?;
        Ok(bucket.objects.contains_key(&*self.to))
    }
}

pub(super) async fn copy(asked: &mut Asked, role: Role) -> Handled {
    let document = asked.body.json().await?;
    let ends = Ends::read(&document)?;
    let key = format!("{}/{}", ends.to_bucket, ends.to);
    if ends.is_nowhere() {
        return Ok(json(200, &json!({ "Key": key })));
    }
    let now = asked.server.now();
    let mut store = asked.server.store();
    let source = ends.source(&store, role)?;
    let upserts = header(&asked.parts, "x-upsert") == Some("true");
    if ends.is_taken(&store)? && !upserts {
        return Err(Refusal::duplicate("KeyAlreadyExists").into());
    }
    if matches!(source.content, Stored::Gone) {
        return Err(ghost(asked.server.options.ghosts).into());
    }
    let content = (source.content, source.size, source.parts);
    let id = store.put(
        &ends.to_bucket,
        &ends.to,
        content,
        Arc::clone(&source.about),
        now,
    );
    Ok(json(
        200,
        &json!({ "Key": key, "Id": id, "name": ends.to, "bucket_id": ends.to_bucket }),
    ))
}

pub(super) async fn rename(asked: &mut Asked, role: Role) -> Handled {
    let document = asked.body.json().await?;
    let ends = Ends::read(&document)?;
    let moved = json!({ "message": "Successfully moved" });
    if ends.is_nowhere() {
        return Ok(json(200, &moved));
    }
    let now = asked.server.now();
    let mut store = asked.server.store();
    let mut source = ends.source(&store, role)?;
    if ends.is_taken(&store)? {
        return Err(Refusal::duplicate("ResourceAlreadyExists").into());
    }
    if matches!(source.content, Stored::Gone) {
        return Err(ghost(asked.server.options.ghosts).into());
    }
    source.updated_at = now;
    if let Some(bucket) = store.buckets.get_mut(&ends.to_bucket) {
        bucket.objects.insert(ends.to.into(), source);
    }
    if let Some(bucket) = store.buckets.get_mut(&ends.bucket) {
        bucket.objects.remove(&*ends.from);
    }
    Ok(json(200, &moved))
}
