//! A job's log, live.

pub(crate) mod ear;

use std::time::{Duration, Instant};

use axum::body::Body;
use clipbase::leases::{Beat, Finish, Lease};
use clipbase::{Clipbase, JobId};
use clipbase_testkit::builders::claimed;
use clipbase_testkit::{Bench, run, wait_until};
use http::{Request, StatusCode};
use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use serde_json::json;

use self::ear::{Said, end, event, open, progress};
use crate::support::{done, queued, request, send, web, web_with};

pub(crate) fn stream_request(id: JobId, resume: Option<i32>) -> Request<Body> {
    let mut request = request("GET", &format!("/v1/jobs/{id}/events"));
    let headers = request.headers_mut();
    headers.insert("accept", "text/event-stream".parse().unwrap());
    if let Some(seq) = resume {
        headers.insert("last-event-id", seq.to_string().parse().unwrap());
    }
    request
}

async fn report(clipbase: &Clipbase, lease: &Lease, percent: u8) {
    let beat = Beat {
        lease,
        progress: Some(percent),
    };
    let ttl = Duration::from_secs(60);
    clipbase.leases().heartbeat(&[beat], ttl).await.unwrap();
}

#[tokio::test]
async fn a_stream_tells_everything_once_and_ends_with_its_job() {
    run(async |bench| {
        let clipbase = &bench.clipbase;
        let web = web(bench);
        let lease = claimed(clipbase).await;
        let mut ear = open(&web, stream_request(lease.job_id(), None)).await;
        assert_eq!(ear.listen().await, Some(event(1, "created")));
        assert_eq!(ear.listen().await, Some(event(2, "claimed")));
        assert_eq!(ear.listen().await, Some(progress("processing", 0)));
        report(clipbase, &lease, 40).await;
        assert_eq!(ear.listen().await, Some(progress("processing", 40)));
        clipbase.leases().log(&lease, "note", None).await.unwrap();
        assert_eq!(ear.listen().await, Some(event(3, "note")));
        clipbase.leases().finish(Finish::new(&lease)).await.unwrap();
        let rest = ear.hear_out().await;
        assert_eq!(
            rest,
            [event(4, "finished"), progress("done", 100), end("done")]
        );
    })
    .await;
}

#[tokio::test]
async fn a_stream_resumes_after_the_last_event_that_was_seen() {
    run(async |bench| {
        let web = web(bench);
        let id = done(&bench.clipbase, false).await.job_id();
        for resume in 0..3 {
            let all = open(&web, stream_request(id, Some(resume)))
                .await
                .hear_out()
                .await;
            let mut expected: Vec<Said> = [
                event(1, "created"),
                event(2, "claimed"),
                event(3, "finished"),
            ]
            .into_iter()
            .skip(usize::try_from(resume).unwrap())
            .collect();
            expected.extend([progress("done", 100), end("done")]);
            assert_eq!(all, expected);
        }
        // Everything was said: the browser is told to stay away.
        for seen in [3, 4] {
            let reply = send(&web, stream_request(id, Some(seen))).await;
            assert_eq!(
                (reply.status, reply.body.len()),
                (StatusCode::NO_CONTENT, 0)
            );
        }
        // The header is stronger than the query, which is where a first look begins.
        let mut request = stream_request(id, Some(2));
        *request.uri_mut() = format!("/v1/jobs/{id}/events?after=1").parse().unwrap();
        assert_eq!(
            open(&web, request).await.listen().await,
            Some(event(3, "finished"))
        );
    })
    .await;
}

#[tokio::test]
async fn a_long_log_is_told_whole_to_whoever_comes_whenever() {
    run(async |bench| {
        let clipbase = &bench.clipbase;
        let web = web(bench);
        let lease = claimed(clipbase).await;
        let id = lease.job_id();
        let raw = bench.database.raw().await;
        let sql =
            "INSERT INTO job_events (job_id, type) SELECT $1, 'note' FROM generate_series(1, 300)";
        let mut early = open(&web, stream_request(id, None)).await;
        assert_eq!(early.listen().await, Some(event(1, "created")));
        raw.execute(sql, &[&id.as_uuid()]).await.unwrap();
        let late = open(&web, stream_request(id, None)).await;
        let later = open(&web, stream_request(id, Some(150))).await;
        raw.execute(sql, &[&id.as_uuid()]).await.unwrap();
        clipbase.leases().finish(Finish::new(&lease)).await.unwrap();
        for (mut ear, from) in [(early, 2), (late, 1), (later, 151)] {
            let all = ear.hear_out().await;
            let seqs: Vec<i32> = all
                .iter()
                .filter_map(|said| match said {
                    Said::Event(seq, _) => Some(*seq),
                    _ => None,
                })
                .collect();
            assert_eq!(seqs, (from..=603).collect::<Vec<_>>());
            assert_eq!(all.last(), Some(&end("done")));
        }
    })
    .await;
}

/// A client that reads nothing while its job's log outgrows every buffer gets all of it when it reads again.
#[tokio::test]
async fn a_slow_client_misses_nothing() {
    run(async |bench| {
        let clipbase = &bench.clipbase;
        let web = web(bench);
        let lease = claimed(clipbase).await;
        let id = lease.job_id();
        let mut slow = open(&web, stream_request(id, None)).await;
        let mut quick = open(&web, stream_request(id, None)).await;
        for ear in [&mut slow, &mut quick] {
            for _ in 0..3 {
                ear.listen().await.unwrap();
            }
        }
        // The slow one has subscribed: it has heard of the first note.
        clipbase.leases().log(&lease, "note", None).await.unwrap();
        assert_eq!(slow.listen().await, Some(event(3, "note")));
        assert_eq!(quick.listen().await, Some(event(3, "note")));
        for seq in 4..40 {
            clipbase.leases().log(&lease, "note", None).await.unwrap();
            // Each comes as news of its own, since the quick one has it before the next.
            assert_eq!(quick.listen().await, Some(event(seq, "note")));
        }
        clipbase.leases().finish(Finish::new(&lease)).await.unwrap();
        let all = slow.hear_out().await;
        let expected: Vec<Said> = (4..40)
            .map(|seq| event(seq, "note"))
            .chain([event(40, "finished"), progress("done", 100), end("done")])
            .collect();
        assert_eq!(all, expected);
    })
    .await;
}

#[tokio::test]
async fn a_deleted_job_ends_its_streams() {
    run(async |bench| {
        let web = web(bench);
        let id = queued(&bench.clipbase).await;
        let mut ear = open(&web, stream_request(id, None)).await;
        assert_eq!(ear.listen().await, Some(event(1, "created")));
        bench.clipbase.jobs().delete(id).await.unwrap();
        let rest = ear.hear_out().await;
        assert_eq!(rest.last(), Some(&Said::End(json!({"status": null}))));
    })
    .await;
}

#[tokio::test]
async fn streams_are_bounded_and_a_closed_one_makes_room() {
    run(async |bench| {
        let web = web_with(bench, |options| options.streams_max = 2);
        let id = queued(&bench.clipbase).await;
        let first = open(&web, stream_request(id, None)).await;
        let _second = open(&web, stream_request(id, None)).await;
        let reply = send(&web, stream_request(id, None)).await;
        reply.refused("OVERLOADED");
        assert_eq!(reply.header("retry-after"), Some("5"));
        // A page is no stream.
        send(&web, request("GET", &format!("/v1/jobs/{id}/events")))
            .await
            .data(200);
        drop(first);
        open(&web, stream_request(id, None)).await;
        // One that is refused holds no place.
        send(&web, stream_request(JobId::new(), None))
            .await
            .refused("NOT_FOUND");
        open(&web, stream_request(id, None)).await;
    })
    .await;
}

#[tokio::test]
async fn a_stream_that_is_wrongly_asked_for_is_refused() {
    run(async |bench| {
        let web = web(bench);
        let id = queued(&bench.clipbase).await;
        for odd in ["x", "-1", "1.5", "99999999999", ""] {
            let mut request = stream_request(id, None);
            request
                .headers_mut()
                .insert("last-event-id", odd.parse().unwrap());
            send(&web, request).await.names("Last-Event-ID");
        }
        let mut request = stream_request(id, None);
        *request.uri_mut() = format!("/v1/jobs/{id}/events?limit=5").parse().unwrap();
        send(&web, request).await.names("limit");
    })
    .await;
}

#[tokio::test]
async fn a_stream_says_that_it_lives_and_ends_when_its_time_is_up() {
    run(async |bench| {
        let id = queued(&bench.clipbase).await;
        let lively = web_with(bench, |options| {
            options.keep_alive = Duration::from_millis(100);
        });
        let mut ear = open(&lively, stream_request(id, Some(1))).await;
        assert_eq!(ear.hear().await, Some(progress("queued", 0)));
        assert_eq!(ear.hear().await, Some(Said::Comment));
        let short = web_with(bench, |options| {
            options.stream_time_max = Duration::from_millis(100);
        });
        let all = open(&short, stream_request(id, None))
            .await
            .hear_out()
            .await;
        // Without an end of the job: the client comes back.
        assert_eq!(all, [event(1, "created"), progress("queued", 0)]);
    })
    .await;
}

/// A stream outlives its database's troubles.
#[tokio::test]
async fn a_stream_goes_on_when_the_database_does() {
    run(async |bench| {
        let clipbase = &bench.clipbase;
        let web = web(bench);
        let lease = claimed(clipbase).await;
        let mut ear = open(&web, stream_request(lease.job_id(), None)).await;
        for _ in 0..3 {
            ear.listen().await.unwrap();
        }
        clipbase.leases().log(&lease, "note", None).await.unwrap();
        assert_eq!(ear.listen().await, Some(event(3, "note")));
        let raw = bench.database.raw().await;
        let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                    WHERE datname = current_database() AND pid <> pg_backend_pid()";
        raw.batch_execute(sql).await.unwrap();
        wait_until("the database takes calls again", async || {
            clipbase.leases().log(&lease, "note", None).await.is_ok()
        })
        .await;
        assert_eq!(ear.listen().await, Some(event(4, "note")));
    })
    .await;
}

pub(crate) fn statements(snapshotter: &Snapshotter, name: &str) -> u64 {
    let all = snapshotter.snapshot().into_vec();
    all.into_iter()
        .filter(|(key, ..)| {
            key.key().name() == "clipbase_db_calls_total"
                && key.key().labels().any(|label| label.value() == name)
        })
        .map(|(_, _, _, value)| match value {
            DebugValue::Counter(count) => count,
            other => panic!("{other:?}"),
        })
        .sum()
}

/// The tasks of a runtime of one thread run where the recorder listens.
#[tokio::test]
async fn however_many_watch_one_statement_looks_for_news() {
    let recorder: &'static DebuggingRecorder = Box::leak(Box::new(DebuggingRecorder::new()));
    let snapshotter = recorder.snapshotter();
    let _listening = metrics::set_default_local_recorder(recorder);
    run(async |bench: &Bench| {
        let interval = Duration::from_millis(50);
        let web = web_with(bench, |options| options.follow_interval = interval);
        let clipbase = &bench.clipbase;
        let mut ears = Vec::new();
        for _ in 0..40 {
            let id = queued(clipbase).await;
            // Two clients of each job.
            for _ in 0..2 {
                let mut ear = open(&web, stream_request(id, None)).await;
                assert_eq!(ear.listen().await, Some(event(1, "created")));
                assert_eq!(ear.listen().await, Some(progress("queued", 0)));
                ears.push((id, ear));
            }
        }
        let opened = statements(&snapshotter, "events.follow");
        assert_eq!(opened, 80);
        let started = Instant::now();
        let rounds = 3;
        for round in 0..rounds {
            for (id, _) in ears.iter().step_by(2) {
                clipbase.events().add(*id, "note", None).await.unwrap();
            }
            let listening = ears.iter_mut().map(async |(_, ear)| {
                assert_eq!(ear.listen().await, Some(event(2 + round, "note")));
            });
            futures_util::future::join_all(listening).await;
        }
        let looks = statements(&snapshotter, "events.follow_many");
        // Each look but the last is followed by a pause.
        let most = started.elapsed().as_nanos() / interval.as_nanos() + 2;
        assert!(
            looks >= 1 && u128::from(looks) <= most,
            "{looks} looks, at most {most}"
        );
        // A client that came between two looks reads a gap by itself; nobody asks again and again.
        let alone = statements(&snapshotter, "events.follow");
        assert!(alone <= 80, "{alone} reads of their own");
    })
    .await;
}
