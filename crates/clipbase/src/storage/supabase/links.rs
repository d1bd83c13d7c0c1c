//! Signed links. The server makes the token; the address around it is ours, below the public base.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Inner;
use super::address::Token;
use super::failure::{Failure, Meaning};
use super::http::Call;
use crate::error::Result;
use crate::storage::objects::check_key_count;
use crate::storage::{Bucket, Operation, SignOptions, SignedUrl, StorageKey};

#[derive(Deserialize)]
struct Signed {
    #[serde(rename = "signedURL")]
    link: Option<String>,
}

#[derive(Deserialize)]
struct SignedOne {
    path: String,
    #[serde(rename = "signedURL")]
    link: Option<String>,
}

#[derive(Deserialize)]
struct SignedUpload {
    url: String,
}

/// What an upload token says of its time.
#[derive(Deserialize)]
struct Claims {
    iat: u64,
    exp: u64,
}

impl Inner {
    pub(super) async fn sign_one(
        &self,
        key: &StorageKey,
        options: &SignOptions,
    ) -> Result<SignedUrl> {
        let operation = Operation::Sign;
        let path = self.config.key_layout.path(key);
        let call = Call::post(
            self.config.storage.object("sign", key.bucket(), &path),
            json!({ "expiresIn": options.ttl.as_duration().as_secs() }),
        );
        match self.http.call::<Signed>(operation, &call).await {
            Ok(signed) => self
                .link(key, signed.link.as_deref(), options)
                .map_err(|failure| failure.of(operation)),
            Err(failure) if failure.meaning() == Meaning::NoObject => {
                self.bucket_is_there(operation, key.bucket())
                    .await
                    .map_err(|failure| failure.of(operation))?;
                Err(failure.of(operation))
            }
            Err(failure) => Err(failure.of(operation)),
        }
    }

    fn link(
        &self,
        key: &StorageKey,
        link: Option<&str>,
        options: &SignOptions,
    ) -> Result<SignedUrl, Failure> {
        let token = link
            .and_then(Token::of_link)
            .ok_or_else(|| Failure::malformed("link without a token"))?;
        let path = self.config.key_layout.path(key);
        let name = options.download_name.as_ref();
        let public = &self.config.public;
        Ok(SignedUrl::new(
            public.link("sign", key.bucket(), &path, &token, name),
            options.ttl.as_duration(),
        ))
    }

    pub(super) async fn sign_all(
        &self,
        keys: &[StorageKey],
        options: &SignOptions,
    ) -> Result<Vec<Result<SignedUrl>>> {
        check_key_count(keys)?;
        let operation = Operation::SignMany;
        let mut links = BTreeMap::new();
        for bucket in Bucket::ALL {
            let signed = self.sign_in(bucket, keys, options).await;
            links.extend(signed.map_err(|failure| failure.of(operation))?);
        }
        let answers = keys.iter().map(|key| match links.get(key) {
            Some(Some(link)) => self
                .link(key, Some(link), options)
                .map_err(|failure| failure.of(operation)),
            Some(None) => Err(operation.missing()),
            None => Err(Failure::malformed("key without an answer").of(operation)),
        });
        Ok(answers.collect())
    }

    /// Signs the keys of one bucket in one call; a key without its object has no link.
    async fn sign_in<'a>(
        &self,
        bucket: Bucket,
        keys: &'a [StorageKey],
        options: &SignOptions,
    ) -> Result<BTreeMap<&'a StorageKey, Option<String>>, Failure> {
        let operation = Operation::SignMany;
        let layout = self.config.key_layout;
        let paths: BTreeMap<String, &StorageKey> = keys
            .iter()
            .filter(|key| key.bucket() == bucket)
            .map(|key| (layout.path(key), key))
            .collect();
        if paths.is_empty() {
            return Ok(BTreeMap::new());
        }
        let call = Call::post(
            self.config.storage.objects("sign", bucket),
            json!({
                "expiresIn": options.ttl.as_duration().as_secs(),
                "paths": paths.keys().collect::<Vec<_>>(),
            }),
        );
        let signed: Vec<SignedOne> = self.http.call(operation, &call).await?;
        if signed.iter().any(|one| one.link.is_none()) {
            self.bucket_is_there(operation, bucket).await?;
        }
        let known = signed
            .into_iter()
            .filter_map(|one| Some((*paths.get(&one.path)?, one.link)));
        Ok(known.collect())
    }

    pub(super) async fn sign_put(&self, key: &StorageKey) -> Result<SignedUrl> {
        let operation = Operation::SignUpload;
        let path = self.config.key_layout.path(key);
        let url = self
            .config
            .storage
            .object("upload/sign", key.bucket(), &path);
        // The link replaces what is there; whether it may is part of what the server signs.
        let call = Call::post(url, Value::Object(serde_json::Map::new())).with_upsert();
        let signed = self.http.call::<SignedUpload>(operation, &call).await;
        let signed = signed.map_err(|failure| match failure.meaning() {
            Meaning::NoObject => failure.meaning_now(Meaning::NoBucket).of(operation),
            _ => failure.of(operation),
        })?;
        let token = Token::of_link(&signed.url)
            .ok_or_else(|| Failure::malformed("link without a token").of(operation))?;
        let lifetime = lifetime(&token).unwrap_or(self.config.upload_link_ttl);
        let public = &self.config.public;
        Ok(SignedUrl::new(
            public.link("upload/sign", key.bucket(), &path, &token, None),
            lifetime,
        ))
    }
}

/// Reads how long a token lasts, if it is a JWT: its time is the server's setting, not ours.
fn lifetime(token: &Token) -> Option<Duration> {
    let claims = token.as_str().split('.').nth(1)?;
    let claims = URL_SAFE_NO_PAD.decode(claims.trim_end_matches('=')).ok()?;
    let claims: Claims = serde_json::from_slice(&claims).ok()?;
    let seconds = claims.exp.checked_sub(claims.iat)?;
    (seconds > 0).then(|| Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(claims: &str) -> Token {
        let claims = URL_SAFE_NO_PAD.encode(claims);
        Token::of_link(&format!("/x?token=a.{claims}.b")).unwrap()
    }

    #[test]
    fn a_token_tells_its_own_lifetime() {
        let two_hours = token(r#"{"url":"x","iat":1000,"exp":8200,"upsert":true}"#);
        assert_eq!(lifetime(&two_hours), Some(Duration::from_secs(7_200)));
        for claims in [
            "",
            "{}",
            r#"{"iat":5,"exp":5}"#,
            r#"{"iat":5,"exp":4}"#,
            "[]",
        ] {
            assert_eq!(lifetime(&token(claims)), None, "{claims}");
        }
        assert_eq!(lifetime(&Token::of_link("?token=opaque").unwrap()), None);
    }
}
