//! A job's log, page by page.

use clipbase_testkit::run;
use serde_json::json;

use crate::support::{done, get, queued, web};

#[tokio::test]
async fn a_log_is_read_page_by_page() {
    run(async |bench| {
        let web = web(bench);
        let id = done(&bench.clipbase, false).await.job_id();
        let path = format!("/v1/jobs/{id}/events");
        let first = get(&web, &format!("{path}?limit=2")).await.data(200);
        let kinds = |page: &serde_json::Value| -> Vec<String> {
            let events = page["events"].as_array().unwrap().iter();
            events
                .map(|event| event["type"].as_str().unwrap().to_owned())
                .collect()
        };
        assert_eq!(kinds(&first), ["created", "claimed"]);
        assert_eq!(
            (&first["after"], &first["is_end"]),
            (&json!(2), &json!(false))
        );
        let second = get(&web, &format!("{path}?limit=2&after=2"))
            .await
            .data(200);
        assert_eq!(kinds(&second), ["finished"]);
        assert_eq!(
            (&second["after"], &second["is_end"]),
            (&json!(3), &json!(true))
        );
        assert_eq!(
            (&second["status"], &second["progress"]),
            (&json!("done"), &json!(100))
        );
        let event = &second["events"][0];
        assert_eq!(
            (&event["seq"], &event["job_id"]),
            (&json!(3), &json!(id.to_string()))
        );
        assert!(event["data"]["set"].is_object() && event["ts"].is_string());
    })
    .await;
}

#[tokio::test]
async fn a_page_that_is_wrongly_asked_for_names_the_parameter() {
    run(async |bench| {
        let web = web(bench);
        let id = queued(&bench.clipbase).await;
        for (query, field) in [
            ("after=-1", "after"),
            ("after=x", "after"),
            ("after=2147483648", "after"),
            ("limit=0", "limit"),
            ("limit=1001", "limit"),
            ("before=1", "before"),
        ] {
            get(&web, &format!("/v1/jobs/{id}/events?{query}"))
                .await
                .names(field);
        }
    })
    .await;
}
