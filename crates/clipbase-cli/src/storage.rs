//! From the environment to the object storage: a Supabase project's, or a folder of this machine.

use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use clipbase::storage::{
    BucketPolicy, KeyLayout, LocalSigner, LocalStorage, Storage, SupabaseConfig, SupabaseStorage,
    Timeouts,
};

use crate::environment::{Environment, StorageEnvironment};
use crate::failure::Failure;

/// A storage, and what is known of it.
pub(crate) struct Opened {
    pub(crate) storage: Arc<dyn Storage>,
    /// The same, where it is a folder of this machine.
    pub(crate) local: Option<LocalStorage>,
    /// Where it looks for objects.
    pub(crate) key_layout: KeyLayout,
    /// Where its links lead to, where that is another server.
    pub(crate) link_origins: Vec<String>,
}

/// Opens the storage that the environment names, or the one in the data directory, whose signed links begin with
/// `link_base`.
pub(crate) async fn open(
    data_dir: &Path,
    environment: &Environment,
    link_base: &str,
) -> Result<Opened, Failure> {
    let settings = &environment.storage;
    if let Some(config) = supabase_config(settings)? {
        let (config, layout) = config;
        let config = config.with_resume_dir(Some(data_dir.join("uploads")));
        return Ok(Opened {
            storage: Arc::new(
                SupabaseStorage::new(config).map_err(|error| unusable(error, settings))?,
            ),
            local: None,
            key_layout: layout,
            link_origins: link_origins(settings),
        });
    }
    let root = data_dir.join("storage");
    let signer = LocalSigner::open(&root, link_base).await?;
    let storage = LocalStorage::open(&root, signer).await?;
    Ok(Opened {
        storage: Arc::new(storage.clone()),
        local: Some(storage),
        key_layout: KeyLayout::Bucket,
        link_origins: Vec::new(),
    })
}

/// The origins of the addresses that browsers are sent to. All of them were read as addresses before.
fn link_origins(settings: &StorageEnvironment) -> Vec<String> {
    let named = [&settings.public_url, &settings.upload_url];
    let base = settings
        .storage_url
        .as_ref()
        .or(settings.project_url.as_ref());
    let mut origins: Vec<String> = named
        .into_iter()
        .flatten()
        .chain(base)
        .filter_map(|address| {
            Some(
                url::Url::parse(address)
                    .ok()?
                    .origin()
                    .ascii_serialization(),
            )
        })
        .collect();
    origins.sort();
    origins.dedup();
    origins
}

fn supabase_config(
    settings: &StorageEnvironment,
) -> Result<Option<(SupabaseConfig, KeyLayout)>, Failure> {
    let config = match (&settings.project_url, &settings.storage_url, &settings.key) {
        (None, None, None) => return Ok(None),
        (None, None, Some(_)) => {
            return Err(missing("SUPABASE_URL", "SUPABASE_SERVICE_ROLE_KEY"));
        }
        (Some(_), _, None) => return Err(missing("SUPABASE_SERVICE_ROLE_KEY", "SUPABASE_URL")),
        (None, Some(_), None) => {
            return Err(missing("SUPABASE_SERVICE_ROLE_KEY", "SUPABASE_STORAGE_URL"));
        }
        (_, Some(base), Some(key)) => SupabaseConfig::from_storage_url(base, key)?,
        (Some(project), None, Some(key)) => SupabaseConfig::from_project_url(project, key)?,
    };
    with_options(config, settings).map(Some)
}

fn with_options(
    mut config: SupabaseConfig,
    settings: &StorageEnvironment,
) -> Result<(SupabaseConfig, KeyLayout), Failure> {
    if let Some(url) = &settings.upload_url {
        config = config.with_upload_url(url)?;
    }
    if let Some(url) = &settings.public_url {
        config = config.with_public_url(url)?;
    }
    if let Some(file) = &settings.root_cert {
        config = config.with_root_certificate(file.clone());
    }
    if let Some(headers) = parsed(settings.headers.as_deref())? {
        config = config.with_key_headers(headers);
    }
    let layout = parsed(settings.key_layout.as_deref())?;
    let layout = layout.unwrap_or(KeyLayout::Bucket);
    config = config.with_key_layout(layout);
    let mut timeouts = Timeouts::default();
    if let Some(limit) = seconds("SUPABASE_TIMEOUT", settings.timeout.as_deref())? {
        timeouts.control = limit;
    }
    if let Some(limit) = seconds("SUPABASE_READ_TIMEOUT", settings.read_timeout.as_deref())? {
        timeouts.read = limit;
    }
    let policy = BucketPolicy {
        max_bytes: number("CLIPBASE_BUCKET_MAX_BYTES", settings.max_bytes.as_deref())?,
        sources_types: words(settings.source_types.as_deref()),
        results_types: words(settings.result_types.as_deref()),
    };
    let config = config.with_timeouts(timeouts).map_err(refused)?;
    let config = config.with_bucket_policy(policy).map_err(refused)?;
    Ok((config, layout))
}

/// A certificate is read when the storage is opened, by a part that does not know whose it is.
fn unusable(error: clipbase::Error, settings: &StorageEnvironment) -> Failure {
    let failure = Failure::from(error);
    if settings.root_cert.is_some() && failure.code() == "CONFIG_INVALID" {
        return config_failure(format!("SUPABASE_ROOT_CERT: {}", failure.message()));
    }
    failure
}

fn missing(wanted: &str, given: &str) -> Failure {
    config_failure(format!("{wanted} is missing, and {given} is set: set both"))
}

fn config_failure(message: String) -> Failure {
    Failure::new("CONFIG_INVALID", message)
}

/// The library names a setting by its own word; whoever set it knows the variable.
fn refused(error: clipbase::Error) -> Failure {
    let clipbase::Error::InvalidInput { field, problem } = &error else {
        return error.into();
    };
    let variable = match *field {
        "supabase-key-headers" => "SUPABASE_KEY_HEADERS",
        "key-layout" => "CLIPBASE_KEY_LAYOUT",
        "storage-timeouts" => "SUPABASE_TIMEOUT, SUPABASE_READ_TIMEOUT",
        "bucket-max-bytes" => "CLIPBASE_BUCKET_MAX_BYTES",
        "sources-types" => "CLIPBASE_BUCKET_SOURCE_TYPES",
        "results-types" => "CLIPBASE_BUCKET_RESULT_TYPES",
        other => other,
    };
    config_failure(format!("{variable}: {problem}"))
}

fn parsed<T: FromStr<Err = clipbase::Error>>(text: Option<&str>) -> Result<Option<T>, Failure> {
    text.map(str::parse).transpose().map_err(refused)
}

fn number(name: &str, text: Option<&str>) -> Result<Option<u64>, Failure> {
    let wrong = |_| config_failure(format!("{name} must be a whole number"));
    text.map(str::parse).transpose().map_err(wrong)
}

fn seconds(name: &str, text: Option<&str>) -> Result<Option<Duration>, Failure> {
    Ok(number(name, text)?.map(Duration::from_secs))
}

fn words(text: Option<&str>) -> Option<Vec<String>> {
    let words = text?.split(',').map(str::trim);
    Some(
        words
            .filter(|word| !word.is_empty())
            .map(str::to_owned)
            .collect(),
    )
}
