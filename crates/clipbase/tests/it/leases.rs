//! Leases that hold: how they beat, end, go back and are reaped.

use std::time::Duration;

use clipbase::leases::{
    BEATS_MAX, Beat, ClaimOptions, FINISH_MANY_MAX, Failure, Finish, Finished, LEASE_TTL, Lease,
    REAP_MAX, Surrendered, Verdict,
};
use clipbase::transitions::RELEASES_MAX;
use clipbase::{Backoff, Code, DatabaseMode, JobStatus, Settings, WorkerId};
use clipbase_testkit::builders::{claim, claimed, new_job, new_jobs};
use clipbase_testkit::{run, run_in};

use crate::support::{job, kinds, make_due, run_out};

fn beat(lease: &Lease, progress: u8) -> Beat<'_> {
    let progress = Some(progress);
    Beat { lease, progress }
}

#[tokio::test]
async fn a_heartbeat_prolongs_the_lease_and_progress_never_goes_back() {
    run(async |bench| {
        let clipbase = &bench.clipbase;
        let lease = claimed(clipbase).await;
        for (reported, stored) in [(40, 40), (30, 40), (100, 100)] {
            let beats = [beat(&lease, reported)];
            let ttl = Duration::from_secs(3_600);
            let verdicts = clipbase.leases().heartbeat(&beats, ttl).await.unwrap();
            assert_eq!(verdicts, [Verdict::GoOn]);
            let row = job(clipbase, lease.job_id()).await;
            assert_eq!((row.progress, row.event_seq), (stored, 2));
            assert!(row.lease_expires_at.unwrap() > lease.expires_at());
        }
    })
    .await;
}

#[tokio::test]
async fn a_heartbeat_answers_for_each_job_in_the_order_given() {
    run(async |bench| {
        let clipbase = &bench.clipbase;
        let mut held = Vec::new();
        for _ in 0..4 {
            held.push(claimed(clipbase).await);
        }
        clipbase.jobs().cancel(held[1].job_id()).await.unwrap();
        clipbase.leases().release(&held[2]).await.unwrap();
        clipbase.jobs().delete(held[3].job_id()).await.unwrap();
        let expected = [
            Verdict::GoOn,
            Verdict::CancelRequested,
            Verdict::Lost,
            Verdict::Lost,
        ];
        for order in [[0, 1, 2, 3], [3, 1, 0, 2]] {
            let beats = order.map(|index: usize| beat(&held[index], 5));
            let verdicts = clipbase.leases().heartbeat(&beats, LEASE_TTL).await;
            assert_eq!(verdicts.unwrap(), order.map(|index| expected[index]));
        }
    })
    .await;
}

#[tokio::test]
async fn only_leases_that_ran_out_by_both_clocks_are_reaped() {
    run(async |bench| {
        let clipbase = &bench.clipbase;
        let raw = bench.database.raw().await;
        let past = "now() - interval '1 h'";
        let cases = [
            (past, past, true),
            (past, "now()", false),
            (past, "now() - interval '50 s'", false),
            (past, "now() - interval '70 s'", true),
            ("now() + interval '1 s'", past, false),
            (past, "NULL", true),
        ];
        for (expires, beaten, is_lost) in cases {
            let lease = claimed(clipbase).await;
            let sql = format!(
                "UPDATE jobs SET lease_expires_at = {expires}, last_heartbeat_at = {beaten}
                  WHERE id = $1"
            );
            raw.execute(&sql, &[&lease.job_id().as_uuid()])
                .await
                .unwrap();
            assert_eq!(
                clipbase.inspect().lost_leases().await.unwrap(),
                i64::from(is_lost)
            );
            let reaped = clipbase.leases().reap(10).await.unwrap();
            let jobs: Vec<_> = reaped.iter().map(|reaped| reaped.job).collect();
            let expected: Vec<_> = is_lost.then(|| lease.job_id()).into_iter().collect();
            assert_eq!(jobs, expected, "{expires}, {beaten}");
            clipbase.jobs().delete(lease.job_id()).await.unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn a_job_that_loses_its_workers_ends_after_its_attempts() {
    run(async |bench| {
        let clipbase = &bench.clipbase;
        let raw = bench.database.raw().await;
        let id = clipbase.jobs().create(&new_job()).await.unwrap().id;
        for attempt in 1..=3 {
            make_due(&raw, id).await;
            let lease = claim(clipbase, id, WorkerId::new()).await;
            assert_eq!(lease.work().attempt, attempt);
            run_out(&raw, id).await;
            let to = clipbase.leases().reap(10).await.unwrap()[0].to;
            let expected = match attempt {
                3 => Surrendered::Failed,
                _ => Surrendered::Queued,
            };
            assert_eq!(to, expected);
        }
        let row = job(clipbase, id).await;
        assert_eq!(row.error_code.as_deref(), Some("WORKER_LOST"));
        assert!(clipbase.leases().reap(10).await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test]
async fn the_jobs_of_a_dead_worker_are_queued_at_once() {
    run(async |bench| {
        let clipbase = &bench.clipbase;
        clipbase.jobs().create_many(&new_jobs(5)).await.unwrap();
        let (dead, alive) = (WorkerId::new(), WorkerId::new());
        let leases = clipbase.leases();
        let lost = leases.claim(&ClaimOptions::new(dead, 3)).await.unwrap();
        leases.claim(&ClaimOptions::new(alive, 2)).await.unwrap();
        let reaped = leases.reap_workers(&[dead], 2).await.unwrap();
        assert_eq!(reaped.len(), 2);
        assert_eq!(leases.reap_workers(&[dead], 2).await.unwrap().len(), 1);
        assert!(leases.reap_workers(&[dead], 2).await.unwrap().is_empty());
        assert!(leases.reap_workers(&[], 2).await.unwrap().is_empty());
        let again = leases.claim(&ClaimOptions::new(alive, 5)).await.unwrap();
        let ids = |leases: &[Lease]| {
            let mut ids: Vec<_> = leases.iter().map(Lease::job_id).collect();
            ids.sort_unstable();
            ids
        };
        assert_eq!(ids(&again), ids(&lost));
    })
    .await;
}

#[tokio::test]
async fn a_finish_repeats_only_itself() {
    run(async |bench| {
        let clipbase = &bench.clipbase;
        let lease = claimed(clipbase).await;
        let plain = Finish::new(&lease);
        let with_srt = Finish {
            with_srt: true,
            ..plain
        };
        let leases = clipbase.leases();
        let answers = [
            leases.finish_many(&[with_srt]).await.unwrap(),
            leases.finish_many(&[with_srt]).await.unwrap(),
            leases.finish_many(&[plain]).await.unwrap(),
        ];
        let expected = [Finished::Done, Finished::Repeated, Finished::Lost];
        assert_eq!(answers.concat(), expected);
        let row = job(clipbase, lease.job_id()).await;
        assert_eq!(row.result_srt_key, Some(lease.srt_key().to_string()));
        let words = kinds(clipbase, lease.job_id()).await;
        assert_eq!(words, ["created", "claimed", "finished"]);
    })
    .await;
}

#[tokio::test]
async fn an_attempt_is_given_back_twenty_times() {
    run(async |bench| {
        let clipbase = &bench.clipbase;
        let raw = bench.database.raw().await;
        let mut new = new_job();
        new.max_attempts = 2;
        let id = clipbase.jobs().create(&new).await.unwrap().id;
        for released in 0..RELEASES_MAX {
            let lease = claim(clipbase, id, WorkerId::new()).await;
            let work = lease.work();
            assert_eq!((lease.number(), work.attempt), (released + 1, 1));
            let to = clipbase.leases().release(&lease).await.unwrap();
            assert_eq!(to, Surrendered::Queued);
        }
        let lease = claim(clipbase, id, WorkerId::new()).await;
        let to = clipbase.leases().release(&lease).await.unwrap();
        assert_eq!(to, Surrendered::Queued);
        make_due(&raw, id).await;
        let lease = claim(clipbase, id, WorkerId::new()).await;
        assert_eq!(lease.work().attempt, 2);
        let to = clipbase.leases().release(&lease).await.unwrap();
        assert_eq!(to, Surrendered::Failed);
        let row = job(clipbase, id).await;
        assert_eq!(row.error_code.as_deref(), Some("RELEASE_LIMIT"));
    })
    .await;
}

#[tokio::test]
async fn a_retried_job_waits_within_the_bounds_of_its_backoff() {
    let backoff = Backoff {
        base: Duration::from_secs(100),
        cap: Duration::from_secs(300),
    };
    let settings = Settings {
        backoff,
        ..Settings::default()
    };
    run_in(DatabaseMode::Direct, settings, async |bench| {
        let clipbase = &bench.clipbase;
        let raw = bench.database.raw().await;
        let failure = Failure::new("NETWORK", "the source went away").unwrap();
        let mut longest = [0.0_f64; 4];
        for _ in 0..12 {
            let mut new = new_job();
            new.max_attempts = 5;
            let id = clipbase.jobs().create(&new).await.unwrap().id;
            for (attempt, bound) in [100.0, 200.0, 300.0, 300.0].into_iter().enumerate() {
                make_due(&raw, id).await;
                let lease = claim(clipbase, id, WorkerId::new()).await;
                clipbase
                    .leases()
                    .fail_retryable(&lease, &failure)
                    .await
                    .unwrap();
                // The event's time is that of the transaction which chose the wait.
                let sql = "SELECT extract(epoch FROM run_at - updated_at)::float8
                             FROM jobs WHERE id = $1";
                let wait: f64 = raw.query_one(sql, &[&id.as_uuid()]).await.unwrap().get(0);
                assert!((0.0..=bound).contains(&wait), "{wait} at attempt {attempt}");
                longest[attempt] = longest[attempt].max(wait);
            }
        }
        // Chances of 1 in 4,000 each: 12 draws that all stay below half of the bound.
        assert!(longest[0] > 50.0 && longest[1] > 100.0, "{longest:?}");
    })
    .await;
}

#[tokio::test]
async fn a_batch_is_bounded_and_names_each_job_once() {
    run(async |bench| {
        let clipbase = &bench.clipbase;
        let lease = claimed(clipbase).await;
        let leases = clipbase.leases();
        let refused = |error: clipbase::Error| assert_eq!(error.code(), Code::InvalidInput);
        for count in [2, FINISH_MANY_MAX + 1] {
            let finishes = vec![Finish::new(&lease); count];
            refused(leases.finish_many(&finishes).await.unwrap_err());
            let options = ClaimOptions::new(WorkerId::new(), 1);
            refused(leases.turn(&finishes, &options).await.unwrap_err());
        }
        for count in [2, BEATS_MAX + 1] {
            let beats = vec![beat(&lease, 1); count];
            refused(leases.heartbeat(&beats, LEASE_TTL).await.unwrap_err());
        }
        let beats = [beat(&lease, 101)];
        refused(leases.heartbeat(&beats, LEASE_TTL).await.unwrap_err());
        let beats = [beat(&lease, 1)];
        for ttl in [Duration::ZERO, Duration::from_secs(86_401)] {
            refused(leases.heartbeat(&beats, ttl).await.unwrap_err());
        }
        for limit in [0, REAP_MAX + 1] {
            refused(leases.reap(limit).await.unwrap_err());
            let dead = [WorkerId::new()];
            refused(leases.reap_workers(&dead, limit).await.unwrap_err());
        }
        assert_eq!(job(clipbase, lease.job_id()).await.progress, 0);
    })
    .await;
}

#[tokio::test]
async fn the_largest_batches_are_done_in_one_call() {
    run(async |bench| {
        let clipbase = &bench.clipbase;
        clipbase.jobs().create_many(&new_jobs(2_000)).await.unwrap();
        let options = ClaimOptions::new(WorkerId::new(), 1_000);
        let held = clipbase.leases().claim(&options).await.unwrap();
        let beats: Vec<Beat<'_>> = held.iter().map(|lease| beat(lease, 50)).collect();
        let verdicts = clipbase.leases().heartbeat(&beats, LEASE_TTL).await;
        assert_eq!(verdicts.unwrap(), vec![Verdict::GoOn; 1_000]);
        let finishes: Vec<Finish<'_>> = held.iter().map(Finish::new).collect();
        let turn = clipbase.leases().turn(&finishes, &options).await.unwrap();
        assert_eq!(turn.finished, vec![Finished::Done; 1_000]);
        assert_eq!(turn.claimed.len(), 1_000);
        let reaped = clipbase
            .leases()
            .reap_workers(&[options.worker], 1_000)
            .await;
        assert_eq!(reaped.unwrap().len(), 1_000);
        let stats = clipbase.jobs().stats().await.unwrap();
        let done = stats
            .statuses
            .iter()
            .find(|state| state.status == JobStatus::Done);
        assert_eq!(done.unwrap().count, 1_000);
    })
    .await;
}
