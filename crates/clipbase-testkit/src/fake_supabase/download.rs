//! Downloads: with a key, from a public bucket, with a link; and what the rows know of an object.

use hyper::Method;
use hyper::header::{HeaderName, HeaderValue};
use jiff::{SignedDuration, Timestamp};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::Ghosts;
use super::auth::Role;
use super::dispatch::Asked;
use super::refusal::{Answer, Handled, Refusal, empty, json};
use super::route::{header, query};
use super::store::{Row, http_date, instant, is_object_name};

/// What JavaScript's `encodeURIComponent` leaves alone.
const COMPONENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'!')
    .remove(b'~')
    .remove(b'*')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')');

pub(super) async fn download(asked: &Asked, role: Role) -> Handled {
    let row = find(asked, role)?;
    let mut answer = content(asked, &row).await?;
    put(&mut answer, "cache-control", &row.about.cache_control);
    Ok(answer)
}

pub(super) async fn public(asked: &Asked) -> Handled {
    let is_public = {
        let store = asked.server.store();
        let bucket = store.buckets.get(&asked.route.bucket);
        bucket.is_some_and(|bucket| bucket.settings.public)
    };
    if !is_public {
        return Err(Refusal::missing_bucket().into());
    }
    let row = find(asked, Role::Service)?;
    let mut answer = content(asked, &row).await?;
    put(&mut answer, "cache-control", &row.about.cache_control);
    name_download(asked, &mut answer);
    Ok(answer)
}

pub(super) async fn fetch_link(asked: &Asked) -> Handled {
    let token = query(&asked.parts, "token")
        .ok_or_else(|| Refusal::invalid("querystring must have required property 'token'"))?;
    let object = format!("{}/{}", asked.route.bucket, asked.route.path);
    let now = asked.server.now().as_second();
    let claims = asked.server.keys.verify(&token, &object, "download", now)?;
    let row = find(asked, Role::Service)?;
    let mut answer = content(asked, &row).await?;
    let expires = claims
        .get("exp")
        .and_then(Value::as_i64)
        .unwrap_or_default();
    let expires = Timestamp::from_second(expires).unwrap_or(Timestamp::MAX);
    put(&mut answer, "expires", &http_date(expires));
    put(&mut answer, "x-robots-tag", "none");
    name_download(asked, &mut answer);
    Ok(answer)
}

pub(super) fn info(asked: &Asked, role: Role) -> Handled {
    let row = find(asked, role)?;
    let description = json!({
        "id": row.id,
        "name": asked.route.path,
        "version": row.version,
        "bucket_id": asked.route.bucket,
        "size": row.size,
        "content_type": row.about.mime,
        "cache_control": row.about.cache_control,
        "etag": row.etag(),
        "metadata": row.about.user_metadata,
        "last_modified": instant(row.updated_at),
        "created_at": instant(row.created_at),
    });
    let mut answer = json(200, &description);
    put(&mut answer, "etag", &row.etag());
    put(&mut answer, "last-modified", &http_date(row.updated_at));
    put(&mut answer, "cache-control", "no-cache");
    Ok(answer)
}

/// Finds an object's row, where the key may see it.
fn find(asked: &Asked, role: Role) -> Result<Row, Refusal> {
    let route = &asked.route;
    let store = asked.server.store();
    if !store.buckets.contains_key(&route.bucket) && asked.route.call == super::Call::Download {
        return Err(Refusal::missing_bucket());
    }
    if !is_object_name(&route.path) {
        return Err(Refusal::invalid_key(&route.path));
    }
    let row = store.row(&route.bucket, &route.path);
    let row = row.filter(|_| role == Role::Service);
    row.cloned().ok_or_else(Refusal::missing_object)
}

/// The content or the range that was asked for, with the headers that all ways of reading have.
async fn content(asked: &Asked, row: &Row) -> Handled {
    let etag = row.etag();
    let known = header(&asked.parts, "if-none-match");
    if known.is_some_and(|known| known == "*" || known.split(',').any(|tag| tag.trim() == etag)) {
        let mut answer = empty(304);
        put(&mut answer, "etag", &etag);
        return Ok(answer);
    }
    let range = header(&asked.parts, "range").map(|range| parse_range(range, row.size));
    let (status, start, length) = match range {
        None | Some(Wanted::Whole) => (200, 0, row.size),
        Some(Wanted::Part { start, length }) => (206, start, length),
        Some(Wanted::Nothing) => return Err(Refusal::range().into()),
    };
    let mut answer = empty(status);
    if asked.parts.method != Method::HEAD {
        let body = row.content.body(start, length).await;
        // Only the content tells that it is gone; the row does not know.
        let body = body.map_err(|_| Refusal::internal())?;
        *answer.body_mut() = body.ok_or_else(|| ghost(asked.server.options.ghosts))?;
    }
    put(&mut answer, "accept-ranges", "bytes");
    put(&mut answer, "content-type", &content_type(&row.about.mime));
    put(&mut answer, "etag", &etag);
    put(&mut answer, "content-length", &length.to_string());
    put(&mut answer, "last-modified", &http_date(row.updated_at));
    if status == 206 {
        let last = start + length.saturating_sub(1);
        put(
            &mut answer,
            "content-range",
            &format!("bytes {start}-{last}/{}", row.size),
        );
    }
    Ok(answer)
}

/// The refusal for an object whose row is there and whose content is not.
pub(super) fn ghost(ghosts: Ghosts) -> Refusal {
    match ghosts {
        Ghosts::NoSuchKey => {
            Refusal::new(404, "NoSuchKey", "Not found", "The resource was not found")
        }
        Ghosts::InternalError => Refusal::internal(),
    }
}

/// No page is served: it would run on the storage's own site.
fn content_type(mime: &str) -> String {
    if mime.contains("text/html") {
        return "text/plain".to_owned();
    }
    mime.to_owned()
}

enum Wanted {
    Whole,
    Part { start: u64, length: u64 },
    Nothing,
}

fn parse_range(range: &str, size: u64) -> Wanted {
    let Some(range) = range.strip_prefix("bytes=") else {
        return Wanted::Whole;
    };
    if range.contains(',') {
        return Wanted::Nothing;
    }
    let Some((first, last)) = range.trim().split_once('-') else {
        return Wanted::Whole;
    };
    let (start, end) = match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(first), Ok(last)) if last >= first => (first, last.saturating_add(1).min(size)),
        (Ok(first), Err(_)) if last.is_empty() => (first, size),
        (Err(_), Ok(last)) if first.is_empty() => (size.saturating_sub(last), size),
        _ => return Wanted::Whole,
    };
    if start >= end {
        return Wanted::Nothing;
    }
    Wanted::Part {
        start,
        length: end - start,
    }
}

/// Names the file that a browser is to save.
fn name_download(asked: &Asked, answer: &mut Answer) {
    let disposition = match query(&asked.parts, "download") {
        None => return,
        Some(name) if name.is_empty() => "attachment;".to_owned(),
        Some(name) => {
            let name = utf8_percent_encode(&name, COMPONENT);
            format!("attachment; filename={name}; filename*=UTF-8''{name};")
        }
    };
    put(answer, "content-disposition", &disposition);
}

/// Sets a header, unless its value cannot be one.
pub(super) fn put(answer: &mut Answer, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        answer
            .headers_mut()
            .insert(HeaderName::from_static(name), value);
    }
}

/// When a link that is made now ends.
pub(super) fn end_of(asked: &Asked, seconds: i64) -> i64 {
    let now = asked.server.now();
    let end = now.checked_add(SignedDuration::from_secs(seconds));
    end.unwrap_or(Timestamp::MAX).as_second()
}
