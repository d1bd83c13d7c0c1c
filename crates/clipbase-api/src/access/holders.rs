//! The keys of open streams. A request's key is checked when it comes; a stream goes on, so its key is looked at again,
//! together with those of all other streams of the process, once in a while.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use clipbase::api_keys::{Scope, Scopes};
use clipbase::{Code, Error};
use tokio::sync::watch;

use super::{Authenticator, Principal};

/// Looks after the keys of open streams. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Holders(Option<Arc<Shared>>);

struct Shared {
    authenticator: Arc<dyn Authenticator>,
    period: Duration,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    /// What each key may do, by its id.
    keys: HashMap<String, watch::Sender<Result<Scopes, Gone>>>,
    is_running: bool,
}

/// The key does not hold any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Gone;

/// A stream's hold on its key.
#[derive(Debug)]
pub(crate) struct Hold {
    scope: Scope,
    scopes: watch::Receiver<Result<Scopes, Gone>>,
}

impl fmt::Debug for Holders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Holders")
    }
}

impl Holders {
    /// Makes one that looks once a period; without an authenticator there is nothing to look at.
    pub(crate) fn new(authenticator: Option<Arc<dyn Authenticator>>, period: Duration) -> Self {
        Self(authenticator.map(|authenticator| {
            Arc::new(Shared {
                authenticator,
                period,
                held: Mutex::default(),
            })
        }))
    }

    /// Takes hold of the key of a request that was just let through, for what needs the scope. `None` where nobody
    /// asks for keys.
    pub(crate) fn hold(&self, owner: &Principal, scope: Scope) -> Option<Hold> {
        let shared = self.0.as_ref()?;
        let mut held = shared.lock();
        let known = held.keys.entry(owner.key_id.clone());
        let sender = known.or_insert_with(|| watch::Sender::new(Ok(owner.scopes)));
        // Newer than the last look.
        learn(sender, Ok(owner.scopes));
        let scopes = sender.subscribe();
        if !held.is_running {
            held.is_running = true;
            tokio::spawn(look(Arc::clone(shared)));
        }
        Some(Hold { scope, scopes })
    }
}

impl Hold {
    /// Waits until the key does not allow this any more, and says why.
    pub(crate) async fn lost(&mut self) -> Error {
        loop {
            let known = *self.scopes.borrow_and_update();
            if let Some(error) = refusal(known, self.scope) {
                return error;
            }
            if self.scopes.changed().await.is_err() {
                // Only an entry without receivers is dropped.
                std::future::pending::<()>().await;
            }
        }
    }
}

fn refusal(scopes: Result<Scopes, Gone>, scope: Scope) -> Option<Error> {
    match scopes {
        Ok(scopes) => scopes.require(scope).err(),
        Err(Gone) => Some(Error::failed(
            Code::Unauthenticated,
            "the API key of this stream does not hold any more",
        )),
    }
}

fn learn(sender: &watch::Sender<Result<Scopes, Gone>>, now: Result<Scopes, Gone>) {
    sender.send_if_modified(|known| {
        let is_new = *known != now;
        *known = now;
        is_new
    });
}

/// Looks again and again, from the first stream to the last.
async fn look(shared: Arc<Shared>) {
    loop {
        tokio::time::sleep(shared.period).await;
        let Some(keys) = shared.keys() else {
            return;
        };
        match shared.authenticator.still_hold(&keys).await {
            Ok(Some(found)) => shared.tell(&keys, &found),
            Ok(None) => {}
            Err(error) => {
                // A stream reads from the same database: it shows nothing new while this goes on.
                tracing::warn!(
                    code = error.code().as_str(),
                    "the keys of open streams cannot be looked at yet"
                );
            }
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Held> {
        // Nothing under the lock can leave it half done.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The keys of streams that are open; `None` when there are none any more.
    fn keys(&self) -> Option<Vec<String>> {
        let mut held = self.lock();
        held.keys.retain(|_, sender| sender.receiver_count() > 0);
        if held.keys.is_empty() {
            held.is_running = false;
            return None;
        }
        Some(held.keys.keys().cloned().collect())
    }

    fn tell(&self, asked: &[String], found: &HashMap<String, Scopes>) {
        let held = self.lock();
        for key in asked {
            if let Some(sender) = held.keys.get(key) {
                learn(sender, found.get(key).copied().ok_or(Gone));
            }
        }
    }
}
