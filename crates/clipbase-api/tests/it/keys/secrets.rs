//! Keys in logs, spans and metrics: nowhere.

use clipbase_testkit::{Bench, run};
use serde_json::{Value, json};

use super::{call, key, new_key, process, stats, unknown_key, wrong_secret};
use crate::capture::Capture;

/// Uses keys in every way that there is, and returns what nobody may see of it.
async fn use_keys(bench: &Bench) -> Vec<String> {
    let web = process(bench);
    let (own, admin) = key(&bench.clipbase, 600).await;
    let made = call(&web, &admin, "POST", "/v1/keys", &new_key())
        .await
        .data(201);
    let id = made["api_key"]["id"].as_str().unwrap().to_owned();
    let rotate = format!("/v1/keys/{id}/rotate");
    let rotated = call(&web, &admin, "POST", &rotate, &json!({}))
        .await
        .data(201);
    let plain = |data: &Value| data["plain_key"].as_str().unwrap().to_owned();
    let keys = vec![
        admin.expose().to_owned(),
        plain(&made),
        plain(&rotated),
        wrong_secret(own.id),
        unknown_key(),
        "cb_nonsense-of-some-length".to_owned(),
    ];
    for key in &keys {
        stats(&web, key).await;
        // In a place where it does not belong.
        stats(&web, &format!("{key} {key}")).await;
        call(
            &web,
            &admin,
            "GET",
            &format!("/v1/keys/{key}"),
            &Value::Null,
        )
        .await
        .refused("INVALID_INPUT");
        call(&web, &admin, "POST", "/v1/keys", &json!({key: key}))
            .await
            .refused("INVALID_INPUT");
    }
    // A secret may have the sign that stands before it.
    let secret = |key: &String| key.splitn(3, '_').last().unwrap().to_owned();
    let secrets = keys.iter().map(secret);
    secrets.chain(["$argon2".to_owned()]).collect()
}

/// On a runtime of one thread, so that all tasks run where it listens.
#[tokio::test]
async fn no_key_is_logged_or_counted() {
    let capture = Capture::start();
    let mut secrets = Vec::new();
    run(async |bench| secrets = use_keys(bench).await).await;
    let mut text = capture.log();
    assert!(
        text.contains("/v1/keys/{id}/rotate") && text.contains("admitted"),
        "{text}"
    );
    let counted = capture.counted();
    let known = |key: &String| key.contains("clipbase_api_key_requests_total");
    assert!(counted.iter().any(known), "{counted:?}");
    text.push_str(&counted.join("\n"));
    assert_eq!(secrets.len(), 7);
    for secret in secrets {
        assert!(!text.contains(&secret), "a secret is shown");
    }
}
