//! Uploads in one request: with a key, or with a link.
//!
//! Everything that can be refused without the body is refused before it is read. Whether an object exists is
//! asked then and not again: two creations of one name that run together both succeed.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::Method;
use serde_json::{Value, json};

use super::auth::Role;
use super::content::Sink;
use super::dispatch::Asked;
use super::refusal::{Failure, Handled, Refusal, json};
use super::route::{header, query};
use super::store::{About, is_object_name};

pub(super) async fn upload(asked: &mut Asked, role: Role) -> Handled {
    let upserts =
        asked.parts.method == Method::PUT || header(&asked.parts, "x-upsert") == Some("true");
    let id = store(asked, role, upserts, Refusal::missing_bucket).await?;
    let key = format!("{}/{}", asked.route.bucket, asked.route.path);
    Ok(json(200, &json!({ "Key": key, "Id": id })))
}

pub(super) async fn use_link(asked: &mut Asked) -> Handled {
    let claims = link_claims(asked)?;
    let upserts = claims.get("upsert").and_then(Value::as_bool) == Some(true);
    store(asked, Role::Service, upserts, Refusal::missing_bucket).await?;
    let key = format!("{}/{}", asked.route.bucket, asked.route.path);
    Ok(json(200, &json!({ "Key": key })))
}

fn link_claims(asked: &Asked) -> Result<Value, Failure> {
    let token = query(&asked.parts, "token")
        .ok_or_else(|| Refusal::invalid("querystring must have required property 'token'"))?;
    let object = format!("{}/{}", asked.route.bucket, asked.route.path);
    let now = asked.server.now().as_second();
    Ok(asked.server.keys.verify(&token, &object, "upload", now)?)
}

/// Refuses an upload that may not happen, by what is known before its content.
pub(super) fn check(
    asked: &Asked,
    role: Role,
    upserts: bool,
    missing_bucket: fn() -> Refusal,
) -> Result<(), Refusal> {
    let route = &asked.route;
    if !is_object_name(&route.path) {
        return Err(Refusal::invalid_key(&route.path));
    }
    let store = asked.server.store();
    let bucket = store.buckets.get(&route.bucket);
    let bucket = bucket.ok_or_else(missing_bucket)?;
    if role == Role::Powerless {
        return Err(Refusal::row_level_security());
    }
    if !upserts && bucket.objects.contains_key(&*route.path) {
        return Err(Refusal::duplicate("KeyAlreadyExists"));
    }
    Ok(())
}

/// Refuses a media type or a size that the bucket does not take. A size that nobody tells is not limited.
pub(super) fn check_content(asked: &Asked, mime: &str, size: Option<u64>) -> Result<(), Refusal> {
    let store = asked.server.store();
    let bucket = store.buckets.get(&asked.route.bucket);
    let settings = &bucket.ok_or_else(Refusal::missing_bucket)?.settings;
    if !settings.takes(mime) {
        return Err(Refusal::mime(mime));
    }
    let limit = asked.server.options.size_limit;
    let limit = settings.file_size_limit.map_or(limit, |own| own.min(limit));
    if size.is_some_and(|size| size > limit) {
        return Err(Refusal::too_large());
    }
    Ok(())
}

async fn store(
    asked: &mut Asked,
    role: Role,
    upserts: bool,
    missing_bucket: fn() -> Refusal,
) -> Result<uuid::Uuid, Failure> {
    check(asked, role, upserts, missing_bucket)?;
    let text = |name| header(&asked.parts, name);
    let about = About {
        mime: text("content-type")
            .unwrap_or("application/octet-stream")
            .to_owned(),
        cache_control: text("cache-control").unwrap_or("no-cache").to_owned(),
        user_metadata: text("x-metadata").and_then(user_metadata),
    };
    let size = text("content-length").and_then(|size| size.parse().ok());
    check_content(asked, &about.mime, size)?;
    let mut sink = Sink::new(&asked.server.options.content)
        .await
        .map_err(disk)?;
    while let Some(piece) = asked.body.piece().await? {
        sink.write(&piece).await.map_err(disk)?;
    }
    let content = sink.finish().await.map_err(disk)?;
    let now = asked.server.now();
    let content = (content, sink.length(), 0);
    let mut store = asked.server.store();
    let id = store.put(
        &asked.route.bucket,
        &asked.route.path,
        content,
        Arc::new(about),
        now,
    );
    Ok(id.ok_or_else(Refusal::missing_bucket)?)
}

fn user_metadata(encoded: &str) -> Option<Value> {
    serde_json::from_slice(&STANDARD.decode(encoded).ok()?).ok()
}

/// The folder for the content cannot be used: the server says that it has a problem.
pub(super) fn disk(_: std::io::Error) -> Refusal {
    Refusal::internal()
}
