//! The environment, read once. Nothing else reads it.

use std::ffi::OsString;
use std::path::PathBuf;

use tracing_subscriber::EnvFilter;

/// What the environment says. Its `Debug` shows none of it.
pub(crate) struct Environment {
    pub(crate) database_url: Option<String>,
    pub(crate) database_mode: Option<String>,
    pub(crate) database_root_cert: Option<PathBuf>,
    pub(crate) data_dir: Option<PathBuf>,
    pub(crate) pg_bin: Option<PathBuf>,
    pub(crate) ffmpeg: Option<PathBuf>,
    pub(crate) ffprobe: Option<PathBuf>,
    pub(crate) search_path: Option<OsString>,
    pub(crate) xdg_data_home: Option<OsString>,
    pub(crate) home: Option<OsString>,
    log: Option<String>,
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
            search_path: raw("PATH"),
            xdg_data_home: raw("XDG_DATA_HOME"),
            home: raw("HOME"),
            log: text("CLIPBASE_LOG"),
        }
    }
}

/// Logs to standard error: warnings, or what `CLIPBASE_LOG` asks for.
pub(crate) fn start_logging(environment: &Environment) {
    let wanted = environment.log.as_deref().unwrap_or("warn");
    let filter = EnvFilter::try_new(wanted).unwrap_or_else(|_| {
        eprintln!("warning: CLIPBASE_LOG cannot be read; logging warnings only");
        EnvFilter::new("warn")
    });
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
}
