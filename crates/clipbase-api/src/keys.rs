//! API keys: who shows one, and the routes to make, list, revoke and rotate them.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use clipbase::api_keys::{
    ApiKey, NewApiKey, PlainKey, ROTATION_GRACE_MAX, Scope, Scopes, Verifier,
};
use clipbase::{ApiKeyId, Clipbase, Error};
use http::{HeaderValue, StatusCode, header};
use jiff::Timestamp;
use serde::{Deserialize, Serialize, Serializer};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::access::{Authenticator, Denied, Principal};
use crate::envelope::{Answer, ApiError, ApiResult};
use crate::extract::{JsonBody, Params, PathKey, parse_uuid};
use crate::openapi::Success;
use crate::router::App;

/// How many keys a page has unless asked otherwise.
const LIMIT_DEFAULT: u32 = 50;

/// Knows the keys of [`Clipbase::api_keys`]. Make one for the process: it remembers what it has verified.
#[derive(Clone, Debug)]
pub struct KeyAuthenticator {
    verifier: Verifier,
}

impl KeyAuthenticator {
    /// Makes one that remembers nothing yet. The database needs the set of API keys:
    /// [`clipbase::migrate::check_with`] tells.
    pub fn new(clipbase: &Clipbase) -> Self {
        Self {
            verifier: clipbase.api_keys().verifier(),
        }
    }
}

#[async_trait]
impl Authenticator for KeyAuthenticator {
    async fn authenticate(&self, credential: Option<&str>) -> Result<Principal, Denied> {
        // No key at all is as good as a wrong one: one answer for both.
        let owner = self.verifier.authenticate(credential.unwrap_or("")).await?;
        Ok(Principal {
            key_id: owner.key.to_string(),
            name: owner.name,
            scopes: owner.scopes,
            rate: Some(owner.rate),
        })
    }

    async fn still_hold(
        &self,
        key_ids: &[String],
    ) -> clipbase::Result<Option<HashMap<String, Scopes>>> {
        let ids: Vec<ApiKeyId> = key_ids.iter().filter_map(|id| id.parse().ok()).collect();
        let held = self.verifier.still_hold(&ids).await?;
        let by_text = held
            .into_iter()
            .map(|(id, scopes)| (id.to_string(), scopes));
        Ok(Some(by_text.collect()))
    }
}

/// One thing that a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Scope)]
pub(crate) enum ScopeName {
    /// Reading jobs, their logs and their results.
    #[serde(rename = "jobs:read")]
    JobsRead,
    /// Creating, changing, cancelling, retrying and deleting jobs; not reading.
    #[serde(rename = "jobs:write")]
    JobsWrite,
    /// Everything, keys included.
    #[serde(rename = "admin")]
    Admin,
}

impl From<ScopeName> for Scope {
    fn from(name: ScopeName) -> Self {
        match name {
            ScopeName::JobsRead => Self::JobsRead,
            ScopeName::JobsWrite => Self::JobsWrite,
            ScopeName::Admin => Self::Admin,
        }
    }
}

impl From<Scope> for ScopeName {
    fn from(scope: Scope) -> Self {
        match scope {
            Scope::JobsRead => Self::JobsRead,
            Scope::JobsWrite => Self::JobsWrite,
            Scope::Admin => Self::Admin,
        }
    }
}

/// A key to make.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "dashboard", "scopes": ["jobs:read"], "rate_limit_per_min": 120}))]
pub(crate) struct NewKeyRequest {
    /// What it is for, for people: without control characters.
    #[schema(min_length = 1, max_length = 128)]
    name: String,
    /// What it may do.
    #[schema(min_items = 1)]
    scopes: Vec<ScopeName>,
    /// Requests a minute, 60 unless given.
    #[schema(minimum = 1, maximum = 60_000)]
    rate_limit_per_min: Option<u32>,
}

/// How to rotate a key.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"grace_secs": 3600}))]
pub(crate) struct RotateRequest {
    /// For how many seconds the old key goes on working; it ends at once unless given.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 2_592_000)]
    grace_secs: u64,
}

/// Which page of the list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListParams {
    /// How many keys, 50 unless given.
    #[param(minimum = 1, maximum = 1000, nullable = false)]
    limit: Option<u32>,
    /// Where the page starts: `next` of the page before.
    #[param(nullable = false, format = Uuid)]
    cursor: Option<String>,
}

/// A key, without its secret, which nobody has.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ApiKey)]
pub(crate) struct KeyView {
    /// Its id, which is part of its text.
    id: Uuid,
    /// What it is for.
    name: String,
    /// What it may do.
    scopes: Vec<ScopeName>,
    /// Requests a minute, on average and at once.
    rate_limit_per_min: u32,
    /// When it was made.
    created_at: Timestamp,
    /// When a request was let through with it, to the minute.
    last_used_at: Option<Timestamp>,
    /// From when on it is refused: in the future while a rotation's grace lasts.
    revoked_at: Option<Timestamp>,
    /// Whether it is accepted now.
    is_active: bool,
}

impl From<ApiKey> for KeyView {
    fn from(key: ApiKey) -> Self {
        Self {
            id: key.id.as_uuid(),
            name: key.name,
            scopes: key.scopes.iter().map(ScopeName::from).collect(),
            rate_limit_per_min: key.rate_limit_per_min,
            created_at: key.created_at,
            last_used_at: key.last_used_at,
            revoked_at: key.revoked_at,
            is_active: key.is_active,
        }
    }
}

/// A key that was just made.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct IssuedKey {
    api_key: KeyView,
    /// The key itself, to be sent as `Authorization: Bearer …`. It is shown this once: keep it now.
    #[serde(serialize_with = "expose")]
    #[schema(value_type = String, pattern = "^cb_[0-9a-f]{32}_[A-Za-z0-9_-]{43}$")]
    plain_key: PlainKey,
}

fn expose<S: Serializer>(key: &PlainKey, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(key.expose())
}

/// A page of keys.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct KeyPage {
    /// The keys, the newest first; revoked ones too.
    keys: Vec<KeyView>,
    /// Pass this as `cursor` to read on; null at the end.
    next: Option<Uuid>,
}

/// Makes a key.
///
/// The answer is the only time that the key itself is shown. Made twice, there are two keys: revoke the one that
/// nobody got.
#[utoipa::path(post, path = "/v1/keys", operation_id = "createKey", tag = "keys",
    request_body = NewKeyRequest,
    responses((status = 201, description = "The key.", body = Success<IssuedKey>,
        headers(("Location" = String, description = "The key's own address.")))))]
pub(crate) async fn create(
    State(app): State<App>,
    JsonBody(asked): JsonBody<NewKeyRequest>,
) -> ApiResult<Response> {
    let scopes: Scopes = asked.scopes.into_iter().map(Scope::from).collect();
    let mut new = NewApiKey::new(asked.name, scopes);
    new.rate_limit_per_min = asked.rate_limit_per_min;
    Ok(issued(app.clipbase.api_keys().create(&new).await?))
}

/// Lists the keys, newest first.
#[utoipa::path(get, path = "/v1/keys", operation_id = "listKeys", tag = "keys",
    params(ListParams),
    responses((status = 200, description = "A page of keys.", body = Success<KeyPage>)))]
pub(crate) async fn list(
    State(app): State<App>,
    Params(params): Params<ListParams>,
) -> ApiResult<Answer<KeyPage>> {
    let read = |text: String| {
        parse_uuid(&text)
            .map(ApiKeyId::from_uuid)
            .ok_or_else(|| ApiError::invalid("cursor", "is not the `next` of a page"))
    };
    let after = params.cursor.map(read).transpose()?;
    let limit = params.limit.unwrap_or(LIMIT_DEFAULT);
    let page = app.clipbase.api_keys().list(limit, after).await?;
    Ok(Answer(KeyPage {
        keys: page.keys.into_iter().map(KeyView::from).collect(),
        next: page.next.map(|id| id.as_uuid()),
    }))
}

/// Reads a key's row.
#[utoipa::path(get, path = "/v1/keys/{id}", operation_id = "getKey", tag = "keys",
    params(("id" = uuid::Uuid, Path, description = "The key's id.")),
    responses((status = 200, description = "The key as it is now.", body = Success<KeyView>)))]
pub(crate) async fn get(
    State(app): State<App>,
    PathKey(id): PathKey,
) -> ApiResult<Answer<KeyView>> {
    let key = app.clipbase.api_keys().get(id).await?;
    let key = key.ok_or(Error::NotFound { what: "API key" })?;
    Ok(Answer(key.into()))
}

/// Revokes a key: from the next request on it is refused, by every process.
///
/// A second time changes nothing and succeeds.
#[utoipa::path(post, path = "/v1/keys/{id}/revoke", operation_id = "revokeKey", tag = "keys",
    params(("id" = uuid::Uuid, Path, description = "The key's id.")),
    responses((status = 200, description = "The key, revoked.", body = Success<KeyView>)))]
pub(crate) async fn revoke(
    State(app): State<App>,
    PathKey(id): PathKey,
) -> ApiResult<Answer<KeyView>> {
    Ok(Answer(app.clipbase.api_keys().revoke(id).await?.into()))
}

/// Makes a new key with the name, scopes and rate of an active one, and ends that one.
///
/// With a grace the old key goes on working for so long. The answer is the only time that the new key is shown.
#[utoipa::path(post, path = "/v1/keys/{id}/rotate", operation_id = "rotateKey", tag = "keys",
    params(("id" = uuid::Uuid, Path, description = "The old key's id.")),
    request_body = RotateRequest,
    responses((status = 201, description = "The new key.", body = Success<IssuedKey>,
        headers(("Location" = String, description = "The new key's own address.")))))]
pub(crate) async fn rotate(
    State(app): State<App>,
    PathKey(id): PathKey,
    JsonBody(asked): JsonBody<RotateRequest>,
) -> ApiResult<Response> {
    let grace = Duration::from_secs(asked.grace_secs);
    if grace > ROTATION_GRACE_MAX {
        let most = ROTATION_GRACE_MAX.as_secs();
        return Err(ApiError::invalid(
            "grace_secs",
            &format!("must be 0 to {most}"),
        ));
    }
    Ok(issued(app.clipbase.api_keys().rotate(id, grace).await?))
}

/// The one answer that has the key in it. It is never stored on the way: every answer says `no-store`.
fn issued((key, plain_key): (ApiKey, PlainKey)) -> Response {
    let location = HeaderValue::try_from(format!("/v1/keys/{}", key.id));
    let answer = Answer(IssuedKey {
        api_key: key.into(),
        plain_key,
    });
    let mut response = (StatusCode::CREATED, answer).into_response();
    if let Ok(location) = location {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}
