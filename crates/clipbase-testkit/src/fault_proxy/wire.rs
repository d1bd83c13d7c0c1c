//! As much of PostgreSQL's protocol (version 3) as tells where a message ends and what a flight asks.

use std::collections::HashMap;
use std::io;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

/// A request for encryption, by TLS or GSSAPI.
const ENCRYPTION: [u32; 2] = [80_877_103, 80_877_104];
/// A request to cancel what another session does.
const CANCEL: u32 = 80_877_102;

/// Cuts a stream into messages. A call that is dropped loses nothing.
pub(super) struct Messages<R> {
    stream: R,
    buffer: BytesMut,
}

/// A message with its head, as it stood on the wire.
pub(super) struct Message {
    pub(super) kind: u8,
    pub(super) bytes: Bytes,
}

/// What a client opens with.
pub(super) enum Opening {
    /// It would like to encrypt; the answer is one byte.
    Encryption,
    /// It wants another session's work cancelled.
    Cancel(Bytes),
    /// It wants a session.
    Session(Bytes),
}

impl<R: AsyncRead + Unpin> Messages<R> {
    pub(super) fn new(stream: R) -> Self {
        Self {
            stream,
            buffer: BytesMut::new(),
        }
    }

    /// The next message, or `None` at the stream's end; half a message at the end is none.
    pub(super) async fn next(&mut self) -> io::Result<Option<Message>> {
        let Some(bytes) = self.cut(1).await? else {
            return Ok(None);
        };
        let kind = bytes.first().copied().unwrap_or_default();
        Ok(Some(Message { kind, bytes }))
    }

    /// The next message of a client that has no session yet: it has no kind.
    pub(super) async fn opening(&mut self) -> io::Result<Option<Opening>> {
        let Some(bytes) = self.cut(0).await? else {
            return Ok(None);
        };
        let code = bytes.get(4..8).map_or(0, |mut code| code.get_u32());
        Ok(Some(if ENCRYPTION.contains(&code) {
            Opening::Encryption
        } else if code == CANCEL {
            Opening::Cancel(bytes)
        } else {
            Opening::Session(bytes)
        }))
    }

    /// A length stands after `head` bytes, and counts itself but not the head.
    async fn cut(&mut self, head: usize) -> io::Result<Option<Bytes>> {
        loop {
            if let Some(mut length) = self.buffer.get(head..head + 4) {
                let length = length.get_u32() as usize;
                if length < 4 {
                    return Err(io::ErrorKind::InvalidData.into());
                }
                let whole = head + length;
                if self.buffer.len() >= whole {
                    return Ok(Some(self.buffer.split_to(whole).freeze()));
                }
                self.buffer.reserve(whole - self.buffer.len());
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Ok(None);
            }
        }
    }
}

/// Puts a client's messages together to flights, and names them.
#[derive(Default)]
pub(super) struct Flights {
    /// The statements that the session has prepared, by the client's name for them.
    prepared: HashMap<Vec<u8>, String>,
    pending: BytesMut,
    parsed: Option<String>,
    bound: Option<String>,
}

/// What is to be done with a message.
pub(super) enum Step {
    /// Wait for more.
    Hold,
    /// Send this on; nobody is asked.
    Forward(Bytes),
    /// A flight is whole: its name and its bytes.
    Whole(String, Bytes),
}

impl Flights {
    pub(super) fn add(&mut self, message: &Message) -> Step {
        let body = message.bytes.get(5..).unwrap_or_default();
        self.pending.extend_from_slice(&message.bytes);
        match message.kind {
            b'Q' => return self.whole(first_line(c_string(body).0)),
            b'P' => {
                let (name, rest) = c_string(body);
                let sql = first_line(c_string(rest).0);
                self.prepared.insert(name.to_vec(), sql.clone());
                self.parsed = Some(sql);
            }
            b'B' => {
                let (_portal, rest) = c_string(body);
                self.bound = self.prepared.get(c_string(rest).0).cloned();
            }
            b'S' => {
                let name = match (self.bound.take(), self.parsed.take()) {
                    (Some(bound), _) => bound,
                    (None, Some(parsed)) => format!("prepare {parsed}"),
                    (None, None) => "sync".to_owned(),
                };
                return self.whole(name);
            }
            b'F' => return self.whole("function call".to_owned()),
            // Passwords, COPY's data, a request to flush, the session's end.
            b'p' | b'd' | b'c' | b'f' | b'H' | b'X' => return Step::Forward(self.taken()),
            _ => {}
        }
        Step::Hold
    }

    fn whole(&mut self, name: String) -> Step {
        Step::Whole(name, self.taken())
    }

    fn taken(&mut self) -> Bytes {
        self.pending.split().freeze()
    }
}

/// Tells whether the server waits for the client before its answer is complete: for a password, or for
/// the data of a COPY.
pub(super) fn asks_back(message: &Message) -> bool {
    match message.kind {
        b'R' => message.bytes.get(5..9) != Some(&[0; 4]),
        b'G' | b'W' => true,
        _ => false,
    }
}

fn c_string(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = bytes.iter().position(|byte| *byte == 0);
    let end = end.unwrap_or(bytes.len());
    let (text, rest) = bytes.split_at(end);
    (text, rest.get(1..).unwrap_or_default())
}

fn first_line(sql: &[u8]) -> String {
    let text = String::from_utf8_lossy(sql);
    let line = text.trim_start().lines().next().unwrap_or_default();
    line.trim_start_matches("-- ").trim().to_owned()
}
