//! Hashes of secrets: ours are argon2id with OWASP's parameters; those that Bun's `Bun.password` wrote
//! (argon2 with its own parameters, or bcrypt) are verified too.

use std::str::FromStr;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};

use crate::error::{Cause, Code, Error, Result};

/// The memory of a hash of ours, in KiB.
pub const ARGON2_MEMORY_KIB: u32 = 19_456;
/// The passes over that memory.
pub const ARGON2_PASSES: u32 = 2;
/// The lanes of that memory.
pub const ARGON2_LANES: u32 = 1;

/// The costliest hash of others that is verified: a row must not be able to ask for all memory. Bun's take
/// 64 MiB and 2 passes.
const FOREIGN_MEMORY_KIB_MAX: u32 = 256 * 1024;
const FOREIGN_PASSES_MAX: u32 = 8;
const FOREIGN_LANES_MAX: u32 = 8;
/// About a second; Bun's default is 10.
const FOREIGN_BCRYPT_COST_MAX: u32 = 14;
const BCRYPT_LENGTH: usize = 60;

/// What a secret is compared with where there is no row: it costs what a row of ours costs, and no secret
/// is known to match it.
pub(super) const NOBODYS: &str = "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5cyBvd24gc2FsdA$\
                                  u0mK3vYbq2m0wJYQ6sJt0m6yqf2V5m1mX3l8l0b9F5E";

/// How a secret compares with a hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Match {
    Right,
    Wrong,
    /// The hash is of no kind that is verified here.
    Unreadable,
}

/// Hashes a new secret. Blocks for some 20 ms.
pub(super) fn hash(secret: &str) -> Result<String> {
    let hash = Params::new(ARGON2_MEMORY_KIB, ARGON2_PASSES, ARGON2_LANES, None)
        .map_err(argon2::password_hash::Error::from)
        .and_then(|params| {
            Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
                .hash_password(secret.as_bytes())
        });
    hash.map(|hash| hash.to_string()).map_err(|_| {
        Error::caused(
            Code::ConfigInvalid,
            "no API key can be made here",
            Cause::new("argon2"),
        )
    })
}

/// Compares a secret with a stored hash. Blocks for as long as the hash asks for, within bounds.
pub(super) fn verify(secret: &str, hash: &str) -> Match {
    if hash.starts_with("$argon2") {
        verify_argon2(secret, hash)
    } else {
        verify_bcrypt(secret, hash)
    }
}

fn verify_argon2(secret: &str, hash: &str) -> Match {
    let Ok(hash) = PasswordHash::new(hash) else {
        return Match::Unreadable;
    };
    let is_whole = hash.salt.is_some() && hash.hash.is_some();
    let is_bounded = Params::try_from(&hash).is_ok_and(|params| {
        params.m_cost() <= FOREIGN_MEMORY_KIB_MAX
            && params.t_cost() <= FOREIGN_PASSES_MAX
            && params.p_cost() <= FOREIGN_LANES_MAX
    });
    if !(is_whole && is_bounded) {
        return Match::Unreadable;
    }
    match Argon2::default().verify_password(secret.as_bytes(), &hash) {
        Ok(()) => Match::Right,
        Err(argon2::password_hash::Error::PasswordInvalid) => Match::Wrong,
        Err(_) => Match::Unreadable,
    }
}

fn verify_bcrypt(secret: &str, hash: &str) -> Match {
    let is_plain = hash.len() == BCRYPT_LENGTH && hash.is_ascii();
    let is_bounded = is_plain
        && bcrypt::HashParts::from_str(hash)
            .is_ok_and(|parts| parts.get_cost() <= FOREIGN_BCRYPT_COST_MAX);
    if !is_bounded {
        return Match::Unreadable;
    }
    match bcrypt::verify(secret, hash) {
        Ok(true) => Match::Right,
        Ok(false) => Match::Wrong,
        Err(_) => Match::Unreadable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "Zm9yIHRlc3RzIG9ubHksIG5vIHJlYWwgc2VjcmV0ISE";

    #[test]
    fn a_hash_of_ours_has_owasps_parameters_and_fits_the_column() {
        let first = hash(SECRET).unwrap();
        let second = hash(SECRET).unwrap();
        assert!(first.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        assert_ne!(first, second, "each has its own salt");
        assert!(first.len() <= 128, "{}", first.len());
        assert_eq!(verify(SECRET, &first), Match::Right);
        assert_eq!(
            verify("another secret of some length", &first),
            Match::Wrong
        );
    }

    #[test]
    fn nobodys_hash_costs_what_ours_costs() {
        let ours = PasswordHash::new(NOBODYS).unwrap();
        let params = Params::try_from(&ours).unwrap();
        assert_eq!(
            (params.m_cost(), params.t_cost(), params.p_cost()),
            (ARGON2_MEMORY_KIB, ARGON2_PASSES, ARGON2_LANES)
        );
        assert_eq!(NOBODYS.len(), hash(SECRET).unwrap().len());
        assert_eq!(verify(SECRET, NOBODYS), Match::Wrong);
    }

    #[test]
    fn what_cannot_be_read_or_costs_too_much_matches_nothing() {
        for hash in [
            "",
            "plain",
            SECRET,
            "$argon2id$",
            "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5cyBvd24gc2FsdA",
            "$argon2id$v=19$m=4194304,t=2,p=1$bm9ib2R5cyBvd24gc2FsdA$u0mK3vYbq2m0wJYQ6sJt0m6yqf2V5m1mX3l8l0b9F5E",
            "$argon2id$v=19$m=19456,t=4000000,p=1$bm9ib2R5cyBvd24gc2FsdA$u0mK3vYbq2m0wJYQ6sJt0m6yqf2V5m1mX3l8l0b9F5E",
            "$argon2x$v=19$m=19456,t=2,p=1$bm9ib2R5cyBvd24gc2FsdA$u0mK3vYbq2m0wJYQ6sJt0m6yqf2V5m1mX3l8l0b9F5E",
            "$2b$31$abcdefghijklmnopqrstuuN9qo8uLOickgx2ZMRZoMyeIjZAgcfl7",
            "$2b$10$short",
            "$2b$xx$abcdefghijklmnopqrstuuN9qo8uLOickgx2ZMRZoMyeIjZAgcfl7",
            "$2b$10$ééééééééééééééééééééééééééé",
        ] {
            assert_eq!(verify(SECRET, hash), Match::Unreadable, "{hash}");
        }
    }

    #[test]
    fn hashes_that_others_made_verify() {
        for (secret, hash) in [
            // By Bun, with its defaults.
            (
                "super-secure-pa$$word",
                "$argon2id$v=19$m=65536,t=2,p=1$tFq+9AVr1bfPxQdh6E8DQRhEXg/M/SqYCNu6gVdRRNs$GzJ8PuBi+K+BVojzPfS5mjnC8OpLGtv8KJqF99eP6a4",
            ),
            // A known vector of bcrypt.
            (
                "abc123xyz",
                "$2a$12$R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW",
            ),
        ] {
            assert!(hash.len() <= 128);
            assert_eq!(verify(secret, hash), Match::Right);
            assert_eq!(verify(&secret[1..], hash), Match::Wrong, "{hash}");
        }
    }
}
