//! A storage that is away while jobs expire, and an upload that is on its way for too long: what real HTTP
//! adds to the same tests in memory.

use std::sync::{Arc, Mutex, mpsc};

use clipbase::cleanup::CleanupOptions;
use clipbase::leases::{Finish, Lease};
use clipbase::storage::{
    RetryPolicy, Storage, StorageKey, SupabaseConfig, SupabaseStorage, byte_stream,
};
use clipbase::{Clipbase, Code, DatabaseConfig, Settings, WorkerId};
use clipbase_testkit::builders::{claim, claimed};
use clipbase_testkit::fake_supabase::{Call, Fault, Moment, Rule};
use tokio::sync::oneshot;

use super::world::World;
use crate::support::{expire, job, make_due, run_out};

/// A handle that tries each call of the storage once.
fn handle(world: &World) -> Clipbase {
    let storage =
        SupabaseConfig::from_storage_url(&world.storage.url(), world.storage.service_key());
    let retry = RetryPolicy {
        tries: 1,
        ..RetryPolicy::default()
    };
    let storage = SupabaseStorage::new(storage.unwrap().with_retry(retry).unwrap()).unwrap();
    let database = DatabaseConfig::from_url(&world.database.url()).unwrap();
    Clipbase::new(&database, Arc::new(storage), Settings::default()).unwrap()
}

async fn store(clipbase: &Clipbase, key: &StorageKey, content: &'static str) {
    let storage: &Arc<dyn Storage> = clipbase.storage();
    let length = content.len() as u64;
    storage
        .upload_stream(byte_stream(content), length, key)
        .await
        .unwrap();
}

/// A finished job with its source and its clip.
async fn finished(clipbase: &Clipbase) -> Lease {
    let lease = claimed(clipbase).await;
    let source = StorageKey::source(lease.job_id(), "mp4").unwrap();
    store(clipbase, &source, "a video").await;
    store(clipbase, &lease.video_key(), "a clip").await;
    clipbase.leases().finish(Finish::new(&lease)).await.unwrap();
    lease
}

async fn all_is_well(world: World, clipbase: Clipbase) {
    world.pass_time().await;
    world.clean_up().await.unwrap();
    assert_eq!(world.broken_promises(&clipbase).await, Vec::<String>::new());
    drop(clipbase);
    world.drop_database().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_expire_while_the_storage_is_down_and_their_objects_go_when_it_is_back() {
    let world = World::new().await;
    let clipbase = handle(&world);
    clipbase.bootstrap().await.unwrap();
    for _ in 0..2 {
        let lease = finished(&clipbase).await;
        expire(&world.raw, lease.job_id()).await;
    }
    world.storage.go_down().await;
    let options = CleanupOptions::default();
    let report = clipbase.cleanup().run(&options, |_| ()).await.unwrap();
    assert_eq!((report.jobs_deleted, report.objects_removed), (2, 0));
    assert!(report.objects_failed > 0, "{report:?}");
    assert_eq!(world.left().await, []);
    assert_eq!(
        world.storage.object_count("results"),
        3,
        "clips and a marker"
    );

    // A process that starts meanwhile cannot know whose the buckets are, and deletes nothing.
    let newcomer = handle(&world);
    let refused = newcomer.cleanup().run(&options, |_| ()).await.unwrap_err();
    assert_eq!(refused.code(), Code::StorageUnavailable);

    world.storage.come_back().await;
    all_is_well(world, clipbase).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn removals_that_fail_or_whose_answers_are_lost_are_done_again() {
    for fault in [
        Fault::Reset,
        Fault::LoseAnswer,
        Fault::ShortBody { bytes: 1 },
        Fault::MalformedJson { status: 200 },
        Fault::Html { status: 502 },
        Fault::http(500, "InternalError"),
        Fault::slow_down(1),
    ] {
        let world = World::new().await;
        let clipbase = handle(&world);
        clipbase.bootstrap().await.unwrap();
        let lease = finished(&clipbase).await;
        expire(&world.raw, lease.job_id()).await;
        world
            .storage
            .fail(Rule::always(Call::DeleteMany, fault.clone()));
        let options = CleanupOptions::default();
        let report = clipbase.cleanup().run(&options, |_| ()).await.unwrap();
        assert_eq!(
            (report.jobs_deleted, report.objects_removed),
            (1, 0),
            "{fault:?}"
        );
        world.storage.clear_faults();
        all_is_well(world, clipbase).await;
    }
}

/// The upload has begun, its lease is lost, the next worker finishes, and then the upload takes effect.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_stale_worker_uploads_late_is_never_read_and_is_collected() {
    let world = World::new().await;
    let clipbase = handle(&world);
    clipbase.bootstrap().await.unwrap();
    let stale = claimed(&clipbase).await;
    let id = stale.job_id();
    store(
        &clipbase,
        &StorageKey::source(id, "mp4").unwrap(),
        "a video",
    )
    .await;

    let (arrived, has_arrived) = oneshot::channel();
    let (go_on, waiting) = mpsc::channel::<()>();
    let (arrived, waiting) = (Mutex::new(Some(arrived)), Mutex::new(waiting));
    let late_path = stale.video_key().path();
    world.storage.on_request(move |seen, moment| {
        let is_late = seen.call == Call::Upload && seen.path.as_deref() == Some(late_path.as_str());
        if is_late && moment == Moment::Arrived {
            if let Some(arrived) = arrived.lock().unwrap().take() {
                arrived.send(()).unwrap();
            }
            // Ends when the test lets it, or when the test has failed.
            let _ended = waiting.lock().unwrap().recv();
        }
    });
    let (worker, key) = (clipbase.clone(), stale.video_key());
    let upload = tokio::spawn(async move { store(&worker, &key, "stale bytes").await });
    has_arrived.await.unwrap();

    run_out(&world.raw, id).await;
    assert_eq!(clipbase.leases().reap(10).await.unwrap().len(), 1);
    make_due(&world.raw, id).await;
    let fresh = claim(&clipbase, id, WorkerId::new()).await;
    store(&clipbase, &fresh.video_key(), "fresh bytes").await;
    clipbase.leases().finish(Finish::new(&fresh)).await.unwrap();
    go_on.send(()).unwrap();
    upload.await.unwrap();
    let late = clipbase.leases().finish(Finish::new(&stale)).await;
    assert_eq!(late.unwrap_err().code(), Code::LeaseLost);

    let stale_key = stale.video_key();
    assert!(clipbase.storage().info(&stale_key).await.unwrap().is_some());
    let named: StorageKey = job(&clipbase, id)
        .await
        .result_video_key
        .unwrap()
        .parse()
        .unwrap();
    assert_eq!(named, fresh.video_key());
    world.pass_time().await;
    world.clean_up().await.unwrap();
    assert_eq!(
        clipbase.storage().read_small(&named).await.unwrap(),
        "fresh bytes"
    );
    assert!(clipbase.storage().info(&stale_key).await.unwrap().is_none());
    all_is_well(world, clipbase).await;
}
