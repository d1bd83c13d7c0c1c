//! How much, how long and how many: the bounds of the API that an operator may move.

use std::time::Duration;

use clap::Args;
use clap::builder::PossibleValuesParser;
use clipbase::Error;
use clipbase::storage::TtlBounds;
use clipbase_api::{ApiOptions, YOUTUBE_HOSTS};

use crate::failure::Failure;
use crate::time::parse_duration;

/// The API's options by the flags that set them.
const FLAGS: [(&str, &str); 13] = [
    ("ttl_min", "--link-ttl-min"),
    ("ttl_max", "--link-ttl-max"),
    ("ttl_default", "--link-ttl"),
    ("json_bytes_max", "--max-body"),
    ("upload_bytes_max", "--max-upload"),
    ("request_timeout", "--request-timeout"),
    ("copy_timeout", "--copy-timeout"),
    ("idle_timeout", "--idle-timeout"),
    ("stream_time_max", "--stream-time"),
    ("streams_max", "--max-streams"),
    ("connections_max", "--max-connections"),
    ("drain_timeout", "--drain-timeout"),
    ("cors_origins", "--cors"),
];

/// What bounds the API. What is not given is left to the library.
#[derive(Args)]
#[command(next_help_heading = "Limits")]
pub(super) struct Limits {
    /// Let the links of a result last so long unless a request says otherwise [default: 10m]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    link_ttl: Option<Duration>,

    /// The shortest that a request may ask for [default: 5m]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    link_ttl_min: Option<Duration>,

    /// The longest that a request may ask for, up to 7d; a link cannot be revoked [default: 15m]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    link_ttl_max: Option<Duration>,

    /// Refuse JSON bodies larger than so many bytes [default: 65536]
    #[arg(long, value_name = "BYTES")]
    max_body: Option<usize>,

    /// Refuse uploads larger than so many bytes; with Supabase its buckets say so [default: 53687091200]
    #[arg(long, value_name = "BYTES")]
    max_upload: Option<u64>,

    /// Give a request at most so long, streams and uploads aside [default: 30s]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    request_timeout: Option<Duration>,

    /// Give a request that copies a source at most so long [default: 5m]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    copy_timeout: Option<Duration>,

    /// Hang up on a client that is silent for so long while it owes something [default: 30s]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    idle_timeout: Option<Duration>,

    /// Keep at most so many event streams open, 1000 at most [default: 1000]
    #[arg(long, value_name = "N")]
    max_streams: Option<usize>,

    /// Let an event stream last so long before its client comes back [default: 1h]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    stream_time: Option<Duration>,

    /// Keep at most so many connections open [default: 2048]
    #[arg(long, value_name = "N")]
    max_connections: Option<usize>,

    /// At the end wait so long for requests that are still running [default: 30s]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    drain_timeout: Option<Duration>,

    /// With --youtube: take addresses of these hosts only [default: all]
    #[arg(
        long,
        value_name = "HOST",
        value_delimiter = ',',
        requires = "youtube",
        value_parser = PossibleValuesParser::new(YOUTUBE_HOSTS)
    )]
    youtube_hosts: Vec<String>,
}

impl Limits {
    /// Sets in the options what was given.
    pub(super) fn apply(&self, youtube: bool, options: &mut ApiOptions) -> Result<(), Failure> {
        options.link_ttl = self.link_ttl(options.link_ttl).map_err(by_flag)?;
        set(&mut options.json_bytes_max, self.max_body);
        set(&mut options.upload_bytes_max, self.max_upload);
        set(&mut options.request_timeout, self.request_timeout);
        set(&mut options.copy_timeout, self.copy_timeout);
        set(&mut options.idle_timeout, self.idle_timeout);
        set(&mut options.streams_max, self.max_streams);
        set(&mut options.stream_time_max, self.stream_time);
        set(&mut options.connections_max, self.max_connections);
        set(&mut options.drain_timeout, self.drain_timeout);
        if youtube {
            options.youtube_hosts = if self.youtube_hosts.is_empty() {
                YOUTUBE_HOSTS.map(str::to_owned).to_vec()
            } else {
                self.youtube_hosts.clone()
            };
        }
        Ok(())
    }

    /// Whether uploads are bounded, which only this API's own storage can do.
    pub(super) fn bounds_uploads(&self) -> bool {
        self.max_upload.is_some()
    }

    /// The bounds with what was given. A default that nobody gave follows the bounds.
    fn link_ttl(&self, usual: TtlBounds) -> Result<TtlBounds, Error> {
        let least = self.link_ttl_min.unwrap_or(usual.min());
        let most = self.link_ttl_max.unwrap_or(usual.max());
        if self.link_ttl_max.is_none() && least > most {
            return Err(Error::invalid(
                "ttl_min",
                "must not be above the maximum of 15m; set --link-ttl-max too",
            ));
        }
        let default = usual.default_ttl().as_duration().min(most).max(least);
        TtlBounds::new(least, most, self.link_ttl.unwrap_or(default))
    }
}

fn set<T>(option: &mut T, given: Option<T>) {
    if let Some(given) = given {
        *option = given;
    }
}

/// The library names an option by its own word; whoever set it knows the flag.
pub(super) fn by_flag(error: Error) -> Failure {
    let Error::InvalidInput { field, problem } = &error else {
        return error.into();
    };
    let known = FLAGS.iter().find(|(option, _)| option == field);
    let flag = known.map_or(*field, |(_, flag)| *flag);
    Failure::input(format!("{flag} {problem}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the help says of each limit that is not given.
    #[test]
    fn the_defaults_are_those_that_the_help_names() {
        let options = ApiOptions::default();
        let seconds = |time: Duration| time.as_secs();
        let ttl = options.link_ttl;
        assert_eq!(seconds(ttl.default_ttl().as_duration()), 10 * 60);
        assert_eq!((seconds(ttl.min()), seconds(ttl.max())), (5 * 60, 15 * 60));
        let sizes = (options.json_bytes_max, options.upload_bytes_max);
        assert_eq!(sizes, (65_536, 53_687_091_200));
        assert_eq!(seconds(options.request_timeout), 30);
        assert_eq!(seconds(options.copy_timeout), 5 * 60);
        assert_eq!(seconds(options.idle_timeout), 30);
        assert_eq!(options.streams_max, 1_000);
        assert_eq!(seconds(options.stream_time_max), 60 * 60);
        assert_eq!(options.connections_max, 2_048);
        assert_eq!(seconds(options.drain_timeout), 30);
    }
}
