//! A request's way through the server: log, hook, fault, key, handler, and back.

use std::convert::Infallible;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::Request;
use hyper::body::Incoming;
use hyper::http::request::Parts;
use serde_json::Value;

use super::auth::Role;
use super::connection::Connection;
use super::faults::{Fault, shorten};
use super::refusal::{Answer, Failure, Handled, Refusal, RefusalCode, empty};
use super::route::{Call, Form, Route, header};
use super::seen::SeenRequest;
use super::server::Server;
use super::{buckets, download, list, remove, sign, transfer, tus, upload};

/// The longest body of a control request: the web framework's own bound.
const CONTROL_BYTES_MAX: usize = 1024 * 1024;

/// When the hook is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Moment {
    /// The request is there and has had no effect.
    Arrived,
    /// The request has had its effect, and its answer has not begun.
    Processed,
}

/// What becomes of a request after the hook.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Action {
    /// It goes on.
    #[default]
    Go,
    /// Its connection is reset.
    Drop,
}

impl From<()> for Action {
    fn from((): ()) -> Self {
        Self::Go
    }
}

/// A test's hook.
pub(super) type Hook = Arc<dyn Fn(&SeenRequest, Moment) -> Action + Send + Sync>;

/// A request as its handler sees it.
pub(super) struct Asked {
    pub(super) server: Arc<Server>,
    pub(super) route: Route,
    pub(super) parts: Parts,
    pub(super) body: RequestBody,
}

/// A request's body, to be read piece by piece.
pub(super) struct RequestBody {
    incoming: Option<Incoming>,
    /// How much more is taken before the connection is cut.
    allowance: Option<u64>,
}

impl RequestBody {
    /// Returns the next piece; `None` at the end.
    pub(super) async fn piece(&mut self) -> Result<Option<Bytes>, Failure> {
        loop {
            if self.allowance == Some(0) {
                return Err(Failure::Broken);
            }
            let Some(incoming) = &mut self.incoming else {
                return Ok(None);
            };
            let Some(frame) = incoming.frame().await else {
                self.incoming = None;
                return Ok(None);
            };
            let Ok(frame) = frame else {
                self.incoming = None;
                return Err(Failure::Broken);
            };
            let Ok(mut piece) = frame.into_data() else {
                continue;
            };
            if let Some(allowance) = &mut self.allowance {
                piece.truncate(usize::try_from(*allowance).unwrap_or(usize::MAX));
                *allowance -= piece.len() as u64;
            }
            if !piece.is_empty() {
                return Ok(Some(piece));
            }
        }
    }

    /// Reads a control request's document.
    pub(super) async fn json(&mut self) -> Result<Value, Failure> {
        let mut content = BytesMut::new();
        while let Some(piece) = self.piece().await? {
            content.extend_from_slice(&piece);
            if content.len() > CONTROL_BYTES_MAX {
                let refusal =
                    Refusal::new(413, "InvalidRequest", "Error", "Request body is too large");
                return Err(refusal.with_http(413).into());
            }
        }
        let document = serde_json::from_slice(&content)
            .ok()
            .filter(Value::is_object);
        Ok(document.ok_or_else(|| Refusal::invalid("body must be object"))?)
    }
}

enum Outcome {
    Answer(Answer),
    Reset,
    Silence,
}

/// Answers a request, or does to its connection what was ordered.
pub(super) async fn respond(
    server: Arc<Server>,
    connection: Arc<Connection>,
    request: Request<Incoming>,
) -> Result<Answer, Infallible> {
    // A task of its own: a request that is there takes effect, whether or not its client waits for the answer.
    let processing = tokio::spawn(process(server, Arc::clone(&connection), request));
    match processing.await {
        Ok(Outcome::Answer(answer)) => Ok(answer),
        Ok(Outcome::Reset) => {
            connection.reset();
            std::future::pending().await
        }
        Ok(Outcome::Silence) => std::future::pending().await,
        Err(_) => Ok(Refusal::internal().answer()),
    }
}

async fn process(
    server: Arc<Server>,
    connection: Arc<Connection>,
    request: Request<Incoming>,
) -> Outcome {
    let (parts, incoming) = request.into_parts();
    let (route, misrouted) = Route::parse(&parts);
    let seen = server.log().arrived(connection.number, &route, &parts);
    if hook(&server, &seen, Moment::Arrived).await == Action::Drop {
        return Outcome::Reset;
    }
    let fault = server.faults().take(&seen);
    let allowance = match &fault {
        Some(Fault::CutUpload { after }) => Some(*after),
        _ => None,
    };
    let mut asked = Asked {
        server: Arc::clone(&server),
        route,
        parts,
        body: RequestBody {
            incoming: Some(incoming),
            allowance,
        },
    };
    if matches!(fault, Some(Fault::Html { .. })) {
        // A proxy takes the whole request before it looks for its server.
        while matches!(asked.body.piece().await, Ok(Some(_))) {}
    }
    let early = fault.as_ref().and_then(early);
    let handled = match (early, misrouted) {
        (Some(outcome), _) => outcome,
        (None, Some(refusal)) => Outcome::Answer(refusal.answer()),
        (None, None) => match handle(&mut asked).await {
            Ok(answer) => Outcome::Answer(answer),
            Err(Failure::Refused(refusal)) => Outcome::Answer(refusal.answer()),
            Err(Failure::Broken) => Outcome::Reset,
        },
    };
    if let Some(body) = asked.body.incoming.take() {
        // A connection that ends with this request is read out, so that its end does not overtake the answer.
        let ends =
            header(&asked.parts, "connection").is_some_and(|it| it.eq_ignore_ascii_case("close"));
        let drains = ends || !asked.route.call.streams();
        connection.leave(body, drains, server.options.unread_reset);
    }
    let Outcome::Answer(answer) = handled else {
        return handled;
    };
    if hook(&server, &seen, Moment::Processed).await == Action::Drop {
        return Outcome::Reset;
    }
    let answer = match fault {
        Some(Fault::LoseAnswer) => return Outcome::Reset,
        Some(Fault::StallAfter) => return Outcome::Silence,
        Some(Fault::ShortBody { bytes }) => shorten(answer, bytes),
        _ => answer,
    };
    let code = answer
        .extensions()
        .get::<RefusalCode>()
        .map(|code| code.0.clone());
    server
        .log()
        .answered(seen.number, answer.status().as_u16(), code);
    Outcome::Answer(answer)
}

/// What a fault does instead of the request.
fn early(fault: &Fault) -> Option<Outcome> {
    match fault {
        Fault::Reset => Some(Outcome::Reset),
        Fault::Stall => Some(Outcome::Silence),
        other => other.answer().map(Outcome::Answer),
    }
}

/// Calls the test's hook where it may block.
async fn hook(server: &Server, seen: &SeenRequest, moment: Moment) -> Action {
    let hook = server
        .hook
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    let Some(hook) = hook else {
        return Action::Go;
    };
    let seen = seen.clone();
    // A hook that panics has failed its test on its own thread; the request goes no further.
    tokio::task::spawn_blocking(move || hook(&seen, moment))
        .await
        .unwrap_or(Action::Drop)
}

async fn handle(asked: &mut Asked) -> Handled {
    let call = asked.route.call;
    if asked.server.is_restricted.load(Ordering::SeqCst) {
        return Err(Refusal::restricted().into());
    }
    match (call, asked.route.form) {
        (Call::Health, _) => return Ok(empty(200)),
        (Call::TusOptions, _) => return Ok(tus::options()),
        (Call::FetchLink, _) => return download::fetch_link(asked).await,
        (Call::UseUploadLink, _) => return upload::use_link(asked).await,
        (Call::Download, Form::Public) => return download::public(asked).await,
        (_, Form::Signed) => return tus::handle(asked, None).await,
        _ => {}
    }
    let role = asked.server.keys.role(&asked.parts, call.is_tus())?;
    if call.is_tus() {
        return tus::handle(asked, Some(role)).await;
    }
    with_role(asked, role).await
}

async fn with_role(asked: &mut Asked, role: Role) -> Handled {
    match asked.route.call {
        Call::Upload => upload::upload(asked, role).await,
        Call::Download => download::download(asked, role).await,
        Call::Info => download::info(asked, role),
        Call::Sign => sign::one(asked, role).await,
        Call::SignMany => sign::many(asked, role).await,
        Call::SignUpload => sign::upload(asked, role),
        Call::List if asked.route.form == Form::V2 => list::recursive(asked, role).await,
        Call::List => list::level(asked, role).await,
        Call::Copy => transfer::copy(asked, role).await,
        Call::Move => transfer::rename(asked, role).await,
        Call::DeleteMany => remove::many(asked, role).await,
        Call::DeleteOne => remove::one(asked, role),
        Call::CreateBucket => buckets::create(asked, role).await,
        Call::GetBucket => buckets::get(asked, role),
        Call::ListBuckets => Ok(buckets::list(asked, role)),
        Call::UpdateBucket => buckets::update(asked, role).await,
        Call::EmptyBucket => buckets::empty(asked, role),
        Call::DeleteBucket => buckets::delete(asked, role),
        _ => Err(Refusal::internal().into()),
    }
}
