//! Where a new job's video comes from: an upload, an earlier job's source, or an address.
//!
//! Owns the order of steps that leaks nothing: a copy is announced before it is made, as an upload is, and the
//! statement that creates the job adopts it.

use clipbase::cleanup::UPLOAD_TTL;
use clipbase::job::SOURCE_URL_BYTES_MAX;
use clipbase::storage::StorageKey;
use clipbase::{Code, Error, JobId, Source};
use serde::Deserialize;
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, OneOfBuilder, SchemaFormat, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};
use uuid::Uuid;

use crate::envelope::{ApiError, ApiResult};
use crate::router::App;

/// What an upload's extension is where nobody says.
const EXTENSION_DEFAULT: &str = "mp4";

/// As it stands in a request: exactly one of three.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SourceRequest {
    upload: Option<Uuid>,
    extension: Option<String>,
    job: Option<Uuid>,
    youtube: Option<String>,
}

/// What was asked for, checked.
#[derive(Clone, Debug)]
pub(crate) enum Wanted {
    /// The job takes the upload's id, under which its source lies already.
    Upload(JobId, StorageKey),
    /// The source of an earlier job.
    Job(JobId),
    /// An address.
    Youtube(String),
}

impl SourceRequest {
    pub(crate) fn check(self, app: &App) -> ApiResult<Wanted> {
        if self.extension.is_some() && self.upload.is_none() {
            return Err(ApiError::invalid(
                "source.extension",
                "goes only with upload",
            ));
        }
        match (self.upload, self.job, self.youtube) {
            (Some(upload), None, None) => {
                let id = JobId::from_uuid(upload);
                let extension = self.extension.as_deref().unwrap_or(EXTENSION_DEFAULT);
                let key = StorageKey::source(id, extension).map_err(|_| {
                    ApiError::invalid(
                        "source.extension",
                        "must be 1 to 16 letters or digits, as in mp4",
                    )
                })?;
                Ok(Wanted::Upload(id, key))
            }
            (None, Some(job), None) => Ok(Wanted::Job(JobId::from_uuid(job))),
            (None, None, Some(url)) => check_youtube(&url, &app.options.youtube_hosts),
            _ => Err(ApiError::invalid(
                "source",
                "must have exactly one of upload, job and youtube",
            )),
        }
    }
}

fn check_youtube(text: &str, hosts: &[String]) -> ApiResult<Wanted> {
    let refuse = |problem| Err(ApiError::invalid("source.youtube", problem));
    if hosts.is_empty() {
        return refuse("is not enabled here; upload the video instead");
    }
    let Ok(url) = url::Url::parse(text) else {
        return refuse("is not an address");
    };
    let is_plain = url.scheme() == "https"
        && url.username().is_empty()
        && url.password().is_none()
        && url.port().is_none();
    if !is_plain {
        return refuse("must start with https:// and have neither a user nor a port");
    }
    if !url
        .host_str()
        .is_some_and(|host| hosts.iter().any(|known| known == host))
    {
        return refuse("lies on a host that is not allowed here");
    }
    // As it was understood here, so that nobody reads it differently.
    Ok(Wanted::Youtube(url.into()))
}

impl Wanted {
    /// The new job's id.
    pub(crate) fn id(&self) -> JobId {
        match self {
            Self::Upload(id, _) => *id,
            Self::Job(_) | Self::Youtube(_) => JobId::new(),
        }
    }

    /// Whether [`Self::find`] asks anybody.
    pub(crate) fn is_looked_at(&self) -> bool {
        !matches!(self, Self::Youtube(_))
    }

    /// What makes a repeated request the same one, where the job itself does not say it.
    pub(crate) fn about(&self) -> Option<String> {
        match self {
            Self::Upload(_, key) => Some(format!("upload {}", key.path())),
            Self::Job(id) => Some(format!("job {id}")),
            Self::Youtube(_) => None,
        }
    }

    /// Returns the source as the library takes it, once it is known to exist.
    pub(crate) async fn find(&self, app: &App, id: JobId) -> ApiResult<Found> {
        let storage = app.clipbase.storage();
        match self {
            Self::Youtube(url) => Ok(Found::ready(Source::Youtube(url.clone()))),
            Self::Upload(_, key) => match storage.info(key).await? {
                Some(_) => Ok(Found::ready(Source::Upload(key.clone()))),
                None => Err(ApiError::new(
                    Code::StorageNotFound,
                    "source.upload: there is no such upload, or it has another extension",
                )),
            },
            Self::Job(earlier) => {
                let earlier = app.clipbase.jobs().get(*earlier).await?;
                let earlier = earlier.ok_or(Error::NotFound { what: "source.job" })?;
                if let Some(url) = earlier.source_url {
                    // It goes through the same gate as a fresh address.
                    check_youtube(&url, &app.options.youtube_hosts)?;
                    return Ok(Found::ready(Source::Youtube(url)));
                }
                let from: Option<StorageKey> = earlier.source_key.and_then(|key| key.parse().ok());
                let Some(from @ StorageKey::Source { .. }) = from else {
                    return Err(ApiError::new(
                        Code::StorageNotFound,
                        "source.job: this job has no source that could be copied",
                    ));
                };
                let StorageKey::Source { extension, .. } = &from else {
                    return Err(ApiError::internal());
                };
                let to = StorageKey::source(id, extension.as_str())?;
                Ok(Found {
                    source: Source::Upload(to.clone()),
                    copy: Some((from, to)),
                })
            }
        }
    }
}

/// A source that exists, or a copy that is still to be made.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) source: Source,
    copy: Option<(StorageKey, StorageKey)>,
}

impl Found {
    fn ready(source: Source) -> Self {
        Self { source, copy: None }
    }

    /// Makes the copy, announced first: if the job never comes, it goes.
    pub(crate) async fn copy(&self, app: &App) -> ApiResult<()> {
        let Some((from, to)) = &self.copy else {
            return Ok(());
        };
        app.clipbase
            .cleanup()
            .announce_upload(to, UPLOAD_TTL)
            .await?;
        app.clipbase.storage().copy(from, to).await?;
        Ok(())
    }
}

impl PartialSchema for SourceRequest {
    fn schema() -> RefOr<Schema> {
        let id = |what: &str| {
            ObjectBuilder::new()
                .schema_type(Type::String)
                .format(Some(SchemaFormat::KnownFormat(KnownFormat::Uuid)))
                .description(Some(what))
        };
        let text = |what: &str| {
            ObjectBuilder::new()
                .schema_type(Type::String)
                .description(Some(what))
        };
        let one = |name: &str, value: ObjectBuilder| {
            ObjectBuilder::new()
                .property(name, value)
                .required(name)
                .additional_properties(Some(
                    utoipa::openapi::schema::AdditionalProperties::<Schema>::FreeForm(false),
                ))
        };
        let extension = text("The extension that the upload was asked for with; mp4 unless given.")
            .pattern(Some("^[A-Za-z0-9]{1,16}$"));
        OneOfBuilder::new()
            .item(
                one(
                    "upload",
                    id("From `POST /v1/uploads`; the job gets this id."),
                )
                .property("extension", extension),
            )
            .item(one("job", id("An earlier job: its source is copied.")))
            .item(one(
                "youtube",
                text("An https address on one of the hosts that are allowed.")
                    .pattern(Some("^https://"))
                    .max_length(Some(SOURCE_URL_BYTES_MAX)),
            ))
            .description(Some(
                "Where the video comes from: exactly one of the three.",
            ))
            .into()
    }
}

impl ToSchema for SourceRequest {
    fn name() -> std::borrow::Cow<'static, str> {
        "SourceRequest".into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_passes_only_on_an_allowed_host() {
        let hosts = ["www.youtube.com".to_owned(), "youtu.be".to_owned()];
        for url in [
            "https://www.youtube.com/watch?v=1",
            "https://WWW.YouTube.com/x",
            "https://youtu.be:443/x",
        ] {
            assert!(check_youtube(url, &hosts).is_ok(), "{url}");
        }
        for url in [
            "",
            "youtu.be/x",
            "http://youtu.be/x",
            "ftp://youtu.be/x",
            "https://youtu.be:8443/x",
            "https://user@youtu.be/x",
            "https://:secret@youtu.be/x",
            "https://youtu.be.evil.example/x",
            "https://evil.example/youtu.be",
            "https://evil.example\\@youtu.be/",
            "https://youtu.be@evil.example/x",
            "https://127.0.0.1/x",
            "file:///etc/passwd",
        ] {
            assert!(check_youtube(url, &hosts).is_err(), "{url}");
        }
        assert!(check_youtube("https://youtu.be/x", &[]).is_err());
    }
}
