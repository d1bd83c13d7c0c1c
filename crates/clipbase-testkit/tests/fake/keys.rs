//! Keys: who is let in, and what a key without rights sees.

use clipbase_testkit::fake_supabase::FakeSupabase;
use serde_json::json;

use crate::client::{answer, check, check_all, setup};

#[tokio::test]
async fn keys_are_told_apart() {
    let setup = setup().await;
    let server = &setup.server;
    server.put_object("sources", "there", "content");
    let get = || setup.bare("GET", "/object/sources/there");
    let denied = (400, "403", "AccessDenied");
    let foreign = FakeSupabase::start().await;
    check_all(vec![
        ("none", get(), (400, "400", "InvalidRequest")),
        ("no token", get().bearer_auth("canary"), denied),
        (
            "opaque, in the wrong place",
            get().bearer_auth(server.secret_key()),
            denied,
        ),
        (
            "another project's",
            get().bearer_auth(foreign.service_key()),
            denied,
        ),
        ("expired", get().bearer_auth(server.expired_key()), denied),
        (
            "without rights",
            get().bearer_auth(server.powerless_key()),
            (400, "404", "NoSuchKey"),
        ),
        (
            "an unknown opaque one",
            get().header("apikey", foreign.secret_key()),
            (401, "", ""),
        ),
        (
            "a token, in the gateway's header only",
            get().header("apikey", server.service_key()),
            (400, "400", "InvalidRequest"),
        ),
    ])
    .await;
    let opaque = get().header("apikey", server.secret_key());
    assert_eq!(opaque.send().await.unwrap().status(), 200);
    let both = get().header("apikey", server.secret_key());
    let both = both.bearer_auth(server.secret_key()).send().await.unwrap();
    assert_eq!(both.text().await.unwrap(), "content");
    for (key, message) in [
        (server.secret_key(), "Invalid Compact JWS"),
        (foreign.service_key(), "signature verification failed"),
        (server.expired_key(), "\"exp\" claim timestamp check failed"),
    ] {
        assert_eq!(answer(get().bearer_auth(key)).await.1["message"], message);
    }
}

#[tokio::test]
async fn a_key_without_rights_sees_nothing_and_stores_nothing() {
    let setup = setup().await;
    setup.server.put_object("sources", "there", "content");
    let ask = |method, path| {
        let request = setup.bare(method, path);
        request.bearer_auth(setup.server.powerless_key())
    };
    let upload = answer(ask("POST", "/object/sources/new").body("x")).await;
    check("upload", &upload, (400, "403", "AccessDenied"));
    assert_eq!(
        upload.1["message"],
        "new row violates row-level security policy"
    );
    let removal = ask("DELETE", "/object/sources").json(&json!({"prefixes": ["there"]}));
    assert_eq!(answer(removal).await, (200, json!([])));
    let list = ask("POST", "/object/list-v2/sources").json(&json!({}));
    assert_eq!(answer(list).await.1["objects"], json!([]));
    let sign = ask("POST", "/object/sign/sources/there").json(&json!({"expiresIn": 60}));
    check("sign", &answer(sign).await, (400, "404", "NoSuchKey"));
    let bucket = ask("POST", "/bucket").json(&json!({"name": "mine"}));
    check(
        "bucket",
        &answer(bucket).await,
        (400, "403", "AccessDenied"),
    );
    assert_eq!(setup.server.objects("sources").len(), 1);
    assert_eq!(setup.server.bucket("mine"), None);
}

#[tokio::test]
async fn a_restricted_organisation_is_refused_everything_even_removals() {
    let setup = setup().await;
    setup.server.put_object("sources", "there", "content");
    setup.server.set_restricted(true);
    assert_eq!(setup.delete("sources", &["there"]).await.0, 402);
    assert_eq!(setup.get("/object/sources/there").await.status(), 402);
    setup.server.set_restricted(false);
    assert_eq!(setup.delete("sources", &["there"]).await.0, 200);
}
