//! What a caller can set, and within which bounds.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use clipbase::events::{FOLLOW_INTERVAL, FOLLOW_MANY_JOBS_MAX};
use clipbase::storage::{LocalStorage, TtlBounds};
use clipbase::{Error, Result};

use crate::access::Authenticator;

/// Where youtube sources may come from, unless set.
pub const YOUTUBE_HOSTS: [&str; 5] = [
    "www.youtube.com",
    "youtube.com",
    "m.youtube.com",
    "music.youtube.com",
    "youtu.be",
];

/// Writes the metrics of this process in Prometheus' text form. The caller installs the recorder.
#[derive(Clone)]
pub struct MetricsText(Arc<dyn Fn() -> String + Send + Sync>);

impl MetricsText {
    /// Wraps a function that is called for each request of `/metrics`.
    pub fn new(render: impl Fn() -> String + Send + Sync + 'static) -> Self {
        Self(Arc::new(render))
    }

    pub(crate) fn render(&self) -> String {
        (self.0)()
    }
}

impl fmt::Debug for MetricsText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MetricsText(…)")
    }
}

/// How the API behaves. Start with the default, which suits one machine, and set what differs.
#[derive(Clone, Debug)]
pub struct ApiOptions {
    /// Who knows the keys. Without one every request acts as the local admin, on loopback only.
    pub authenticator: Option<Arc<dyn Authenticator>>,
    /// Serve `/v1/keys`, where an admin's key makes, lists, revokes and rotates keys. It needs an authenticator, and
    /// the set of API keys in the database. Off by default.
    pub manage_keys: bool,
    /// Serve every address without an authenticator. Whoever reaches the port may then do anything.
    pub allow_anonymous: bool,
    /// The storage whose signed links this API serves; `None` where the links lead to Supabase.
    pub local_storage: Option<LocalStorage>,
    /// Hosts that youtube sources may come from; empty, as by default, refuses them all. [`YOUTUBE_HOSTS`]
    /// lists the usual ones.
    pub youtube_hosts: Vec<String>,
    /// Origins of web pages that may use the API: `https://app.example`. None by default.
    pub cors_origins: Vec<String>,
    /// Where the storage's signed links lead, as origins, so that the dashboard's policy lets it send files there and
    /// play clips from there: `https://ref.supabase.co`. Not needed for links that this API serves itself.
    pub storage_origins: Vec<String>,
    /// What `/metrics` answers with; the route does not exist without it.
    pub metrics: Option<MetricsText>,
    /// How long the links of a result may last, and do unless asked otherwise.
    pub link_ttl: TtlBounds,
    /// The largest JSON body. 1 KiB to 1 MiB; 64 KiB by default.
    pub json_bytes_max: usize,
    /// The largest upload that this API takes itself. 50 GiB by default; up to 1 TiB.
    pub upload_bytes_max: u64,
    /// How long a request may take, streams and uploads aside. 100 ms to 10 minutes; 30 s by default.
    pub request_timeout: Duration,
    /// How long a request may take that copies a source. As above; 5 minutes by default.
    pub copy_timeout: Duration,
    /// How long a client may send nothing while it still owes something: headers, a body's next piece, room for
    /// an answer's next piece. 100 ms to 10 minutes; 30 s by default.
    pub idle_timeout: Duration,
    /// How many event streams may be open at once. 1 to 1,000, which is also the default.
    pub streams_max: usize,
    /// How long a stream lasts before its client has to come back. 100 ms to a day; one hour by default.
    pub stream_time_max: Duration,
    /// How often streams say that they are alive, and how often it is asked whether their keys still hold. 100 ms to
    /// 10 minutes; 15 s by default.
    pub keep_alive: Duration,
    /// How often the one follower looks for news. 1 ms to a minute; half a second by default.
    pub follow_interval: Duration,
    /// How many connections may be open at once. 1 to 65,536; 2,048 by default.
    pub connections_max: usize,
    /// How long a shutdown waits for requests that are still running. Up to 10 minutes; 30 s by default.
    pub drain_timeout: Duration,
}

impl Default for ApiOptions {
    fn default() -> Self {
        Self {
            authenticator: None,
            manage_keys: false,
            allow_anonymous: false,
            local_storage: None,
            youtube_hosts: Vec::new(),
            cors_origins: Vec::new(),
            storage_origins: Vec::new(),
            metrics: None,
            link_ttl: TtlBounds::default(),
            json_bytes_max: 64 * 1024,
            upload_bytes_max: 50 * 1024 * 1024 * 1024,
            request_timeout: Duration::from_secs(30),
            copy_timeout: Duration::from_secs(300),
            idle_timeout: Duration::from_secs(30),
            streams_max: FOLLOW_MANY_JOBS_MAX,
            stream_time_max: Duration::from_secs(3_600),
            keep_alive: Duration::from_secs(15),
            follow_interval: FOLLOW_INTERVAL,
            connections_max: 2_048,
            drain_timeout: Duration::from_secs(30),
        }
    }
}

impl ApiOptions {
    /// Checks every bound, as [`Api::new`](crate::Api::new) does too: for a caller who wants to know before anything is
    /// opened.
    ///
    /// # Errors
    /// `INVALID_INPUT` naming the option.
    pub fn check(&self) -> Result<()> {
        const MOMENT: Duration = Duration::from_millis(100);
        const LONG: Duration = Duration::from_secs(600);
        const DAY: Duration = Duration::from_secs(24 * 3_600);
        let times = [
            ("request_timeout", self.request_timeout, MOMENT, LONG),
            ("copy_timeout", self.copy_timeout, MOMENT, LONG),
            ("idle_timeout", self.idle_timeout, MOMENT, LONG),
            ("stream_time_max", self.stream_time_max, MOMENT, DAY),
            ("keep_alive", self.keep_alive, MOMENT, LONG),
            (
                "follow_interval",
                self.follow_interval,
                Duration::from_millis(1),
                Duration::from_secs(60),
            ),
            ("drain_timeout", self.drain_timeout, Duration::ZERO, LONG),
        ];
        for (field, time, least, most) in times {
            if !(least..=most).contains(&time) {
                return Err(Error::invalid(
                    field,
                    format!("must be {} ms to {} s", least.as_millis(), most.as_secs()),
                ));
            }
        }
        let sizes = [
            (
                "json_bytes_max",
                self.json_bytes_max as u64,
                1024,
                1024 * 1024,
            ),
            ("upload_bytes_max", self.upload_bytes_max, 1, 1 << 40),
            (
                "streams_max",
                self.streams_max as u64,
                1,
                FOLLOW_MANY_JOBS_MAX as u64,
            ),
            ("connections_max", self.connections_max as u64, 1, 65_536),
        ];
        for (field, size, least, most) in sizes {
            if !(least..=most).contains(&size) {
                return Err(Error::invalid(field, format!("must be {least} to {most}")));
            }
        }
        if self.manage_keys && self.authenticator.is_none() {
            return Err(Error::invalid(
                "manage_keys",
                "needs an authenticator: else anybody could make keys",
            ));
        }
        self.check_names()
    }

    /// Checks the names of hosts and origins.
    fn check_names(&self) -> Result<()> {
        if !self.cors_origins.iter().all(|origin| is_origin(origin)) {
            return Err(Error::invalid(
                "cors_origins",
                "must be origins without a path, as in https://app.example",
            ));
        }
        if !self.storage_origins.iter().all(|origin| is_origin(origin)) {
            return Err(Error::invalid(
                "storage_origins",
                "must be origins without a path, as in https://ref.supabase.co",
            ));
        }
        let is_host =
            |host: &String| url::Host::parse(host).is_ok_and(|parsed| parsed.to_string() == *host);
        if !self.youtube_hosts.iter().all(is_host) {
            return Err(Error::invalid(
                "youtube_hosts",
                "must be lower-case host names, as in www.youtube.com",
            ));
        }
        Ok(())
    }
}

fn is_origin(text: &str) -> bool {
    url::Url::parse(text).is_ok_and(|url| {
        matches!(url.scheme(), "http" | "https") && url.origin().ascii_serialization() == text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_keep_their_own_bounds() {
        ApiOptions::default().check().unwrap();
    }

    #[test]
    fn an_option_out_of_bounds_is_named() {
        type Spoil = fn(&mut ApiOptions);
        let cases: [(&str, Spoil); 14] = [
            ("manage_keys", |o| o.manage_keys = true),
            ("storage_origins", |o| {
                o.storage_origins = vec!["ref.supabase.co".into()];
            }),
            ("request_timeout", |o| o.request_timeout = Duration::ZERO),
            ("copy_timeout", |o| {
                o.copy_timeout = Duration::from_secs(601);
            }),
            ("idle_timeout", |o| o.idle_timeout = Duration::MAX),
            ("stream_time_max", |o| o.stream_time_max = Duration::MAX),
            ("keep_alive", |o| o.keep_alive = Duration::ZERO),
            ("follow_interval", |o| o.follow_interval = Duration::ZERO),
            ("drain_timeout", |o| o.drain_timeout = Duration::MAX),
            ("json_bytes_max", |o| o.json_bytes_max = 1),
            ("streams_max", |o| o.streams_max = 0),
            ("connections_max", |o| o.connections_max = 1 << 20),
            ("cors_origins", |o| {
                o.cors_origins = vec!["https://a.example/".into()];
            }),
            ("youtube_hosts", |o| {
                o.youtube_hosts = vec!["YouTube.com".into()];
            }),
        ];
        for (field, spoil) in cases {
            let mut options = ApiOptions::default();
            spoil(&mut options);
            let error = options.check().unwrap_err().to_string();
            assert!(error.starts_with(&format!("{field}:")), "{error}");
        }
    }

    #[test]
    fn the_usual_hosts_pass() {
        let options = ApiOptions {
            youtube_hosts: YOUTUBE_HOSTS.map(str::to_owned).to_vec(),
            cors_origins: vec!["https://app.example".into(), "http://localhost:3000".into()],
            ..ApiOptions::default()
        };
        options.check().unwrap();
    }
}
