//! Removals: the row goes first, and a content that is gone already is no obstacle.

use serde_json::{Value, json};

use super::auth::Role;
use super::dispatch::Asked;
use super::refusal::{Handled, Refusal, json};
use super::sign::texts;

pub(super) fn one(asked: &Asked, role: Role) -> Handled {
    let mut store = asked.server.store();
    let bucket = store.buckets.get_mut(&asked.route.bucket);
    let bucket = bucket.filter(|_| role == Role::Service);
    let removed = bucket.and_then(|bucket| bucket.objects.remove(&*asked.route.path));
    removed.ok_or_else(Refusal::missing_object)?;
    Ok(json(200, &json!({ "message": "Successfully deleted" })))
}

/// Takes exact names, and tells the rows that it removed.
pub(super) async fn many(asked: &mut Asked, role: Role) -> Handled {
    let document = asked.body.json().await?;
    let names = texts(&document, "prefixes")?;
    let mut store = asked.server.store();
    let bucket = store.buckets.get_mut(&asked.route.bucket);
    let Some(bucket) = bucket.filter(|_| role == Role::Service) else {
        return Ok(json(200, &json!([])));
    };
    let mut removed = Vec::new();
    for name in names {
        let Some(row) = bucket.objects.remove(&*name) else {
            continue;
        };
        let mut listed = row.listed(&name);
        if let Some(fields) = listed.as_object_mut() {
            fields.insert("bucket_id".to_owned(), asked.route.bucket.clone().into());
            fields.insert("version".to_owned(), row.version.to_string().into());
            fields.insert("owner".to_owned(), Value::Null);
        }
        removed.push(listed);
    }
    Ok(json(200, &removed.into()))
}
