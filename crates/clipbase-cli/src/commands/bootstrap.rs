//! `clipbase bootstrap`: makes the buckets, proves what the credential may do, and ties the database to them.

use clap::Args;
use clipbase::migrate;
use clipbase::storage::{Bucket, BucketReport, ProbeReport, probe};
use serde::Serialize;

use crate::context::{Context, Global};
use crate::environment::Environment;
use crate::failure::{Failure, sentence};
use crate::output::{Output, table};

/// Make the buckets, prove what the credential may do in them, and tie the database to them.
///
/// Each bucket is tried by storing, reading, signing, listing and removing a small object. A random id is
/// written to the database and to each bucket. Claims and deletions refuse where they differ, so that a
/// restored copy of a database does not delete the original's files.
#[derive(Args)]
pub(crate) struct Bootstrap {
    /// Take over the buckets for this database, after a restore; nothing else may work with them any more
    #[arg(long)]
    adopt: bool,

    /// Give buckets that differ from the settings the configured limits, and make them private
    #[arg(long)]
    mend: bool,
}

#[derive(Serialize)]
struct Report {
    adopted: bool,
    buckets: Vec<BucketReport>,
    probe: Vec<Proof>,
}

/// One step of a probe, as it is shown.
#[derive(Serialize)]
struct Proof {
    bucket: Bucket,
    step: &'static str,
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

impl Bootstrap {
    pub(crate) async fn run(
        self,
        global: &Global,
        environment: &Environment,
        output: Output,
    ) -> Result<(), Failure> {
        let context = Context::connect(global, environment).await?;
        if context.server.is_some() {
            migrate::migrate(&context.database).await?;
        } else {
            migrate::check(&context.database).await?;
        }
        let storage = context.clipbase.storage();
        let mut buckets = storage.ensure_buckets().await.map_err(unmade)?;
        if self.mend && buckets.iter().any(|bucket| !bucket.drift.is_empty()) {
            storage.mend_buckets().await.map_err(unmade)?;
            let mended = storage.ensure_buckets().await.map_err(unmade)?;
            for (bucket, now) in buckets.iter_mut().zip(mended) {
                bucket.drift = now.drift;
            }
        }
        let mut report = Report {
            adopted: self.adopt,
            buckets,
            probe: Vec::new(),
        };
        let mut refused = None;
        for bucket in Bucket::ALL {
            let tried = probe(storage.as_ref(), bucket).await;
            refused = refused.or_else(|| failure(&tried));
            report.probe.extend(proofs(&tried));
        }
        if let Some(failure) = refused {
            return Err(output.finding(&report, failure, show));
        }
        if self.adopt {
            context.clipbase.adopt_installation().await?;
        } else {
            context.clipbase.bootstrap().await?;
        }
        output.success(&report, show);
        Ok(())
    }
}

/// The first thing that a credential must be allowed to do; the others are not tried then.
fn unmade(error: clipbase::Error) -> Failure {
    let failure = Failure::from(error);
    // The library names the setting by its own word; whoever set it knows the variable.
    let why = failure
        .message()
        .replace("bucket-max-bytes", "CLIPBASE_BUCKET_MAX_BYTES");
    let message = format!("cannot look up, make or mend the buckets: {why}");
    Failure::new(failure.code().to_owned(), message)
}

fn failure(report: &ProbeReport) -> Option<Failure> {
    let (step, error) = report.failure()?;
    let (code, what, why) = (error.code().as_str(), step.as_str(), sentence(error));
    let bucket = report.bucket.name();
    let message = format!("the storage fails at \"{what}\" in the bucket {bucket}: {why}");
    Some(Failure::new(code, message))
}

fn proofs(report: &ProbeReport) -> impl Iterator<Item = Proof> {
    report.steps.iter().map(|(step, outcome)| {
        let error = outcome.as_ref().err();
        Proof {
            bucket: report.bucket,
            step: step.as_str(),
            ok: outcome.is_ok(),
            code: error.map(|error| error.code().as_str()),
            message: error.map(sentence),
        }
    })
}

fn show(report: &Report) -> String {
    let row = |bucket: &BucketReport| {
        let state = if bucket.is_new { "made" } else { "found" };
        let proofs = report
            .probe
            .iter()
            .filter(|proof| proof.bucket == bucket.bucket);
        let (good, bad): (Vec<&Proof>, Vec<&Proof>) = proofs.partition(|proof| proof.ok);
        let names = |proofs: Vec<&Proof>| {
            let names: Vec<_> = proofs.iter().map(|proof| proof.step).collect();
            names.join(", ")
        };
        let drift: Vec<_> = bucket.drift.iter().map(|drift| drift.as_str()).collect();
        vec![
            bucket.bucket.name().to_owned(),
            state.to_owned(),
            names(good),
            names(bad),
            drift.join("; "),
        ]
    };
    let rows: Vec<Vec<String>> = report.buckets.iter().map(row).collect();
    let mut text = filled(&["bucket", "state", "may", "may not", "differs"], &rows);
    if report.buckets.iter().any(|bucket| !bucket.drift.is_empty()) {
        text += "a bucket differs from the settings; `clipbase bootstrap --mend` changes it\n";
    }
    if report.probe.iter().all(|proof| proof.ok) {
        text += if report.adopted {
            "the buckets belong to this database now\n"
        } else {
            "ready\n"
        };
    }
    text
}

/// A table without the columns in which nothing stands.
fn filled(header: &[&str], rows: &[Vec<String>]) -> String {
    let columns = header.iter().enumerate();
    let wanted: Vec<(usize, &str)> = columns
        .map(|(column, name)| (column, *name))
        .filter(|(column, _)| {
            let mut cells = rows.iter().filter_map(|row| row.get(*column));
            cells.any(|cell| !cell.is_empty())
        })
        .collect();
    let header: Vec<&str> = wanted.iter().map(|(_, name)| *name).collect();
    let rows = rows.iter().map(|row| {
        let cells = wanted.iter().filter_map(|(column, _)| row.get(*column));
        cells.cloned().collect()
    });
    table(&header, rows)
}
