//! What came in: a log of requests, and counts.

use std::collections::{BTreeMap, VecDeque};

use hyper::http::request::Parts;

use super::route::{Call, Route};

/// How many requests the log keeps; the oldest go first.
pub const REQUESTS_KEPT: usize = 20_000;

/// A request that the server has seen.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SeenRequest {
    /// Its number, from 1.
    pub number: u64,
    /// The number of its connection, from 1.
    pub connection: u64,
    /// What it asks for.
    pub call: Call,
    /// Its method.
    pub method: String,
    /// The bucket that it names.
    pub bucket: Option<String>,
    /// The path in the bucket that it names, decoded.
    pub path: Option<String>,
    /// Its address's path and query, as they were sent.
    pub target: String,
    /// Its headers, with names in lower case.
    pub headers: Vec<(String, String)>,
    /// The HTTP status of its answer; `None` until the answer begins, and where it never does.
    pub status: Option<u16>,
    /// The `code` of its refusal.
    pub code: Option<String>,
}

impl SeenRequest {
    /// Returns a header's value; the name is in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(header, _)| header == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// The log.
#[derive(Debug, Default)]
pub(super) struct Log {
    total: u64,
    calls: BTreeMap<Call, u64>,
    kept: VecDeque<SeenRequest>,
}

impl Log {
    pub(super) fn arrived(&mut self, connection: u64, route: &Route, parts: &Parts) -> SeenRequest {
        self.total += 1;
        *self.calls.entry(route.call).or_default() += 1;
        let some = |text: &String| (!text.is_empty()).then(|| text.clone());
        let target = parts
            .uri
            .path_and_query()
            .map_or("", |target| target.as_str());
        let headers = parts.headers.iter().map(|(name, value)| {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            (name.as_str().to_owned(), value)
        });
        let request = SeenRequest {
            number: self.total,
            connection,
            call: route.call,
            method: parts.method.to_string(),
            bucket: some(&route.bucket),
            path: some(&route.path),
            target: target.to_owned(),
            headers: headers.collect(),
            status: None,
            code: None,
        };
        if self.kept.len() == REQUESTS_KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back(request.clone());
        request
    }

    pub(super) fn answered(&mut self, number: u64, status: u16, code: Option<String>) {
        // They are numbered without gaps.
        let first = self.kept.front().map_or(number, |request| request.number);
        let place = number
            .checked_sub(first)
            .and_then(|n| usize::try_from(n).ok());
        if let Some(request) = place.and_then(|place| self.kept.get_mut(place)) {
            request.status = Some(status);
            request.code = code;
        }
    }

    pub(super) fn requests(&self) -> Vec<SeenRequest> {
        self.kept.iter().cloned().collect()
    }

    pub(super) fn calls(&self, call: Call) -> u64 {
        self.calls.get(&call).copied().unwrap_or_default()
    }

    pub(super) const fn total(&self) -> u64 {
        self.total
    }
}
