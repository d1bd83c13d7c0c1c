//! What a clean-up found and did, for people.

use clipbase::cleanup::{BucketTally, PlanPage, ReconcileReport, Report};

use super::pass::Done;
use crate::output::table;

/// The summary of one run: what happened, without what did not.
pub(super) fn report(done: &Done) -> String {
    let (taken, report) = (&done.reaped, &done.report);
    let counts = [
        ("jobs of lost workers queued again", taken.jobs_requeued),
        ("jobs of lost workers failed", taken.jobs_failed),
        ("expired jobs deleted", report.jobs_deleted),
        ("sources of ended jobs given up", report.sources_removed),
        ("objects removed", report.objects_removed),
        ("objects kept, a job owns them", report.objects_kept),
        (
            "objects put off, still being written",
            report.objects_put_off,
        ),
        ("objects to try again later", report.objects_failed),
        ("idempotency keys forgotten", report.requests_forgotten),
    ];
    let rows: Vec<Vec<String>> = counts
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .map(|(what, count)| vec![what.to_owned(), count.to_string()])
        .collect();
    let mut text = if rows.is_empty() {
        "nothing to clean up\n".to_owned()
    } else {
        table(&["what", "count"], rows)
    };
    if let Some(found) = &report.reconciled {
        text += "\n";
        text += &reconciled(found);
    }
    text
}

/// One pass of many, on one line.
pub(super) fn line(done: &Done) -> String {
    let report = &done.report;
    let mut text = progress(report);
    let taken = done.reaped.jobs_requeued + done.reaped.jobs_failed;
    if taken > 0 {
        text += &format!(", {} taken back", count(taken, "job"));
    }
    if report.objects_failed > 0 {
        let failed = count(report.objects_failed, "object");
        text += &format!(", {failed} to try again later");
    }
    if let Some(found) = &report.reconciled {
        text += &format!("; {}", reconcile_progress(found));
    }
    text
}

/// `1 object`, `2 objects`.
pub(super) fn count(number: u64, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

/// Where a run is, or what a pass did.
pub(super) fn progress(report: &Report) -> String {
    match &report.reconciled {
        Some(found) if report.jobs_deleted == 0 && report.objects_removed == 0 => {
            reconcile_progress(found)
        }
        _ => format!(
            "{} deleted, {} removed",
            count(report.jobs_deleted, "job"),
            count(report.objects_removed, "object")
        ),
    }
}

pub(super) fn reconcile_progress(found: &ReconcileReport) -> String {
    let (sources, results) = (&found.sources, &found.results);
    format!(
        "{} compared, {} that nobody owns, {} missing",
        count(sources.objects + results.objects, "object"),
        sources.unowned + results.unowned,
        sources.missing + results.missing
    )
}

/// A page of a dry run: one line an item.
pub(super) fn plan_page(page: &PlanPage) -> String {
    let mut text = String::new();
    for job in &page.jobs {
        let expired = job
            .expires_at
            .map_or_else(String::new, |time| format!("{time:.0}"));
        text += &format!("job     {}  {}  expired {expired}\n", job.id, job.status);
        for object in &job.objects {
            text += &format!("object  {object}  with its job\n");
        }
    }
    for source in &page.sources {
        text += &format!("object  {}  source of an ended job\n", source.object_key);
    }
    for object in &page.objects {
        let tried = match (&object.last_error_code, object.attempts) {
            (Some(code), tries) => format!("  {tries} tries, {code}"),
            (None, _) => String::new(),
        };
        text += &format!("object  {}  {}{tried}\n", object.object_key, object.reason);
    }
    text
}

/// The end of a dry run.
pub(super) fn plan_end(
    lost: i64,
    (jobs, sources, objects): (u64, u64, u64),
    found: Option<&ReconcileReport>,
) -> String {
    let lost = count(u64::try_from(lost).unwrap_or(0), "job");
    let mut text = format!("{lost} of lost workers would be taken back\n");
    text += &format!(
        "{} would be deleted, {} given up, {} of the outbox removed\n",
        count(jobs, "job"),
        count(sources, "source"),
        count(objects, "object")
    );
    if let Some(found) = found {
        let unowned = count(found.sources.unowned + found.results.unowned, "object");
        text += &format!("{unowned} that nobody owns would be removed\n\n");
        text += &reconciled(found);
    }
    text
}

fn reconciled(found: &ReconcileReport) -> String {
    let row = |name: &str, tally: &BucketTally| {
        let mut cells = vec![name.to_owned()];
        let counts = [
            tally.objects,
            tally.owned,
            tally.pending,
            tally.young,
            tally.unowned,
            tally.enqueued,
            tally.foreign,
            tally.missing,
            tally.unknown,
        ];
        cells.extend(counts.map(|count| count.to_string()));
        cells
    };
    let mut text = table(
        &[
            "bucket", "objects", "owned", "pending", "young", "unowned", "enqueued", "foreign",
            "missing", "unknown",
        ],
        [
            row("sources", &found.sources),
            row("results", &found.results),
        ],
    );
    let mut name = |title: &str, all: u64, items: Vec<String>| {
        let unnamed = all.saturating_sub(items.len() as u64);
        for item in items {
            text += &format!("{title}  {item}\n");
        }
        if unnamed > 0 {
            text += &format!("{title}  … and {unnamed} more\n");
        }
    };
    let both = |of: fn(&BucketTally) -> u64| of(&found.sources) + of(&found.results);
    let unowned = found.unowned_objects.clone();
    name("unowned", both(|tally| tally.unowned), unowned);
    let foreign = found.foreign_objects.clone();
    name("foreign", both(|tally| tally.foreign), foreign);
    let missing = found
        .missing_objects
        .iter()
        .map(|object| format!("{}  of job {}", object.object_key, object.job))
        .collect();
    name("missing", both(|tally| tally.missing), missing);
    text
}
