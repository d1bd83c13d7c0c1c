//! Reading jobs and acting on one.

use clipbase::leases::Finish;
use clipbase::{JobId, JobStatus};
use clipbase_testkit::builders::{claimed, new_jobs};
use clipbase_testkit::run;
use serde_json::{Value, json};

use crate::support::{failed, get, job, queued, request, send, web};

#[tokio::test]
async fn a_job_is_shown_without_what_is_inside() {
    run(async |bench| {
        let web = web(bench);
        let id = failed(&bench.clipbase, "DISK_FULL").await;
        let data = get(&web, &format!("/v1/jobs/{id}")).await.data(200);
        assert_eq!(data["id"], id.to_string());
        assert_eq!(data["status"], "failed");
        assert_eq!(
            data["error"],
            json!({"code": "DISK_FULL", "message": "it failed"})
        );
        assert_eq!(data["source"], json!({"type": "upload"}));
        for inside in ["lease", "worker_id", "source_key", "result_video_key"] {
            assert_eq!(data.get(inside), None, "{inside}");
        }
        assert!(!data.to_string().contains("sources/"));
    })
    .await;
}

#[tokio::test]
async fn every_route_of_a_job_refuses_a_bad_and_an_absent_id() {
    run(async |bench| {
        let web = web(bench);
        let routes = [
            ("GET", ""),
            ("DELETE", ""),
            ("POST", "/cancel"),
            ("POST", "/retry"),
            ("GET", "/events"),
            ("GET", "/result"),
        ];
        for (method, ending) in routes {
            let absent = format!("/v1/jobs/{}{ending}", JobId::new());
            send(&web, request(method, &absent))
                .await
                .refused("NOT_FOUND");
            for bad in [
                "x",
                "%00",
                "%2e%2e%2f",
                "0198c0de00007000800000000000000f",
                "%ff",
            ] {
                let path = format!("/v1/jobs/{bad}{ending}");
                send(&web, request(method, &path)).await.names("id");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn jobs_are_listed_page_by_page() {
    run(async |bench| {
        let web = web(bench);
        let mut made = bench
            .clipbase
            .jobs()
            .create_many(&new_jobs(7))
            .await
            .unwrap();
        made.reverse();
        let (mut seen, mut cursor) = (Vec::new(), String::new());
        loop {
            let path = format!("/v1/jobs?status=queued&limit=3{cursor}");
            let page = get(&web, &path).await.data(200);
            seen.extend(
                page["jobs"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|job| job["id"].clone()),
            );
            let Value::String(next) = &page["next"] else {
                break;
            };
            cursor = format!("&cursor={next}");
        }
        let made: Vec<Value> = made.iter().map(|id| json!(id.to_string())).collect();
        assert_eq!(seen, made);
        let none = get(&web, "/v1/jobs?status=failed").await.data(200);
        assert_eq!(none, json!({"jobs": [], "next": null}));
    })
    .await;
}

#[tokio::test]
async fn a_list_that_is_wrongly_asked_for_names_the_parameter() {
    run(async |bench| {
        let web = web(bench);
        for (query, field) in [
            ("?status=", "status"),
            ("?status=lost", "status"),
            ("?status=queued&status=done", "status"),
            ("?status=queued&limit=0", "limit"),
            ("?status=queued&limit=1001", "limit"),
            ("?status=queued&limit=-1", "limit"),
            ("?status=queued&limit=x", "limit"),
            ("?status=queued&cursor=planted", "cursor"),
            (
                "?status=queued&cursor=-9223372036854775808-0198c0de000070008000000000000000",
                "cursor",
            ),
            ("?status=queued&curosr=1", "curosr"),
        ] {
            get(&web, &format!("/v1/jobs{query}")).await.names(field);
        }
    })
    .await;
}

#[tokio::test]
async fn a_cancel_ends_what_waits_and_marks_what_runs() {
    run(async |bench| {
        let web = web(bench);
        let cancel =
            async |id: JobId| send(&web, request("POST", &format!("/v1/jobs/{id}/cancel"))).await;
        let waiting = queued(&bench.clipbase).await;
        for _ in 0..2 {
            let data = cancel(waiting).await.data(200);
            assert_eq!(
                (&data["status"], &data["error"]["code"]),
                (&json!("failed"), &json!("CANCELED"))
            );
        }
        let lease = claimed(&bench.clipbase).await;
        let data = cancel(lease.job_id()).await.data(200);
        assert_eq!(data["status"], "processing");
        assert!(data["cancel_requested_at"].is_string());
        let ended = claimed(&bench.clipbase).await;
        bench
            .clipbase
            .leases()
            .finish(Finish::new(&ended))
            .await
            .unwrap();
        cancel(ended.job_id()).await.refused("INVALID_TRANSITION");
    })
    .await;
}

#[tokio::test]
async fn only_a_failed_job_is_retried() {
    run(async |bench| {
        let web = web(bench);
        let retry =
            async |id: JobId| send(&web, request("POST", &format!("/v1/jobs/{id}/retry"))).await;
        let id = failed(&bench.clipbase, "DISK_FULL").await;
        assert_eq!(retry(id).await.data(200)["status"], "queued");
        assert_eq!(job(&bench.clipbase, id).await.status, JobStatus::Queued);
        let message = retry(id).await.refused("INVALID_TRANSITION");
        assert!(message.contains("queued"), "{message}");
    })
    .await;
}

#[tokio::test]
async fn a_deleted_job_is_gone() {
    run(async |bench| {
        let web = web(bench);
        let id = queued(&bench.clipbase).await;
        let path = format!("/v1/jobs/{id}");
        let data = send(&web, request("DELETE", &path)).await.data(200);
        assert_eq!(data, json!({"id": id.to_string()}));
        get(&web, &path).await.refused("NOT_FOUND");
        send(&web, request("DELETE", &path))
            .await
            .refused("NOT_FOUND");
    })
    .await;
}

#[tokio::test]
async fn the_queue_is_counted() {
    run(async |bench| {
        queued(&bench.clipbase).await;
        failed(&bench.clipbase, "DISK_FULL").await;
        let data = get(&web(bench), "/v1/stats").await.data(200);
        let counts: Vec<(&str, i64)> = data["statuses"]
            .as_array()
            .unwrap()
            .iter()
            .map(|state| {
                (
                    state["status"].as_str().unwrap(),
                    state["count"].as_i64().unwrap(),
                )
            })
            .collect();
        assert_eq!(
            counts,
            [("queued", 1), ("processing", 0), ("done", 0), ("failed", 1)]
        );
    })
    .await;
}
