//! Removing objects of a directory: all of a call, with one flush a folder.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;

use super::files;
use super::tree::Tree;
use crate::error::Result;
use crate::storage::atomic::sync_folder;
use crate::storage::{Operation, Removal, RemoveOutcome, StorageKey};

/// Removes objects and tells of each what became of it, in the order of the keys.
pub(super) fn remove(tree: &Tree, keys: Vec<StorageKey>) -> Result<Vec<Removal>> {
    let operation = Operation::Remove;
    let places = keys
        .iter()
        .map(|key| tree.place(operation, key))
        .collect::<Result<Vec<_>>>()?;
    let mut changed: BTreeSet<PathBuf> = BTreeSet::new();
    let mut outcomes: Vec<io::Result<bool>> = places
        .iter()
        .map(|place| files::remove(place, &mut changed))
        .collect();
    // One flush for the whole call: a folder that many keys share is flushed once.
    if let Err(error) = changed.iter().try_for_each(|folder| sync_folder(folder)) {
        for outcome in outcomes.iter_mut().filter(|o| matches!(o, Ok(true))) {
            *outcome = Err(error.kind().into());
        }
    }
    Ok(keys
        .into_iter()
        .zip(outcomes)
        .map(|(key, outcome)| Removal {
            key,
            outcome: match outcome {
                Ok(true) => RemoveOutcome::Removed,
                Ok(false) => RemoveOutcome::Missing,
                Err(error) => RemoveOutcome::Failed(operation.io(&error)),
            },
        })
        .collect())
}
