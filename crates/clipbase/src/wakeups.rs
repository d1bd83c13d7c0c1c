//! Wake-ups: a hint to workers that there may be work, or that one of their jobs was canceled, so that they need
//! not wait for their next look or heartbeat.
//!
//! Polling is the contract and works everywhere; a wake-up only shortens it, and any of them may be lost. It is
//! sent after the commit, by the process that made the work, and never inside the statement that moves a job:
//! `NOTIFY` takes a lock of the whole server until its commit. Whatever a process does within
//! [`WAKEUP_INTERVAL`] is told in one.
//!
//! Listening holds a connection of its own, outside the pool, and needs a direct or session connection.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_postgres::AsyncMessage;
use tokio_postgres::types::Type;

use crate::clipbase::Clipbase;
use crate::db::statement::always;
use crate::db::{self, Database, DatabaseConfig, DatabaseMode, Statement};
use crate::error::{Error, Result};

/// At most one wake-up is sent in this time by each handle and its clones.
pub const WAKEUP_INTERVAL: Duration = Duration::from_millis(50);
/// The first pause before a lost listening connection is made again; it doubles with each failure.
pub const RECONNECT_MIN: Duration = Duration::from_millis(100);
/// The pause that it grows to.
pub const RECONNECT_MAX: Duration = Duration::from_secs(30);

// A connection that lived so long was a good one: the next pause is the shortest again.
const CONNECTION_GOOD_AFTER: Duration = Duration::from_secs(60);

pub(crate) static STATEMENTS: &[&Statement] = &[&NOTIFY];

// Sent without waiting for the disk: a wake-up that a server's crash loses is worth nothing afterwards.
static NOTIFY: Statement = Statement {
    name: "wakeups.notify",
    sql: "-- wakeups.notify
WITH fast AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true))
SELECT count(*) AS sent FROM fast, pg_notify('clipbase_jobs', $1)",
    params: &[Type::TEXT],
    columns: &[always("sent", Type::INT8)],
};

/// `LISTEN` cannot be described or planned, so it is no [`Statement`]: it has neither parameters nor rows.
const LISTEN: &str = "-- wakeups.listen
LISTEN clipbase_jobs";

/// What a wake-up says when a job at work was canceled. It may be about new work as well.
const CANCELED: &str = "canceled";

/// Sends wake-ups, at most one in [`WAKEUP_INTERVAL`].
#[derive(Debug, Default)]
pub(crate) struct Waker {
    /// Whether one is on its way that has not been sent yet.
    is_scheduled: AtomicBool,
    is_about_cancel: AtomicBool,
    last: Mutex<Option<Instant>>,
}

impl Waker {
    /// As `schedule`, to stop a job at work.
    pub(crate) fn schedule_cancel(self: &Arc<Self>, database: &Database) {
        self.is_about_cancel.store(true, Ordering::SeqCst);
        self.schedule(database);
    }

    /// Sends a wake-up soon, on a task of its own. What was committed before this call is told by it.
    pub(crate) fn schedule(self: &Arc<Self>, database: &Database) {
        if !database.sends_wakeups() || self.is_scheduled.swap(true, Ordering::SeqCst) {
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            self.is_scheduled.store(false, Ordering::SeqCst);
            return;
        };
        let (waker, database) = (self.clone(), database.clone());
        runtime.spawn(async move {
            let last = *lock(&waker.last);
            if let Some(last) = last {
                tokio::time::sleep_until(last + WAKEUP_INTERVAL).await;
            }
            *lock(&waker.last) = Some(Instant::now());
            // Before it is sent: what is committed from here on needs another.
            waker.is_scheduled.store(false, Ordering::SeqCst);
            let word = if waker.is_about_cancel.swap(false, Ordering::SeqCst) {
                CANCELED
            } else {
                ""
            };
            if let Err(error) = database.rows(&NOTIFY, &[&word]).await {
                let code = error.code().as_str();
                tracing::debug!(code, "a wake-up was not sent: {error}");
            }
        });
    }
}

/// Hears wake-ups, on a connection of its own that is made again when it breaks. Dropping it closes that.
///
/// ```
/// # use clipbase_testkit::builders::new_job;
/// # clipbase_testkit::example(async |clipbase| {
/// let wakeups = clipbase.wakeups().expect("a direct connection can listen");
/// wakeups.woken().await; // Once, when it begins to listen: what came before was not heard.
/// clipbase.jobs().create(&new_job()).await?;
/// wakeups.woken().await;
/// # Ok(())
/// # });
/// ```
#[derive(Debug)]
pub struct Wakeups {
    heard: Arc<Heard>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Heard {
    any: Notify,
    cancel: Notify,
}

impl Wakeups {
    fn start(config: DatabaseConfig) -> Self {
        let heard: Arc<Heard> = Arc::default();
        let task = tokio::spawn(listen_for_ever(config, heard.clone()));
        Self { heard, task }
    }

    /// Waits for the next wake-up. One that comes while nobody waits is kept; several are one. May be
    /// dropped and called again without losing any.
    ///
    /// There is one whenever a connection begins to listen, since those before it were not heard.
    pub async fn woken(&self) {
        self.heard.any.notified().await;
    }

    /// Waits until a job at work was canceled, whoever holds it: a heartbeat tells whether it is one's own.
    /// As [`Wakeups::woken`] otherwise.
    pub async fn canceled(&self) {
        self.heard.cancel.notified().await;
    }
}

impl Drop for Wakeups {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Clipbase {
    /// Listens for wake-ups; `None` behind a transaction pooler, which cannot listen. Must be called in a
    /// tokio runtime.
    pub fn wakeups(&self) -> Option<Wakeups> {
        let config = self.database().config();
        (config.mode() != DatabaseMode::Transaction).then(|| Wakeups::start(config.clone()))
    }

    /// Tells idle workers that there may be work: for a job that was created in a transaction of your own,
    /// after its commit. The library's own calls do it by themselves.
    pub fn wake_workers(&self) {
        self.inner().wake_workers();
    }
}

async fn listen_for_ever(config: DatabaseConfig, heard: Arc<Heard>) {
    let mut pause = RECONNECT_MIN;
    loop {
        let began = Instant::now();
        let error = listen(&config, &heard).await.err();
        if began.elapsed() > CONNECTION_GOOD_AFTER {
            pause = RECONNECT_MIN;
        }
        let code = error.as_ref().map_or("OK", |error| error.code().as_str());
        tracing::debug!(code, "not listening for wake-ups; trying again");
        tokio::time::sleep(db::jittered(pause)).await;
        pause = (pause * 2).min(RECONNECT_MAX);
    }
}

/// Listens until the connection ends.
async fn listen(config: &DatabaseConfig, heard: &Heard) -> Result<()> {
    let (client, mut connection) = db::connect_raw(config).await?;
    let listen = client.batch_execute(LISTEN);
    tokio::pin!(listen);
    let mut is_listening = false;
    loop {
        tokio::select! {
            message = poll_fn(|context| connection.poll_message(context)) => match message {
                Some(Ok(AsyncMessage::Notification(note))) => {
                    heard.any.notify_one();
                    if note.payload() == CANCELED {
                        heard.cancel.notify_one();
                    }
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(db::statement_error(&error)),
                None => return Ok(()),
            },
            outcome = &mut listen, if !is_listening => {
                outcome.map_err(|error: tokio_postgres::Error| -> Error { db::statement_error(&error) })?;
                is_listening = true;
                heard.any.notify_one();
                heard.cancel.notify_one();
            }
        }
    }
}

/// A poisoned lock guards nothing that a panic could have left half done.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
