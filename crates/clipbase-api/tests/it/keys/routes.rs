//! `/v1/keys`: what an admin does with keys, and what is refused.

use clipbase::{ApiKeyId, Settings};
use clipbase_testkit::run;
use serde_json::{Value, json};

use super::{GRACE, call, key, keyed, new_key, process, stats};
use crate::support::{api, get, web};

#[tokio::test]
async fn a_key_is_made_used_rotated_and_revoked() {
    run(async |bench| {
        let web = process(bench);
        let (_, admin) = key(&bench.clipbase, 600).await;
        let mut asked = new_key();
        asked["rate_limit_per_min"] = json!(120);
        let reply = call(&web, &admin, "POST", "/v1/keys", &asked).await;
        assert_eq!(reply.header("cache-control"), Some("no-store"));
        let made = reply.data(201);
        let path = format!("/v1/keys/{}", made["api_key"]["id"].as_str().unwrap());
        assert_eq!(reply.header("location"), Some(path.as_str()));
        let old = made["plain_key"].as_str().unwrap().to_owned();
        assert_eq!(
            stats(&web, &old).await.header("ratelimit-limit"),
            Some("120")
        );

        let row = call(&web, &admin, "GET", &path, &Value::Null)
            .await
            .data(200);
        assert_eq!(row["name"], "dashboard");
        assert_eq!(row["scopes"], json!(["jobs:read"]));
        assert_eq!(
            (&row["is_active"], &row["revoked_at"]),
            (&json!(true), &Value::Null)
        );
        assert!(row["last_used_at"].is_string(), "{row}");
        assert!(row.get("plain_key").is_none());

        let grace = json!({"grace_secs": GRACE.as_secs()});
        let reply = call(&web, &admin, "POST", &format!("{path}/rotate"), &grace).await;
        let rotated = reply.data(201);
        let new_path = format!("/v1/keys/{}", rotated["api_key"]["id"].as_str().unwrap());
        assert_eq!(reply.header("location"), Some(new_path.as_str()));
        assert_eq!(rotated["api_key"]["rate_limit_per_min"], 120);
        let new = rotated["plain_key"].as_str().unwrap().to_owned();
        for plain in [&old, &new] {
            stats(&web, plain).await.data(200);
        }
        // Without a grace the one before ends at once.
        let again = call(
            &web,
            &admin,
            "POST",
            &format!("{new_path}/rotate"),
            &json!({}),
        )
        .await;
        let newest = again.data(201)["plain_key"].as_str().unwrap().to_owned();
        stats(&web, &new).await.refused("UNAUTHENTICATED");
        stats(&web, &newest).await.data(200);

        // The grace ends early when the old key is revoked; again changes nothing.
        let revoke = format!("{path}/revoke");
        let first = call(&web, &admin, "POST", &revoke, &Value::Null)
            .await
            .data(200);
        assert_eq!(first["is_active"], false);
        let second = call(&web, &admin, "POST", &revoke, &Value::Null)
            .await
            .data(200);
        assert_eq!(first, second);
        stats(&web, &old).await.refused("UNAUTHENTICATED");
        call(&web, &admin, "POST", &format!("{path}/rotate"), &json!({}))
            .await
            .refused("NOT_FOUND");
    })
    .await;
}

#[tokio::test]
async fn the_list_has_every_key_once_whatever_the_page() {
    run(async |bench| {
        let web = process(bench);
        let (_, admin) = key(&bench.clipbase, 600).await;
        let mut made = Vec::new();
        for _ in 0..4 {
            let reply = call(&web, &admin, "POST", "/v1/keys", &new_key()).await;
            made.push(
                reply.data(201)["api_key"]["id"]
                    .as_str()
                    .unwrap()
                    .to_owned(),
            );
        }
        let revoke = format!("/v1/keys/{}/revoke", made[1]);
        call(&web, &admin, "POST", &revoke, &Value::Null)
            .await
            .data(200);
        let mut seen = Vec::new();
        let mut path = "/v1/keys?limit=2".to_owned();
        loop {
            let page = call(&web, &admin, "GET", &path, &Value::Null)
                .await
                .data(200);
            let keys = page["keys"].as_array().unwrap();
            assert!((1..=2).contains(&keys.len()), "{page}");
            seen.extend(
                keys.iter()
                    .map(|key| key["id"].as_str().unwrap().to_owned()),
            );
            let Some(next) = page["next"].as_str() else {
                break;
            };
            path = format!("/v1/keys?limit=2&cursor={next}");
        }
        // The admin's own was the first of all.
        made.reverse();
        assert_eq!(seen[..4], made[..]);
        assert_eq!(seen.len(), 5);
    })
    .await;
}

#[tokio::test]
async fn a_wrong_call_names_the_field_and_makes_nothing() {
    run(async |bench| {
        let web = process(bench);
        let (own, admin) = key(&bench.clipbase, 600).await;
        let scopes = json!(["jobs:read"]);
        for (body, field) in [
            (json!({"scopes": scopes}), "name"),
            (json!({"name": "", "scopes": scopes}), "name"),
            (json!({"name": "a\u{0}b", "scopes": scopes}), "name"),
            (json!({"name": "x".repeat(129), "scopes": scopes}), "name"),
            (json!({"name": "x"}), "scopes"),
            (json!({"name": "x", "scopes": []}), "scopes"),
            (json!({"name": "x", "scopes": ["root"]}), "scopes[0]"),
            (json!({"name": "x", "scopes": "admin"}), "scopes"),
            (
                json!({"name": "x", "scopes": scopes, "rate_limit_per_min": 0}),
                "rate_limit_per_min",
            ),
            (
                json!({"name": "x", "scopes": scopes, "rate_limit_per_min": 60_001}),
                "rate_limit_per_min",
            ),
            (json!({"name": "x", "scopes": scopes, "id": "x"}), "id"),
        ] {
            let reply = call(&web, &admin, "POST", "/v1/keys", &body).await;
            reply.names(field);
        }
        let rotate = format!("/v1/keys/{}/rotate", own.id);
        for (body, field) in [
            (json!({"grace_secs": 2_592_001}), "grace_secs"),
            (json!({"grace_secs": u64::MAX}), "grace_secs"),
            (json!({"grace_secs": -1}), "grace_secs"),
            (json!({"grace": 1}), "grace"),
        ] {
            call(&web, &admin, "POST", &rotate, &body)
                .await
                .names(field);
        }
        for (path, field) in [
            ("/v1/keys?limit=0", "limit"),
            ("/v1/keys?limit=1001", "limit"),
            ("/v1/keys?cursor=planted", "cursor"),
            ("/v1/keys?crusor=1", "crusor"),
            ("/v1/keys/planted", "id"),
        ] {
            call(&web, &admin, "GET", path, &Value::Null)
                .await
                .names(field);
        }
        let absent = format!("/v1/keys/{}", ApiKeyId::new());
        for (method, path, body) in [
            ("GET", absent.clone(), Value::Null),
            ("POST", format!("{absent}/revoke"), Value::Null),
            ("POST", format!("{absent}/rotate"), json!({})),
        ] {
            let reply = call(&web, &admin, method, &path, &body).await;
            assert_eq!(reply.status, 404);
            reply.refused("NOT_FOUND");
        }
        let all = bench.clipbase.api_keys().list(10, None).await.unwrap();
        assert_eq!(all.keys.len(), 1);
        assert!(all.keys[0].is_active);
    })
    .await;
}

#[tokio::test]
async fn the_routes_are_there_only_when_they_are_turned_on() {
    run(async |bench| {
        let open = web(bench);
        get(&open, "/v1/keys").await.refused("NOT_FOUND");
        // With keys and without their management, too.
        let clipbase = bench.another(Settings::default());
        let asked_for = api(&clipbase, |options| {
            keyed(&clipbase, options);
            options.manage_keys = false;
        });
        get(&asked_for.router(), "/v1/keys")
            .await
            .refused("NOT_FOUND");
        let document: Value = serde_json::from_slice(asked_for.openapi()).unwrap();
        let paths = document["paths"].as_object().unwrap();
        assert!(!paths.keys().any(|path| path.starts_with("/v1/keys")));
    })
    .await;
}

#[tokio::test]
async fn the_document_has_the_headers_of_the_rate() {
    run(async |bench| {
        let clipbase = bench.another(Settings::default());
        let with_keys = api(&clipbase, |options| keyed(&clipbase, options));
        let document: Value = serde_json::from_slice(with_keys.openapi()).unwrap();
        let responses = &document["paths"]["/v1/keys"]["get"]["responses"];
        for name in ["RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset"] {
            for status in ["200", "403", "429"] {
                let header = &responses[status]["headers"][name];
                assert_eq!(header["schema"]["type"], "integer", "{status} {name}");
            }
            assert!(responses["401"]["headers"][name].is_null(), "{name}");
            let open = &document["paths"]["/healthz"]["get"]["responses"]["200"];
            assert!(open["headers"][name].is_null(), "{name}");
        }
        assert!(responses["429"]["headers"]["Retry-After"].is_object());
        let without = api(&bench.clipbase, |_| ());
        assert!(!String::from_utf8_lossy(without.openapi()).contains("RateLimit-"));
    })
    .await;
}
