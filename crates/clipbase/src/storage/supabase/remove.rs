//! Removal in bulk. The server lists what it removed and skips the rest without a word, so a key that is not
//! listed was missing only if the credential can remove at all: with one that cannot, everything is skipped.

use std::collections::BTreeSet;
use std::sync::PoisonError;
use std::time::Duration;

use reqwest::Method;
use serde::Deserialize;
use serde_json::json;
use tokio::time::Instant;

use super::Inner;
use super::failure::{Failure, Meaning};
use super::http::Call;
use crate::error::Result;
use crate::storage::objects::check_key_count;
use crate::storage::{Bucket, Operation, Removal, RemoveOutcome, StorageKey};

/// How long it counts that the credential has removed something in a bucket.
const PROOF_LASTS: Duration = Duration::from_secs(600);

const OPERATION: Operation = Operation::Remove;

/// When the credential last removed something, by bucket.
#[derive(Default)]
pub(super) struct Proofs {
    sources: Option<Instant>,
    results: Option<Instant>,
}

impl Proofs {
    fn of(&mut self, bucket: Bucket) -> &mut Option<Instant> {
        match bucket {
            Bucket::Sources => &mut self.sources,
            Bucket::Results => &mut self.results,
        }
    }
}

/// What became of one bucket's keys.
enum Fate {
    /// These paths were removed, the others were not there.
    Known(BTreeSet<String>),
    /// The server skipped them all, and nothing shows that it could have done otherwise.
    Unproven,
    /// The call failed.
    Failed(Failure),
}

#[derive(Deserialize)]
struct Removed {
    name: String,
}

impl Inner {
    pub(super) async fn remove_all(&self, keys: &[StorageKey]) -> Result<Vec<Removal>> {
        check_key_count(keys)?;
        let layout = self.config.key_layout;
        let mut fates = Vec::new();
        for bucket in Bucket::ALL {
            let paths: BTreeSet<String> = keys
                .iter()
                .filter(|key| key.bucket() == bucket)
                .map(|key| layout.path(key))
                .collect();
            if !paths.is_empty() {
                let fate = self.remove_in(bucket, &paths).await;
                fates.push((bucket, fate.unwrap_or_else(Fate::Failed)));
            }
        }
        // A call that reached no bucket has no outcomes to tell.
        let all_failed = fates
            .iter()
            .all(|(_, fate)| matches!(fate, Fate::Failed(_)));
        if let (true, Some((_, Fate::Failed(failure)))) = (all_failed, fates.first()) {
            return Err(failure.of(OPERATION));
        }
        let removals = keys.iter().map(|key| {
            let fate = fates.iter().find(|(bucket, _)| *bucket == key.bucket());
            Removal {
                key: key.clone(),
                outcome: outcome(fate.map(|(_, fate)| fate), &layout.path(key)),
            }
        });
        Ok(removals.collect())
    }

    async fn remove_in(&self, bucket: Bucket, paths: &BTreeSet<String>) -> Result<Fate, Failure> {
        let removed = self.remove_paths(bucket, paths).await?;
        // Not listed: missing, if the credential has shown that it can remove.
        if removed.len() == paths.len() || self.can_remove(bucket) || self.probe(bucket).await? {
            Ok(Fate::Known(removed))
        } else {
            Ok(Fate::Unproven)
        }
    }

    /// Removes paths and returns those that were there.
    async fn remove_paths(
        &self,
        bucket: Bucket,
        paths: &BTreeSet<String>,
    ) -> Result<BTreeSet<String>, Failure> {
        let url = self.config.storage.objects("", bucket);
        let call = Call::new(Method::DELETE, url).with_body(json!({ "prefixes": paths }));
        let removed: Vec<Removed> = self.http.call(OPERATION, &call).await?;
        let removed: BTreeSet<String> = removed
            .into_iter()
            .map(|row| row.name)
            .filter(|name| paths.contains(name))
            .collect();
        if !removed.is_empty() {
            let mut proofs = self.proofs.lock().unwrap_or_else(PoisonError::into_inner);
            *proofs.of(bucket) = Some(Instant::now());
        }
        Ok(removed)
    }

    fn can_remove(&self, bucket: Bucket) -> bool {
        let mut proofs = self.proofs.lock().unwrap_or_else(PoisonError::into_inner);
        proofs
            .of(bucket)
            .is_some_and(|at| at.elapsed() < PROOF_LASTS)
    }

    /// Stores an object and removes it again, to see whether the credential can.
    async fn probe(&self, bucket: Bucket) -> Result<bool, Failure> {
        let key = StorageKey::probe(bucket);
        match self.put_small(OPERATION, "probe", &key).await {
            Ok(()) => {}
            // It may not even store: no proof, and no other failure either.
            Err(failure) if matches!(failure.meaning(), Meaning::Forbidden | Meaning::Refused) => {
                return Ok(false);
            }
            Err(failure) => return Err(failure),
        }
        let paths = BTreeSet::from([self.config.key_layout.path(&key)]);
        let removed = self.remove_paths(bucket, &paths).await?;
        Ok(removed == paths)
    }
}

fn outcome(fate: Option<&Fate>, path: &str) -> RemoveOutcome {
    match fate {
        Some(Fate::Known(removed)) if removed.contains(path) => RemoveOutcome::Removed,
        Some(Fate::Known(_)) => RemoveOutcome::Missing,
        Some(Fate::Failed(failure)) => RemoveOutcome::Failed(failure.of(OPERATION)),
        Some(Fate::Unproven) | None => RemoveOutcome::Failed(
            Failure::malformed("nothing shows that the credential can remove").of(OPERATION),
        ),
    }
}
