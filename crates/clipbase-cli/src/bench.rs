//! Measures the data layer on the given server, beside the same SQL through `pgbench`.
//!
//! Every measurement has a fresh scratch database next to the given one, made from a migrated template and
//! dropped afterwards: user data is never touched. Each round measures every case twice, by the library and
//! by `pgbench`, one right after the other, so that both meet the same noise; what counts is the ratio.
//! `docs/PERFORMANCE.md` says what is compared with what.

mod case;
mod pgbench;
mod report;
mod scratch;
mod server;
mod workload;

use std::path::PathBuf;

use clipbase::Clipbase;

pub(crate) use report::{BenchReport, Line};

use case::{CASES, Case};
use pgbench::Pgbench;
use report::{Rounds, Sample};
use scratch::Scratch;
use server::Meter;

/// Jobs of each measurement, unless set.
pub(crate) const JOBS: u32 = 10_000;
/// Rounds, unless set.
pub(crate) const ROUNDS: u32 = 3;

/// What to measure and with what.
#[derive(Clone, Debug)]
pub(crate) struct BenchOptions {
    /// Jobs of each measurement.
    pub(crate) jobs: u32,
    /// How often everything is measured; medians are reported.
    pub(crate) rounds: u32,
    /// Folders where `pgbench` is looked for before those of PATH: the server's programs.
    pub(crate) program_folders: Vec<PathBuf>,
}

impl Default for BenchOptions {
    fn default() -> Self {
        Self {
            jobs: JOBS,
            rounds: ROUNDS,
            program_folders: Vec::new(),
        }
    }
}

/// Why nothing was measured. Shows no address.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BenchError {
    /// The library's.
    #[error(transparent)]
    Clipbase(#[from] clipbase::Error),
    /// The scratch database could not be made, read or dropped.
    #[error("the scratch database could not be {0}; the role needs CREATEDB")]
    Scratch(&'static str),
    /// `pgbench` failed.
    #[error("pgbench failed: {0}")]
    Pgbench(&'static str),
    /// A task of the measurement ended early.
    #[error("a measuring task ended early")]
    Task,
}

/// Measures every case and reports each line as soon as it is known.
///
/// # Errors
/// What kept it from measuring. A missing `pgbench` does not: it is reported, and the ratios are left out.
pub(crate) async fn run(
    clipbase: &Clipbase,
    database_url: &str,
    options: &BenchOptions,
    mut report: impl FnMut(&Line),
) -> Result<BenchReport, BenchError> {
    let pgbench = Pgbench::find(&options.program_folders);
    if pgbench.is_none() {
        let text = "pgbench is not installed: figures stand alone, without a yardstick";
        report(&Line::Note(text.to_owned()));
    }
    let scratch = Scratch::create(clipbase, database_url).await?;
    let outcome = measure(&scratch, pgbench.as_ref(), options, &mut report).await;
    scratch.drop_all().await?;
    outcome
}

async fn measure(
    scratch: &Scratch<'_>,
    pgbench: Option<&Pgbench>,
    options: &BenchOptions,
    report: &mut impl FnMut(&Line),
) -> Result<BenchReport, BenchError> {
    let mut rounds: Vec<Rounds> = CASES.iter().map(|_| Rounds::default()).collect();
    for round in 0..options.rounds.max(1) {
        for (case, rounds) in CASES.iter().zip(&mut rounds) {
            // Who goes first changes, so that neither always inherits the other's cache.
            if round % 2 == 0 {
                rounds.ours.push(ours(scratch, case, options.jobs).await?);
            }
            if let Some(pgbench) = pgbench {
                let sample = theirs(scratch, pgbench, case, options.jobs).await?;
                rounds.pgbench.push(sample);
            }
            if round % 2 != 0 {
                rounds.ours.push(ours(scratch, case, options.jobs).await?);
            }
            let done = round + 1;
            report(&Line::Round {
                case: *case,
                round: done,
                sample: rounds.ours.last().copied(),
            });
        }
    }
    let server_version = scratch.server_version().await?;
    let measures = CASES
        .iter()
        .zip(&rounds)
        .map(|(case, rounds)| rounds.summary(*case))
        .collect();
    Ok(BenchReport {
        server_version,
        jobs: options.jobs,
        rounds: options.rounds.max(1),
        measures,
    })
}

/// One measurement of the library.
async fn ours(scratch: &Scratch<'_>, case: &Case, jobs: u32) -> Result<Sample, BenchError> {
    let (name, clipbase) = scratch.fresh().await?;
    let work = workload::prepare(&clipbase, case, jobs).await?;
    scratch.settle(&clipbase).await?;
    workload::warm_up(&clipbase, case).await?;
    let meter = Meter::start(&clipbase).await?;
    let handled = workload::run(&clipbase, case, work, jobs).await?;
    let sample = meter.stop(&clipbase, handled).await?;
    drop(clipbase);
    scratch.drop_one(&name).await?;
    Ok(sample)
}

/// The same SQL, the same number of connections, by `pgbench`.
async fn theirs(
    scratch: &Scratch<'_>,
    pgbench: &Pgbench,
    case: &Case,
    jobs: u32,
) -> Result<Sample, BenchError> {
    let (name, clipbase) = scratch.fresh().await?;
    workload::prepare(&clipbase, case, jobs).await?;
    pgbench::prepare(&clipbase, case).await?;
    scratch.settle(&clipbase).await?;
    let before = pgbench::handled(&clipbase, case).await?;
    let meter = Meter::start(&clipbase).await?;
    let seconds = pgbench.run(&scratch.url(&name), case, jobs).await?;
    let handled = pgbench::handled(&clipbase, case).await? - before;
    let sample = meter.stop_after(&clipbase, handled, seconds).await?;
    drop(clipbase);
    scratch.drop_one(&name).await?;
    Ok(sample)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use clipbase::storage::MemoryStorage;
    use clipbase::{DatabaseConfig, Settings};
    use clipbase_testkit::TestDatabase;

    #[tokio::test(flavor = "multi_thread")]
    async fn every_case_is_measured_and_nothing_is_left_behind() {
        let database = TestDatabase::new().await;
        let config = DatabaseConfig::from_url(&database.url()).unwrap();
        let storage = Arc::new(MemoryStorage::new());
        let clipbase = Clipbase::new(&config, storage, Settings::default()).unwrap();
        let options = BenchOptions {
            jobs: 1_000,
            rounds: 1,
            ..BenchOptions::default()
        };
        let mut lines = 0;
        let report = run(&clipbase, &database.url(), &options, |_| lines += 1)
            .await
            .unwrap();
        assert!(lines >= CASES.len());
        assert_eq!(report.measures.len(), CASES.len());
        assert!(
            report
                .measures
                .iter()
                .all(|measure| measure.jobs_per_second > 0.0)
        );
        assert!(report.table().contains("turn"));
        let left = "SELECT count(*) FROM pg_database WHERE datname LIKE 'clipbase_bench%'
                     AND pg_has_role(current_user, datdba, 'member') AND datname LIKE $1";
        let pattern = format!("%{}%", std::process::id());
        let row = database
            .raw()
            .await
            .query_one(left, &[&pattern])
            .await
            .unwrap();
        assert_eq!(row.get::<_, i64>(0), 0);
        assert_eq!(clipbase.jobs().stats().await.unwrap().statuses[0].count, 0);
        database.drop_database().await;
    }
}
