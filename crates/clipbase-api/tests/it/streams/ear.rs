//! A client that listens to a stream, piece by piece.

use axum::Router;
use axum::body::Body;
use http::Request;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::support::PATIENCE;

/// What a stream says, piece by piece.
#[derive(Debug, PartialEq)]
pub(crate) enum Said {
    /// A log entry: its number and type.
    Event(i32, String),
    Progress(Value),
    End(Value),
    /// The key was lost.
    Refused(Value),
    /// The counts, or the list.
    Board,
    Comment,
}

pub(crate) struct Ear {
    body: Body,
    text: String,
}

impl Ear {
    /// The next piece; `None` when the stream has ended.
    pub(crate) async fn hear(&mut self) -> Option<Said> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let said = understand(block);
                self.text = rest.to_owned();
                return Some(said);
            }
            let frame = tokio::time::timeout(PATIENCE, self.body.frame())
                .await
                .expect("the stream says something");
            let data = frame?.unwrap().into_data().unwrap();
            self.text.push_str(std::str::from_utf8(&data).unwrap());
        }
    }

    /// The next piece that is no comment.
    pub(crate) async fn listen(&mut self) -> Option<Said> {
        loop {
            match self.hear().await {
                Some(Said::Comment) => {}
                said => return said,
            }
        }
    }

    pub(crate) async fn hear_out(&mut self) -> Vec<Said> {
        let mut all = Vec::new();
        while let Some(said) = self.listen().await {
            all.push(said);
        }
        all
    }
}

fn understand(block: &str) -> Said {
    let field = |name: &str| {
        let mut lines = block.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    };
    if block.starts_with(':') {
        return Said::Comment;
    }
    let data: Value = serde_json::from_str(field("data").expect("data")).unwrap();
    match (field("event"), field("id")) {
        (None, Some(id)) => {
            assert_eq!(data["seq"].to_string(), id);
            Said::Event(
                id.parse().unwrap(),
                data["type"].as_str().unwrap().to_owned(),
            )
        }
        (Some("progress"), None) => Said::Progress(data),
        (Some("end"), None) => Said::End(data),
        (Some("refused"), None) => Said::Refused(data),
        (Some("stats" | "jobs"), None) => Said::Board,
        other => panic!("{other:?} in {block}"),
    }
}

pub(super) fn event(seq: i32, kind: &str) -> Said {
    Said::Event(seq, kind.to_owned())
}

pub(crate) fn progress(status: &str, percent: i32) -> Said {
    Said::Progress(json!({"status": status, "progress": percent}))
}

pub(super) fn end(status: &str) -> Said {
    Said::End(json!({"status": status}))
}

pub(crate) async fn open(web: &Router, request: Request<Body>) -> Ear {
    let response = web.clone().oneshot(request).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    assert_eq!(response.headers()["cache-control"], "no-cache");
    Ear {
        body: response.into_body(),
        text: String::new(),
    }
}
