//! Many jobs at once: chosen, canceled, retried, followed; and what an API asks beside that.

use std::time::Duration;

use clipbase::events::{FOLLOW_MANY_JOBS_MAX, follow_many_limit};
use clipbase::jobs::{Idempotency, JobFilter, SELECT_SCAN_MAX};
use clipbase::leases::{Failure, Finish};
use clipbase::{Clipbase, Code, JobId, JobStatus};
use clipbase_testkit::builders::{claimed, new_job, new_jobs};
use clipbase_testkit::{Bench, run};

use crate::support::{expire, job, kinds};

fn filter(status: JobStatus, error_code: Option<&str>) -> JobFilter {
    JobFilter {
        status,
        error_code: error_code.map(str::to_owned),
        created_before: None,
    }
}

/// A job that failed with this code.
async fn failed(clipbase: &Clipbase, code: &str) -> JobId {
    let lease = claimed(clipbase).await;
    let failure = Failure::new(code, "it failed").unwrap();
    clipbase.leases().fail(&lease, &failure).await.unwrap();
    lease.job_id()
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_are_chosen_page_by_page_oldest_first() {
    run(async |bench: &Bench| {
        let jobs = bench.clipbase.jobs();
        let made = jobs.create_many(&new_jobs(25)).await.unwrap();
        let queued = filter(JobStatus::Queued, None);
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let page = jobs.select(&queued, 10, after).await.unwrap();
            seen.extend(page.ids);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        // One statement made them all at one time: their ids decide.
        assert_eq!(seen, made);
        let rest = filter(JobStatus::Failed, None);
        let none = jobs.select(&rest, 10, None).await.unwrap();
        assert_eq!((none.ids.len(), none.next), (0, None));
        for limit in [0, 1_001] {
            let refused = jobs.select(&queued, limit, None).await.unwrap_err();
            assert!(refused.to_string().starts_with("limit:"), "{refused}");
        }
        for code in ["", "a\0", &"x".repeat(65)] {
            let odd = filter(JobStatus::Failed, Some(code));
            let refused = jobs.select(&odd, 10, None).await.unwrap_err();
            assert!(refused.to_string().starts_with("error_code:"), "{refused}");
        }
        let ancient = JobFilter {
            created_before: Some("-005000-01-01T00:00:00Z".parse().unwrap()),
            ..queued
        };
        let refused = jobs.select(&ancient, 10, None).await.unwrap_err();
        assert!(
            refused.to_string().starts_with("created_before:"),
            "{refused}"
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_keeps_to_its_error_code_and_time() {
    run(async |bench: &Bench| {
        let jobs = bench.clipbase.jobs();
        let first = failed(&bench.clipbase, "DISK_FULL").await;
        let other = failed(&bench.clipbase, "NETWORK").await;
        let last = failed(&bench.clipbase, "DISK_FULL").await;
        let disk = filter(JobStatus::Failed, Some("DISK_FULL"));
        assert_eq!(
            jobs.select(&disk, 10, None).await.unwrap().ids,
            [first, last]
        );
        let created = job(&bench.clipbase, other).await.created_at;
        let early = JobFilter {
            created_before: Some(created),
            ..disk
        };
        assert_eq!(jobs.select(&early, 10, None).await.unwrap().ids, [first]);
    })
    .await;
}

/// A rare code behind more jobs than one call looks at: the call says where to go on.
#[tokio::test(flavor = "multi_thread")]
async fn a_choice_ends_its_look_and_goes_on_where_it_stopped() {
    run(async |bench: &Bench| {
        let raw = bench.database.raw().await;
        let sql = format!(
            "BEGIN;
             SET LOCAL session_replication_role = replica;
             INSERT INTO jobs (status, source_type, start_sec, end_sec, error_code, finished_at, created_at)
             SELECT 'failed', 'upload', 0, 1, CASE WHEN n > {SELECT_SCAN_MAX} THEN 'RARE' ELSE 'USUAL' END, now(),
                    now() - make_interval(secs => 20000 - n)
               FROM generate_series(1, {SELECT_SCAN_MAX} + 1) AS n;
             COMMIT"
        );
        raw.batch_execute(&sql).await.unwrap();
        let rare = filter(JobStatus::Failed, Some("RARE"));
        let jobs = bench.clipbase.jobs();
        let first = jobs.select(&rare, 10, None).await.unwrap();
        assert!(first.ids.is_empty());
        let second = jobs.select(&rare, 10, first.next).await.unwrap();
        assert!(first.next.is_some());
        assert_eq!((second.ids.len(), second.next), (1, None));
        // Made without a log, past the triggers: nothing to audit.
        raw.batch_execute("DELETE FROM jobs").await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_are_canceled_each_as_its_state_allows() {
    run(async |bench: &Bench| {
        let clipbase = &bench.clipbase;
        let lease = claimed(clipbase).await;
        let done = claimed(clipbase).await;
        clipbase.leases().finish(Finish::new(&done)).await.unwrap();
        let queued = clipbase.jobs().create(&new_job()).await.unwrap().id;
        let ids = [lease.job_id(), done.job_id(), queued, JobId::new()];
        let canceled = clipbase.jobs().cancel_many(&ids).await.unwrap();
        assert_eq!(canceled.ended, [queued]);
        assert_eq!(canceled.requested, [lease.job_id()]);
        let row = job(clipbase, queued).await;
        assert_eq!(row.error_code.as_deref(), Some("CANCELED"));
        assert_eq!(kinds(clipbase, queued).await, ["created", "canceled"]);
        // A second one finds nothing left to do.
        let again = clipbase.jobs().cancel_many(&ids).await.unwrap();
        assert_eq!((again.ended.len(), again.requested.len()), (0, 0));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_are_retried_each_as_its_state_allows() {
    run(async |bench: &Bench| {
        let clipbase = &bench.clipbase;
        let one = failed(clipbase, "DISK_FULL").await;
        let queued = clipbase.jobs().create(&new_job()).await.unwrap().id;
        let moved = clipbase.jobs().retry_many(&[queued, one]).await.unwrap();
        assert_eq!(moved, [one]);
        let row = job(clipbase, one).await;
        assert_eq!((row.status, row.attempts), (JobStatus::Queued, 0));
        // The failure's expiry goes with the failure, as for a single retry.
        assert_eq!((row.error_code, row.expires_at), (None, None));
        let twice = clipbase.jobs().retry_many(&[one, one]).await.unwrap_err();
        assert_eq!(twice.code(), Code::InvalidInput);
        let many: Vec<JobId> = (0..1_001).map(|_| JobId::new()).collect();
        let refused = clipbase.jobs().cancel_many(&many).await.unwrap_err();
        assert!(refused.to_string().starts_with("ids:"), "{refused}");
        assert!(clipbase.jobs().retry_many(&[]).await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_are_followed_each_from_its_own_number() {
    run(async |bench: &Bench| {
        let clipbase = &bench.clipbase;
        let events = clipbase.events();
        let done = claimed(clipbase).await;
        clipbase.leases().finish(Finish::new(&done)).await.unwrap();
        let queued = clipbase.jobs().create(&new_job()).await.unwrap().id;
        let absent = JobId::new();
        let watched = [(done.job_id(), 1), (queued, 1), (absent, 0)];
        let found = events.follow_many(&watched, 100).await.unwrap();
        assert_eq!(found.len(), 2);
        for (id, after) in [(done.job_id(), 1), (queued, 1)] {
            assert_eq!(found[&id], events.after(id, after, 100).await.unwrap());
        }
        assert!(found[&done.job_id()].is_end);
        // A short page is no end.
        let short = events.follow_many(&watched, 1).await.unwrap();
        let page = &short[&done.job_id()];
        assert_eq!((page.events.len(), page.is_end), (1, false));
        assert!(events.follow_many(&[], 1).await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_of_many_is_held_to_its_bounds() {
    run(async |bench: &Bench| {
        let events = bench.clipbase.events();
        let many: Vec<(JobId, i32)> = (0..=FOLLOW_MANY_JOBS_MAX)
            .map(|_| (JobId::new(), 0))
            .collect();
        let twice = [many[0], many[0]];
        let limit = follow_many_limit(FOLLOW_MANY_JOBS_MAX);
        for (watched, limit, field) in [
            (&many[..], 1, "jobs:"),
            (&many[1..], limit + 1, "limit:"),
            (&twice[..], 1, "jobs:"),
            (&twice[..1], 0, "limit:"),
        ] {
            let refused = events.follow_many(watched, limit).await.unwrap_err();
            assert!(refused.to_string().starts_with(field), "{refused}");
        }
        let full = events.follow_many(&many[1..], limit).await.unwrap();
        assert!(full.is_empty());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_may_say_how_long_it_lives() {
    run(async |bench: &Bench| {
        let jobs = bench.clipbase.jobs();
        let mut new = new_job();
        new.expires_in = Some(Duration::from_secs(3_600));
        let request = Idempotency::new("scope", "key");
        let made = jobs.create_once(&new, &request).await.unwrap().into_job();
        let lives = made.expires_at.unwrap().duration_since(made.created_at);
        assert_eq!(lives.as_secs(), 3_600);
        // The same request again is the same, though its end would be another by now.
        let again = jobs.create_once(&new, &request).await.unwrap().into_job();
        assert_eq!(again, made);
        let mut many = new_jobs(2);
        many[1].expires_in = Some(Duration::from_secs(60));
        let ids = jobs.create_many(&many).await.unwrap();
        assert_eq!(job(&bench.clipbase, ids[0]).await.expires_at, None);
        let short = job(&bench.clipbase, ids[1]).await;
        let lives = short.expires_at.unwrap().duration_since(short.created_at);
        assert_eq!(lives.as_secs(), 60);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outcome_tells_whether_its_time_is_up() {
    run(async |bench: &Bench| {
        let jobs = bench.clipbase.jobs();
        let id = jobs.create(&new_job()).await.unwrap().id;
        assert!(!jobs.outcome(id).await.unwrap().unwrap().is_expired);
        expire(&bench.database.raw().await, id).await;
        let outcome = jobs.outcome(id).await.unwrap().unwrap();
        assert_eq!((outcome.is_expired, outcome.job.id), (true, id));
        assert_eq!(jobs.outcome(JobId::new()).await.unwrap(), None);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_made_before_is_found_and_held_to_what_it_asked() {
    run(async |bench: &Bench| {
        let jobs = bench.clipbase.jobs();
        let new = new_job();
        let request = Idempotency::new("scope", "key").about("one upload");
        assert_eq!(jobs.find_created(&new, &request).await.unwrap(), None);
        let made = jobs.create_once(&new, &request).await.unwrap().into_job();
        let found = jobs.find_created(&new_job(), &request).await.unwrap();
        assert_eq!(found, Some(made));
        let other = Idempotency::new("scope", "key").about("another upload");
        let refused = [
            jobs.find_created(&new, &other).await.map(|_| ()),
            jobs.create_once(&new, &other).await.map(|_| ()),
        ];
        for outcome in refused {
            assert_eq!(outcome.unwrap_err().code(), Code::IdempotencyConflict);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_is_checked_over_the_pool() {
    run(async |bench: &Bench| {
        bench.clipbase.check_schema().await.unwrap();
        let raw = bench.database.raw().await;
        let sql = "DELETE FROM clipbase_migrations WHERE version = '20261123000900'";
        raw.execute(sql, &[]).await.unwrap();
        let refused = bench.clipbase.check_schema().await.unwrap_err();
        assert_eq!(refused.code(), Code::SchemaMismatch);
        raw.batch_execute("DROP TABLE clipbase_migrations")
            .await
            .unwrap();
        let refused = bench.clipbase.check_schema().await.unwrap_err();
        assert_eq!(refused.code(), Code::SchemaMismatch);
    })
    .await;
}
