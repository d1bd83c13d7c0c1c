//! One client's session: two halves, and between them the flights that wait for their answers.

use std::io;
use std::sync::Arc;

use bytes::BytesMut;
use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::wire::{Flights, Messages, Opening, Step, asks_back};
use super::{Flight, Moment, Shared, Stream, Verdict};

/// How a half ended.
enum End {
    /// Its side has nothing more to say.
    Left,
    /// A verdict ended the session.
    Cut,
}

/// Ends with the client, the server or a verdict. What breaks a connection ends it.
pub(super) async fn run(client: TcpStream, shared: Arc<Shared>) {
    // An answer of two segments must not wait for the first one's acknowledgement.
    if client.set_nodelay(true).is_ok() {
        let _ended = serve(client, &shared).await;
    }
}

async fn serve(client: TcpStream, shared: &Shared) -> io::Result<()> {
    let (reader, mut to_client) = tokio::io::split(client);
    let mut from_client = Messages::new(reader);
    let opening = loop {
        match from_client.opening().await? {
            Some(Opening::Encryption) => to_client.write_all(b"N").await?,
            Some(Opening::Cancel(bytes)) => {
                return shared.upstream.connect().await?.write_all(&bytes).await;
            }
            Some(Opening::Session(bytes)) => break bytes,
            None => return Ok(()),
        }
    };
    let flight = shared.take_down("start-up".to_owned());
    if shared.ask(flight.clone(), Moment::Arrived).await != Verdict::Pass {
        return Ok(());
    }
    let (reader, mut to_server) = tokio::io::split(shared.upstream.connect().await?);
    let (waiting, flights) = mpsc::unbounded_channel();
    let _ = waiting.send(flight);
    to_server.write_all(&opening).await?;

    let asking = pass_flights(shared, from_client, &mut to_server, waiting);
    let answering = pass_answers(shared, Messages::new(reader), to_client, flights);
    tokio::pin!(asking, answering);
    tokio::select! {
        biased;
        end = &mut asking => match end {
            Ok(End::Cut) => Ok(()),
            // The server still carries out what it was given.
            Ok(End::Left) | Err(_) => answering.await.map(|_| ()),
        },
        end = &mut answering => end.map(|_| ()),
    }
}

/// From the client to the server; `waiting` hears of a flight before the server does.
async fn pass_flights(
    shared: &Shared,
    mut from_client: Messages<ReadHalf<TcpStream>>,
    to_server: &mut WriteHalf<Box<dyn Stream>>,
    waiting: mpsc::UnboundedSender<Flight>,
) -> io::Result<End> {
    let mut flights = Flights::default();
    while let Some(message) = from_client.next().await? {
        let bytes = match flights.add(&message) {
            Step::Hold => continue,
            Step::Forward(bytes) => bytes,
            Step::Whole(name, bytes) => {
                let flight = shared.take_down(name);
                if shared.ask(flight.clone(), Moment::Arrived).await != Verdict::Pass {
                    return Ok(End::Cut);
                }
                let _ = waiting.send(flight);
                bytes
            }
        };
        to_server.write_all(&bytes).await?;
    }
    Ok(End::Left)
}

/// From the server to the client, each answer in one piece. Ends when the client has left and every flight
/// is answered.
async fn pass_answers(
    shared: &Shared,
    mut from_server: Messages<ReadHalf<Box<dyn Stream>>>,
    mut to_client: WriteHalf<TcpStream>,
    mut flights: mpsc::UnboundedReceiver<Flight>,
) -> io::Result<End> {
    loop {
        let flight = tokio::select! {
            biased;
            flight = flights.recv() => flight,
            message = from_server.next() => match message? {
                // Nobody asked: a notice, a notification, or the farewell of a server that goes down.
                Some(message) => {
                    let _gone = to_client.write_all(&message.bytes).await;
                    continue;
                }
                None => return Ok(End::Left),
            },
        };
        let Some(flight) = flight else {
            return Ok(End::Left);
        };
        let mut answer = BytesMut::new();
        loop {
            let Some(message) = from_server.next().await? else {
                // The server has ended the session with an error.
                let _gone = to_client.write_all(&answer).await;
                return Ok(End::Left);
            };
            answer.extend_from_slice(&message.bytes);
            if message.kind == b'Z' {
                break;
            }
            if asks_back(&message) {
                let _gone = to_client.write_all(&answer.split()).await;
            }
        }
        let verdict = shared.ask(flight, Moment::Answered).await;
        let passed = match verdict {
            Verdict::Pass => answer.len(),
            Verdict::Cut => 0,
            Verdict::CutAfter(bytes) => bytes.min(answer.len()),
        };
        // A client that has gone hears nothing; the flights behind this one are still carried out.
        let _gone = to_client
            .write_all(answer.get(..passed).unwrap_or_default())
            .await;
        if verdict != Verdict::Pass {
            return Ok(End::Cut);
        }
    }
}
