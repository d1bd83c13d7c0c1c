//! Creating jobs: from uploads, from earlier jobs and from addresses. Keys of requests have a file of their own.

mod once;

use axum::Router;
use clipbase::cleanup::CleanupOptions;
use clipbase::storage::{Operation, StorageKey};
use clipbase::{Code, JobId};
use clipbase_testkit::{Bench, run};
use serde_json::{Value, json};

use crate::support::{Reply, done, job, post, queued, store, uploaded, web, web_with};

fn wish(source: &Value) -> Value {
    json!({"source": source, "start": 5.25, "end": "00:01:12.5"})
}

async fn create(web: &Router, body: &Value) -> Reply {
    post(web, "/v1/jobs", body).await
}

fn id_of(data: &Value) -> JobId {
    data["id"].as_str().unwrap().parse().unwrap()
}

async fn count(bench: &Bench, table: &str) -> i64 {
    let raw = bench.database.raw().await;
    let sql = format!("SELECT count(*) FROM {table}");
    raw.query_one(&sql, &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn a_job_takes_its_upload_and_everything_that_was_asked() {
    run(async |bench| {
        let web = web(bench);
        let source = uploaded(bench, &web).await;
        let mut body = wish(&source);
        for (field, value) in [
            ("subtitles", json!(true)),
            ("burn", json!(true)),
            ("language", json!("pt-BR")),
            ("priority", json!("high")),
            ("shard", json!(3)),
            ("expires_in", json!(3_600)),
        ] {
            body[field] = value;
        }
        let reply = create(&web, &body).await;
        let data = reply.data(202);
        let location = format!("/v1/jobs/{}", source["upload"].as_str().unwrap());
        assert_eq!(reply.header("location"), Some(location.as_str()));
        assert_eq!(reply.header("idempotency-replayed"), None);
        assert_eq!((&data["start"], &data["end"]), (&json!(5.25), &json!(72.5)));
        assert_eq!(
            (&data["status"], &data["priority"]),
            (&json!("queued"), &json!("high"))
        );
        let job = job(&bench.clipbase, id_of(&data)).await;
        assert_eq!((job.start_ms, job.end_ms), (Some(5_250), Some(72_500)));
        assert_eq!(
            (job.with_subtitles, job.burn_subtitles, job.shard),
            (true, true, 3)
        );
        assert_eq!(job.subtitle_lang.as_deref(), Some("pt-BR"));
        let lives = job.expires_at.unwrap().duration_since(job.created_at);
        assert_eq!(lives.as_secs(), 3_600);
        // The job owns its source from here on; the entry stays for what may still be stored under its link.
        assert_eq!(count(bench, "storage_deletions").await, 1);
    })
    .await;
}

#[tokio::test]
async fn what_does_not_fit_is_named() {
    run(async |bench| {
        let web = web(bench);
        let source = uploaded(bench, &web).await;
        let with = |field: &str, value: Value| {
            let mut body = wish(&source);
            body[field] = value;
            body
        };
        let upload = &source["upload"];
        let sourced = |source: Value| wish(&source);
        for (body, field) in [
            (json!({}), "source"),
            (json!({"source": source, "start": 1}), "end"),
            (with("statr", json!(1)), "statr"),
            (with("start", json!(-1)), "start"),
            (with("start", json!("1:99")), "start"),
            (with("start", json!(1.0005)), "start"),
            (with("start", json!(null)), "start"),
            (with("end", json!(5.25)), "end"),
            (with("end", json!(1)), "end"),
            (with("end", json!(2_147_483_648_u64)), "end"),
            (with("burn", json!(true)), "burn"),
            (with("burn", json!("yes")), "burn"),
            (with("language", json!("no language")), "language"),
            (with("language", json!("")), "language"),
            (with("priority", json!("urgent")), "priority"),
            (with("shard", json!(-1)), "shard"),
            (with("shard", json!(3_000_000_000_u64)), "shard"),
            (with("expires_in", json!(0)), "expires_in"),
            (with("expires_in", json!(400_000_000)), "expires_in"),
            (sourced(json!({})), "source"),
            (sourced(json!([upload])), "source"),
            (sourced(json!({"upload": upload, "job": upload})), "source"),
            (sourced(json!({"upload": "planted"})), "source.upload"),
            (
                sourced(json!({"upload": upload, "extension": "../"})),
                "source.extension",
            ),
            (
                sourced(json!({"job": upload, "extension": "mp4"})),
                "source.extension",
            ),
            (sourced(json!({"uplaod": upload})), "source.uplaod"),
            (
                sourced(json!({"youtube": "https://www.youtube.com/x"})),
                "source.youtube",
            ),
        ] {
            create(&web, &body).await.names(field);
        }
        assert_eq!(count(bench, "jobs").await, 0);
    })
    .await;
}

#[tokio::test]
async fn a_source_has_to_exist() {
    run(async |bench| {
        let web = web(bench);
        let source = uploaded(bench, &web).await;
        for missing in [
            json!({"upload": JobId::new().to_string()}),
            // Another extension than it was uploaded with.
            json!({"upload": source["upload"]}),
        ] {
            let message = create(&web, &wish(&missing))
                .await
                .refused("STORAGE_NOT_FOUND");
            assert!(message.starts_with("source.upload:"), "{message}");
        }
        let absent = json!({"job": JobId::new().to_string()});
        let message = create(&web, &wish(&absent)).await.refused("NOT_FOUND");
        assert!(message.contains("source.job"), "{message}");
        bench
            .storage
            .fail_next(Operation::Info, Code::StorageUnavailable);
        create(&web, &wish(&source))
            .await
            .refused("STORAGE_UNAVAILABLE");
        assert_eq!(count(bench, "jobs").await, 0);
    })
    .await;
}

#[tokio::test]
async fn an_upload_makes_one_job_only() {
    run(async |bench| {
        let web = web(bench);
        let source = uploaded(bench, &web).await;
        create(&web, &wish(&source)).await.data(202);
        create(&web, &wish(&source)).await.refused("DB_CONFLICT");
    })
    .await;
}

#[tokio::test]
async fn a_second_clip_copies_the_first_ones_source() {
    run(async |bench| {
        let web = web(bench);
        let source = uploaded(bench, &web).await;
        let first = id_of(&create(&web, &wish(&source)).await.data(202));
        let again = json!({"job": first.to_string()});
        let second = id_of(&create(&web, &wish(&again)).await.data(202));
        assert_ne!(first, second);
        let key = job(&bench.clipbase, second).await.source_key.unwrap();
        assert_eq!(key, format!("sources/{second}/source.mov"));
        // The first upload's link; a copy has none.
        assert_eq!(count(bench, "storage_deletions").await, 1);
        // Each owns its own: the first one's end is not the second one's.
        bench.clipbase.jobs().delete(first).await.unwrap();
        bench
            .clipbase
            .cleanup()
            .run(&CleanupOptions::limited(10), |_| ())
            .await
            .unwrap();
        let key: StorageKey = key.parse().unwrap();
        assert!(bench.clipbase.storage().info(&key).await.unwrap().is_some());
    })
    .await;
}

#[tokio::test]
async fn a_copy_whose_job_never_comes_is_on_its_way_out() {
    run(async |bench| {
        let web = web(bench);
        // A job without a source that lies in the storage.
        let empty = queued(&bench.clipbase).await;
        let again = json!({"job": empty.to_string()});
        create(&web, &wish(&again))
            .await
            .refused("STORAGE_NOT_FOUND");
        assert_eq!(
            (
                count(bench, "jobs").await,
                count(bench, "storage_deletions").await
            ),
            (1, 1)
        );
        bench
            .storage
            .fail_next_answer(Operation::Copy, Code::StorageUnavailable);
        let source = uploaded(bench, &web).await;
        let first = id_of(&create(&web, &wish(&source)).await.data(202));
        let again = json!({"job": first.to_string()});
        create(&web, &wish(&again))
            .await
            .refused("STORAGE_UNAVAILABLE");
        // Two copies that no job took up, and the link of the upload that one did.
        assert_eq!(count(bench, "storage_deletions").await, 3);
    })
    .await;
}

#[tokio::test]
async fn an_address_is_taken_from_allowed_hosts_only() {
    run(async |bench| {
        let web = web_with(bench, |options| {
            options.youtube_hosts = vec!["www.youtube.com".to_owned()];
        });
        let at = |url: &str| wish(&json!({"youtube": url}));
        let data = create(&web, &at("https://www.youtube.com/watch?v=1"))
            .await
            .data(202);
        let source = json!({"type": "youtube", "url": "https://www.youtube.com/watch?v=1"});
        assert_eq!(data["source"], source);
        for url in [
            "https://planted.example/x",
            "http://www.youtube.com/x",
            "",
            "planted",
        ] {
            create(&web, &at(url)).await.names("source.youtube");
        }
        let long = format!("https://www.youtube.com/{}", "x".repeat(1_024));
        create(&web, &at(&long)).await.names("source.youtube");
        // Another clip of the same address needs no copy.
        let again = json!({"job": data["id"]});
        let second = create(&web, &wish(&again)).await.data(202);
        assert_eq!(second["source"], source);
        assert_eq!(bench.storage.calls(Operation::Copy), 0);
    })
    .await;
}

#[tokio::test]
async fn a_clip_of_a_finished_job_needs_its_source_still() {
    run(async |bench| {
        let web = web(bench);
        let lease = done(&bench.clipbase, false).await;
        store(
            &bench.clipbase,
            &StorageKey::source(lease.job_id(), "mp4").unwrap(),
            "a video",
        )
        .await;
        let again = json!({"job": lease.job_id().to_string()});
        create(&web, &wish(&again)).await.data(202);
    })
    .await;
}
