//! Keys, what they may do, and the tokens in links.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use hyper::http::request::Parts;
use serde_json::{Value, json};
use sha2::Sha256;
use uuid::Uuid;

use super::refusal::Refusal;
use super::route::header;

const NOT_A_TOKEN: &str = "Invalid Compact JWS";
const BAD_SIGNATURE: &str = "signature verification failed";
const EXPIRED: &str = "\"exp\" claim timestamp check failed";

/// What a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Everything.
    Service,
    /// Nothing: row-level security hides every row and refuses every new one.
    Powerless,
}

/// The server's keys. Each has a text in it that stands nowhere else, so that a leak can be searched for.
pub(super) struct Keys {
    pub(super) service: String,
    pub(super) expired: String,
    pub(super) powerless: String,
    pub(super) secret: String,
    signing: [u8; 16],
}

impl Keys {
    pub(super) fn new() -> Self {
        let key = |role: &str, expires: i64| {
            let claims =
                json!({"iss": "supabase", "role": role, "iat": 1_600_000_000, "exp": expires});
            // As long as a real signature.
            let signature = format!("canary-key-{}", Uuid::new_v4().simple());
            format!("{}.{}.{signature}", head(), encode(&claims))
        };
        Self {
            service: key("service_role", 4_000_000_000),
            expired: key("service_role", 1_600_000_001),
            powerless: key("anon", 4_000_000_000),
            secret: format!("sb_secret_canary_{}", Uuid::new_v4().simple()),
            signing: Uuid::new_v4().into_bytes(),
        }
    }

    /// Finds out who asks. An opaque key counts in `apikey` only: there the gateway puts a token in its place.
    pub(super) fn role(&self, parts: &Parts, is_tus: bool) -> Result<Role, Refusal> {
        let bearer = header(parts, "authorization")
            .map(|value| value.strip_prefix("Bearer ").unwrap_or(value).trim());
        if let Some(key) = header(parts, "apikey").filter(|key| key.starts_with("sb_")) {
            if key != self.secret {
                return Err(Refusal::unknown_key());
            }
            if bearer.is_none_or(|bearer| bearer == key) {
                return Ok(Role::Service);
            }
        }
        match bearer {
            // The resumable endpoint does not ask for the header before it looks for a token in it.
            None if is_tus => Err(Refusal::denied(NOT_A_TOKEN)),
            None => Err(Refusal::invalid(
                "headers must have required property 'authorization'",
            )),
            Some(key) if key == self.service => Ok(Role::Service),
            Some(key) if key == self.powerless => Ok(Role::Powerless),
            Some(key) if key == self.expired => Err(Refusal::denied(EXPIRED)),
            Some(key) if claims(key).is_some() => Err(Refusal::denied(BAD_SIGNATURE)),
            Some(_) => Err(Refusal::denied(NOT_A_TOKEN)),
        }
    }

    /// Makes a link's token.
    pub(super) fn sign(&self, claims: &Value) -> String {
        let signed = format!("{}.{}", head(), encode(claims));
        let signature = URL_SAFE_NO_PAD.encode(self.mac(&signed).finalize().into_bytes());
        format!("{signed}.{signature}")
    }

    /// Reads a link's token, for the object `bucket/path` and the given scope, at `now` in seconds.
    pub(super) fn verify(
        &self,
        token: &str,
        object: &str,
        scope: &str,
        now: i64,
    ) -> Result<Value, Refusal> {
        let claims = claims(token).ok_or_else(|| Refusal::invalid_jwt(NOT_A_TOKEN))?;
        let genuine = token.rsplit_once('.').is_some_and(|(signed, signature)| {
            URL_SAFE_NO_PAD
                .decode(signature)
                .is_ok_and(|signature| self.mac(signed).verify_slice(&signature).is_ok())
        });
        if !genuine {
            return Err(Refusal::invalid_jwt(BAD_SIGNATURE));
        }
        if claims
            .get("exp")
            .and_then(Value::as_i64)
            .is_none_or(|expires| expires <= now)
        {
            return Err(Refusal::invalid_jwt(EXPIRED));
        }
        let text = |name| claims.get(name).and_then(Value::as_str);
        if text("scope") != Some(scope) {
            let message = format!("Token is not scoped for {scope}");
            return Err(Refusal::invalid_signature(&message));
        }
        if text("url") != Some(object) {
            return Err(Refusal::invalid_signature("Invalid signature"));
        }
        Ok(claims)
    }

    fn mac(&self, signed: &str) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.signing).expect("any key will do");
        mac.update(signed.as_bytes());
        mac
    }
}

fn head() -> String {
    encode(&json!({"alg": "HS256", "typ": "JWT"}))
}

fn encode(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

/// Returns the claims of what looks like a token, genuine or not.
fn claims(token: &str) -> Option<Value> {
    let mut segments = token.split('.');
    let (head, body, _signature) = (segments.next()?, segments.next()?, segments.next()?);
    if segments.next().is_some() {
        return None;
    }
    let read =
        |segment| serde_json::from_slice::<Value>(&URL_SAFE_NO_PAD.decode(segment).ok()?).ok();
    read(head).filter(Value::is_object)?;
    read(body).filter(Value::is_object)
}
