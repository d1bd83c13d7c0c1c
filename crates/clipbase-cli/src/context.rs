//! From settings to a [`Clipbase`]: the private server and the local folder, or the server of
//! `DATABASE_URL`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use clipbase::storage::{KeyLayout, LocalStorage};
use clipbase::{Backoff, Clipbase, DatabaseConfig, Retention, Settings, migrate};
use clipbase_embedded::{Server, default_data_directory, effective_uid};
use clipbase_worker::WorkerOptions;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::environment::{Environment, RetentionEnvironment};
use crate::failure::Failure;
use crate::storage;
use crate::time::parse_duration;

/// Where signed links of the local storage point while nothing serves them.
const LINK_BASE: &str = "http://127.0.0.1:8080";

/// Options of every command.
#[derive(Args)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Global {
    /// Print the answer as JSON: {ok, data, code, message}
    #[arg(long, global = true)]
    pub(crate) json: bool,

    /// Keep everything local in this folder [env: CLIPBASE_DATA_DIR]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,

    /// What stands between us and DATABASE_URL: direct, session or transaction (a pooler on port 6543)
    #[arg(long, global = true, value_name = "MODE")]
    pub(crate) database_mode: Option<String>,

    /// Trust the authority in this PEM file for DATABASE_URL
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) database_root_cert: Option<PathBuf>,
}

/// The places and connections of one run.
pub(crate) struct Context {
    pub(crate) clipbase: Clipbase,
    pub(crate) database: DatabaseConfig,
    pub(crate) data_dir: PathBuf,
    /// The storage, where it is a folder of this machine.
    pub(crate) local: Option<LocalStorage>,
    /// Where the storage looks for objects.
    pub(crate) key_layout: KeyLayout,
    /// Where the storage's links lead to, where that is another server.
    pub(crate) link_origins: Vec<String>,
    /// The private server's version and programs, when there is one. It stays up while this is held.
    pub(crate) server: Option<Server>,
}

impl Context {
    /// Connects, migrates a private database, and ties the storage to it. A database of the user's own is
    /// migrated only when asked: see [`Context::open_and_migrate`].
    pub(crate) async fn open(global: &Global, environment: &Environment) -> Result<Self, Failure> {
        let context = Self::connect(global, environment).await?;
        context.check().await?;
        Ok(context)
    }

    /// As [`Context::open`], migrating whatever database it is: for the main job, which needs no
    /// preparation.
    pub(crate) async fn open_and_migrate(
        global: &Global,
        environment: &Environment,
    ) -> Result<Self, Failure> {
        let context = Self::connect(global, environment).await?;
        context.prepare().await?;
        Ok(context)
    }

    /// Connects and changes nothing.
    pub(crate) async fn connect(
        global: &Global,
        environment: &Environment,
    ) -> Result<Self, Failure> {
        Self::connect_with(global, environment, LINK_BASE).await
    }

    /// As [`Context::connect`], where somebody serves the local storage's links.
    pub(crate) async fn connect_with(
        global: &Global,
        environment: &Environment,
        link_base: &str,
    ) -> Result<Self, Failure> {
        let data_dir = data_dir(global, environment)?;
        make_private_dir(&data_dir)?;
        let (database, server) = if let Some(url) = &environment.database_url {
            (database_config(url, global, environment)?, None)
        } else {
            let server = start_server(&data_dir, environment).await?;
            let database = DatabaseConfig::from_url(&server.url("postgres"))?;
            (database, Some(server))
        };
        let opened = storage::open(&data_dir, environment, link_base).await?;
        // Somebody waits at the terminal: a second try comes soon.
        let backoff = Backoff {
            base: Duration::from_secs(1),
            cap: Duration::from_secs(60),
        };
        let settings = Settings {
            backoff,
            retention: retention(&environment.retention)?,
            ..Settings::default()
        };
        let clipbase = Clipbase::new(&database, opened.storage, settings)?;
        Ok(Self {
            clipbase,
            database,
            data_dir,
            local: opened.local,
            key_layout: opened.key_layout,
            link_origins: opened.link_origins,
            server,
        })
    }

    /// Migrates a private database, and looks at another's schema.
    pub(crate) async fn check(&self) -> Result<(), Failure> {
        if self.server.is_some() {
            return self.prepare().await;
        }
        Ok(migrate::check(&self.database).await?)
    }

    pub(crate) async fn prepare(&self) -> Result<(), Failure> {
        if migrate::check(&self.database).await.is_err() {
            migrate::migrate(&self.database).await?;
        }
        self.clipbase.bootstrap().await?;
        Ok(())
    }

    /// The same, where jobs wait differently before their next attempt.
    pub(crate) fn with_backoff(mut self, backoff: Backoff) -> Result<Self, Failure> {
        let settings = Settings {
            backoff,
            ..*self.clipbase.settings()
        };
        self.clipbase = self.clipbase.with_settings(settings)?;
        Ok(self)
    }

    /// How a worker of this machine works.
    pub(crate) fn worker_options(&self) -> WorkerOptions {
        let mut options = WorkerOptions::new(self.data_dir.join("scratch"));
        options.presence_dir = Some(self.data_dir.join("workers"));
        options
    }
}

/// Canceled by Ctrl-C or SIGTERM; a second one ends the process at once. From this call on, no signal ends it
/// unasked: take the token before anything begins that must be ended in order.
pub(crate) fn shutdown_token() -> CancellationToken {
    let token = CancellationToken::new();
    let listening = signal(SignalKind::interrupt())
        .and_then(|interrupt| Ok((interrupt, signal(SignalKind::terminate())?)));
    let Ok((mut interrupt, mut terminate)) = listening else {
        tracing::warn!("signals cannot be listened to: they end the process at once");
        return token;
    };
    let shutdown = token.clone();
    tokio::spawn(async move {
        for is_first in [true, false] {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if is_first {
                shutdown.cancel();
            }
        }
        std::process::exit(130);
    });
    token
}

/// Does this unless it is told to stop first; dropping it in the middle must do no harm.
pub(crate) async fn unless_stopped<T>(
    shutdown: &CancellationToken,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    tokio::select! {
        outcome = work => outcome,
        () = shutdown.cancelled() => Err(Failure::interrupted()),
    }
}

fn data_dir(global: &Global, environment: &Environment) -> Result<PathBuf, Failure> {
    let chosen = global
        .data_dir
        .clone()
        .or_else(|| environment.data_dir.clone());
    let default = || {
        let uid = effective_uid().ok()?;
        let (xdg, home) = (
            environment.xdg_data_home.as_deref(),
            environment.home.as_deref(),
        );
        default_data_directory(uid, xdg, home)
    };
    let path = chosen.or_else(default).ok_or_else(|| {
        Failure::new(
            "CONFIG_INVALID",
            "there is no home directory; set CLIPBASE_DATA_DIR",
        )
    })?;
    std::path::absolute(path)
        .map_err(|_| Failure::new("CONFIG_INVALID", "CLIPBASE_DATA_DIR is no usable path"))
}

/// Open enough that the private server's own user may pass through it as root's; what lies in it is
/// closed.
fn make_private_dir(path: &std::path::Path) -> Result<(), Failure> {
    std::fs::create_dir_all(path).map_err(|error| {
        let what = format!(
            "the data directory {} cannot be made: {error}",
            path.display()
        );
        Failure::new(
            "CONFIG_INVALID",
            what + "; set CLIPBASE_DATA_DIR to one that can",
        )
    })
}

fn database_config(
    url: &str,
    global: &Global,
    environment: &Environment,
) -> Result<DatabaseConfig, Failure> {
    let mut config = DatabaseConfig::from_url(url)?;
    let mode = global
        .database_mode
        .as_ref()
        .or(environment.database_mode.as_ref());
    if let Some(mode) = mode {
        config = config.with_mode(mode.parse()?);
    }
    let certificate = global
        .database_root_cert
        .as_ref()
        .or(environment.database_root_cert.as_ref());
    if let Some(certificate) = certificate {
        config = config.with_root_certificate(certificate.clone());
    }
    Ok(config)
}

async fn start_server(
    data_dir: &std::path::Path,
    environment: &Environment,
) -> Result<Server, Failure> {
    let mut settings = clipbase_embedded::Settings::durable(data_dir.join("pg"));
    settings.bin_dir.clone_from(&environment.pg_bin);
    settings.search_path.clone_from(&environment.search_path);
    let started = tokio::task::spawn_blocking(move || clipbase_embedded::start(&settings)).await;
    match started {
        Ok(server) => Ok(server?),
        Err(_) => Err(Failure::new(
            "POSTGRES_START_FAILED",
            "the private PostgreSQL did not start",
        )),
    }
}

/// How long things are kept: `12h`, `7d`, or `forever`.
fn retention(environment: &RetentionEnvironment) -> Result<Retention, Failure> {
    let read = |name: &str, text: &Option<String>, default| match text.as_deref() {
        None => Ok(default),
        Some("forever") => Ok(None),
        Some(text) => parse_duration(text).map(Some).map_err(|problem| {
            let hint = format!("{name}: {problem}, or forever");
            Failure::new("CONFIG_INVALID", hint)
        }),
    };
    let default = Retention::default();
    Ok(Retention {
        done: read("CLIPBASE_KEEP_DONE", &environment.done, default.done)?,
        failed: read("CLIPBASE_KEEP_FAILED", &environment.failed, default.failed)?,
        sources: read(
            "CLIPBASE_KEEP_SOURCES",
            &environment.sources,
            default.sources,
        )?,
    })
}
