//! Wake-ups: sent after the commit, few of them, heard by whoever listens, and lost without harm.

use std::time::Duration;

use clipbase::leases::Surrendered;
use clipbase::wakeups::Wakeups;
use clipbase::{Clipbase, DatabaseMode, Settings};
use clipbase_testkit::builders::{claimed, new_job, new_jobs};
use clipbase_testkit::{Bench, run, run_in, wait_until};

/// One that listens already.
async fn listening(clipbase: &Clipbase) -> Wakeups {
    let wakeups = clipbase.wakeups().unwrap();
    wakeups.woken().await;
    wakeups
}

/// Counts what is heard while the work is done, on a connection of the test's own.
async fn heard(bench: &Bench, work: impl AsyncFnOnce()) -> usize {
    let (client, mut connection) =
        tokio_postgres::connect(&bench.database.url(), tokio_postgres::NoTls)
            .await
            .unwrap();
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(Ok(message)) =
            std::future::poll_fn(|context| connection.poll_message(context)).await
        {
            if let tokio_postgres::AsyncMessage::Notification(note) = message {
                tell.send(note.payload().to_owned()).unwrap();
            }
        }
    });
    client.batch_execute("LISTEN clipbase_jobs").await.unwrap();
    work().await;
    // The last wake-up comes before this one, which is sent after it.
    let mut count = 0;
    client
        .execute("SELECT pg_notify('clipbase_jobs', 'end')", &[])
        .await
        .unwrap();
    while told.recv().await.unwrap() != "end" {
        count += 1;
    }
    count
}

#[tokio::test]
async fn whatever_makes_a_job_claimable_wakes() {
    run(async |bench| {
        let clipbase = &bench.clipbase;
        let wakeups = listening(clipbase).await;
        let jobs = clipbase.jobs();
        let id = jobs.create(&new_job()).await.unwrap().id;
        wakeups.woken().await;
        jobs.create_many(&new_jobs(3)).await.unwrap();
        wakeups.woken().await;
        jobs.cancel(id).await.unwrap();
        jobs.retry(id).await.unwrap();
        wakeups.woken().await;
        let lease = claimed(clipbase).await;
        wakeups.woken().await;
        let released = clipbase.leases().release(&lease).await.unwrap();
        assert_eq!(released, Surrendered::Queued);
        wakeups.woken().await;
        clipbase.wake_workers();
        wakeups.woken().await;
    })
    .await;
}

#[tokio::test]
async fn the_cancel_of_a_job_at_work_is_told_as_such() {
    run(async |bench| {
        let clipbase = &bench.clipbase;
        let wakeups = listening(clipbase).await;
        wakeups.canceled().await;
        let lease = claimed(clipbase).await;
        wakeups.woken().await;
        let canceled = wakeups.canceled();
        tokio::pin!(canceled);
        tokio::select! {
            biased;
            () = &mut canceled => panic!("a new job is no cancel"),
            () = std::future::ready(()) => {}
        }
        clipbase.jobs().cancel(lease.job_id()).await.unwrap();
        canceled.await;
    })
    .await;
}

#[tokio::test]
async fn a_burst_is_told_in_a_few() {
    run(async |bench| {
        let began = std::time::Instant::now();
        let mut most = 0;
        let count = heard(bench, async || {
            for _ in 0..100 {
                bench.clipbase.jobs().create(&new_job()).await.unwrap();
            }
            let spans = began.elapsed().as_millis() / 50;
            most = usize::try_from(spans).unwrap() + 2;
        })
        .await;
        assert!((1..=most).contains(&count), "{count} of at most {most}");
    })
    .await;
}

#[tokio::test]
async fn a_handle_that_is_told_to_be_quiet_is() {
    run(async |bench| {
        let quiet = bench.config().with_wakeups(false);
        let storage = bench.clipbase.storage().clone();
        let quiet = Clipbase::new(&quiet, storage, Settings::default()).unwrap();
        let count = heard(bench, async || {
            quiet.jobs().create_many(&new_jobs(3)).await.unwrap();
            quiet.wake_workers();
        })
        .await;
        assert_eq!(count, 0);
    })
    .await;
}

#[tokio::test]
async fn a_cut_connection_is_made_again_and_wakes() {
    run(async |bench| {
        let wakeups = listening(&bench.clipbase).await;
        let raw = bench.database.raw().await;
        let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                    WHERE datname = current_database() AND query LIKE '%LISTEN%'
                      AND pid <> pg_backend_pid()";
        assert_eq!(raw.execute(sql, &[]).await.unwrap(), 1);
        wakeups.woken().await;
        bench.clipbase.jobs().create(&new_job()).await.unwrap();
        wakeups.woken().await;
        drop(wakeups);
        wait_until("nobody listens any more", async || {
            let sql = "SELECT count(*) FROM pg_stat_activity
                        WHERE datname = current_database() AND query LIKE '%LISTEN%'
                          AND pid <> pg_backend_pid()";
            raw.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) == 0
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn behind_a_transaction_pooler_nobody_listens_but_others_are_told() {
    run_in(
        DatabaseMode::Transaction,
        Settings::default(),
        async |bench| {
            assert!(bench.clipbase.wakeups().is_none());
            let config = clipbase::DatabaseConfig::from_url(&bench.database.url()).unwrap();
            let storage = bench.clipbase.storage().clone();
            let direct = Clipbase::new(&config, storage, Settings::default()).unwrap();
            let wakeups = listening(&direct).await;
            bench.clipbase.jobs().create(&new_job()).await.unwrap();
            let heard = tokio::time::timeout(Duration::from_secs(60), wakeups.woken()).await;
            assert!(heard.is_ok());
        },
    )
    .await;
}
