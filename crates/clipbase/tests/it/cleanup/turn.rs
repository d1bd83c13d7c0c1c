//! Who reconciles, of many that ask.

use std::time::Duration;

use clipbase::cleanup::ReconcileOptions;
use clipbase::storage::Operation;
use clipbase::{Code, Settings};
use clipbase_testkit::run;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

#[tokio::test]
async fn one_of_two_has_the_turn_and_the_next_comes_after_the_pause() {
    run(async |bench| {
        let other = bench.another(Settings::default());
        let options = ReconcileOptions::default();
        let (mine, theirs) = (bench.clipbase.cleanup(), other.cleanup());
        let (first, second) = tokio::join!(
            mine.reconcile_in_turn(&options, DAY),
            theirs.reconcile_in_turn(&options, DAY)
        );
        let (first, second) = (first.unwrap(), second.unwrap());
        assert_eq!(u8::from(first.is_some()) + u8::from(second.is_some()), 1);
        let client = bench.database.raw().await;
        client
            .execute(
                "UPDATE clipbase_installation SET reconcile_due_at = reconcile_due_at - interval '23 hours'",
                &[],
            )
            .await
            .unwrap();
        assert!(mine.reconcile_in_turn(&options, DAY).await.unwrap().is_none());
        client
            .execute(
                "UPDATE clipbase_installation SET reconcile_due_at = reconcile_due_at - interval '1 hour'",
                &[],
            )
            .await
            .unwrap();
        assert!(theirs.reconcile_in_turn(&options, DAY).await.unwrap().is_some());
    })
    .await;
}

#[tokio::test]
async fn a_turn_that_failed_comes_again_within_the_hour() {
    run(async |bench| {
        let cleanup = bench.clipbase.cleanup();
        let options = ReconcileOptions::default();
        bench.storage.fail_next(Operation::List, Code::StorageUnavailable);
        let failed = cleanup.reconcile_in_turn(&options, DAY).await.unwrap_err();
        assert_eq!(failed.code(), Code::StorageUnavailable);
        assert!(cleanup.reconcile_in_turn(&options, DAY).await.unwrap().is_none());
        let client = bench.database.raw().await;
        client
            .execute(
                "UPDATE clipbase_installation SET reconcile_due_at = reconcile_due_at - interval '1 hour'",
                &[],
            )
            .await
            .unwrap();
        assert!(cleanup.reconcile_in_turn(&options, DAY).await.unwrap().is_some());
    })
    .await;
}
