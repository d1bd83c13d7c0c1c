//! What `doctor` asks of the object storage.

use clipbase::Code;
use clipbase::storage::{Bucket, KeyLayout, LayoutSample, Storage, probe, sample_layout};

use super::{Checks, State};
use crate::context::Context;
use crate::failure::sentence;

/// Tries both buckets, compares them with the settings, and looks at where their objects lie.
pub(super) async fn check(context: &Context, checks: &mut Checks) {
    let storage = context.clipbase.storage().as_ref();
    let mut is_there = true;
    for bucket in Bucket::ALL {
        is_there &= check_bucket(storage, bucket, context.local.is_some(), checks).await;
    }
    // Asked only where nothing would be made by asking.
    if is_there {
        check_drift(storage, checks).await;
        check_layout(storage, context.key_layout, checks).await;
    }
}

async fn check_bucket(
    storage: &dyn Storage,
    bucket: Bucket,
    is_local: bool,
    checks: &mut Checks,
) -> bool {
    let whose = if is_local {
        "a local folder"
    } else {
        "Supabase Storage"
    };
    let name = bucket.name();
    let report = probe(storage, bucket).await;
    match report.failure() {
        None => {
            let finding = format!("{name} in {whose}: stored, read, signed, listed and removed");
            checks.add("storage", State::Good, finding);
            true
        }
        Some((step, error)) => {
            let (code, what, why) = (error.code(), step.as_str(), sentence(error));
            let finding = format!("{name} in {whose} fails at \"{what}\": {why} [{code}]");
            let mend = match code {
                Code::StorageForbidden => "; give a credential that may do this",
                Code::StorageUnavailable => "; check its address, and run `clipbase bootstrap`",
                _ => "; run `clipbase bootstrap`",
            };
            checks.add("storage", State::Bad, finding + mend);
            false
        }
    }
}

async fn check_drift(storage: &dyn Storage, checks: &mut Checks) {
    let reports = match storage.ensure_buckets().await {
        Ok(reports) => reports,
        Err(error) => return checks.add("buckets", State::Bad, sentence(&error)),
    };
    let mut is_good = true;
    for report in reports {
        for drift in report.drift {
            is_good = false;
            let finding = format!("{} {}", report.bucket.name(), drift.as_str());
            let mend = "; `clipbase bootstrap --mend` changes it";
            checks.add("buckets", State::Note, finding + mend);
        }
    }
    if is_good {
        checks.add("buckets", State::Good, "private, and as configured");
    }
}

async fn check_layout(storage: &dyn Storage, configured: KeyLayout, checks: &mut Checks) {
    let mut sample = LayoutSample::default();
    for bucket in Bucket::ALL {
        match sample_layout(storage, bucket).await {
            Ok(seen) => {
                sample.seen += seen.seen;
                sample.bucket += seen.bucket;
                sample.literal += seen.literal;
            }
            Err(error) => return checks.add("key layout", State::Bad, sentence(&error)),
        }
    }
    let (state, finding) = judge(sample, configured);
    checks.add("key layout", state, finding);
}

fn judge(sample: LayoutSample, configured: KeyLayout) -> (State, String) {
    let (ours, others, name, other) = match configured {
        KeyLayout::Bucket => (sample.bucket, sample.literal, "bucket", "literal"),
        KeyLayout::Literal => (sample.literal, sample.bucket, "literal", "bucket"),
    };
    match (ours, others) {
        (0, 0) => (State::Good, format!("{name}; no job has objects yet")),
        (_, 0) => {
            let finding = format!("{name}, as all {ours} objects of jobs that were looked at");
            (State::Good, finding)
        }
        (0, _) => {
            let finding = format!(
                "{name}, but the {others} objects of jobs that were looked at lie in the layout {other}; set \
                 CLIPBASE_KEY_LAYOUT={other} to work with them"
            );
            (State::Bad, finding)
        }
        _ => {
            let finding = format!(
                "{name}; of the objects of jobs that were looked at, {ours} lie so, and {others} in the layout \
                 {other}, where they are not seen"
            );
            (State::Note, finding)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_of_the_other_layout_are_told() {
        let sample = |bucket, literal| LayoutSample {
            seen: 9,
            bucket,
            literal,
        };
        for (bucket, literal, configured, state) in [
            (0, 0, KeyLayout::Bucket, State::Good),
            (9, 0, KeyLayout::Bucket, State::Good),
            (0, 9, KeyLayout::Literal, State::Good),
            (8, 1, KeyLayout::Bucket, State::Note),
            (0, 9, KeyLayout::Bucket, State::Bad),
            (9, 0, KeyLayout::Literal, State::Bad),
        ] {
            let (found, finding) = judge(sample(bucket, literal), configured);
            assert!(found == state, "{finding}");
        }
    }
}
