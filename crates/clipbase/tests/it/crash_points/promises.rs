//! What has to hold of a world: at any time, and in the end.

use std::collections::BTreeSet;

use clipbase::storage::StorageKey;
use clipbase::{Clipbase, JobId};

use super::world::{BUCKETS, World, belongings, stray};

const MARKER: &str = ".clipbase-installation";

impl World {
    /// What may not be at any time, not even for a moment: objects that rows name and that are not there, and
    /// objects that are neither a job's nor on their way out.
    pub(super) async fn broken_at_once(&self) -> Vec<String> {
        self.furniture.put();
        let (stored, mut known) = (self.stored(), self.named().await);
        let gone = known.difference(&stored);
        let mut broken: Vec<String> = gone
            .map(|key| format!("{key} is named and not there"))
            .collect();
        known.extend(self.outbox().await);
        known.extend(self.of_leases().await);
        known.insert(stray(self.keeper));
        let lost = stored.difference(&known);
        broken.extend(lost.map(|key| format!("{key} is lost to everybody")));
        broken
    }

    /// What does not hold of what is promised.
    pub(super) async fn broken_promises(&self, clipbase: &Clipbase) -> Vec<String> {
        let named = self.named().await;
        let stored = self.stored();
        let mut broken = self.broken_at_once().await;
        broken.extend(
            stored
                .difference(&named)
                .map(|key| format!("{key} has no owner")),
        );
        for key in self.outbox().await {
            broken.push(format!("{key} is still in the outbox"));
        }
        for bucket in BUCKETS {
            if self.storage.object(bucket, MARKER).is_none() {
                broken.push(format!("{bucket} has lost its marker"));
            }
        }
        for key in belongings(self.keeper) {
            let (bucket, path) = key.split_once('/').unwrap();
            let content = self.storage.content(bucket, path);
            if content.as_deref() != Some(b"kept") || !named.contains(&key) {
                broken.push(format!("{key} was of a job that nobody meant"));
            }
        }
        let audit = clipbase.inspect().audit(None, 1_000).await.unwrap();
        broken.extend(audit.problems.iter().map(|problem| format!("{problem:?}")));
        broken
    }

    /// The jobs of the program that are still there, with their states.
    pub(super) async fn left(&self) -> Vec<(JobId, String)> {
        let sql = "SELECT id, status::text FROM jobs WHERE id <> $1 ORDER BY id";
        let rows = self
            .raw
            .query(sql, &[&self.keeper.as_uuid()])
            .await
            .unwrap();
        rows.iter()
            .map(|row| (JobId::from_uuid(row.get(0)), row.get(1)))
            .collect()
    }

    /// The objects that rows name.
    async fn named(&self) -> BTreeSet<String> {
        let sql = "SELECT key FROM jobs,
                   LATERAL (VALUES (source_key), (result_video_key), (result_srt_key)) AS named (key)
                    WHERE key IS NOT NULL";
        let rows = self.raw.query(sql, &[]).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }

    /// The objects that the leases of jobs may have stored; they go with their jobs.
    async fn of_leases(&self) -> Vec<String> {
        let sql = "SELECT id, lease FROM jobs";
        let rows = self.raw.query(sql, &[]).await.unwrap();
        let keys = rows.iter().flat_map(|row| {
            let job = JobId::from_uuid(row.get(0));
            (1..=row.get(1)).flat_map(move |lease| {
                [
                    StorageKey::result_video(job, lease),
                    StorageKey::result_srt(job, lease),
                ]
            })
        });
        keys.map(|key| key.to_string()).collect()
    }

    async fn outbox(&self) -> Vec<String> {
        let sql = "SELECT object_key FROM storage_deletions";
        let rows = self.raw.query(sql, &[]).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }

    /// The objects that there are, save for the markers.
    fn stored(&self) -> BTreeSet<String> {
        let keys = BUCKETS.into_iter().flat_map(|bucket| {
            let objects = self.storage.objects(bucket).into_iter();
            objects.map(move |object| (bucket, object.path))
        });
        keys.filter(|(_, path)| path != MARKER)
            .map(|(bucket, path)| format!("{bucket}/{path}"))
            .collect()
    }
}
