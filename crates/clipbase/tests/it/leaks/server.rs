//! A server that refuses everything and tells all it knows.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// When it refuses.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum At {
    /// Before the session starts.
    Login,
    /// Every statement.
    Statement,
}

/// Starts one for the test's runtime and returns its address, secrets included.
pub(super) async fn talkative(at: At, state: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, at, state));
        }
    });
    format!(
        "postgresql://planteduser:plantedpassword@127.0.0.1:{port}/planteddatabase?sslmode=disable"
    )
}

/// Ends with the client, whatever broke.
async fn serve(mut stream: TcpStream, at: At, state: &'static str) -> Option<()> {
    let mut startup = message(&mut stream).await?;
    if startup.starts_with(&80_877_103_i32.to_be_bytes()) {
        stream.write_all(b"N").await.ok()?;
        startup = message(&mut stream).await?;
    }
    assert!(!startup.is_empty());
    if at == At::Login {
        return stream.write_all(&refusal("FATAL", state)).await.ok();
    }
    // Authenticated, ready.
    let ready = b"Z\0\0\0\x05I";
    stream.write_all(b"R\0\0\0\x08\0\0\0\0").await.ok()?;
    stream.write_all(ready).await.ok()?;
    loop {
        let kind = stream.read_u8().await.ok()?;
        message(&mut stream).await?;
        if kind == b'S' || kind == b'Q' {
            stream.write_all(&refusal("ERROR", state)).await.ok()?;
            stream.write_all(ready).await.ok()?;
        }
    }
}

async fn message(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let length = stream.read_i32().await.ok()?;
    let mut body = vec![0; usize::try_from(length).ok()?.checked_sub(4)?];
    stream.read_exact(&mut body).await.ok()?;
    Some(body)
}

/// An error with a secret in each of its fields.
fn refusal(severity: &str, state: &str) -> Vec<u8> {
    let told = "planted: sources/planted results/planted Key (planted)=(planted)";
    let mut body = Vec::new();
    for (field, text) in [
        (b'S', severity),
        (b'V', severity),
        (b'C', state),
        (b'M', told),
        (b'D', told),
        (b'H', told),
        (b'W', told),
        (b's', "planted"),
        (b't', "planted"),
        (b'c', "planted"),
        (b'd', "planted"),
        (b'n', "planted"),
        (b'F', "planted.c"),
        (b'L', "1"),
        (b'R', "planted"),
    ] {
        body.push(field);
        body.extend_from_slice(text.as_bytes());
        body.push(0);
    }
    body.push(0);
    let length = i32::try_from(body.len() + 4).unwrap();
    [&b"E"[..], &length.to_be_bytes(), &body].concat()
}
