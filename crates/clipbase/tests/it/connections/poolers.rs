//! PgBouncer in transaction mode, with four server connections for all.

use clipbase::{DatabaseMode, Settings};
use clipbase_testkit::{run, run_in};

use super::{many_lifecycles, misled};

#[tokio::test(flavor = "multi_thread")]
async fn sixteen_tasks_share_four_server_connections() {
    run_in(
        DatabaseMode::Transaction,
        Settings::default(),
        async |bench| {
            many_lifecycles(&bench.clipbase, 500).await;
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handle_that_names_its_statements_stops_doing_so_behind_a_pooler() {
    run(async |bench| {
        let clipbase = misled(bench);
        assert_eq!(clipbase.database().mode(), DatabaseMode::Direct);
        many_lifecycles(&clipbase, 500).await;
    })
    .await;
}
