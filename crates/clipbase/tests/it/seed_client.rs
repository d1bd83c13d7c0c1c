//! A TypeScript team shares the database and knows only the seed's columns.

use clipbase::jobs::{Actor, TransitionPatch};
use clipbase::leases::{ClaimOptions, Failure, Finish, Surrendered};
use clipbase::{JobId, JobStatus, WorkerId};
use clipbase_testkit::builders::{claim, claimed, new_job};
use clipbase_testkit::{Bench, run};

use crate::seed::{SeedClient, refused};

fn kinds(events: &[(String, String)]) -> Vec<&str> {
    events.iter().map(|(kind, _)| kind.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_seeds_own_transaction_walks_every_legal_edge() {
    run(async |bench: &Bench| {
        use JobStatus::{Done, Failed, Processing, Queued};
        let mut seed = SeedClient::on(&bench.database).await;
        let id = seed.insert().await;
        for next in [
            Processing, Queued, Failed, Queued, Processing, Failed, Queued, Processing, Done,
        ] {
            seed.transition(id, next).await.unwrap();
            seed.row_is(id, &[&format!("status = '{next}'")]).await;
        }
        let events = seed.events(id).await;
        let expected = [
            "1 created",
            "2 claimed",
            "3 transition",
            "4 requeued",
            "5 transition",
            "6 canceled",
            "7 transition",
            "8 retried",
            "9 transition",
            "10 claimed",
            "11 transition",
            "12 failed",
            "13 transition",
            "14 retried",
            "15 transition",
            "16 claimed",
            "17 transition",
            "18 finished",
            "19 transition",
        ];
        assert_eq!(kinds(&events), expected);
        let job = bench.clipbase.jobs().get(id).await.unwrap().unwrap();
        assert_eq!((job.status, job.lease, job.attempts), (Done, 3, 1));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_id_the_database_made_is_claimed_once_its_source_is_named() {
    run(async |bench: &Bench| {
        let seed = SeedClient::on(&bench.database).await;
        let sql = "insert into jobs (source_type, start_sec, end_sec) values ('upload', 0, 5) returning id";
        let id = JobId::from_uuid(seed.sql.query_one(sql, &[]).await.unwrap().get(0));
        let options = ClaimOptions::new(WorkerId::new(), 10);
        assert_eq!(bench.clipbase.leases().claim(&options).await.unwrap(), []);
        refused(
            seed.set_status(id, JobStatus::Processing).await,
            "23514",
            "jobs_source_by_type",
        );
        let set = format!("source_key = 'sources/{id}/source.mp4'");
        seed.update(id, &set).await.unwrap();
        let leases = bench.clipbase.leases().claim(&options).await.unwrap();
        assert_eq!(leases.len(), 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_more_attempt_than_the_job_has_is_given_to_who_says_queued_and_is_the_last() {
    run(async |bench: &Bench| {
        let seed = SeedClient::on(&bench.database).await;
        let (clipbase, worker) = (&bench.clipbase, WorkerId::new());
        let mut new = new_job();
        new.max_attempts = 1;
        let id = clipbase.jobs().create(&new).await.unwrap().id;
        claim(clipbase, id, worker).await;
        seed.set_status(id, JobStatus::Queued).await.unwrap();
        claim(clipbase, id, worker).await;
        let patch = TransitionPatch::default();
        let jobs = clipbase.jobs();
        let asked = jobs.transition(id, JobStatus::Queued, Actor::Operator, &patch);
        assert_eq!(asked.await.unwrap().attempts, 2);
        let lease = claim(clipbase, id, worker).await;
        let failure = Failure::new("FFMPEG_FAILED", "it failed").unwrap();
        let outcome = clipbase.leases().fail_retryable(&lease, &failure).await;
        assert_eq!(outcome.unwrap(), Surrendered::Failed);
        seed.row_is(
            id,
            &["status = 'failed' and attempts = 3 and max_attempts = 1"],
        )
        .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_transition_takes_its_event_with_it() {
    run(async |bench: &Bench| {
        let mut seed = SeedClient::on(&bench.database).await;
        let id = seed.job_in(JobStatus::Done).await;
        let outcome = seed.transition(id, JobStatus::Queued).await;
        refused(outcome, "CB002", "a job cannot go from done to queued");
        assert_eq!(seed.events(id).await.len(), 3);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_raw_claim_is_completed_with_lease_times_and_attempt() {
    run(async |bench: &Bench| {
        let seed = SeedClient::on(&bench.database).await;
        let id = seed.job_in(JobStatus::Processing).await;
        let conditions = [
            "lease = 1 and attempts = 1 and progress = 0 and started_at = updated_at and worker_id is null",
            "last_heartbeat_at = started_at and lease_expires_at = started_at + interval '60 seconds'",
        ];
        seed.row_is(id, &conditions).await;
        seed.set_status(id, JobStatus::Done).await.unwrap();
        let video = format!("result_video_key = 'results/{id}/clip.mp4'");
        let conditions = [
            video.as_str(),
            "progress = 100 and finished_at = updated_at and lease_expires_at is null",
        ];
        seed.row_is(id, &conditions).await;
        let events = seed.events(id).await;
        assert!(events[2].1.contains("\"result_video_key\": \"assumed\""), "{events:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_raw_update_says_is_kept() {
    run(async |bench: &Bench| {
        let seed = SeedClient::on(&bench.database).await;
        let id = seed.insert().await;
        let claim = "status = 'processing', attempts = attempts + 1, last_heartbeat_at = now(), progress = 5";
        seed.update(id, claim).await.unwrap();
        seed.row_is(id, &["attempts = 1 and progress = 5"]).await;
        let fail = "status = 'failed', error_code = 'E_FFMPEG', error_message = 'no', expires_at = now()";
        seed.update(id, fail).await.unwrap();
        seed.row_is(id, &["error_code = 'E_FFMPEG' and error_message = 'no' and expires_at = updated_at"])
            .await;
        seed.set_status(id, JobStatus::Queued).await.unwrap();
        seed.row_is(id, &["error_code is null and error_message is null and attempts = 0"]).await;
        let other = seed.job_in(JobStatus::Processing).await;
        seed.set_status(other, JobStatus::Failed).await.unwrap();
        seed.row_is(other, &["error_code = 'UNSPECIFIED'"]).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_requested_cancel_wins_over_a_raw_requeue() {
    run(async |bench: &Bench| {
        let seed = SeedClient::on(&bench.database).await;
        let id = seed.job_in(JobStatus::Processing).await;
        bench.clipbase.jobs().cancel(id).await.unwrap();
        let set = "status = 'queued', error_code = 'E_AGAIN', error_message = 'try again'";
        seed.update(id, set).await.unwrap();
        let conditions = ["status = 'failed' and error_code = 'CANCELED'"];
        seed.row_is(id, &conditions).await;
        assert_eq!(*kinds(&seed.events(id).await).last().unwrap(), "4 canceled");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_beats_only_the_seeds_heartbeat_is_not_reaped_while_it_beats() {
    run(async |bench: &Bench| {
        let seed = SeedClient::on(&bench.database).await;
        let id = seed.job_in(JobStatus::Processing).await;
        let set = "lease_expires_at = now() - interval '1 hour', last_heartbeat_at = now() - interval '59 seconds'";
        seed.update(id, set).await.unwrap();
        assert_eq!(bench.clipbase.leases().reap(10).await.unwrap(), []);
        let set = "last_heartbeat_at = now() - interval '61 seconds'";
        seed.update(id, set).await.unwrap();
        let reaped = bench.clipbase.leases().reap(10).await.unwrap();
        assert_eq!(reaped[0].job, id);
        seed.row_is(id, &["status = 'queued'"]).await;
        let before = seed.events(id).await.len();
        assert_eq!(before, 3, "heartbeats are no events");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_seconds_forget_the_milliseconds_that_no_longer_fit() {
    run(async |bench: &Bench| {
        let seed = SeedClient::on(&bench.database).await;
        let job = bench.clipbase.jobs().create(&new_job()).await.unwrap();
        seed.update(job.id, "start_sec = 0, end_sec = 1")
            .await
            .unwrap();
        seed.row_is(job.id, &["start_ms = 0 and end_ms = 1000"])
            .await;
        seed.update(job.id, "end_sec = 7").await.unwrap();
        seed.row_is(job.id, &["start_ms is null and end_ms is null"])
            .await;
        let job = bench.clipbase.jobs().get(job.id).await.unwrap().unwrap();
        assert_eq!(job.range_ms(), (0, 7_000));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_events_account_for_is_recorded_when_it_changes_by_hand() {
    run(async |bench: &Bench| {
        let seed = SeedClient::on(&bench.database).await;
        let id = claimed(&bench.clipbase).await.job_id();
        for (set, recorded) in [
            ("result_video_key = 'a'", "\"result_video_key\": \"a\""),
            ("result_srt_key = 'b'", "\"result_srt_key\": \"b\""),
            (
                "error_code = 'C', error_message = 'd'",
                "\"error_message\": \"d\"",
            ),
            ("attempts = 0", "\"attempts\": 0"),
            ("worker_id = null", "\"worker_id\": null"),
            ("cancel_requested_at = now()", "\"cancel_requested\": true"),
            ("lease = lease + 1", "\"lease\": 2"),
        ] {
            seed.update(id, set).await.unwrap();
            let (kind, data) = seed.events(id).await.into_iter().next_back().unwrap();
            assert!(kind.ends_with(" updated"), "{set}: {kind}");
            assert!(
                data.contains(recorded) && data.contains("\"by\": \"sql\""),
                "{set}: {data}"
            );
        }
        let before = seed.events(id).await.len();
        let same = "attempts = 0, progress = 50, last_heartbeat_at = now(), updated_at = now()";
        seed.update(id, same).await.unwrap();
        assert_eq!(
            seed.events(id).await.len(),
            before,
            "nothing that counts has changed"
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_both_sides_are_numbered_in_one_series() {
    run(async |bench: &Bench| {
        let seed = SeedClient::on(&bench.database).await;
        let lease = claimed(&bench.clipbase).await;
        let id = lease.job_id();
        seed.add_event(id, "theirs").await.unwrap();
        bench
            .clipbase
            .leases()
            .log(&lease, "ours", None)
            .await
            .unwrap();
        seed.add_event(id, "theirs").await.unwrap();
        bench.clipbase.events().add(id, "ours", None).await.unwrap();
        bench
            .clipbase
            .leases()
            .finish(Finish::new(&lease))
            .await
            .unwrap();
        let expected = [
            "1 created",
            "2 claimed",
            "3 theirs",
            "4 ours",
            "5 theirs",
            "6 ours",
            "7 finished",
        ];
        assert_eq!(kinds(&seed.events(id).await), expected);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_events_of_one_job_leave_no_gap() {
    run(async |bench: &Bench| {
        let seed = SeedClient::on(&bench.database).await;
        let id = seed.insert().await;
        let clients = [
            SeedClient::on(&bench.database).await,
            SeedClient::on(&bench.database).await,
        ];
        let write = async |client: &SeedClient| {
            for _ in 0..20 {
                client.add_event(id, "x").await.unwrap();
            }
        };
        tokio::join!(write(&clients[0]), write(&clients[1]));
        seed.row_is(id, &["event_seq = 41"]).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_and_its_event_go_in_by_one_statement() {
    run(async |bench: &Bench| {
        let seed = SeedClient::on(&bench.database).await;
        let sql = "with job as (
                insert into jobs (source_type, source_url, start_sec, end_sec)
                values ('youtube', 'https://example.org/v', 0, 5) returning id)
            insert into job_events (job_id, type) select id, 'made' from job returning job_id";
        let row = seed.sql.query_one(sql, &[]).await.unwrap();
        let id = JobId::from_uuid(row.get(0));
        assert_eq!(kinds(&seed.events(id).await), ["1 made", "2 created"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_an_absent_job_meets_the_foreign_key() {
    run(async |bench: &Bench| {
        let seed = SeedClient::on(&bench.database).await;
        let outcome = seed.add_event(JobId::new(), "x").await;
        refused(outcome, "23503", "job_events_job_id_jobs_id_fk");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ten_thousandth_event_of_a_caller_is_the_last_and_transitions_go_on() {
    run(async |bench: &Bench| {
        let seed = SeedClient::on(&bench.database).await;
        let id = seed.insert().await;
        let sql =
            "insert into job_events (job_id, type) select $1, 'x' from generate_series(1, 9999)";
        seed.sql.execute(sql, &[&id.as_uuid()]).await.unwrap();
        refused(seed.add_event(id, "x").await, "CB007", "10000 events");
        seed.set_status(id, JobStatus::Processing).await.unwrap();
        seed.row_is(id, &["event_seq = 10001"]).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_raw_delete_hands_exactly_the_jobs_own_objects_to_the_clean_up() {
    run(async |bench: &Bench| {
        let seed = SeedClient::on(&bench.database).await;
        let lease = claimed(&bench.clipbase).await;
        let id = lease.job_id();
        bench.clipbase.leases().release(&lease).await.unwrap();
        claim(&bench.clipbase, id, WorkerId::new()).await;
        let foreign = seed.insert().await;
        let own = format!("results/{foreign}/7/clip.mp4");
        let set = format!("source_key = 'sources/{id}/source.mp4', result_video_key = '{own}'");
        seed.update(foreign, &set).await.unwrap();
        let queued = seed.insert().await;
        let sql = "delete from jobs where id = any($1)";
        let ids = vec![id.as_uuid(), foreign.as_uuid(), queued.as_uuid()];
        assert_eq!(seed.sql.execute(sql, &[&ids]).await.unwrap(), 3);
        let expected = [
            format!("results/{id}/2/clip.mp4"),
            format!("results/{id}/2/clip.srt"),
            format!("results/{id}/clip.mp4"),
            format!("results/{id}/clip.srt"),
            format!("sources/{id}/source.mp4"),
        ];
        assert_eq!(seed.outbox(id).await, expected);
        assert_eq!(
            seed.outbox(foreign).await,
            [own],
            "another job's source is not its own; a result that its row names is"
        );
        assert_eq!(seed.outbox(queued).await, [format!("sources/{queued}/source.mp4")]);
        for id in [id, foreign, queued] {
            assert!(seed.events(id).await.is_empty(), "events go with their job");
        }
        let sql = "select min(next_attempt_at) > now() + interval '50 seconds' from storage_deletions where job_id = $1";
        let waits: bool = seed.sql.query_one(sql, &[&id.as_uuid()]).await.unwrap().get(0);
        assert!(waits, "its worker may still be uploading");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_sides_serve_one_queue() {
    run(async |bench: &Bench| {
        let seed = SeedClient::on(&bench.database).await;
        let theirs = seed.insert().await;
        let options = ClaimOptions::new(WorkerId::new(), 10);
        let leases = bench.clipbase.leases().claim(&options).await.unwrap();
        assert_eq!(leases[0].job_id(), theirs);
        assert_eq!(
            (leases[0].work().start_ms, leases[0].work().end_ms),
            (3_000, 9_000)
        );
        let outcome = seed
            .set_status(theirs, JobStatus::Processing)
            .await
            .unwrap();
        assert_eq!(outcome, 1, "an equal status changes nothing");
        seed.row_is(theirs, &["lease = 1 and event_seq = 2"]).await;
        bench
            .clipbase
            .leases()
            .finish(Finish::new(&leases[0]))
            .await
            .unwrap();
    })
    .await;
}
