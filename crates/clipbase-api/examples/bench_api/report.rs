//! From samples to medians, a table for people and a value for programs.

use std::time::Duration;

use serde::Serialize;
use serde_json::json;

use crate::Arguments;
use crate::case::Case;
use crate::load::Sample;

/// Everything that was measured of one case.
pub(crate) struct Line {
    pub(crate) case: Case,
    rounds: Vec<Round>,
}

/// One round: two samples of each side.
struct Round {
    api: Vec<Sample>,
    bare: Vec<Sample>,
}

/// The figures of one side: medians over its measurements; CPU over all of them.
#[derive(Serialize)]
struct Side {
    requests_per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
    /// Of the server's process; `None` where it cannot be read.
    cpu_us_per_request: Option<f64>,
}

/// The API over the bare handler: medians of the rounds' ratios; CPU as the difference.
#[derive(Serialize)]
struct Ratios {
    requests_per_second: f64,
    requests_per_second_least: f64,
    requests_per_second_most: f64,
    p50: f64,
    p99: f64,
}

impl Line {
    pub(crate) fn new(case: Case) -> Self {
        let rounds = Vec::new();
        Self { case, rounds }
    }

    pub(crate) fn add(&mut self, api: Vec<Sample>, bare: Vec<Sample>) {
        self.rounds.push(Round { api, bare });
    }

    fn api(&self) -> Side {
        Side::of(
            &self
                .rounds
                .iter()
                .flat_map(|round| &round.api)
                .collect::<Vec<_>>(),
        )
    }

    fn bare(&self) -> Side {
        Side::of(
            &self
                .rounds
                .iter()
                .flat_map(|round| &round.bare)
                .collect::<Vec<_>>(),
        )
    }

    fn ratios(&self) -> Ratios {
        let each = |of: fn(&Sample) -> f64| -> Vec<f64> {
            let mean = |samples: &[Sample]| samples.iter().map(of).sum::<f64>();
            let ratios = self.rounds.iter();
            ratios
                .map(|round| mean(&round.api) / mean(&round.bare))
                .collect()
        };
        // Time, so the other way round.
        let rates: Vec<f64> = each(|sample| sample.elapsed.as_secs_f64())
            .into_iter()
            .map(f64::recip)
            .collect();
        Ratios {
            requests_per_second_least: rates.iter().copied().fold(f64::INFINITY, f64::min),
            requests_per_second_most: rates.iter().copied().fold(0.0, f64::max),
            requests_per_second: median(rates),
            p50: median(each(|sample| sample.millis(50))),
            p99: median(each(|sample| sample.millis(99))),
        }
    }
}

impl Sample {
    fn rate(&self) -> f64 {
        figure(self.latencies.len()) / self.elapsed.as_secs_f64()
    }

    /// The time within which so many of a hundred requests were answered.
    fn millis(&self, percent: usize) -> f64 {
        let at = (self.latencies.len() - 1) * percent / 100;
        self.latencies[at].as_secs_f64() * 1e3
    }
}

impl Side {
    fn of(samples: &[&Sample]) -> Self {
        let each =
            |of: &dyn Fn(&Sample) -> f64| median(samples.iter().map(|sample| of(sample)).collect());
        let requests: usize = samples.iter().map(|sample| sample.latencies.len()).sum();
        let cpu: Option<Duration> = samples.iter().map(|sample| sample.cpu).sum();
        let cpu = cpu.filter(|cpu| !cpu.is_zero());
        Self {
            requests_per_second: each(&Sample::rate),
            p50_ms: each(&|sample| sample.millis(50)),
            p99_ms: each(&|sample| sample.millis(99)),
            cpu_us_per_request: cpu.map(|cpu| cpu.as_secs_f64() * 1e6 / figure(requests)),
        }
    }
}

pub(crate) fn json(lines: &[Line], server_version: &str, arguments: &Arguments) -> String {
    let cases: Vec<_> = lines
        .iter()
        .map(|line| {
            json!({
                "name": line.case.name(), "step": line.case.step, "target": line.case.target,
                "api": line.api(), "bare": line.bare(), "ratio": line.ratios(),
            })
        })
        .collect();
    let report = json!({
        "server_version": server_version, "jobs": arguments.jobs, "requests": arguments.requests,
        "rounds": arguments.rounds, "callers": arguments.callers, "cases": cases,
    });
    report.to_string()
}

pub(crate) fn table(lines: &[Line], server_version: &str, arguments: &Arguments) -> String {
    let mut text = format!(
        "PostgreSQL {server_version}, {} jobs, {} callers, {} requests a measurement (lists: a quarter), {} rounds\n\n\
         | case | requests/s | bare | ratio | least-most | p50 ms | bare | ratio | p99 ms | bare | ratio | CPU us | bare |\n\
         |---|---|---|---|---|---|---|---|---|---|---|---|---|\n",
        arguments.jobs, arguments.callers, arguments.requests, arguments.rounds
    );
    for line in lines {
        let (api, bare, ratio) = (line.api(), line.bare(), line.ratios());
        let cpu = |side: &Side| {
            side.cpu_us_per_request
                .map_or("-".to_owned(), |cpu| format!("{cpu:.0}"))
        };
        text += &format!(
            "| {} | {:.0} | {:.0} | {:.2} | {:.2}-{:.2} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} | {} | {} |\n",
            line.case.name(),
            api.requests_per_second,
            bare.requests_per_second,
            ratio.requests_per_second,
            ratio.requests_per_second_least,
            ratio.requests_per_second_most,
            api.p50_ms,
            bare.p50_ms,
            ratio.p50,
            api.p99_ms,
            bare.p99_ms,
            ratio.p99,
            cpu(&api),
            cpu(&bare),
        );
    }
    text.trim_end().to_owned()
}

/// The middle value; the mean of the two middle ones of an even number.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let (lower, upper) = ((values.len() - 1) / 2, values.len() / 2);
    f64::midpoint(values[lower], values[upper])
}

#[allow(clippy::cast_precision_loss, reason = "a figure for people")]
fn figure(count: usize) -> f64 {
    count as f64
}
