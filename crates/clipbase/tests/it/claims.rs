//! Which jobs a claim takes, and in which order.

use std::time::Duration;

use clipbase::leases::{CLAIM_MAX, ClaimOptions, Lease, SHARDS_MAX};
use clipbase::{Clipbase, Code, JobId, JobPatch, Priority, WorkerId};
use clipbase_testkit::Bench;
use clipbase_testkit::builders::{claimed, new_job};
use clipbase_testkit::run;

async fn create(bench: &Bench, priority: Priority, shard: i32) -> JobId {
    let mut job = new_job();
    (job.priority, job.shard) = (priority, shard);
    bench.clipbase.jobs().create(&job).await.unwrap().id
}

async fn claim(clipbase: &Clipbase, options: &ClaimOptions) -> Vec<JobId> {
    let leases = clipbase.leases().claim(options).await.unwrap();
    leases.iter().map(Lease::job_id).collect()
}

fn take(limit: u32) -> ClaimOptions {
    ClaimOptions::new(WorkerId::new(), limit)
}

#[tokio::test]
async fn high_priority_goes_first_and_within_it_the_oldest() {
    run(async |bench| {
        let mut ids = Vec::new();
        for priority in [Priority::Low, Priority::Normal, Priority::High] {
            for _ in 0..3 {
                ids.push((priority, create(bench, priority, 0).await));
            }
        }
        let of = |priority| {
            let ids = ids.iter().filter(move |(rank, _)| *rank == priority);
            ids.map(|(_, id)| *id).collect::<Vec<_>>()
        };
        let expected = [of(Priority::High), of(Priority::Normal), of(Priority::Low)].concat();
        let mut taken = Vec::new();
        for limit in [1, 4, 1, 5] {
            taken.extend(claim(&bench.clipbase, &take(limit)).await);
        }
        assert_eq!(taken, expected);
    })
    .await;
}

/// Due times, not ids, make the order, in what is taken and in how it is handed out.
#[tokio::test]
async fn a_claim_is_in_the_order_in_which_jobs_became_due() {
    run(async |bench| {
        let raw = bench.database.raw().await;
        let mut expected = Vec::new();
        for age in 1..=20 {
            let id = create(bench, Priority::Normal, 0).await;
            let sql =
                format!("UPDATE jobs SET run_at = now() - interval '{age} min' WHERE id = $1");
            raw.execute(&sql, &[&id.as_uuid()]).await.unwrap();
            expected.insert(0, id);
        }
        let mut taken = claim(&bench.clipbase, &take(7)).await;
        taken.extend(claim(&bench.clipbase, &take(20)).await);
        assert_eq!(taken, expected);
    })
    .await;
}

#[tokio::test]
async fn the_rotation_gives_each_shard_its_turn() {
    run(async |bench| {
        let mut of_shard = Vec::new();
        for shard in [2, 5, 9] {
            of_shard.push([
                create(bench, Priority::Normal, shard).await,
                create(bench, Priority::Normal, shard).await,
            ]);
        }
        for rotation in [1, 2, 3] {
            let options = ClaimOptions {
                rotation,
                ..take(1)
            };
            let taken = claim(&bench.clipbase, &options).await;
            let shard = of_shard[rotation as usize % 3];
            assert_eq!(taken, [shard[0]], "rotation {rotation}");
        }
        assert_eq!(claim(&bench.clipbase, &take(10)).await.len(), 3);
        // A shard that is not in turn waits for nobody when the others are empty.
        let last = create(bench, Priority::Low, 5).await;
        let options = ClaimOptions {
            rotation: u32::MAX,
            ..take(10)
        };
        assert_eq!(claim(&bench.clipbase, &options).await, [last]);
    })
    .await;
}

#[tokio::test]
async fn an_urgent_job_of_any_shard_goes_before_the_others_of_the_shard_in_turn() {
    run(async |bench| {
        let normal = create(bench, Priority::Normal, 1).await;
        let high = create(bench, Priority::High, 2).await;
        for expected in [high, normal] {
            assert_eq!(claim(&bench.clipbase, &take(1)).await, [expected]);
        }
    })
    .await;
}

#[tokio::test]
async fn a_worker_serves_only_the_shards_that_it_names() {
    run(async |bench| {
        let mut ids = Vec::new();
        for shard in 0..5 {
            ids.push(create(bench, Priority::Normal, shard).await);
        }
        let options = ClaimOptions {
            shards: vec![3, 1, 77],
            ..take(10)
        };
        let mut taken = claim(&bench.clipbase, &options).await;
        taken.sort_unstable();
        assert_eq!(taken, [ids[1], ids[3]]);
        assert!(claim(&bench.clipbase, &options).await.is_empty());
        assert_eq!(claim(&bench.clipbase, &take(10)).await.len(), 3);
    })
    .await;
}

#[tokio::test]
async fn a_job_is_not_claimed_before_its_time() {
    run(async |bench| {
        let clipbase = &bench.clipbase;
        let mut job = new_job();
        job.run_at = Some("2200-01-01T00:00:00Z".parse().unwrap());
        let id = clipbase.jobs().create(&job).await.unwrap().id;
        assert!(claim(clipbase, &take(10)).await.is_empty());
        let ttl = Duration::from_secs(60);
        let leases = clipbase.leases();
        let lease = leases.claim_job(WorkerId::new(), id, ttl).await.unwrap();
        assert_eq!(lease, None);
        let patch = JobPatch {
            run_at: Some("2020-01-01T00:00:00Z".parse().unwrap()),
            ..JobPatch::default()
        };
        clipbase.jobs().update(id, &patch).await.unwrap();
        assert_eq!(claim(clipbase, &take(10)).await, [id]);
    })
    .await;
}

#[tokio::test]
async fn a_claim_has_bounds() {
    run(async |bench| {
        let (shard, second) = (vec![0], Duration::from_secs(1));
        let refused = [
            take(0),
            take(CLAIM_MAX + 1),
            ClaimOptions {
                shards: (0..=1_000).collect(),
                ..take(1)
            },
            ClaimOptions {
                shards: [shard.clone(), shard].concat(),
                ..take(1)
            },
            ClaimOptions {
                lease_ttl: Duration::ZERO,
                ..take(1)
            },
            ClaimOptions {
                lease_ttl: second * 86_401,
                ..take(1)
            },
        ];
        assert_eq!(SHARDS_MAX, 1_000);
        for options in refused {
            let leases = bench.clipbase.leases();
            let error = leases.claim(&options).await.unwrap_err();
            assert_eq!(error.code(), Code::InvalidInput, "{options:?}");
            let error = leases.turn(&[], &options).await.unwrap_err();
            assert_eq!(error.code(), Code::InvalidInput, "{options:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_lease_says_what_is_to_be_done() {
    run(async |bench| {
        let lease = claimed(&bench.clipbase).await;
        let work = lease.work();
        assert_eq!((work.start_ms, work.end_ms), (0, 1_000));
        assert_eq!((work.attempt, work.max_attempts), (1, 3));
        let source = format!("sources/{}/source.mp4", lease.job_id());
        assert_eq!(work.source_key.as_deref(), Some(source.as_str()));
        assert!(lease.expires_at() > work.created_at);
    })
    .await;
}
