//! Random worlds of jobs and objects: after everything was cleaned up, exactly the right objects are left.
//!
//! `CLIPBASE_WORLD_SEED` repeats a run.

use std::collections::BTreeSet;
use std::time::Duration;

use clipbase::cleanup::{CleanupOptions, UPLOAD_TTL};
use clipbase::leases::{Failure, Finish, Lease};
use clipbase::storage::{Bucket, StorageKey, UPLOAD_LINK_TTL};
use clipbase::{JobId, WorkerId};
use clipbase_testkit::builders::{claim, new_job};
use clipbase_testkit::{Bench, run};
use tokio_postgres::Client;

use super::reconcile::deleting;
use crate::model::random::Random;
use crate::support::{expire, make_due, run_out};

const WORLDS: u32 = 3;
const JOBS: u32 = 60;

struct World<'a> {
    bench: &'a Bench,
    raw: Client,
    random: Random,
    /// Objects that must be left at the end.
    kept: BTreeSet<String>,
    /// Objects that must not.
    gone: BTreeSet<String>,
}

impl World<'_> {
    /// Stores an object, young or old, and says whether it must be left.
    fn put(&mut self, key: &StorageKey, is_old: bool, is_kept: bool) {
        let (bucket, path) = (key.bucket(), key.path());
        let storage = &self.bench.storage;
        storage
            .put_foreign(bucket, path.clone(), "content")
            .unwrap();
        if is_old {
            let hours = 26 + u64::from(self.random.below(1_000));
            let age = Duration::from_secs(hours * 60 * 60);
            storage.set_age(bucket, &path, age).unwrap();
        }
        let list = if is_kept {
            &mut self.kept
        } else {
            &mut self.gone
        };
        list.insert(key.to_string());
    }

    /// An object that no row owns: a young one is left.
    fn put_unowned(&mut self, key: &StorageKey) {
        let is_old = self.random.percent(60);
        self.put(key, is_old, !is_old);
    }

    fn put_owned(&mut self, key: &StorageKey) {
        let is_old = self.random.percent(60);
        self.put(key, is_old, true);
    }

    /// What was never a job's, or is not any more.
    async fn strays(&mut self) {
        let lease = 1 + i32::try_from(self.random.below(4)).unwrap();
        let job = JobId::new();
        let cleanup = self.bench.clipbase.cleanup();
        match self.random.below(6) {
            0 => self.put_unowned(&StorageKey::source(job, "mov").unwrap()),
            1 => self.put_unowned(&StorageKey::result_video(job, lease)),
            2 => self.put_unowned(&StorageKey::result_srt(job, lease)),
            3 => self.put_unowned(&StorageKey::probe(Bucket::Results)),
            4 => {
                // Announced, and waiting; old or not.
                let key = StorageKey::source(job, "mp4").unwrap();
                cleanup.announce_upload(&key, UPLOAD_TTL).await.unwrap();
                self.put_owned(&key);
            }
            _ => {
                let path = format!("theirs/{job}.mp4");
                let storage = &self.bench.storage;
                storage
                    .put_foreign(Bucket::Sources, path.clone(), "x")
                    .unwrap();
                let age = Duration::from_secs(30 * 60 * 60);
                storage.set_age(Bucket::Sources, &path, age).unwrap();
                self.kept.insert(format!("sources/{path}"));
            }
        }
    }

    /// A job that is taken along by some workers, and then kept or ended.
    async fn job(&mut self) {
        let clipbase = &self.bench.clipbase;
        let job = new_job();
        let source = StorageKey::source(job.id, "mp4").unwrap();
        let is_linked = self.random.percent(20);
        if is_linked {
            let cleanup = clipbase.cleanup();
            let announced = cleanup.announce_upload_link(&source, UPLOAD_LINK_TTL).await;
            announced.unwrap();
        }
        clipbase.jobs().create(&job).await.unwrap();
        let mut lease = None;
        let mut stale: Vec<Lease> = Vec::new();
        for _ in 0..self.random.below(3) {
            if let Some(lost) = lease.take() {
                run_out(&self.raw, job.id).await;
                assert_eq!(clipbase.leases().reap(10).await.unwrap().len(), 1);
                make_due(&self.raw, job.id).await;
                stale.push(lost);
            }
            lease = Some(claim(clipbase, job.id, WorkerId::new()).await);
        }
        let end = self.random.below(if lease.is_some() { 4 } else { 2 });
        let live = lease.as_ref();
        match (end, live) {
            (1, None) => drop(clipbase.jobs().cancel(job.id).await.unwrap()),
            (1, Some(lease)) => {
                let failure = Failure::new("BAD_INPUT", "no video in it").unwrap();
                clipbase.leases().fail(lease, &failure).await.unwrap();
            }
            (2 | 3, Some(lease)) => {
                clipbase.leases().finish(Finish::new(lease)).await.unwrap();
            }
            _ => {}
        }
        let is_running = end == 0 && lease.is_some();
        let is_done = end >= 2;
        match self.random.below(4) {
            0 if !is_running => {
                expire(&self.raw, job.id).await;
                self.all_go(&source, is_linked, live, &stale);
            }
            1 if end > 0 => {
                let sql =
                    "UPDATE jobs SET source_expires_at = now() - interval '1 s' WHERE id = $1";
                self.raw.execute(sql, &[&job.id.as_uuid()]).await.unwrap();
                self.put(&source, true, is_linked);
                self.results(live, is_running, is_done, &stale);
            }
            _ => {
                self.put_owned(&source);
                self.results(live, is_running, is_done, &stale);
            }
        }
    }

    /// A deleted job takes along what it may own, of any age; its source waits for a link.
    fn all_go(
        &mut self,
        source: &StorageKey,
        is_linked: bool,
        live: Option<&Lease>,
        stale: &[Lease],
    ) {
        self.put(source, self.random_age(), is_linked);
        for lease in stale.iter().chain(live) {
            let is_old = self.random_age();
            self.put(&lease.video_key(), is_old, false);
        }
    }

    fn random_age(&self) -> bool {
        self.kept.len().is_multiple_of(2)
    }

    fn results(&mut self, live: Option<&Lease>, is_running: bool, is_done: bool, stale: &[Lease]) {
        for lease in stale {
            self.put_unowned(&lease.video_key());
        }
        let Some(lease) = live else { return };
        if is_running || is_done {
            self.put_owned(&lease.video_key());
        } else {
            self.put_unowned(&lease.video_key());
        }
        // Subtitles that no row names, though the clip beside them is.
        if is_running {
            self.put_owned(&lease.srt_key());
        } else {
            self.put_unowned(&lease.srt_key());
        }
        // What the next claim may write.
        let next = StorageKey::result_video(lease.job_id(), lease.number() + 1);
        if is_done {
            self.put_unowned(&next);
        } else {
            self.put_owned(&next);
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "which run to repeat is the environment's to say"
)]
fn seed() -> u64 {
    std::env::var("CLIPBASE_WORLD_SEED").map_or_else(
        |_| uuid::Uuid::new_v4().as_u64_pair().0,
        |text| text.parse().expect("a number"),
    )
}

#[tokio::test]
async fn exactly_what_has_an_owner_survives() {
    let seed = seed();
    for world in 0..WORLDS {
        run(async |bench| {
            let mut world = World {
                bench,
                raw: bench.database.raw().await,
                random: Random::new(seed.wrapping_add(u64::from(world))),
                kept: bench.storage.object_keys().into_iter().collect(),
                gone: BTreeSet::new(),
            };
            for _ in 0..JOBS {
                world.job().await;
                world.strays().await;
            }
            let options = CleanupOptions {
                reconcile: Some(deleting()),
                ..CleanupOptions::default()
            };
            // Twice: nothing that the first run does makes the second take more.
            for _ in 0..2 {
                let cleanup = bench.clipbase.cleanup();
                cleanup.run(&options, |_| ()).await.unwrap();
                let left: BTreeSet<String> = bench.storage.object_keys().into_iter().collect();
                let lost: Vec<_> = world.kept.difference(&left).collect();
                let leaked: Vec<_> = left.difference(&world.kept).collect();
                assert!(
                    lost.is_empty() && leaked.is_empty(),
                    "CLIPBASE_WORLD_SEED={seed}: lost {lost:#?}\nleaked {leaked:#?}"
                );
            }
            assert!(world.gone.len() > 20 && world.kept.len() > 20);
        })
        .await;
    }
}
