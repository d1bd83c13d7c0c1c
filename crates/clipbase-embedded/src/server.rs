//! Starting a server or joining one that runs.
//!
//! One process at a time holds the cluster's lock and finds out where things stand. The order
//! matters: first it counts itself among the users (from then on no keeper decides to stop the
//! server), then it waits out a keeper that had decided before, and only then does it look at the
//! server.

use std::fs::File;
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use crate::account::Account;
use crate::binaries::{self, Binaries, Major};
use crate::error::{At, Error, Result};
use crate::keeper;
use crate::layout::{self, Layout};
use crate::postmaster;
use crate::settings::Settings;
use crate::url::url;
use crate::wait;

/// The right to use a running server. The server stops `linger` after the last one is dropped, in
/// whatever process and however that process ends.
#[derive(Debug)]
pub struct Server {
    layout: Layout,
    account: Account,
    binaries: Binaries,
    linger: Duration,
    /// Open for as long as the server is needed: closing it is the message to the keeper.
    _alive: File,
}

/// Starts the cluster's server, or joins it where it runs already.
///
/// Blocks, for a second where the cluster has to be created: call it on a thread that may block.
///
/// # Errors
///
/// Each [`Error`] says what to do about it; see [`Error::code`].
pub fn start(settings: &Settings) -> Result<Server> {
    let account = Account::of_server(settings.search_path.as_deref())?;
    let layout = Layout::new(&settings.directory)?;
    layout.prepare(&account)?;
    let _one_at_a_time = layout.lock(&account)?;
    let alive = layout.hold_alive(&account)?;
    keeper::wait_while_stopping(&layout, &account)?;
    layout.prepare_socket_dir(&account)?;
    let start = Start {
        settings,
        account: &account,
        layout: &layout,
        deadline: Instant::now() + settings.start_timeout,
    };
    let binaries = match start.find_server()? {
        Found::Ready => start.join()?,
        Found::Nothing(lock) => start.boot(lock)?,
    };
    Ok(Server {
        binaries,
        linger: settings.linger,
        _alive: alive,
        layout,
        account,
    })
}

impl Server {
    /// Returns the connection string for a database; `postgres` exists from the start.
    pub fn url(&self, database: &str) -> String {
        url(database, &self.layout.socket_dir)
    }

    /// Returns the directory of the server's socket.
    pub fn socket_dir(&self) -> &Path {
        &self.layout.socket_dir
    }

    /// Returns the cluster's directory, as an absolute path.
    pub fn directory(&self) -> &Path {
        &self.layout.directory
    }

    /// Returns where the server writes its log.
    pub fn log(&self) -> &Path {
        &self.layout.log
    }

    /// Returns the server's major version.
    pub fn version(&self) -> Major {
        self.binaries.major
    }

    /// Returns the directory of the running server's programs.
    pub fn bin_dir(&self) -> &Path {
        &self.binaries.directory
    }
}

impl Drop for Server {
    /// Makes sure that someone will stop the server: its keeper may have been killed.
    fn drop(&mut self) {
        // Nobody to tell; the next start finds a server without a keeper and gives it one.
        let _ = keeper::ensure(&self.layout, &self.account, self.linger);
    }
}

enum Found {
    /// A server that lets users in.
    Ready,
    /// No process of a server; the lock says so as long as it is held.
    Nothing(File),
}

/// What the steps of one start share.
struct Start<'a> {
    settings: &'a Settings,
    account: &'a Account,
    layout: &'a Layout,
    deadline: Instant,
}

impl Start<'_> {
    /// Waits until the server is either ready or gone. It may be starting (its program was killed on
    /// the way), ending, or a last process of a killed one.
    fn find_server(&self) -> Result<Found> {
        let found = wait::until(Some(self.deadline), || {
            if let Some(lock) = self.layout.try_lock_server(self.account)? {
                return Ok(Some(Found::Nothing(lock)));
            }
            Ok(postmaster::is_ready(self.layout).then_some(Found::Ready))
        })?;
        found.ok_or_else(|| self.not_ready())
    }

    fn join(&self) -> Result<Binaries> {
        self.ensure_keeper()?;
        let major = layout::data_major(&self.layout.directory)?;
        match (postmaster::running_bin_dir(self.layout), major) {
            (Some(directory), Some(major)) => Ok(Binaries { directory, major }),
            _ => binaries::find_for(self.settings, major, self.account),
        }
    }

    fn boot(&self, lock: File) -> Result<Binaries> {
        let (layout, account) = (self.layout, self.account);
        let durability = self.settings.durability;
        // Under the lock: before it, another process may have been about to create the data.
        let existing = layout::data_major(&layout.directory)?;
        let binaries = binaries::find_for(self.settings, existing, account)?;
        let bin_dir = &binaries.directory;
        postmaster::clear_stale(layout)?;
        if existing.is_none() {
            postmaster::init(layout, account, bin_dir, durability, &lock)?;
        }
        self.ensure_keeper()?;
        layout.mark_starting()?;
        let launched = postmaster::launch(layout, account, bin_dir, durability, lock)
            .and_then(|server| self.await_ready(server));
        layout::remove_file(&layout.starting)?;
        launched?;
        Ok(binaries)
    }

    fn ensure_keeper(&self) -> Result<()> {
        keeper::ensure(self.layout, self.account, self.settings.linger)
    }

    fn await_ready(&self, mut server: Child) -> Result<()> {
        let ready = wait::until(Some(self.deadline), || {
            if server
                .try_wait()
                .at("wait for", &self.layout.data)?
                .is_some()
            {
                return Err(postmaster::failure(self.layout));
            }
            Ok(postmaster::is_ready(self.layout).then_some(()))
        });
        // Also one that is late: it may still come up, and its keeper stops it then.
        keeper::reap(server);
        ready?.ok_or_else(|| self.not_ready())
    }

    fn not_ready(&self) -> Error {
        let seconds = self.settings.start_timeout.as_secs();
        Error::NotReady {
            seconds,
            log: self.layout.log.clone(),
        }
    }
}
