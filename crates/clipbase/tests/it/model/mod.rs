//! A model test: random operations by workers (stale ones too), operators and a client that knows only the
//! seed, against a real database and a small reference of the state machine. After each operation its
//! answer and every row are compared.
//!
//! `CLIPBASE_MODEL_SEED` repeats a run, `CLIPBASE_MODEL_OPERATIONS` sets how long it is.

mod operators;
pub(crate) mod random;
mod reference;
mod seed;
mod workers;
mod world;

use std::time::Duration;

use clipbase::{Backoff, DatabaseMode, Retention, Settings};
use clipbase_testkit::run_in;
use world::World;

const OPERATIONS: u64 = 2_000;
const JOBS_MAX: usize = 24;

#[tokio::test]
async fn random_operations_agree_with_the_reference_model() {
    agree(DatabaseMode::Direct, OPERATIONS).await;
}

#[tokio::test]
async fn random_operations_through_a_pooler_agree_with_the_reference_model() {
    agree(DatabaseMode::Transaction, OPERATIONS / 4).await;
}

#[expect(
    clippy::print_stdout,
    reason = "a run that fails says how to repeat it"
)]
async fn agree(mode: DatabaseMode, operations: u64) {
    let seed =
        number_from("CLIPBASE_MODEL_SEED").unwrap_or_else(|| uuid::Uuid::new_v4().as_u64_pair().0);
    let operations = number_from("CLIPBASE_MODEL_OPERATIONS").unwrap_or(operations);
    println!("CLIPBASE_MODEL_SEED={seed} CLIPBASE_MODEL_OPERATIONS={operations}");
    // No waiting between attempts: what is queued may be claimed.
    let backoff = Backoff {
        base: Duration::ZERO,
        cap: Duration::ZERO,
    };
    let retention = Retention {
        sources: Some(Duration::from_secs(24 * 60 * 60)),
        ..Retention::default()
    };
    let settings = Settings {
        backoff,
        retention,
        ..Settings::default()
    };
    run_in(mode, settings, async |bench| {
        let mut world = World::new(bench, seed).await;
        for _ in 0..operations {
            if world.jobs.len() > JOBS_MAX {
                world.operator_deletes().await;
            } else {
                step(&mut world).await;
            }
            world.compare().await;
        }
        world.compare_the_rest().await;
    })
    .await;
}

async fn step(world: &mut World<'_>) {
    match world.random.below(100) {
        0..6 => world.client_creates().await,
        6 => world.client_creates_many().await,
        7..10 => world.client_creates_once().await,
        10 => world.a_key_runs_out().await,
        11..21 => world.worker_claims_a_job().await,
        21..28 => world.worker_claims().await,
        28..33 => world.worker_turns().await,
        33..36 => world.worker_finishes().await,
        36..38 => world.worker_finishes_many().await,
        38..46 => world.worker_beats().await,
        46..50 => world.worker_logs().await,
        50..58 => world.worker_fails().await,
        58..62 => world.worker_releases().await,
        62..66 => world.worker_transitions().await,
        66..68 => world.worker_takes_a_job().await,
        68..71 => world.operator_cancels().await,
        71..75 => world.operator_retries().await,
        75..78 => world.operator_updates().await,
        78..80 => world.operator_transitions().await,
        80 => world.a_source_expires().await,
        81 => world.operator_deletes().await,
        82 => world.client_adds_an_event().await,
        83..86 => world.leases_run_out().await,
        86..89 => world.anybody_reaps().await,
        89 => world.somebody_reaps_a_worker().await,
        90 => world.seed_inserts().await,
        91..96 => world.seed_transitions().await,
        96 => world.seed_adds_an_event().await,
        97..99 => world.seed_beats().await,
        _ => world.seed_deletes().await,
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "which run to repeat is the environment's to say"
)]
fn number_from(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().expect("a number"))
}
