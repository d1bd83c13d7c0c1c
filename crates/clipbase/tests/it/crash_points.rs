//! Killed at every step: whatever a process was at, a restart and one clean-up leave no leak and no lie.
//!
//! A step is a message that reaches the database or the storage. The steps are not chosen: a first run of the
//! program counts them, and then it is killed at each of them twice, before the message has any effect and
//! when it has all of it and the answer is still on its way.

mod outages;
mod process;
mod program;
mod promises;
mod proxy;
mod world;

use std::collections::BTreeSet;

use clipbase::{DatabaseMode, WorkerId};
use futures_util::{StreamExt, stream};

use process::End;
use world::{Point, Side, World};

/// How many worlds are at work at once.
const AT_ONCE: usize = 4;

/// What comes after the crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    /// The program is run again to its end, at once.
    Restart,
    /// It is run again days later, when uploads, leases and idempotency keys have lapsed.
    LateRestart,
    /// Nothing, for days.
    Nothing,
}

impl After {
    /// Prepared statements take a step more each; once is enough for those.
    const fn mode(self) -> DatabaseMode {
        match self {
            Self::Restart => DatabaseMode::Direct,
            Self::LateRestart | Self::Nothing => DatabaseMode::Transaction,
        }
    }
}

/// Every step of a run that nothing disturbs, each with and without its effect.
async fn all_points(mode: DatabaseMode) -> Vec<Point> {
    let world = World::new().await;
    let end = world
        .run(&world.orders(mode, WorkerId::new(), WorkerId::new()), None)
        .await;
    end.expect(&End::Done).unwrap();
    assert_eq!(world.left().await, []);
    let mut points = Vec::new();
    let mut numbers = [0; 2];
    for (side, name) in world.messages() {
        let number = &mut numbers[usize::from(side == Side::Storage)];
        for is_done in [false, true] {
            points.push(Point {
                side,
                number: *number,
                name: name.clone(),
                is_done,
            });
        }
        *number += 1;
    }
    world.drop_database().await;
    points
}

/// Crashes at a point, and tells what does not hold then and days later.
async fn crash(point: &Point, after: After) -> Vec<String> {
    let world = World::new().await;
    let (first, second) = (WorkerId::new(), WorkerId::new());
    let orders = world.orders(after.mode(), first, WorkerId::new());
    if let Err(otherwise) = world.run(&orders, Some(point)).await.expect(&End::Killed) {
        return vec![otherwise];
    }
    let mut broken = world.broken_at_once().await;
    if after == After::LateRestart {
        world.pass_time().await;
    }
    if after != After::Nothing {
        let orders = world.orders(after.mode(), second, first);
        if let Err(otherwise) = world.run(&orders, None).await.expect(&End::Done) {
            return vec![otherwise];
        }
    }
    world.pass_time().await;
    let clipbase = match world.clean_up().await {
        Ok(clipbase) => clipbase,
        Err(error) => return vec![format!("the clean-up failed: {error:?}")],
    };
    broken.extend(world.broken_promises(&clipbase).await);
    let left = world.left().await;
    if after != After::Nothing && !left.is_empty() {
        broken.push(format!("jobs that had expired are still there: {left:?}"));
    }
    if broken.is_empty() {
        drop(clipbase);
        world.drop_database().await;
    }
    broken
}

async fn every_crash_is_mended(after: After) {
    let points = all_points(after.mode()).await;
    let names: BTreeSet<&str> = points.iter().map(|point| point.name.as_str()).collect();
    for name in [
        "jobs.create",
        "leases.finish",
        "cleanup.expire",
        "DeleteMany results",
    ] {
        assert!(names.contains(name), "{name} is no step: {names:?}");
    }
    let failures: Vec<String> = stream::iter(points)
        .map(|point| async move {
            let broken = crash(&point, after).await;
            broken
                .into_iter()
                .map(move |what| format!("{point}: {what}"))
        })
        .buffer_unordered(AT_ONCE)
        .flat_map(stream::iter)
        .collect()
        .await;
    assert!(failures.is_empty(), "{failures:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_any_step_is_mended_by_a_restart_and_one_clean_up() {
    every_crash_is_mended(After::Restart).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_any_step_is_mended_by_a_restart_days_later() {
    every_crash_is_mended(After::LateRestart).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_any_step_that_nobody_follows_up_is_mended_by_one_clean_up() {
    every_crash_is_mended(After::Nothing).await;
}
