//! From samples to medians, a table for people and a value for programs.

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};
use serde::Serialize;

use super::case::Case;

/// One measurement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) jobs_per_second: f64,
    pub(crate) wal_bytes_per_job: f64,
    pub(crate) server_cpu_us_per_job: Option<f64>,
}

/// What is told while it runs.
#[derive(Clone, Debug)]
pub(crate) enum Line {
    /// A remark.
    Note(String),
    /// A case was measured once more.
    Round {
        case: Case,
        round: u32,
        sample: Option<Sample>,
    },
}

/// The samples of one case.
#[derive(Debug, Default)]
pub(crate) struct Rounds {
    pub(crate) ours: Vec<Sample>,
    pub(crate) pgbench: Vec<Sample>,
}

/// The outcome of one case: medians over the rounds.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Measure {
    #[serde(flatten)]
    pub(crate) case: Case,
    pub(crate) jobs_per_second: f64,
    pub(crate) pgbench_jobs_per_second: Option<f64>,
    /// Jobs per second over those of `pgbench` in the same round: the median of the rounds.
    pub(crate) ratio: Option<f64>,
    pub(crate) wal_bytes_per_job: f64,
    /// Of all of the server's processes; `None` where they are on another machine.
    pub(crate) server_cpu_us_per_job: Option<f64>,
}

/// The outcome.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct BenchReport {
    pub(crate) server_version: String,
    pub(crate) jobs: u32,
    pub(crate) rounds: u32,
    pub(crate) measures: Vec<Measure>,
}

impl Rounds {
    pub(crate) fn summary(&self, case: Case) -> Measure {
        let pairs = self.ours.iter().zip(&self.pgbench);
        Measure {
            case,
            jobs_per_second: median(self.ours.iter().map(|s| s.jobs_per_second)).unwrap_or(0.0),
            pgbench_jobs_per_second: median(self.pgbench.iter().map(|s| s.jobs_per_second)),
            ratio: median(
                pairs.map(|(ours, theirs)| ours.jobs_per_second / theirs.jobs_per_second),
            ),
            wal_bytes_per_job: median(self.ours.iter().map(|s| s.wal_bytes_per_job)).unwrap_or(0.0),
            server_cpu_us_per_job: median(self.ours.iter().filter_map(|s| s.server_cpu_us_per_job)),
        }
    }
}

impl BenchReport {
    /// The outcome as a table.
    pub(crate) fn table(&self) -> String {
        let mut table = Table::new();
        table.load_preset(NOTHING);
        table.set_header([
            "step",
            "tasks",
            "batch",
            "jobs/s",
            "pgbench",
            "ratio",
            "WAL B/job",
            "CPU us/job",
        ]);
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        let whole =
            |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.0}"));
        for measure in &self.measures {
            table.add_row([
                measure.case.step.to_string(),
                measure.case.tasks.to_string(),
                measure.case.batch.to_string(),
                whole(Some(measure.jobs_per_second)),
                whole(measure.pgbench_jobs_per_second),
                measure
                    .ratio
                    .map_or("-".to_owned(), |ratio| format!("{ratio:.2}")),
                whole(Some(measure.wal_bytes_per_job)),
                whole(measure.server_cpu_us_per_job),
            ]);
        }
        format!(
            "PostgreSQL {}, {} jobs, median of {} rounds\n{table}",
            self.server_version, self.jobs, self.rounds
        )
    }
}

/// The middle value; the mean of the two middle ones of an even number.
fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    let lower = *values.get((values.len() - 1) / 2)?;
    Some(f64::midpoint(lower, upper))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_the_middle() {
        assert_eq!(median([].into_iter()), None);
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), Some(2.0));
        assert_eq!(median([4.0, 1.0].into_iter()), Some(2.5));
    }
}
