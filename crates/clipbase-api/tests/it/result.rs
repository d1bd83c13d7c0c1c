//! Links to what a job made.

use clipbase::cleanup::CleanupOptions;
use clipbase::storage::Operation;
use clipbase::{Code, JobId};
use clipbase_testkit::builders::claimed;
use clipbase_testkit::run;
use serde_json::Value;

use crate::support::{done, failed, get, queued, web};

fn path(id: JobId) -> String {
    format!("/v1/jobs/{id}/result")
}

#[tokio::test]
async fn a_done_job_has_links_to_its_clip_and_subtitles() {
    run(async |bench| {
        let web = web(bench);
        let both = done(&bench.clipbase, true).await.job_id();
        let data = get(&web, &path(both)).await.data(200);
        for kind in ["video", "subtitles"] {
            let link = &data[kind];
            assert!(link["url"].as_str().unwrap().contains(&both.to_string()));
            assert_eq!(link["expires_in"], 600);
            assert!(link["expires_at"].is_string());
        }
        assert!(data["kept_until"].is_string());
        let alone = done(&bench.clipbase, false).await.job_id();
        let data = get(&web, &path(alone)).await.data(200);
        assert_eq!(data["subtitles"], Value::Null);
        let data = get(&web, &format!("{}?ttl=300&name=holiday", path(alone)))
            .await
            .data(200);
        assert_eq!(data["video"]["expires_in"], 300);
    })
    .await;
}

#[tokio::test]
async fn a_job_that_is_not_done_says_what_it_is() {
    run(async |bench| {
        let web = web(bench);
        let waiting = queued(&bench.clipbase).await;
        let running = claimed(&bench.clipbase).await.job_id();
        let failed = failed(&bench.clipbase, "DISK_FULL").await;
        for (id, code) in [
            (waiting, "JOB_NOT_DONE"),
            (running, "JOB_NOT_DONE"),
            (failed, "JOB_FAILED"),
        ] {
            let reply = get(&web, &path(id)).await;
            reply.refused(code);
            assert_eq!(reply.status, 409);
        }
        assert_eq!(bench.storage.calls(Operation::Sign), 0);
    })
    .await;
}

#[tokio::test]
async fn a_result_whose_time_is_up_is_gone_before_the_clean_up_and_absent_after() {
    run(async |bench| {
        let web = web(bench);
        let id = done(&bench.clipbase, false).await.job_id();
        let sql = "UPDATE jobs SET expires_at = now() - interval '1 s' WHERE id = $1";
        bench
            .database
            .raw()
            .await
            .execute(sql, &[&id.as_uuid()])
            .await
            .unwrap();
        let reply = get(&web, &path(id)).await;
        reply.refused("RESULT_EXPIRED");
        assert_eq!(reply.status, 410);
        bench
            .clipbase
            .cleanup()
            .run(&CleanupOptions::limited(10), |_| ())
            .await
            .unwrap();
        get(&web, &path(id)).await.refused("NOT_FOUND");
    })
    .await;
}

#[tokio::test]
async fn a_result_that_cannot_be_signed_is_told_as_such() {
    run(async |bench| {
        let web = web(bench);
        let lease = done(&bench.clipbase, false).await;
        let id = lease.job_id();
        bench
            .storage
            .fail_next(Operation::Sign, Code::StorageSignFailed);
        get(&web, &path(id)).await.refused("STORAGE_SIGN_FAILED");
        bench
            .clipbase
            .storage()
            .remove(&[lease.video_key()])
            .await
            .unwrap();
        get(&web, &path(id)).await.refused("STORAGE_NOT_FOUND");
        let long = format!("name={}", "x".repeat(201));
        for (query, field) in [
            (long.as_str(), "name"),
            ("ttl=299", "ttl"),
            ("ttl=901", "ttl"),
            ("ttl=x", "ttl"),
            ("tlt=300", "tlt"),
            ("name=", "name"),
            ("name=a%2Fb", "name"),
            ("name=%0d%0aX", "name"),
            ("name=%22", "name"),
        ] {
            get(&web, &format!("{}?{query}", path(id)))
                .await
                .names(field);
        }
    })
    .await;
}

#[tokio::test]
async fn a_result_that_another_client_wrote_wrongly_is_not_followed() {
    run(async |bench| {
        let web = web(bench);
        let id = done(&bench.clipbase, false).await.job_id();
        let raw = bench.database.raw().await;
        let sql = "BEGIN; SET LOCAL session_replication_role = replica;
                   UPDATE jobs SET result_video_key = '../planted'; COMMIT";
        raw.batch_execute(sql).await.unwrap();
        get(&web, &path(id)).await.refused("DB_INCONSISTENT");
        // Past the triggers and the log: nothing to audit.
        raw.execute("DELETE FROM jobs WHERE id = $1", &[&id.as_uuid()])
            .await
            .unwrap();
    })
    .await;
}
