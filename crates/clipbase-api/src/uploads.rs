//! Where a client stores a source before it creates the job: signed, announced, and only then handed out.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use clipbase::JobId;
use clipbase::storage::StorageKey;
use http::StatusCode;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::clock::ends_at;
use crate::envelope::{Answer, ApiResult};
use crate::extract::JsonBody;
use crate::openapi::Success;
use crate::router::App;

/// How long an upload may go on after its link has ended. The object is not removed before, and one that takes
/// longer is found by the reconciliation.
pub(crate) const UPLOAD_TIME_MAX: Duration = Duration::from_secs(3_600);

/// What is to be uploaded.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewUpload {
    /// What the file's name ends with: 1 to 16 letters or digits.
    #[schema(
        example = "mp4",
        min_length = 1,
        max_length = 16,
        pattern = "^[A-Za-z0-9]{1,16}$"
    )]
    extension: String,
}

/// Where to store it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Upload)]
pub(crate) struct UploadView {
    /// Names the upload, and later the job: pass `source` to `POST /v1/jobs`.
    upload: Uuid,
    /// The object's key.
    #[schema(example = "sources/0198c0de-0000-7000-8000-000000000000/source.mp4")]
    key: String,
    /// The signed link. Whoever has it may store this one object.
    url: String,
    /// The method to send the file with, as the bare body.
    #[schema(example = "PUT")]
    method: &'static str,
    /// The media type to send it as.
    #[schema(example = "video/mp4")]
    content_type: &'static str,
    /// How many seconds the link lasts.
    #[schema(example = 7200)]
    expires_in: u64,
    /// When it ends.
    expires_at: Timestamp,
    /// What to pass as `source` when the job is created.
    source: UploadSource,
}

/// A finished upload, as `POST /v1/jobs` takes it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct UploadSource {
    /// The upload.
    upload: Uuid,
    /// Its extension.
    #[schema(example = "mp4")]
    extension: String,
}

/// Signs a link for an upload and announces it.
///
/// Store the file under the link, then create the job. What no job takes up is removed a day later.
#[utoipa::path(post, path = "/v1/uploads", operation_id = "createUpload", tag = "jobs",
    request_body = NewUpload,
    responses((status = 201, description = "The link to store the source under.", body = Success<UploadView>)))]
pub(crate) async fn create(
    State(app): State<App>,
    JsonBody(new): JsonBody<NewUpload>,
) -> ApiResult<Response> {
    let id = JobId::new();
    let key = StorageKey::source(id, &new.extension)?;
    let link = app.clipbase.storage().sign_upload(&key).await?;
    // Before anybody has the link.
    let lifetime = link.lifetime() + UPLOAD_TIME_MAX;
    let cleanup = app.clipbase.cleanup();
    cleanup.announce_upload_link(&key, lifetime).await?;
    let upload = UploadView {
        upload: id.as_uuid(),
        key: key.to_string(),
        url: link.expose().to_owned(),
        method: "PUT",
        content_type: key.content_type(),
        expires_in: link.lifetime().as_secs(),
        expires_at: ends_at(link.lifetime()),
        source: UploadSource {
            upload: id.as_uuid(),
            extension: new.extension.to_ascii_lowercase(),
        },
    };
    Ok((StatusCode::CREATED, Answer(upload)).into_response())
}
