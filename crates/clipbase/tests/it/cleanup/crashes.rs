//! A clean-up that is killed at any point, and run again.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use clipbase::cleanup::CleanupOptions;
use clipbase_testkit::{run, wait_until};

use super::{MARKERS, clean_up, finished, objects, outbox};
use crate::support::{exists, expire, make_deletions_due};

/// Drops the work after it has waited for something so many times. Tells whether it had ended by then.
async fn killed_after<T>(waits: usize, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    let mut waited = 0;
    poll_fn(|context| match work.as_mut().poll(context) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending if waited == waits => Poll::Ready(None),
        Poll::Pending => {
            waited += 1;
            Poll::Pending
        }
    })
    .await
}

#[tokio::test]
async fn a_clean_up_that_is_killed_anywhere_leaks_nothing_and_removes_nothing_that_lives() {
    run(async |bench| {
        let raw = bench.database.raw().await;
        let alive = [finished(bench).await, finished(bench).await];
        let mut ended = 0;
        for waits in 0..40 {
            let mut dead = Vec::new();
            for _ in 0..3 {
                let lease = finished(bench).await;
                expire(&raw, lease.job_id()).await;
                dead.push(lease);
            }
            let clipbase = bench.clipbase.clone();
            let cleanup = clipbase.cleanup();
            let options = CleanupOptions::limited(2 + waits as u64 % 3);
            let run = cleanup.run(&options, |_| ());
            ended += usize::from(killed_after(waits, run).await.is_some());
            // A statement of the killed run may still be on its way: the next ones find what it did.
            wait_until("all is cleaned up", async || {
                make_deletions_due(&raw).await;
                clean_up(bench).await;
                let jobs = bench.clipbase.jobs().stats().await.unwrap();
                let left: i64 = jobs.statuses.iter().map(|state| state.count).sum();
                left == 2 && outbox(bench).await == 0
            })
            .await;
            for key in dead.iter().flat_map(|lease| objects(lease.job_id())) {
                assert!(!exists(bench, &key).await, "{key} leaked");
            }
            for key in alive.iter().flat_map(|lease| objects(lease.job_id())) {
                assert!(exists(bench, &key).await, "{key} was lost");
            }
        }
        assert_eq!(bench.storage.object_count(), 6 + MARKERS);
        assert!((1..40).contains(&ended), "{ended} runs were not killed");
    })
    .await;
}
