//! API keys: made, used, limited, revoked and rotated, on a real database.

use std::time::Duration;

use clipbase::api_keys::{NewApiKey, PlainKey, Principal, Scope, Scopes, Verifier};
use clipbase::{ApiKeyId, Clipbase, Code, Error};
use serde_json::Value;
use tokio_postgres::Client;

mod adoption;
mod attacks;
mod foreign_hashes;
mod held;
mod life;
mod rate;
mod rotation;
mod sets;

/// A key with all scopes and this rate.
async fn key(clipbase: &Clipbase, per_minute: u32) -> (ApiKeyId, PlainKey) {
    let new = NewApiKey {
        rate_limit_per_min: Some(per_minute),
        ..NewApiKey::new("a test's", Scope::ALL.into_iter().collect::<Scopes>())
    };
    let (key, plain) = clipbase.api_keys().create(&new).await.unwrap();
    (key.id, plain)
}

/// The key's id with another secret.
fn wrong(id: ApiKeyId, number: u32) -> String {
    format!("cb_{}_wrong-secret-{number:05}", id.as_uuid().simple())
}

/// Lets time pass for the key: its rate, its last use, and its end.
async fn pass(raw: &Client, id: ApiKeyId, time: Duration) {
    let sql = "UPDATE api_keys SET rate_full_at = rate_full_at - make_interval(secs => $2),
                      last_used_at = last_used_at - make_interval(secs => $2),
                      revoked_at = revoked_at - make_interval(secs => $2)
                WHERE id = $1";
    let seconds = time.as_secs_f64();
    let changed = raw.execute(sql, &[&id.as_uuid(), &seconds]).await.unwrap();
    assert_eq!(changed, 1);
}

/// The key's whole row.
async fn row(raw: &Client, id: ApiKeyId) -> Value {
    let sql = "SELECT to_jsonb(api_keys) FROM api_keys WHERE id = $1";
    raw.query_one(sql, &[&id.as_uuid()]).await.unwrap().get(0)
}

/// Changes the key's row behind the library's back.
async fn set(raw: &Client, id: ApiKeyId, assignment: &str) {
    let sql = format!("UPDATE api_keys SET {assignment} WHERE id = $1");
    assert_eq!(raw.execute(&sql, &[&id.as_uuid()]).await.unwrap(), 1);
}

/// Fails unless the key was refused, in the one sentence that says nothing.
#[track_caller]
fn unauthenticated(outcome: Result<Principal, Error>) {
    let error = outcome.unwrap_err();
    assert_eq!(error.code(), Code::Unauthenticated);
    assert_eq!(
        error.to_string(),
        "the API key is missing, unknown or revoked"
    );
    assert!(std::error::Error::source(&error).is_none());
}

/// Runs all calls at the same time, and returns how many were let through and the waits of those that came
/// too early. Anything else fails the test.
async fn at_once(verifier: &Verifier, key: &PlainKey, calls: usize) -> (usize, Vec<Duration>) {
    let calls = (0..calls).map(|_| {
        let (verifier, text) = (verifier.clone(), key.expose().to_owned());
        tokio::spawn(async move { verifier.authenticate(&text).await })
    });
    let mut passed = 0;
    let mut waits = Vec::new();
    for outcome in futures_util::future::join_all(calls).await {
        match outcome.unwrap() {
            Ok(_) => passed += 1,
            Err(Error::RateLimited {
                retry_after,
                rate: Some(rate),
            }) => {
                assert_eq!((rate.remaining, rate.retry_after), (0, Some(retry_after)));
                waits.push(retry_after);
            }
            Err(error) => panic!("{error:?}"),
        }
    }
    (passed, waits)
}
