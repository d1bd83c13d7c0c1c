//! API keys: who shows one, and the routes to make, list, revoke and rotate them.

use async_trait::async_trait;
use clipbase::Clipbase;
use clipbase::api_keys::Verifier;

use crate::access::{Authenticator, Denied, Principal};

/// Knows the keys of [`Clipbase::api_keys`]. Make one for the process: it remembers what it has verified.
#[derive(Clone, Debug)]
pub struct KeyAuthenticator {
    verifier: Verifier,
}

impl KeyAuthenticator {
    /// Makes one that remembers nothing yet. The database needs the set of API keys:
    /// [`clipbase::migrate::check_with`] tells.
    pub fn new(clipbase: &Clipbase) -> Self {
        Self {
            verifier: clipbase.api_keys().verifier(),
        }
    }
}

#[async_trait]
impl Authenticator for KeyAuthenticator {
    async fn authenticate(&self, credential: Option<&str>) -> Result<Principal, Denied> {
        // No key at all is as good as a wrong one: one answer for both.
        let owner = self.verifier.authenticate(credential.unwrap_or("")).await?;
        Ok(Principal {
            key_id: owner.key.to_string(),
            name: owner.name,
            scopes: owner.scopes,
            rate: Some(owner.rate),
        })
    }
}
