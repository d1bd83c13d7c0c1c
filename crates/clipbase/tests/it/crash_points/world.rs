//! What a crash happens to: a database behind its proxy, a storage server, a job that was done long before,
//! and an object that a worker left behind long ago. And what has to hold of them in the end.

use std::fmt;
use std::future;
use std::sync::{Arc, Once};
use std::time::Duration;

use clipbase::cleanup::{CleanupOptions, ReconcileOptions};
use clipbase::storage::{Storage, StorageKey, SupabaseConfig, SupabaseStorage};
use clipbase::{Clipbase, DatabaseMode, JobId, Result, WorkerId};
use clipbase_testkit::TestDatabase;
use clipbase_testkit::fake_supabase::{Action, FakeSupabase, Moment as StorageMoment, SeenRequest};
use clipbase_testkit::fault_proxy::{FaultProxy, Moment, Verdict};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use tokio_postgres::Client;

use super::process::{End, Process};
use super::program::{Orders, handle};

pub(super) const BUCKETS: [&str; 2] = ["sources", "results"];

/// Longer than the grace of a reconciliation, shorter than done jobs are kept.
const LATER: Duration = Duration::from_secs(3 * 24 * 60 * 60);

/// From this size on objects are stored in resumable pieces: sources, but no clip and no marker.
const PIECES_FROM: u64 = 40;

/// Where a storage is, for another process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Address {
    url: String,
    key: String,
}

impl Address {
    pub(super) fn of(server: &FakeSupabase) -> Self {
        Self {
            url: server.url(),
            key: server.service_key().to_owned(),
        }
    }

    pub(super) fn open(&self) -> Result<Arc<dyn Storage>> {
        let config = SupabaseConfig::from_storage_url(&self.url, &self.key)?;
        let config = config.with_tus_threshold(PIECES_FROM)?;
        Ok(Arc::new(SupabaseStorage::new(config)?))
    }
}

/// Expiry and drain, then a reconciliation and another drain.
pub(super) async fn clean_up(clipbase: &Clipbase) -> Result<()> {
    let cleanup = clipbase.cleanup();
    cleanup.run(&CleanupOptions::default(), |_| ()).await?;
    let reconcile = ReconcileOptions {
        delete: true,
        ..ReconcileOptions::default()
    };
    let options = CleanupOptions {
        reconcile: Some(reconcile),
        ..CleanupOptions::default()
    };
    cleanup.run(&options, |_| ()).await?;
    Ok(())
}

/// Where messages go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Database,
    Storage,
}

/// A point at which the program is killed.
#[derive(Clone, Debug)]
pub(super) struct Point {
    pub(super) side: Side,
    /// The message's place among all of its side, from 0.
    pub(super) number: usize,
    /// What the message is.
    pub(super) name: String,
    /// Whether the message has taken effect; if not, it never does.
    pub(super) is_done: bool,
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            side,
            number,
            name,
            is_done,
        } = self;
        let effect = if *is_done { "with" } else { "without" };
        write!(
            f,
            "killed at {side:?} step {number} ({name}), {effect} its effect"
        )
    }
}

pub(super) struct World {
    pub(super) database: TestDatabase,
    pub(super) raw: Client,
    proxy: FaultProxy,
    pub(super) storage: Arc<FakeSupabase>,
    /// Done before all this, and kept.
    pub(super) keeper: JobId,
    jobs: [JobId; 2],
    pub(super) furniture: Furniture,
    scratch: TempDir,
}

impl World {
    pub(super) async fn new() -> Self {
        let database = TestDatabase::new().await;
        let storage = Arc::new(FakeSupabase::start().await);
        let keeper = JobId::new();
        let world = Self {
            raw: database.raw().await,
            proxy: FaultProxy::before(&database).await,
            database,
            furniture: Furniture {
                storage: Arc::clone(&storage),
                keeper,
                once: Arc::new(Once::new()),
            },
            storage,
            keeper,
            jobs: [JobId::new(), JobId::new()],
            scratch: tempfile::tempdir().unwrap(),
        };
        let sql = format!(
            "INSERT INTO jobs (id, source_type, source_key, start_sec, end_sec)
             VALUES ('{keeper}', 'upload', 'sources/{keeper}/source.mp4', 0, 5);
             UPDATE jobs SET status = 'processing';
             UPDATE jobs SET status = 'done', result_srt_key = 'results/{keeper}/clip.srt'"
        );
        world.raw.batch_execute(&sql).await.unwrap();
        world
    }

    /// The program's orders for a run that comes after another worker's.
    pub(super) fn orders(&self, mode: DatabaseMode, worker: WorkerId, dead: WorkerId) -> Orders {
        Orders {
            mode: mode.to_string(),
            database: self.proxy.url(),
            storage: Address::of(&self.storage),
            jobs: self.jobs,
            worker,
            dead,
            scratch: self.scratch.path().to_owned(),
        }
    }

    /// The messages so far, by side, each with a name that is the same in every run.
    pub(super) fn messages(&self) -> Vec<(Side, String)> {
        let flights = self.proxy.flights().into_iter();
        let requests = self.storage.requests();
        let requests = requests.iter().map(name_of);
        flights
            .map(|name| (Side::Database, name))
            .chain(requests.map(|name| (Side::Storage, name)))
            .collect()
    }

    /// Lets the process be killed at this point, or nowhere. Once the buckets are there, so is what lay in
    /// them before.
    pub(super) fn arm(&self, process: &Process, point: Option<&Point>) {
        let flight_point = point.filter(|point| point.side == Side::Database).cloned();
        let (victim, furniture) = (process.clone(), self.furniture.clone());
        self.proxy.on_flight(move |flight, moment| {
            if moment == Moment::Arrived && flight.name.ends_with("leases.reap") {
                furniture.put();
            }
            let hit = flight_point.as_ref().is_some_and(|point| {
                flight.number == point.number && (moment == Moment::Answered) == point.is_done
            });
            if hit {
                assert_eq!(
                    flight_point.as_ref().map(|point| &point.name),
                    Some(&flight.name)
                );
                victim.kill();
            }
            future::ready(if hit { Verdict::Cut } else { Verdict::Pass })
        });
        let request_point = point.filter(|point| point.side == Side::Storage).cloned();
        let victim = process.clone();
        self.storage.on_request(move |seen, moment| {
            let hit = request_point.as_ref().is_some_and(|point| {
                // They are numbered from 1.
                seen.number == point.number as u64 + 1
                    && (moment == StorageMoment::Processed) == point.is_done
            });
            if hit {
                let expected = request_point.as_ref().map(|point| point.name.as_str());
                assert_eq!(expected, Some(name_of(seen).as_str()));
                victim.kill();
                Action::Drop
            } else {
                Action::Go
            }
        });
    }

    /// Runs the program from its start. It ends by itself or at the point.
    pub(super) async fn run(&self, orders: &Orders, point: Option<&Point>) -> End {
        let process = Process::new();
        self.arm(&process, point);
        let end = process.run(orders).await;
        self.proxy.pass_all();
        self.storage.clear_hook();
        end
    }

    /// Lets time pass, for rows and objects: everything that waits is due, and every grace is over.
    pub(super) async fn pass_time(&self) {
        self.furniture.put();
        for bucket in BUCKETS {
            for object in self.storage.objects(bucket) {
                self.storage.set_age(bucket, &object.path, LATER);
            }
        }
        let days = LATER.as_secs() / (24 * 60 * 60);
        let sql = format!(
            "DO $$
             DECLARE
                 columns record;
             BEGIN
                 FOR columns IN
                     SELECT table_name, string_agg(format('%1$I = %1$I - interval ''{days} days''', column_name), ', ')
                            AS earlier
                       FROM information_schema.columns
                      WHERE table_schema = 'public' AND data_type = 'timestamp with time zone'
                        AND table_name IN ('jobs', 'job_idempotency', 'storage_deletions')
                      GROUP BY table_name
                 LOOP
                     EXECUTE format('UPDATE %I SET %s', columns.table_name, columns.earlier);
                 END LOOP;
             END $$"
        );
        self.raw.batch_execute(&sql).await.unwrap();
    }

    /// What any process does when it starts, and one clean-up.
    pub(super) async fn clean_up(&self) -> Result<Clipbase> {
        let clipbase = handle(
            DatabaseMode::Direct,
            &self.database.url(),
            &Address::of(&self.storage),
        )?;
        clipbase.bootstrap().await?;
        clipbase.leases().reap(100).await?;
        clean_up(&clipbase).await?;
        Ok(clipbase)
    }

    pub(super) async fn drop_database(self) {
        let Self {
            database,
            proxy,
            raw,
            ..
        } = self;
        drop((proxy, raw));
        database.drop_database().await;
    }
}

/// A name that is the same in every run.
fn name_of(seen: &SeenRequest) -> String {
    let bucket = seen.bucket.as_deref().unwrap_or("buckets");
    format!("{:?} {bucket}", seen.call)
}

/// The objects of a job that one lease finished.
pub(super) fn belongings(job: JobId) -> [String; 3] {
    [
        StorageKey::source(job, "mp4").unwrap(),
        StorageKey::result_video(job, 1),
        StorageKey::result_srt(job, 1),
    ]
    .map(|key| key.to_string())
}

/// A clip that nobody names.
pub(super) fn stray(keeper: JobId) -> String {
    StorageKey::result_video(keeper, 2).to_string()
}

/// What lay in the storage long before: the objects of the job that is kept, and the stray. It is put there
/// once, when there are buckets or when the program has ended without them.
#[derive(Clone)]
pub(super) struct Furniture {
    storage: Arc<FakeSupabase>,
    keeper: JobId,
    once: Arc<Once>,
}

impl Furniture {
    pub(super) fn put(&self) {
        self.once.call_once(|| {
            let keys = belongings(self.keeper).into_iter();
            for key in keys.chain([stray(self.keeper)]) {
                let (bucket, path) = key.split_once('/').unwrap();
                self.storage.put_object(bucket, path, "kept");
                self.storage.set_age(bucket, path, LATER);
            }
        });
    }
}
