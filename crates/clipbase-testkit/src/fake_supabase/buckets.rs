//! Buckets: made, read, changed, emptied, removed.

use serde_json::{Value, json};

use super::auth::Role;
use super::dispatch::Asked;
use super::refusal::{Answer, Failure, Handled, Refusal, json};
use super::store::{BucketRow, BucketSettings, instant, is_bucket_name};

const BAD_LIMIT: &str = "Invalid file size format, hint: use 20GB / 20MB / 30KB / 3B";

pub(super) async fn create(asked: &mut Asked, role: Role) -> Handled {
    let document = asked.body.json().await?;
    let name = required(&document, "name")?;
    let id = text(&document, "id").unwrap_or(name).to_owned();
    let mut settings = BucketSettings::default();
    apply(&mut settings, &document, asked.server.options.size_limit)?;
    if !is_bucket_name(&id) {
        return Err(Refusal::invalid_bucket().into());
    }
    if role == Role::Powerless {
        return Err(Refusal::row_level_security().into());
    }
    let now = asked.server.now();
    let mut store = asked.server.store();
    if store.buckets.contains_key(&id) {
        return Err(Refusal::duplicate("BucketAlreadyExists").into());
    }
    store.buckets.insert(id, BucketRow::new(settings, now));
    Ok(json(200, &json!({ "name": name })))
}

pub(super) fn get(asked: &Asked, role: Role) -> Handled {
    let store = asked.server.store();
    let id = &asked.route.bucket;
    let row = store.buckets.get(id).filter(|_| role == Role::Service);
    let row = row.ok_or_else(Refusal::missing_bucket)?;
    Ok(json(200, &described(id, row)))
}

pub(super) fn list(asked: &Asked, role: Role) -> Answer {
    let store = asked.server.store();
    let rows = store.buckets.iter().filter(|_| role == Role::Service);
    let rows: Vec<_> = rows.map(|(id, row)| described(id, row)).collect();
    json(200, &Value::Array(rows))
}

pub(super) async fn update(asked: &mut Asked, role: Role) -> Handled {
    let document = asked.body.json().await?;
    let now = asked.server.now();
    let limit = asked.server.options.size_limit;
    let mut store = asked.server.store();
    let row = store.buckets.get_mut(&asked.route.bucket);
    let row = row
        .filter(|_| role == Role::Service)
        .ok_or_else(Refusal::missing_bucket)?;
    let mut settings = row.settings.clone();
    apply(&mut settings, &document, limit)?;
    row.settings = settings;
    row.updated_at = now;
    Ok(json(200, &json!({ "message": "Successfully updated" })))
}

pub(super) fn empty(asked: &Asked, role: Role) -> Handled {
    let mut store = asked.server.store();
    let row = store.buckets.get_mut(&asked.route.bucket);
    let row = row
        .filter(|_| role == Role::Service)
        .ok_or_else(Refusal::missing_bucket)?;
    row.objects.clear();
    let message = "Empty bucket has been queued. Completion may take up to an hour.";
    Ok(json(200, &json!({ "message": message })))
}

pub(super) fn delete(asked: &Asked, role: Role) -> Handled {
    let mut store = asked.server.store();
    let row = store.buckets.get(&asked.route.bucket);
    let row = row
        .filter(|_| role == Role::Service)
        .ok_or_else(Refusal::missing_bucket)?;
    if !row.objects.is_empty() {
        let message = "The bucket you tried to delete is not empty";
        return Err(Refusal::new(409, "ResourceNotEmpty", "ResourceNotEmpty", message).into());
    }
    store.buckets.remove(&asked.route.bucket);
    Ok(json(200, &json!({ "message": "Successfully deleted" })))
}

fn described(id: &str, row: &BucketRow) -> Value {
    json!({
        "id": id,
        "name": id,
        "owner": "",
        "public": row.settings.public,
        "file_size_limit": row.settings.file_size_limit,
        "allowed_mime_types": row.settings.allowed_mime_types,
        "created_at": instant(row.created_at),
        "updated_at": instant(row.updated_at),
    })
}

/// Reads the settings that a document names; the others stay.
fn apply(
    settings: &mut BucketSettings,
    document: &Value,
    project_limit: u64,
) -> Result<(), Failure> {
    match document.get("public") {
        None => {}
        Some(Value::Bool(public)) => settings.public = *public,
        Some(_) => return Err(Refusal::invalid("body/public must be boolean").into()),
    }
    match document.get("file_size_limit") {
        None => {}
        Some(Value::Null) => settings.file_size_limit = None,
        Some(limit) => settings.file_size_limit = Some(size_limit(limit)?),
    }
    if settings
        .file_size_limit
        .is_some_and(|limit| limit > project_limit)
    {
        return Err(Refusal::too_large().into());
    }
    match document.get("allowed_mime_types") {
        None => {}
        Some(Value::Null) => settings.allowed_mime_types = None,
        Some(types) => {
            let types = serde_json::from_value(types.clone());
            let types = types
                .ok()
                .filter(|types: &Vec<String>| types.iter().all(|t| t.contains('/')));
            let refusal = || {
                Refusal::new(
                    415,
                    "InvalidMimeType",
                    "invalid_mime_type",
                    "mime type is not supported",
                )
            };
            settings.allowed_mime_types = Some(types.ok_or_else(refusal)?);
        }
    }
    Ok(())
}

/// Reads a limit: bytes, or a text as `50MB`, which is 50,000,000.
fn size_limit(value: &Value) -> Result<u64, Failure> {
    let limit = match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => {
            let unit = text
                .find(|c: char| c.is_ascii_alphabetic())
                .unwrap_or(text.len());
            let (number, unit) = text.split_at(unit);
            let factor = match unit.to_ascii_uppercase().as_str() {
                "GB" => Some(1_000_000_000),
                "MB" => Some(1_000_000),
                "KB" => Some(1_000),
                "B" => Some(1),
                _ => None,
            };
            number
                .parse::<u64>()
                .ok()
                .zip(factor)
                .and_then(|(number, factor)| number.checked_mul(factor))
        }
        _ => None,
    };
    Ok(limit.ok_or_else(|| Refusal::invalid(BAD_LIMIT))?)
}

/// Returns a document's text field.
pub(super) fn text<'a>(document: &'a Value, field: &str) -> Option<&'a str> {
    document.get(field)?.as_str()
}

/// Returns a document's text field, or refuses the document.
pub(super) fn required<'a>(document: &'a Value, field: &str) -> Result<&'a str, Failure> {
    let refusal = || Refusal::invalid(format!("body must have required property '{field}'"));
    Ok(text(document, field).ok_or_else(refusal)?)
}
