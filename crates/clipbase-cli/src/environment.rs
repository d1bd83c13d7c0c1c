//! The environment, read once. Nothing else reads it.

use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::path::PathBuf;

use tracing_subscriber::EnvFilter;

use crate::failure::Failure;

/// What the environment says. Its `Debug` shows none of it.
pub(crate) struct Environment {
    pub(crate) database_url: Option<String>,
    pub(crate) database_mode: Option<String>,
    pub(crate) database_root_cert: Option<PathBuf>,
    pub(crate) data_dir: Option<PathBuf>,
    pub(crate) pg_bin: Option<PathBuf>,
    pub(crate) ffmpeg: Option<PathBuf>,
    pub(crate) ffprobe: Option<PathBuf>,
    pub(crate) ytdlp: Option<PathBuf>,
    pub(crate) youtube_proxy: Option<String>,
    pub(crate) transcriber: Option<String>,
    pub(crate) search_path: Option<OsString>,
    pub(crate) xdg_data_home: Option<OsString>,
    pub(crate) home: Option<OsString>,
    pub(crate) storage: StorageEnvironment,
    pub(crate) retention: RetentionEnvironment,
    admin_enabled: Option<String>,
    api_key_auth: Option<String>,
    log: Option<String>,
    log_format: Option<String>,
}

/// What it says of the object storage. Nothing is checked yet.
pub(crate) struct StorageEnvironment {
    pub(crate) project_url: Option<String>,
    pub(crate) key: Option<String>,
    pub(crate) storage_url: Option<String>,
    pub(crate) upload_url: Option<String>,
    pub(crate) public_url: Option<String>,
    pub(crate) root_cert: Option<PathBuf>,
    pub(crate) headers: Option<String>,
    pub(crate) key_layout: Option<String>,
    pub(crate) timeout: Option<String>,
    pub(crate) read_timeout: Option<String>,
    pub(crate) max_bytes: Option<String>,
    pub(crate) source_types: Option<String>,
    pub(crate) result_types: Option<String>,
}

impl StorageEnvironment {
    /// Whether anything asks for a Supabase project's storage; without, it is a folder of this machine.
    pub(crate) fn is_supabase(&self) -> bool {
        self.project_url.is_some() || self.storage_url.is_some() || self.key.is_some()
    }
}

/// What it says of how long things are kept.
pub(crate) struct RetentionEnvironment {
    pub(crate) done: Option<String>,
    pub(crate) failed: Option<String>,
    pub(crate) sources: Option<String>,
}

impl Environment {
    #[expect(clippy::disallowed_methods, reason = "this is the one place")]
    pub(crate) fn read() -> Self {
        let text = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let raw = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let path = |name| raw(name).map(PathBuf::from);
        Self {
            database_url: text("DATABASE_URL"),
            database_mode: text("CLIPBASE_DATABASE_MODE"),
            database_root_cert: path("CLIPBASE_DATABASE_ROOT_CERT"),
            data_dir: path("CLIPBASE_DATA_DIR"),
            pg_bin: path("CLIPBASE_PG_BIN"),
            ffmpeg: path("FFMPEG_BIN"),
            ffprobe: path("FFPROBE_BIN"),
            ytdlp: path("YTDLP_BIN"),
            youtube_proxy: text("CLIPBASE_YOUTUBE_PROXY"),
            transcriber: text("CLIPBASE_TRANSCRIBER"),
            search_path: raw("PATH"),
            xdg_data_home: raw("XDG_DATA_HOME"),
            home: raw("HOME"),
            storage: StorageEnvironment {
                project_url: text("SUPABASE_URL"),
                key: text("SUPABASE_SERVICE_ROLE_KEY"),
                storage_url: text("SUPABASE_STORAGE_URL"),
                upload_url: text("SUPABASE_UPLOAD_URL"),
                public_url: text("SUPABASE_PUBLIC_URL"),
                root_cert: path("SUPABASE_ROOT_CERT"),
                headers: text("SUPABASE_KEY_HEADERS"),
                key_layout: text("CLIPBASE_KEY_LAYOUT"),
                timeout: text("SUPABASE_TIMEOUT"),
                read_timeout: text("SUPABASE_READ_TIMEOUT"),
                max_bytes: text("CLIPBASE_BUCKET_MAX_BYTES"),
                source_types: text("CLIPBASE_BUCKET_SOURCE_TYPES"),
                result_types: text("CLIPBASE_BUCKET_RESULT_TYPES"),
            },
            retention: RetentionEnvironment {
                done: text("CLIPBASE_KEEP_DONE"),
                failed: text("CLIPBASE_KEEP_FAILED"),
                sources: text("CLIPBASE_KEEP_SOURCES"),
            },
            admin_enabled: text("ADMIN_ENABLED"),
            api_key_auth: text("API_KEY_AUTH"),
            log: text("CLIPBASE_LOG"),
            log_format: text("CLIPBASE_LOG_FORMAT"),
        }
    }
}

impl Environment {
    /// Tells whether the API asks for keys: `ADMIN_ENABLED` and `API_KEY_AUTH` are both `true`.
    ///
    /// Nobody who asked for keys is served without: keys without the switch that they need are refused, and so is a
    /// word that is neither `true` nor `false`.
    pub(crate) fn wants_keys(&self) -> Result<bool, Failure> {
        let admin = switch("ADMIN_ENABLED", self.admin_enabled.as_deref())?;
        let keys = switch("API_KEY_AUTH", self.api_key_auth.as_deref())?;
        if keys && !admin {
            return Err(Failure::new(
                "CONFIG_INVALID",
                "API_KEY_AUTH: keys need ADMIN_ENABLED=true too; set it, or API_KEY_AUTH=false",
            ));
        }
        Ok(keys)
    }
}

fn switch(name: &str, value: Option<&str>) -> Result<bool, Failure> {
    match value {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(Failure::new(
            "CONFIG_INVALID",
            format!("{name}: must be true or false"),
        )),
    }
}

/// Logs to standard error: warnings, or what `CLIPBASE_LOG` asks for; for people, or one JSON object a line.
pub(crate) fn start_logging(environment: &Environment) {
    let wanted = environment.log.as_deref().unwrap_or("warn");
    let filter = EnvFilter::try_new(wanted).unwrap_or_else(|_| {
        eprintln!("warning: CLIPBASE_LOG cannot be read; logging warnings only");
        EnvFilter::new("warn")
    });
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        // Colours are for a person.
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match environment.log_format.as_deref() {
        Some("json") => log.json().init(),
        None | Some("text") => log.init(),
        Some(_) => {
            log.init();
            tracing::warn!("CLIPBASE_LOG_FORMAT must be text or json; logging text");
        }
    }
}
