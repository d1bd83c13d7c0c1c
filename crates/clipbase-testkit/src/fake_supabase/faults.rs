//! Faults on order: which request fails, and how.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Body, Frame};
use hyper::header::CONTENT_LENGTH;

use super::refusal::{Answer, AnswerBody, Refusal, text};
use super::route::Call;
use super::seen::SeenRequest;

/// How a request fails.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Fault {
    /// The connection is reset before the request has any effect.
    Reset,
    /// The request takes effect, then the connection is reset: its answer is lost.
    LoseAnswer,
    /// No effect and no answer, until the client goes away.
    Stall,
    /// The request takes effect, and no answer comes until the client goes away.
    StallAfter,
    /// The answer's body breaks off after this many bytes, short of its `Content-Length`. An answer that is shorter
    /// is left alone.
    ShortBody {
        /// How many bytes are sent.
        bytes: u64,
    },
    /// The connection is reset once this many bytes of the request's body have arrived; what a resumable upload has
    /// got by then, it keeps. A shorter body is left alone.
    CutUpload {
        /// How many bytes are taken.
        after: u64,
    },
    /// No effect, and a refusal in the server's own JSON.
    Answer {
        /// The HTTP status.
        http: u16,
        /// The `statusCode` in the body.
        status: u16,
        /// The `code` in the body.
        code: &'static str,
        /// `Retry-After`, in seconds.
        retry_after: Option<u64>,
    },
    /// No effect, and a refusal in plain text, as the resumable endpoint writes it.
    Plain {
        /// The HTTP status.
        status: u16,
        /// The body.
        text: &'static str,
    },
    /// No effect, and an HTML page as proxies write it; the proxy then closes the connection.
    Html {
        /// The HTTP status.
        status: u16,
    },
    /// No effect, and half a JSON document.
    MalformedJson {
        /// The HTTP status; 200 is possible.
        status: u16,
    },
    /// No effect, and a refusal whose message is this long.
    HugeError {
        /// The HTTP status.
        status: u16,
        /// The length of the message in bytes.
        bytes: u64,
    },
}

impl Fault {
    /// A refusal as the server makes it: HTTP says 400 for all but 402, 416, 429, 500 and 544.
    pub fn refusal(status: u16, code: &'static str) -> Self {
        let http = match status {
            402 | 416 | 429 | 500 | 544 => status,
            _ => 400,
        };
        Self::Answer {
            http,
            status,
            code,
            retry_after: None,
        }
    }

    /// A refusal with the same status in HTTP and in the body.
    pub fn http(status: u16, code: &'static str) -> Self {
        Self::Answer {
            http: status,
            status,
            code,
            retry_after: None,
        }
    }

    /// 429 `SlowDown` with a `Retry-After` in seconds.
    pub fn slow_down(retry_after: u64) -> Self {
        Self::Answer {
            http: 429,
            status: 429,
            code: "SlowDown",
            retry_after: Some(retry_after),
        }
    }

    /// The answer that stands in for the real one, where the fault is one.
    pub(super) fn answer(&self) -> Option<Answer> {
        Some(match *self {
            Self::Answer {
                http,
                status,
                code,
                retry_after,
            } => Refusal::new(status, code, code, format!("{code} on order"))
                .with_http(http)
                .with_retry_after(retry_after)
                .answer(),
            Self::Plain { status, text } => Refusal::tus(status, text).answer(),
            Self::Html { status } => {
                let page = format!(
                    "<html>\r\n<head><title>{status}</title></head>\r\n<body>\r\n<center><h1>{status}</h1></center>\
                     \r\n<hr><center>proxy</center>\r\n</body>\r\n</html>\r\n"
                );
                let mut answer = text(status, "text/html", page);
                let close = "close".parse().expect("a fixed header");
                answer.headers_mut().insert("connection", close);
                answer
            }
            Self::MalformedJson { status } => text(
                status,
                "application/json; charset=utf-8",
                "{\"statusCode\":\"4",
            ),
            Self::HugeError { status, bytes } => huge(status, bytes),
            _ => return None,
        })
    }
}

const PIECE: &[u8] = &[b'x'; 64 * 1024];

fn huge(status: u16, bytes: u64) -> Answer {
    let head =
        "{\"statusCode\":\"500\",\"error\":\"Internal\",\"code\":\"InternalError\",\"message\":\"";
    let tail = "\"}";
    let length = bytes + (head.len() + tail.len()) as u64;
    let filling = stream::unfold(bytes, |left| async move {
        let size = usize::try_from(left)
            .unwrap_or(PIECE.len())
            .min(PIECE.len());
        let piece = PIECE.get(..size).filter(|piece| !piece.is_empty())?;
        Some((Bytes::from_static(piece), left - size as u64))
    });
    let pieces = stream::iter([Bytes::from_static(head.as_bytes())])
        .chain(filling)
        .chain(stream::iter([Bytes::from_static(tail.as_bytes())]));
    let mut answer = text(status, "application/json; charset=utf-8", "");
    answer.headers_mut().insert(CONTENT_LENGTH, length.into());
    *answer.body_mut() =
        BodyExt::boxed(StreamBody::new(pieces.map(|piece| Ok(Frame::data(piece)))));
    answer
}

/// Lets an answer break off after `bytes`; its `Content-Length` still tells the whole.
pub(super) fn shorten(answer: Answer, bytes: u64) -> Answer {
    let (mut parts, body) = answer.into_parts();
    let promised = parts
        .headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok())
        .or_else(|| body.size_hint().exact());
    let Some(promised) = promised.filter(|promised| *promised > bytes) else {
        return Answer::from_parts(parts, body);
    };
    parts.headers.insert(CONTENT_LENGTH, promised.into());
    let short = Short {
        body,
        left: bytes,
        has_flushed: false,
    };
    Answer::from_parts(parts, short.boxed())
}

struct Short {
    body: AnswerBody,
    left: u64,
    has_flushed: bool,
}

impl Body for Short {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if self.left == 0 {
            if self.has_flushed {
                return Poll::Ready(Some(Err(io::ErrorKind::ConnectionReset.into())));
            }
            // What was given so far goes out while nothing comes; the error would take it along.
            self.has_flushed = true;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        Poll::Ready(frame.map(|frame| {
            frame.map(|frame| {
                frame.map_data(|mut piece| {
                    let room = usize::try_from(self.left).unwrap_or(usize::MAX);
                    piece.truncate(room);
                    self.left -= piece.len() as u64;
                    piece
                })
            })
        }))
    }
}

/// When a rule takes a request. The count is of the requests that the rule is about, since it was given.
#[derive(Clone, Copy, Debug)]
enum When {
    /// From this one on, this many.
    From {
        first: u64,
        left: u64,
    },
    Every(u64),
}

type Filter = Arc<dyn Fn(&SeenRequest) -> bool + Send + Sync>;

/// An order for a fault. Rules are asked in the order in which they were given, and the first that takes a request
/// has it; so several rules for the next request take one each.
#[derive(Clone)]
pub struct Rule {
    call: Option<Call>,
    filter: Option<Filter>,
    when: When,
    seen: u64,
    fault: Fault,
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rule")
            .field("call", &self.call)
            .field("when", &self.when)
            .field("fault", &self.fault)
            .finish_non_exhaustive()
    }
}

impl Rule {
    fn new(call: Option<Call>, when: When, fault: Fault) -> Self {
        Self {
            call,
            filter: None,
            when,
            seen: 0,
            fault,
        }
    }

    /// The next request of a kind.
    pub fn next(call: Call, fault: Fault) -> Self {
        Self::nth(call, 1, fault)
    }

    /// The next `count` requests of a kind.
    pub fn times(call: Call, count: u64, fault: Fault) -> Self {
        let when = When::From {
            first: 1,
            left: count,
        };
        Self::new(Some(call), when, fault)
    }

    /// The `n`-th request of a kind from now on, the first being 1.
    pub fn nth(call: Call, n: u64, fault: Fault) -> Self {
        Self::new(Some(call), When::From { first: n, left: 1 }, fault)
    }

    /// Every `n`-th request of a kind.
    pub fn every(call: Call, n: u64, fault: Fault) -> Self {
        Self::new(Some(call), When::Every(n.max(1)), fault)
    }

    /// Every request of a kind.
    pub fn always(call: Call, fault: Fault) -> Self {
        Self::every(call, 1, fault)
    }

    /// The same for requests of every kind.
    #[must_use]
    pub fn of_any_kind(mut self) -> Self {
        self.call = None;
        self
    }

    /// Only requests that the filter takes count.
    #[must_use]
    pub fn only(mut self, filter: impl Fn(&SeenRequest) -> bool + Send + Sync + 'static) -> Self {
        self.filter = Some(Arc::new(filter));
        self
    }

    fn is_about(&self, request: &SeenRequest) -> bool {
        self.call.is_none_or(|call| call == request.call)
            && self.filter.as_ref().is_none_or(|filter| filter(request))
    }

    /// Counts a request, and takes it if it may.
    fn take(&mut self, request: &SeenRequest, is_free: bool) -> Option<Fault> {
        if !self.is_about(request) {
            return None;
        }
        self.seen += 1;
        let takes = match &mut self.when {
            When::From { first, left } => {
                let takes = is_free && self.seen >= *first && *left > 0;
                *left -= u64::from(takes);
                takes
            }
            When::Every(n) => is_free && self.seen.is_multiple_of(*n),
        };
        takes.then(|| self.fault.clone())
    }

    const fn is_spent(&self) -> bool {
        matches!(self.when, When::From { left: 0, .. })
    }
}

/// The rules that are not used up.
#[derive(Debug, Default)]
pub(super) struct Faults(Vec<Rule>);

impl Faults {
    pub(super) fn add(&mut self, rule: Rule) {
        self.0.push(rule);
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) const fn left(&self) -> usize {
        self.0.len()
    }

    /// Returns the fault for a request, if it has one.
    pub(super) fn take(&mut self, request: &SeenRequest) -> Option<Fault> {
        let mut fault = None;
        for rule in &mut self.0 {
            let taken = rule.take(request, fault.is_none());
            fault = fault.or(taken);
        }
        self.0.retain(|rule| !rule.is_spent());
        fault
    }
}
