//! Hashes that `Bun.password` writes: argon2 with its own parameters, and bcrypt.

use clipbase::ApiKeyId;
use clipbase_testkit::{Bench, run};

use super::{key, set, unauthenticated};

pub(super) const SECRET: &str = "Zm9yIHRlc3RzIG9ubHksIG5vIHJlYWwgc2VjcmV0ISE";

/// `Bun.password.hash(secret)`: m=65536, t=2, p=1, a salt of 32 bytes.
pub(super) const BUN_ARGON2: &str = "$argon2id$v=19$m=65536,t=2,p=1$WgECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8$Gk0L8se+pIu+1I6YvMNLCZFANaBX0o9N8IC7PQjceJQ";
const BUN_ARGON2D: &str = "$argon2d$v=19$m=65536,t=2,p=1$WgECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8$Lv6fU99Pz+TWuYNMKIsZx5u6u8gV6MksG4PzqjKxMIU";
/// `Bun.password.hash(secret, "bcrypt")`: a cost of 10.
const BUN_BCRYPT: &str = "$2b$10$8AEs8HwLV76MBLizp.Cze..QNyO7x2kLIxf.u5me.Y7uPyYu/YzI2";

#[tokio::test(flavor = "multi_thread")]
async fn what_bun_hashed_verifies_here() {
    run(async |bench: &Bench| {
        let raw = bench.database.raw().await;
        let verifier = bench.clipbase.api_keys().verifier();
        for hash in [BUN_ARGON2, BUN_ARGON2D, BUN_BCRYPT] {
            let (id, _) = key(&bench.clipbase, 60).await;
            set(&raw, id, &format!("key_hash = '{hash}'")).await;
            let text = |secret: &str| format!("cb_{}_{secret}", id.as_uuid().simple());
            let principal = verifier.authenticate(&text(SECRET)).await.unwrap();
            assert_eq!(principal.key, id);
            for secret in [&SECRET[1..], &SECRET.to_lowercase(), &format!("{SECRET}x")] {
                unauthenticated(verifier.authenticate(&text(secret)).await);
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_holds_no_hash_is_an_unknown_key() {
    run(async |bench: &Bench| {
        let raw = bench.database.raw().await;
        let verifier = bench.clipbase.api_keys().verifier();
        let too_costly = BUN_ARGON2.replace("m=65536", "m=4194304");
        for hash in [
            "",
            SECRET,
            too_costly.as_str(),
            "$2b$31$8AEs8HwLV76MBLizp.Cze..QNyO7x2kLIxf.u5me.Y7uPyYu/YzI2",
        ] {
            let (id, _): (ApiKeyId, _) = key(&bench.clipbase, 60).await;
            set(&raw, id, &format!("key_hash = '{hash}'")).await;
            let text = format!("cb_{}_{SECRET}", id.as_uuid().simple());
            unauthenticated(verifier.authenticate(&text).await);
        }
    })
    .await;
}
