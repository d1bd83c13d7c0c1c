//! A job's log: how it is read, followed and bounded.

use std::time::Duration;

use clipbase::events::{EVENTS_LIST_MAX, EVENTS_PER_JOB_MAX, Follower, JobEvent};
use clipbase::job::EVENT_DATA_BYTES_MAX;
use clipbase::leases::Finish;
use clipbase::{Code, JobId, JobPatch, JobStatus, Priority, WorkerId};
use clipbase_testkit::builders::{claim, claimed, new_job};
use clipbase_testkit::{Bench, run};
use serde_json::json;
use tokio_postgres::Client;

use crate::support::kinds;

/// Adds events by hand, since a hundred thousand calls would take their time.
async fn add_many(raw: &Client, id: JobId, count: i64) {
    let sql =
        "INSERT INTO job_events (job_id, type) SELECT $1, 'note' FROM generate_series(1, $2::int8)";
    raw.execute(sql, &[&id.as_uuid(), &count]).await.unwrap();
}

#[tokio::test]
async fn events_are_listed_in_order_and_page_by_page() {
    run(async |bench| {
        let clipbase = &bench.clipbase;
        let id = clipbase.jobs().create(&new_job()).await.unwrap().id;
        add_many(&bench.database.raw().await, id, 24).await;
        let mut seen = Vec::new();
        loop {
            let after = seen.last().copied().unwrap_or(0);
            let page = clipbase.events().list(id, after, 7).await.unwrap();
            if page.is_empty() {
                break;
            }
            seen.extend(page.iter().map(|event| event.seq));
        }
        assert_eq!(seen, (1..=25).collect::<Vec<_>>());
        assert!(
            clipbase
                .events()
                .list(id, i32::MAX, 7)
                .await
                .unwrap()
                .is_empty()
        );
        let absent = clipbase.events().list(JobId::new(), 0, 7).await.unwrap();
        assert!(absent.is_empty());
    })
    .await;
}

#[tokio::test]
async fn what_comes_after_a_number_says_whether_the_log_has_ended() {
    run(async |bench| {
        let clipbase = &bench.clipbase;
        let lease = claimed(clipbase).await;
        let id = lease.job_id();
        let page = clipbase.events().after(id, 0, 10).await.unwrap();
        assert_eq!((page.events.len(), page.is_end), (2, false));
        let page = clipbase.events().after(id, 2, 10).await.unwrap();
        assert_eq!((page.events.len(), page.is_end), (0, false));
        clipbase.leases().finish(Finish::new(&lease)).await.unwrap();
        let page = clipbase.events().after(id, 0, 2).await.unwrap();
        assert_eq!((page.events.len(), page.is_end), (2, false));
        assert_eq!((page.status, page.progress), (JobStatus::Done, 100));
        let page = clipbase.events().after(id, 2, 2).await.unwrap();
        assert_eq!((page.events.len(), page.is_end), (1, true));
        let page = clipbase.events().after(id, 3, 2).await.unwrap();
        assert_eq!((page.events.len(), page.is_end), (0, true));
        let absent = clipbase.events().after(JobId::new(), 0, 10).await;
        assert_eq!(absent.unwrap_err().code(), Code::NotFound);
    })
    .await;
}

async fn follow_to_the_end(mut follower: Follower<'_>) -> Vec<JobEvent> {
    let mut seen = Vec::new();
    while let Some(page) = follower.next().await.unwrap() {
        seen.extend(page.events);
    }
    assert_eq!(follower.next().await.unwrap(), None);
    seen
}

async fn live(bench: &Bench, id: JobId) {
    let clipbase = &bench.clipbase;
    let lease = claim(clipbase, id, WorkerId::new()).await;
    for _ in 0..50 {
        clipbase.leases().log(&lease, "note", None).await.unwrap();
    }
    clipbase.leases().finish(Finish::new(&lease)).await.unwrap();
}

#[tokio::test]
async fn followers_see_every_event_once_to_the_end() {
    run(async |bench| {
        let clipbase = &bench.clipbase;
        let id = clipbase.jobs().create(&new_job()).await.unwrap().id;
        let follow = |after| {
            let follower = clipbase.events().follow(id, after);
            follow_to_the_end(follower.every(Duration::from_millis(1)))
        };
        let (all, rest, ()) = tokio::join!(follow(0), follow(20), live(bench, id));
        let seqs = |events: &[JobEvent]| events.iter().map(|e| e.seq).collect::<Vec<_>>();
        assert_eq!(seqs(&all), (1..=53).collect::<Vec<_>>());
        assert_eq!(seqs(&rest), (21..=53).collect::<Vec<_>>());
        assert_eq!(all.last().unwrap().kind, "finished");
    })
    .await;
}

/// A caller that does something else in between gets on all the same, and misses nothing.
#[tokio::test]
async fn a_follower_that_is_interrupted_all_the_time_misses_nothing() {
    run(async |bench| {
        let clipbase = &bench.clipbase;
        let id = clipbase.jobs().create(&new_job()).await.unwrap().id;
        let follow = async {
            let mut follower = clipbase.events().follow(id, 0);
            follower = follower.every(Duration::from_millis(30));
            let mut seen = Vec::new();
            let mut interruptions = 0;
            loop {
                let patience = Duration::from_millis(10);
                match tokio::time::timeout(patience, follower.next()).await {
                    Ok(Ok(Some(page))) => seen.extend(page.events.iter().map(|e| e.seq)),
                    Ok(end) => break assert_eq!(end.unwrap(), None),
                    Err(_) => interruptions += 1,
                }
                assert!(interruptions < 2_000, "it gets nowhere: {seen:?}");
            }
            assert_eq!(seen, (1..=53).collect::<Vec<_>>());
        };
        tokio::join!(follow, live(bench, id));
    })
    .await;
}

#[tokio::test]
async fn a_follower_reads_a_long_log_without_waiting_between_its_pages() {
    run(async |bench| {
        let clipbase = &bench.clipbase;
        let lease = claimed(clipbase).await;
        let id = lease.job_id();
        add_many(&bench.database.raw().await, id, 2_500).await;
        clipbase.leases().finish(Finish::new(&lease)).await.unwrap();
        // Were it to wait, the test would never end.
        let follower = clipbase.events().follow(id, 0).every(Duration::MAX / 4);
        let seen = follow_to_the_end(follower).await;
        assert_eq!(seen.len(), 2_503);
    })
    .await;
}

#[tokio::test]
async fn a_follower_hears_that_its_job_was_deleted() {
    run(async |bench| {
        let clipbase = &bench.clipbase;
        let id = clipbase.jobs().create(&new_job()).await.unwrap().id;
        let mut follower = clipbase.events().follow(id, 0);
        follower = follower.every(Duration::from_millis(1));
        assert_eq!(follower.next().await.unwrap().unwrap().events.len(), 1);
        clipbase.jobs().delete(id).await.unwrap();
        assert_eq!(follower.next().await.unwrap_err().code(), Code::NotFound);
    })
    .await;
}

#[tokio::test]
async fn a_full_log_takes_transitions_and_nothing_else() {
    run(async |bench| {
        let clipbase = &bench.clipbase;
        let raw = bench.database.raw().await;
        let lease = claimed(clipbase).await;
        let id = lease.job_id();
        add_many(&raw, id, i64::from(EVENTS_PER_JOB_MAX) - 3).await;
        let last = clipbase.leases().log(&lease, "last", None).await.unwrap();
        assert_eq!(last, EVENTS_PER_JOB_MAX);

        let patch = JobPatch {
            priority: Some(Priority::High),
            ..JobPatch::default()
        };
        let refusals = [
            clipbase.leases().log(&lease, "more", None).await.err(),
            clipbase.events().add(id, "more", None).await.err(),
            clipbase.jobs().update(id, &patch).await.err(),
        ];
        for refusal in refusals {
            assert_eq!(refusal.unwrap().code(), Code::EventLimit);
        }
        let sql = "INSERT INTO job_events (job_id, type) VALUES ($1, 'more')";
        let refused = raw.execute(sql, &[&id.as_uuid()]).await.unwrap_err();
        assert_eq!(refused.code().unwrap().code(), "CB007");

        clipbase.jobs().cancel(id).await.unwrap();
        clipbase.leases().release(&lease).await.unwrap();
        clipbase.jobs().retry(id).await.unwrap();
        let lease = claim(clipbase, id, WorkerId::new()).await;
        clipbase.leases().finish(Finish::new(&lease)).await.unwrap();
        let events = clipbase
            .events()
            .list(id, EVENTS_PER_JOB_MAX, 10)
            .await
            .unwrap();
        let words: Vec<&str> = events.iter().map(|event| event.kind.as_str()).collect();
        assert_eq!(
            words,
            [
                "cancel_requested",
                "canceled",
                "retried",
                "claimed",
                "finished"
            ]
        );
    })
    .await;
}

#[tokio::test]
async fn event_types_and_data_have_bounds() {
    run(async |bench| {
        let clipbase = &bench.clipbase;
        let lease = claimed(clipbase).await;
        let id = lease.job_id();
        let text = |bytes: usize| json!({"t": "x".repeat(bytes - r#"{"t":""}"#.len())});
        let long = "k".repeat(65);
        let good = text(EVENT_DATA_BYTES_MAX);
        for (kind, data) in [
            ("", json!({})),
            (long.as_str(), json!({})),
            ("a word", json!({})),
            ("wörd", json!({})),
            ("note", json!([1])),
            ("note", json!("text")),
            ("note", json!(null)),
            ("note", json!({"by": "me"})),
            ("note", json!({"from": "here"})),
            ("note", json!({"set": {"status": "done"}})),
            ("note", json!({"text": "\0"})),
            ("note", text(EVENT_DATA_BYTES_MAX + 1)),
        ] {
            let added = clipbase.events().add(id, kind, Some(&data)).await;
            assert_eq!(
                added.unwrap_err().code(),
                Code::InvalidInput,
                "{kind} {data}"
            );
            let logged = clipbase.leases().log(&lease, kind, Some(&data)).await;
            assert_eq!(
                logged.unwrap_err().code(),
                Code::InvalidInput,
                "{kind} {data}"
            );
        }
        let longest = "k".repeat(64);
        clipbase
            .events()
            .add(id, &longest, Some(&good))
            .await
            .unwrap();
        clipbase
            .leases()
            .log(&lease, "a-b_c.d:e", Some(&good))
            .await
            .unwrap();
        let words = kinds(clipbase, id).await;
        assert_eq!(words, ["created", "claimed", &longest, "a-b_c.d:e"]);
        for limit in [0, EVENTS_LIST_MAX + 1] {
            let listed = clipbase.events().list(id, 0, limit).await;
            assert_eq!(listed.unwrap_err().code(), Code::InvalidInput);
            let after = clipbase.events().after(id, 0, limit).await;
            assert_eq!(after.unwrap_err().code(), Code::InvalidInput);
        }
    })
    .await;
}

#[tokio::test]
async fn a_backslash_before_u0000_is_plain_text() {
    run(async |bench| {
        let clipbase = &bench.clipbase;
        let id = clipbase.jobs().create(&new_job()).await.unwrap().id;
        let data = json!({"path": r"C:\u0000"});
        clipbase
            .events()
            .add(id, "note", Some(&data))
            .await
            .unwrap();
        let events = clipbase.events().list(id, 1, 1).await.unwrap();
        assert_eq!(events[0].data, Some(data));
    })
    .await;
}
