//! What ends a stream before it has said everything: the server stops, its time is up, or its key is lost.

use axum::response::sse::Event;
use clipbase::Error;
use clipbase::api_keys::Scope;
use serde::Serialize;
use tokio::time::Instant;

use crate::access::Principal;
use crate::access::holders::Hold;
use crate::router::App;
use crate::serve::Draining;

/// The ends of one stream.
#[derive(Debug)]
pub(crate) struct Ends {
    draining: Option<Draining>,
    at: Instant,
    hold: Option<Hold>,
}

/// The last word of a stream whose key was lost.
#[derive(Serialize)]
struct Refused {
    code: &'static str,
    message: String,
}

impl Ends {
    /// The ends of a stream that begins now, for whoever it was opened by.
    pub(crate) fn of(app: &App, owner: &Principal, draining: Option<Draining>) -> Self {
        Self {
            draining,
            at: Instant::now() + app.options.stream_time_max,
            hold: app.holders.hold(owner, Scope::JobsRead),
        }
    }

    /// Waits for the first of them. Returns the stream's last word, where it is to have one: a client that was told
    /// nothing comes back.
    pub(crate) async fn reached(&mut self) -> Option<Event> {
        tokio::select! {
            biased;
            () = drained(self.draining.as_ref()) => None,
            () = tokio::time::sleep_until(self.at) => None,
            error = lost(self.hold.as_mut()) => refused(&error),
        }
    }
}

async fn drained(draining: Option<&Draining>) {
    match draining {
        Some(draining) => draining.wait().await,
        None => std::future::pending().await,
    }
}

async fn lost(hold: Option<&mut Hold>) -> Error {
    match hold {
        Some(hold) => hold.lost().await,
        None => std::future::pending().await,
    }
}

/// Not `error`: that is what a browser calls a connection that broke.
fn refused(error: &Error) -> Option<Event> {
    let refused = Refused {
        code: error.code().as_str(),
        message: error.to_string(),
    };
    // Two texts: there is nothing in them that JSON cannot say.
    Event::default().event("refused").json_data(refused).ok()
}
