//! What a measurement costs the server: write-ahead log, and CPU where its processes can be seen.

use std::fs;
use std::time::{Duration, Instant};

use clipbase::Clipbase;

use super::BenchError;
use super::report::Sample;

/// The kernel's clock ticks in a second, on every platform that has a `/proc`.
const TICKS_PER_SECOND: f64 = 100.0;

/// Readings from before the work.
pub(crate) struct Meter {
    started: Instant,
    wal: i64,
    ticks: Option<u64>,
    postmaster: Option<u32>,
}

impl Meter {
    pub(crate) async fn start(clipbase: &Clipbase) -> Result<Self, BenchError> {
        let (wal, backend) = read(clipbase).await?;
        let postmaster = u32::try_from(backend).ok().and_then(parent_of);
        Ok(Self {
            wal,
            ticks: postmaster.and_then(ticks),
            postmaster,
            started: Instant::now(),
        })
    }

    /// The work took until now.
    pub(crate) async fn stop(self, clipbase: &Clipbase, jobs: u64) -> Result<Sample, BenchError> {
        let elapsed = self.started.elapsed();
        self.stop_after(clipbase, jobs, elapsed).await
    }

    /// The work took so long.
    #[allow(clippy::cast_precision_loss, reason = "figures for people")]
    pub(crate) async fn stop_after(
        self,
        clipbase: &Clipbase,
        jobs: u64,
        elapsed: Duration,
    ) -> Result<Sample, BenchError> {
        let ticks_now = self.postmaster.and_then(ticks);
        let (wal, _) = read(clipbase).await?;
        let jobs = jobs.max(1) as f64;
        let used = self
            .ticks
            .zip(ticks_now)
            .map(|(before, now)| now.saturating_sub(before));
        Ok(Sample {
            jobs_per_second: jobs / elapsed.as_secs_f64(),
            wal_bytes_per_job: (wal - self.wal) as f64 / jobs,
            server_cpu_us_per_job: used.map(|ticks| ticks as f64 / TICKS_PER_SECOND * 1e6 / jobs),
        })
    }
}

/// The position in the write-ahead log, and the process that answered.
async fn read(clipbase: &Clipbase) -> Result<(i64, i32), BenchError> {
    let sql = "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::int8, pg_backend_pid()";
    let mut connection = clipbase.database().connection().await?;
    let failed = BenchError::Scratch("measured");
    let Ok(row) = connection.client().query_one(sql, &[]).await else {
        return Err(failed);
    };
    match (row.try_get(0), row.try_get(1)) {
        (Ok(wal), Ok(backend)) => Ok((wal, backend)),
        _ => Err(failed),
    }
}

/// The server's first process, if the backend is one of this machine.
fn parent_of(backend: u32) -> Option<u32> {
    let name = fs::read_to_string(format!("/proc/{backend}/comm")).ok()?;
    let parent = stat(backend)?.get(1)?.parse().ok();
    parent.filter(|_| name.starts_with("postgres"))
}

/// The fields of a process after its name: state, parent, …
fn stat(process: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let (_, fields) = text.rsplit_once(") ")?;
    Some(fields.split_whitespace().map(str::to_owned).collect())
}

/// CPU of all of the server's processes: those that ended count in their parent.
fn ticks(postmaster: u32) -> Option<u64> {
    let number = |fields: &[String], at: usize| fields.get(at)?.parse::<u64>().ok();
    let own = stat(postmaster)?;
    let mut sum = number(&own, 13)? + number(&own, 14)?;
    for entry in fs::read_dir("/proc").ok()?.flatten() {
        let Ok(process) = entry.file_name().to_string_lossy().parse::<u32>() else {
            continue;
        };
        // Processes come and go meanwhile.
        let Some(fields) = stat(process) else {
            continue;
        };
        if fields
            .get(1)
            .is_some_and(|parent| *parent == postmaster.to_string())
        {
            sum += number(&fields, 11)? + number(&fields, 12)?;
        }
    }
    Some(sum)
}
