//! Many jobs at once, with a preview.

use std::collections::HashSet;

use clipbase::JobStatus;
use clipbase_testkit::builders::{claimed, new_jobs};
use clipbase_testkit::run;
use serde_json::{Value, json};

use crate::support::{failed, job, post, web};

#[tokio::test]
async fn a_preview_counts_and_changes_nothing() {
    run(async |bench| {
        let web = web(bench);
        let ids = bench
            .clipbase
            .jobs()
            .create_many(&new_jobs(3))
            .await
            .unwrap();
        let body = json!({"status": "queued", "dry_run": true});
        let data = post(&web, "/v1/jobs/cancel", &body).await.data(200);
        let listed: Vec<Value> = ids.iter().map(|id| json!(id.to_string())).collect();
        assert_eq!(
            data,
            json!({"matched": 3, "changed": 0, "dry_run": true, "jobs": listed, "next": null})
        );
        for id in ids {
            assert_eq!(job(&bench.clipbase, id).await.status, JobStatus::Queued);
        }
    })
    .await;
}

#[tokio::test]
async fn a_filter_is_canceled_in_pages() {
    run(async |bench| {
        let web = web(bench);
        let ids = bench
            .clipbase
            .jobs()
            .create_many(&new_jobs(5))
            .await
            .unwrap();
        let mut seen = HashSet::new();
        let mut body = json!({"status": "queued", "limit": 2});
        loop {
            let data = post(&web, "/v1/jobs/cancel", &body).await.data(200);
            assert_eq!(data["matched"], data["changed"]);
            seen.extend(
                data["jobs"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(ToString::to_string),
            );
            if data["next"].is_null() {
                break;
            }
            body["cursor"] = data["next"].clone();
        }
        assert_eq!(seen.len(), ids.len());
        for id in ids {
            assert_eq!(
                job(&bench.clipbase, id).await.error_code.as_deref(),
                Some("CANCELED")
            );
        }
        let lease = claimed(&bench.clipbase).await;
        let data = post(&web, "/v1/jobs/cancel", &json!({"status": "processing"}))
            .await
            .data(200);
        assert_eq!(data["jobs"], json!([lease.job_id().to_string()]));
        assert!(
            job(&bench.clipbase, lease.job_id())
                .await
                .cancel_requested_at
                .is_some()
        );
    })
    .await;
}

#[tokio::test]
async fn failures_of_one_reason_are_retried() {
    run(async |bench| {
        let web = web(bench);
        let disk = failed(&bench.clipbase, "DISK_FULL").await;
        let other = failed(&bench.clipbase, "NETWORK").await;
        let body = json!({"error_code": "DISK_FULL"});
        let data = post(&web, "/v1/jobs/retry", &body).await.data(200);
        assert_eq!(
            (&data["matched"], &data["jobs"]),
            (&json!(1), &json!([disk.to_string()]))
        );
        assert_eq!(job(&bench.clipbase, disk).await.status, JobStatus::Queued);
        assert_eq!(job(&bench.clipbase, other).await.status, JobStatus::Failed);
        let before = job(&bench.clipbase, other).await.created_at;
        let none = post(&web, "/v1/jobs/retry", &json!({"created_before": before}))
            .await
            .data(200);
        assert_eq!(none["matched"], 0);
    })
    .await;
}

#[tokio::test]
async fn a_filter_that_does_not_fit_is_named() {
    run(async |bench| {
        let web = web(bench);
        let cancel = "/v1/jobs/cancel";
        let retry = "/v1/jobs/retry";
        for (path, body, field) in [
            (cancel, json!({}), "status"),
            (cancel, json!({"status": "done"}), "status"),
            (
                cancel,
                json!({"status": "queued", "error_code": "X"}),
                "error_code",
            ),
            (cancel, json!({"status": "queued", "limit": 0}), "limit"),
            (cancel, json!({"status": "queued", "limit": 1_001}), "limit"),
            (
                cancel,
                json!({"status": "queued", "cursor": "planted"}),
                "cursor",
            ),
            (
                cancel,
                json!({"status": "queued", "created_before": "yesterday"}),
                "created_before",
            ),
            (
                cancel,
                json!({"status": "queued", "created_before": "-005000-01-01T00:00:00Z"}),
                "created_before",
            ),
            (cancel, json!({"status": "queued", "dry_run": 1}), "dry_run"),
            (retry, json!({"status": "failed"}), "status"),
            (retry, json!({"error_code": ""}), "error_code"),
            (retry, json!({"error_code": "a\u{0}"}), "error_code"),
        ] {
            post(&web, path, &body).await.names(field);
        }
    })
    .await;
}
