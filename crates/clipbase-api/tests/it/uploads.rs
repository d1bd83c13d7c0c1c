//! Asking for a place to upload to.

use std::time::Duration;

use clipbase::Code;
use clipbase::cleanup::UPLOAD_TTL;
use clipbase::storage::{Operation, UPLOAD_LINK_TTL};
use clipbase_testkit::run;
use serde_json::json;

use crate::support::{json_request, post, send, web};

#[tokio::test]
async fn an_upload_is_announced_and_its_link_is_signed() {
    run(async |bench| {
        let web = web(bench);
        let data = post(&web, "/v1/uploads", &json!({"extension": "MOV"})).await.data(201);
        let id = data["upload"].as_str().unwrap();
        assert_eq!(data["key"], format!("sources/{id}/source.mov"));
        assert_eq!(data["source"], json!({"upload": id, "extension": "mov"}));
        assert_eq!((&data["method"], &data["content_type"]), (&json!("PUT"), &json!("video/quicktime")));
        assert_eq!(data["expires_in"], UPLOAD_LINK_TTL.as_secs());
        assert!(data["url"].as_str().unwrap().contains(id));
        // Announced for longer than the link and a slow upload last.
        let raw = bench.database.raw().await;
        let sql = "SELECT reason::text, extract(epoch FROM next_attempt_at - now())::float8 FROM storage_deletions
                    WHERE object_key = $1";
        let row = raw.query_one(sql, &[&data["key"].as_str().unwrap()]).await.unwrap();
        assert_eq!(row.get::<_, &str>(0), "upload_unused");
        let left = Duration::from_secs_f64(row.get(1));
        assert!(left > UPLOAD_LINK_TTL + Duration::from_secs(12 * 3_600) && left <= UPLOAD_TTL);
    })
    .await;
}

#[tokio::test]
async fn an_upload_that_is_wrongly_asked_for_leaves_nothing() {
    run(async |bench| {
        let web = web(bench);
        for (body, field) in [
            (json!({}), "extension"),
            (json!({"extension": ""}), "extension"),
            (json!({"extension": "../x"}), "extension"),
            (json!({"extension": "mp4\u{0}"}), "extension"),
            (json!({"extension": 4}), "extension"),
            (json!({"extension": "mp4", "size": 1}), "size"),
            (json!(["mp4"]), "body"),
        ] {
            post(&web, "/v1/uploads", &body).await.names(field);
        }
        assert_eq!(
            bench.clipbase.cleanup().due_deletions(10).await.unwrap(),
            []
        );
        assert_eq!(bench.storage.calls(Operation::SignUpload), 0);
    })
    .await;
}

#[tokio::test]
async fn a_storage_that_cannot_sign_is_told_as_such() {
    run(async |bench| {
        bench
            .storage
            .fail_next(Operation::SignUpload, Code::StorageSignFailed);
        let request = json_request("POST", "/v1/uploads", &json!({"extension": "mp4"}));
        send(&web(bench), request)
            .await
            .refused("STORAGE_SIGN_FAILED");
    })
    .await;
}
