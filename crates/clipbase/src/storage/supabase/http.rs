//! The two HTTP clients and the one way in which a request is sent, its answer read and bounded.
//!
//! *Control* calls share pooled connections. *Uploads* never reuse one: a server that refuses an upload
//! before it has read the body leaves the rest of it in the connection, and the next request on it would
//! hang until its timeout. Neither client follows redirects (the credential would travel along), uses a
//! proxy of the environment (the library reads no environment), or retries by itself.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Method, RequestBuilder, Response};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::config::{SupabaseConfig, config_error};
use super::failure::Failure;
use super::retry::Retries;
use crate::db::tls;
use crate::error::Result;
use crate::storage::Operation;

/// The most bytes of an answer that are read: a page of 1,000 objects, with room.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The most bytes of an error that are read.
const ERROR_BYTES_MAX: usize = 64 * 1024;

/// How long an idle connection is kept: shorter than servers keep theirs.
const IDLE_MAX: Duration = Duration::from_secs(20);

/// Says that an upload replaces what is there.
pub(super) const X_UPSERT: HeaderName = HeaderName::from_static("x-upsert");

/// A request without content of its own, to be sent as often as needed.
pub(super) struct Call {
    method: Method,
    url: String,
    body: Option<Value>,
    upsert: bool,
    timeout: Option<Duration>,
}

impl Call {
    pub(super) fn new(method: Method, url: String) -> Self {
        Self {
            method,
            url,
            body: None,
            upsert: false,
            timeout: None,
        }
    }

    pub(super) fn get(url: String) -> Self {
        Self::new(Method::GET, url)
    }

    pub(super) fn post(url: String, body: Value) -> Self {
        Self::new(Method::POST, url).with_body(body)
    }

    pub(super) fn with_body(mut self, body: Value) -> Self {
        self.body = Some(body);
        self
    }

    pub(super) fn with_upsert(mut self) -> Self {
        self.upsert = true;
        self
    }

    /// Gives the call more time than a control call has.
    pub(super) fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }
}

/// Both clients with their credential.
pub(super) struct Http {
    control: Client,
    upload: Client,
    config: SupabaseConfig,
}

impl Http {
    /// # Errors
    /// `CONFIG_INVALID` when the root certificate cannot be read.
    pub(super) fn new(config: &SupabaseConfig) -> Result<Self> {
        let tls = tls::client_config(config.root_certificate.as_deref())?;
        let mut headers = HeaderMap::new();
        let (apikey, bearer) = config.key.headers(config.key_headers);
        if let Some(apikey) = apikey {
            headers.insert(HeaderName::from_static("apikey"), apikey);
        }
        if let Some(bearer) = bearer {
            headers.insert(AUTHORIZATION, bearer);
        }
        headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
        let client = |idle: usize| {
            Client::builder()
                .user_agent(concat!("clipbase/", env!("CARGO_PKG_VERSION")))
                .default_headers(headers.clone())
                .tls_backend_preconfigured(tls.clone())
                .http1_only()
                .connect_timeout(config.timeouts.connect)
                .pool_idle_timeout(IDLE_MAX)
                .pool_max_idle_per_host(idle)
                .redirect(reqwest::redirect::Policy::none())
                .retry(reqwest::retry::never())
                .referer(false)
                .no_proxy()
                .build()
                .map_err(|_| config_error("the storage's HTTP client could not be set up"))
        };
        Ok(Self {
            control: client(usize::MAX)?,
            upload: client(0)?,
            config: config.clone(),
        })
    }

    /// Returns the failures of a new call.
    pub(super) fn retries(&self, operation: Operation) -> Retries {
        Retries::new(operation, self.config.retry)
    }

    /// Starts a request on a pooled connection.
    pub(super) fn control(&self, method: Method, url: &str) -> RequestBuilder {
        self.control.request(method, url)
    }

    /// Starts a request on a connection of its own.
    pub(super) fn upload(&self, method: Method, url: &str) -> RequestBuilder {
        self.upload.request(method, url)
    }

    /// Sends a call, again where its failure passes, and reads what it answers.
    pub(super) async fn call<T: DeserializeOwned>(
        &self,
        operation: Operation,
        call: &Call,
    ) -> Result<T, Failure> {
        let mut retries = self.retries(operation);
        let answer = loop {
            match self.call_once(call).await {
                Ok(answer) => break answer,
                Err(failure) => retries.after(failure).await?,
            }
        };
        understood(&answer)
    }

    /// As [`Http::call`], where it only matters that the storage answered: what stands before it may say 200
    /// to anything.
    pub(super) async fn done(&self, operation: Operation, call: &Call) -> Result<(), Failure> {
        let _: Done = self.call(operation, call).await?;
        Ok(())
    }

    async fn call_once(&self, call: &Call) -> Result<Bytes, Failure> {
        let mut request = self.control(call.method.clone(), &call.url);
        if call.upsert {
            request = request.header(X_UPSERT, "true");
        }
        if let Some(body) = &call.body {
            request = request.json(body);
        }
        let whole = async {
            let response = sent(request).await?;
            read(response, ANSWER_BYTES_MAX).await
        };
        let timeout = call.timeout.unwrap_or(self.config.timeouts.control);
        within(timeout, whole).await
    }
}

/// What the storage says of something that it has done: an object, with what it was done to.
type Done = serde_json::Map<String, Value>;

fn understood<T: DeserializeOwned>(answer: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(answer).map_err(|_| Failure::malformed("answer that is not understood"))
}

/// Makes sure that it was the storage that said yes.
pub(super) async fn done(response: Response) -> Result<(), Failure> {
    let answer = read(response, ANSWER_BYTES_MAX).await?;
    let _: Done = understood(&answer)?;
    Ok(())
}

/// Sends a request and makes a failure of every answer that is no success.
pub(super) async fn sent(request: RequestBuilder) -> Result<Response, Failure> {
    let response = request
        .send()
        .await
        .map_err(|error| Failure::of_transport(&error))?;
    if response.status().is_success() {
        Ok(response)
    } else {
        Err(refusal(response).await)
    }
}

/// Reads why a request was refused. A body that breaks off is read as far as it came.
async fn refusal(mut response: Response) -> Failure {
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let mut body = BytesMut::new();
    while let Ok(Some(piece)) = response.chunk().await {
        let room = ERROR_BYTES_MAX.saturating_sub(body.len());
        body.extend_from_slice(piece.get(..room).unwrap_or(&piece));
        if body.len() >= ERROR_BYTES_MAX {
            break;
        }
    }
    Failure::of_answer(status, &headers, &body)
}

/// Reads a whole answer of bounded size.
async fn read(mut response: Response, most: usize) -> Result<Bytes, Failure> {
    let mut body = BytesMut::new();
    while let Some(piece) = response
        .chunk()
        .await
        .map_err(|error| Failure::of_transport(&error))?
    {
        if body.len() + piece.len() > most {
            return Err(Failure::malformed("answer without an end"));
        }
        body.extend_from_slice(&piece);
    }
    Ok(body.freeze())
}

/// Gives a request up after a time. What it holds is dropped, its connection with it.
pub(super) async fn within<T>(
    timeout: Duration,
    request: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    tokio::time::timeout(timeout, request)
        .await
        .unwrap_or_else(|_| Err(Failure::timed_out()))
}
