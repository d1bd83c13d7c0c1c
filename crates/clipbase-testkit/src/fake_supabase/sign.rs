//! Links: one, many, and links to upload with. They are made from the rows; nobody looks at the content.

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use serde_json::{Value, json};

use super::auth::Role;
use super::dispatch::Asked;
use super::download::end_of;
use super::refusal::{Failure, Handled, Refusal, json};
use super::route::header;
use super::store::is_object_name;
use super::upload::check;

/// The most paths of one call.
const PATHS_MAX: usize = 1_000;

const NOT_FOUND: &str = "Either the object does not exist or you do not have access to it";

pub(super) async fn one(asked: &mut Asked, role: Role) -> Handled {
    let document = asked.body.json().await?;
    let seconds = lifetime(&document)?;
    let route = &asked.route;
    if !is_object_name(&route.path) {
        return Err(Refusal::invalid_key(&route.path).into());
    }
    let is_there = asked
        .server
        .store()
        .row(&route.bucket, &route.path)
        .is_some();
    if !is_there || role == Role::Powerless {
        return Err(Refusal::missing_object().into());
    }
    // Made from the address, not from the name: what stays escaped there is another object's link.
    let url = decode_address(&route.raw);
    Ok(json(
        200,
        &json!({ "signedURL": link(asked, &url, seconds) }),
    ))
}

pub(super) async fn many(asked: &mut Asked, role: Role) -> Handled {
    let document = asked.body.json().await?;
    let seconds = lifetime(&document)?;
    let paths = texts(&document, "paths")?;
    let bucket = &asked.route.bucket;
    let found: Vec<bool> = {
        let store = asked.server.store();
        let is_there = |path: &String| store.row(bucket, path).is_some();
        paths
            .iter()
            .map(|path| role == Role::Service && is_there(path))
            .collect()
    };
    let links = paths.iter().zip(found).map(|(path, is_there)| {
        let error = (!is_there).then_some(NOT_FOUND);
        let url = is_there.then(|| link(asked, &format!("{bucket}/{path}"), seconds));
        json!({ "error": error, "path": path, "signedURL": url })
    });
    Ok(json(200, &links.collect::<Vec<_>>().into()))
}

pub(super) fn upload(asked: &Asked, role: Role) -> Handled {
    let upserts = header(&asked.parts, "x-upsert") == Some("true");
    check(asked, role, upserts, Refusal::related_missing)?;
    let object = format!("{}/{}", asked.route.bucket, asked.route.path);
    let now = asked.server.now().as_second();
    let lifetime = asked.server.options.upload_link_lifetime;
    let seconds = i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX);
    let token = asked.server.keys.sign(&json!({
        "url": object,
        "upsert": upserts,
        "scope": "upload",
        "iat": now,
        "exp": end_of(asked, seconds),
    }));
    let url = format!("/object/upload/sign/{object}?token={token}");
    Ok(json(200, &json!({ "url": url, "token": token })))
}

/// A link relative to the storage's base, and not escaped.
fn link(asked: &Asked, url: &str, seconds: i64) -> String {
    let token = asked.server.keys.sign(&json!({
        "url": url,
        "scope": "download",
        "iat": asked.server.now().as_second(),
        "exp": end_of(asked, seconds),
    }));
    format!("/object/sign/{url}?token={token}")
}

fn lifetime(document: &Value) -> Result<i64, Failure> {
    let refusal = match document.get("expiresIn") {
        None => "body must have required property 'expiresIn'",
        Some(value) => match value.as_i64() {
            Some(seconds) if seconds >= 1 => return Ok(seconds),
            Some(_) => "body/expiresIn must be >= 1",
            None => "body/expiresIn must be integer",
        },
    };
    Err(Refusal::invalid(refusal).into())
}

/// Reads a list of 1 to 1000 texts.
pub(super) fn texts(document: &Value, field: &str) -> Result<Vec<String>, Failure> {
    let Some(value) = document.get(field) else {
        let message = format!("body must have required property '{field}'");
        return Err(Refusal::invalid(message).into());
    };
    let texts = serde_json::from_value::<Vec<String>>(value.clone()).ok();
    let texts = texts.ok_or_else(|| Refusal::invalid(format!("body/{field} must be array")))?;
    if texts.is_empty() {
        let message = format!("body/{field} must NOT have fewer than 1 items");
        return Err(Refusal::invalid(message).into());
    }
    if texts.len() > PATHS_MAX {
        let message = "Bulk object requests are limited to 1000 objects per request.";
        return Err(Refusal::invalid(message).into());
    }
    Ok(texts)
}

/// Decodes an address as JavaScript's `decodeURI` does: escapes of signs that mean something in an address stay.
fn decode_address(raw: &str) -> String {
    const ESCAPE: &AsciiSet = &CONTROLS.add(b'%');
    let mut kept = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = rest.find('%') {
        let (before, escape) = rest.split_at(at);
        kept.push_str(before);
        let (escape, after) = escape.split_at_checked(3).unwrap_or((escape, ""));
        let byte = escape
            .get(1..)
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        if byte.is_some_and(|byte| b";/?:@&=+$,#".contains(&byte)) {
            // Escaped once more, so that the decoding below leaves it.
            kept.push_str(&utf8_percent_encode(escape, ESCAPE).to_string());
        } else {
            kept.push_str(escape);
        }
        rest = after;
    }
    kept.push_str(rest);
    percent_decode_str(&kept).decode_utf8_lossy().into_owned()
}
