//! From a request to typed values: bodies, queries, ids and headers. Whatever does not fit is refused in the
//! envelope, with the field's name.

use std::fmt;
use std::marker::PhantomData;

use axum::extract::{FromRequest, FromRequestParts, RawPathParams, Request};
use clipbase::{ApiKeyId, JobId};
use http::request::Parts;
use http::{HeaderMap, header};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, DeserializeOwned, Deserializer, IgnoredAny, MapAccess, Visitor};
use uuid::Uuid;

use crate::envelope::{ApiError, ApiResult, HttpCode};
use crate::limits::read_body;
use crate::observe::about;
use crate::router::App;

/// The most of a field's name that is repeated to the one who sent it.
const NAME_CHARS_MAX: usize = 64;

/// A JSON body: of a bounded size, with the right media type, without unknown fields.
#[derive(Debug)]
pub(crate) struct JsonBody<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<App> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> ApiResult<Self> {
        if !is_json(request.headers()) {
            return Err(ApiError::new(
                HttpCode::UnsupportedMediaType,
                "the body must be JSON; send `Content-Type: application/json`",
            ));
        }
        let options = &app.options;
        let body = read_body(
            request.into_body(),
            options.json_bytes_max,
            options.idle_timeout,
        )
        .await?;
        parse_json(&body).map(Self)
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE);
    let kind = kind.and_then(|value| value.to_str().ok()).unwrap_or("");
    let essence = kind.split(';').next().unwrap_or("").trim();
    essence.eq_ignore_ascii_case("application/json")
}

fn parse_json<T: DeserializeOwned>(body: &[u8]) -> ApiResult<T> {
    // Whether it is JSON at all comes first; what is in it, second.
    serde_json::from_slice::<IgnoredAny>(body).map_err(|error| not_json(&error))?;
    let mut reader = serde_json::Deserializer::from_slice(body);
    let Object(value) = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner();
        if inner.is_data() {
            explain("body", &path, &inner.to_string())
        } else {
            not_json(&inner)
        }
    })?;
    Ok(value)
}

fn not_json(error: &serde_json::Error) -> ApiError {
    ApiError::new(
        HttpCode::BadRequest,
        format!(
            "the body is not valid JSON: line {}, column {}",
            error.line(),
            error.column()
        ),
    )
}

/// A query, without unknown parameters.
#[derive(Debug)]
pub(crate) struct Params<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequestParts<App> for Params<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> ApiResult<Self> {
        let query = parts.uri.query().unwrap_or("");
        let pairs = url::form_urlencoded::parse(query.as_bytes());
        let reader = serde_urlencoded::Deserializer::new(pairs);
        serde_path_to_error::deserialize(reader)
            .map(Self)
            .map_err(|error| {
                let path = error.path().to_string();
                explain("query", &path, &error.into_inner().to_string())
            })
    }
}

/// The job that a path names as `{id}`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PathJob(pub(crate) JobId);

impl FromRequestParts<App> for PathJob {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> ApiResult<Self> {
        let id = JobId::from_uuid(path_id(parts, app).await?);
        about(id);
        Ok(Self(id))
    }
}

/// The API key that a path names as `{id}`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PathKey(pub(crate) ApiKeyId);

impl FromRequestParts<App> for PathKey {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> ApiResult<Self> {
        let id = path_id(parts, app).await?;
        Ok(Self(ApiKeyId::from_uuid(id)))
    }
}

async fn path_id(parts: &mut Parts, app: &App) -> ApiResult<Uuid> {
    let refuse = || {
        ApiError::invalid(
            "id",
            "is not a UUID as in 0198c0de-0000-7000-8000-000000000000",
        )
    };
    let params = RawPathParams::from_request_parts(parts, app)
        .await
        .map_err(|_| refuse())?;
    let text = params.iter().find(|(name, _)| *name == "id");
    let (_, text) = text.ok_or_else(refuse)?;
    parse_uuid(text).ok_or_else(refuse)
}

/// Reads a UUID in the one spelling that the API writes: with hyphens.
pub(crate) fn parse_uuid(text: &str) -> Option<Uuid> {
    Uuid::try_parse(text).ok().filter(|_| text.len() == 36)
}

/// Reads a header that may be sent once at most.
pub(crate) fn single_header<'a>(headers: &'a HeaderMap, name: &str) -> ApiResult<Option<&'a str>> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(ApiError::invalid(name, "must not be sent twice"));
    }
    value
        .to_str()
        .map(Some)
        .map_err(|_| ApiError::invalid(name, "must be visible ASCII"))
}

/// From serde's words to a field and what is wrong with it. The value is not repeated.
fn explain(whole: &str, path: &str, message: &str) -> ApiError {
    let parent = match path {
        "." | "?" => None,
        path => Some(path.trim_end_matches(".?")),
    };
    let quoted = |start: &str| {
        let rest = message.strip_prefix(start)?.strip_prefix(" `")?;
        Some(rest.split('`').next().unwrap_or(rest))
    };
    let inside = |name: &str| match parent {
        // The path may end with the field itself.
        Some(path) if path != name && !path.ends_with(&format!(".{name}")) => {
            clip(&format!("{path}.{name}"))
        }
        Some(path) => clip(path),
        None => clip(name),
    };
    if let Some(name) = quoted("unknown field") {
        let known: Vec<&str> = message
            .split_once("expected ")
            .map(|(_, rest)| rest.split('`').skip(1).step_by(2).collect())
            .unwrap_or_default();
        let problem = if known.is_empty() {
            "is not known here; leave it out".to_owned()
        } else {
            format!("is not known here; there are {}", known.join(", "))
        };
        return ApiError::invalid(&inside(name), &problem);
    }
    if let Some(name) = quoted("missing field") {
        return ApiError::invalid(&inside(name), "is missing");
    }
    if let Some(name) = quoted("duplicate field") {
        return ApiError::invalid(&inside(name), "stands twice");
    }
    let field = clip(parent.unwrap_or(whole));
    let words = message.split(" at line ").next().unwrap_or(message);
    let is_typed = [
        "invalid type",
        "invalid value",
        "invalid length",
        "unknown variant",
    ]
    .iter()
    .any(|start| words.starts_with(start));
    match words.split_once("expected ") {
        Some((_, expected)) if is_typed => {
            let expected = plain(expected).replace('`', "");
            ApiError::invalid(&field, &format!("must be {expected}"))
        }
        _ if is_typed => ApiError::invalid(&field, "has the wrong type"),
        _ => ApiError::invalid(&field, words),
    }
}

/// A type as people call it.
fn plain(expected: &str) -> &str {
    match expected {
        "u8" | "u32" | "u64" | "usize" => "a whole number that is not negative",
        "i32" | "i64" => "a whole number",
        "a boolean" => "true or false",
        "a borrowed string" | "a string" => "text",
        other => other,
    }
}

/// A name that a client sent, short and on one line.
fn clip(name: &str) -> String {
    name.chars()
        .filter(|c| !c.is_control())
        .take(NAME_CHARS_MAX)
        .collect()
}

/// A JSON object and nothing else: serde would take an array for a struct, field by field.
#[derive(Debug)]
pub(crate) struct Object<T>(pub(crate) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = Object<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Object)
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code, reason = "only its errors are looked at")]
    struct Outer {
        inner: Inner,
        count: Option<u32>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code, reason = "only its errors are looked at")]
    struct Inner {
        name: String,
    }

    #[test]
    fn a_body_that_does_not_fit_names_the_field() {
        for (body, told) in [
            (
                r#"{"inner":{"name":"x"},"cuont":1}"#,
                "cuont: is not known here; there are inner, count",
            ),
            (
                r#"{"inner":{"name":"x","nmae":1}}"#,
                "inner.nmae: is not known here; there are name",
            ),
            (r#"{"inner":{}}"#, "inner.name: is missing"),
            (r"{}", "inner: is missing"),
            (r#"{"inner":{"name":4711}}"#, "inner.name: must be text"),
            (
                r#"{"inner":{"name":"x"},"count":-1}"#,
                "count: must be a whole number that is not negative",
            ),
            (
                r#"{"inner":{"name":"x"},"inner":{"name":"x"}}"#,
                "inner: stands twice",
            ),
            (r#"[{"name":"x"},1]"#, "body: must be a JSON object"),
            (r#""canary""#, "body: must be a JSON object"),
        ] {
            let error = parse_json::<Outer>(body.as_bytes()).unwrap_err();
            assert_eq!(error.code.as_str(), "INVALID_INPUT", "{body}");
            assert_eq!(error.message, told, "{body}");
        }
    }

    #[test]
    fn what_is_no_json_is_no_request() {
        for body in ["", "{", "{}}", "\u{feff}{}", "{'inner':1}"] {
            let error = parse_json::<Outer>(body.as_bytes()).unwrap_err();
            assert_eq!(error.code.as_str(), "BAD_REQUEST", "{body}");
        }
        let deep = "[".repeat(10_000);
        assert!(parse_json::<serde_json::Value>(deep.as_bytes()).is_err());
    }

    #[test]
    fn a_long_name_is_repeated_in_part_only() {
        let body = format!(r#"{{"{}":1}}"#, "n".repeat(5_000));
        let error = parse_json::<Outer>(body.as_bytes()).unwrap_err();
        assert!(error.message.len() < 200, "{}", error.message);
    }

    #[test]
    fn an_id_has_one_spelling() {
        let text = "0198c0de-0000-7000-8000-000000000000";
        assert_eq!(parse_uuid(text).unwrap().to_string(), text);
        for other in [
            "",
            "x",
            "0198c0de00007000800000000000000f",
            "{0198c0de-0000-7000-8000-000000000000}",
        ] {
            assert!(parse_uuid(other).is_none(), "{other}");
        }
    }
}
