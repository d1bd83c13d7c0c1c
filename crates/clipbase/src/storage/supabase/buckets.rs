//! The two buckets: made where they are missing, compared with what is configured, mended when asked.

use reqwest::Method;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Inner;
use super::failure::{Failure, Meaning};
use super::http::Call;
use crate::error::{Cause, Code, Error, Result};
use crate::storage::{Bucket, BucketDrift, BucketReport, Operation};

const OPERATION: Operation = Operation::EnsureBuckets;

/// A bucket as the server describes it.
#[derive(Deserialize)]
struct Found {
    public: bool,
    #[serde(default)]
    file_size_limit: Option<u64>,
    #[serde(default)]
    allowed_mime_types: Option<Vec<String>>,
}

impl Inner {
    pub(super) async fn ensure_all(&self) -> Result<Vec<BucketReport>> {
        let mut reports = Vec::new();
        for bucket in Bucket::ALL {
            reports.push(
                self.ensure(bucket)
                    .await
                    .map_err(|failure| explained(&failure))?,
            );
        }
        Ok(reports)
    }

    async fn ensure(&self, bucket: Bucket) -> Result<BucketReport, Failure> {
        let (found, is_new) = match self.bucket(OPERATION, bucket).await {
            Ok(found) => (found, false),
            Err(failure) if failure.meaning() == Meaning::NoBucket => self.make(bucket).await?,
            Err(failure) => return Err(failure),
        };
        Ok(BucketReport {
            bucket,
            is_new,
            drift: self.drift(bucket, &found),
        })
    }

    /// Makes a bucket, and tells whether this call did: another process may have been faster.
    async fn make(&self, bucket: Bucket) -> Result<(Found, bool), Failure> {
        let policy = &self.config.policy;
        let mut body = settings(policy.max_bytes, policy.types(bucket));
        for field in ["id", "name"] {
            body.insert(field.to_owned(), json!(bucket.name()));
        }
        let call = Call::post(self.config.storage.bucket(None), Value::Object(body));
        let is_new = match self.http.done(OPERATION, &call).await {
            Ok(()) => true,
            Err(failure) if failure.meaning() == Meaning::Conflict => false,
            Err(failure) => return Err(failure),
        };
        Ok((self.bucket(OPERATION, bucket).await?, is_new))
    }

    pub(super) async fn mend_all(&self) -> Result<()> {
        for bucket in Bucket::ALL {
            self.mend(bucket)
                .await
                .map_err(|failure| explained(&failure))?;
        }
        Ok(())
    }

    async fn mend(&self, bucket: Bucket) -> Result<(), Failure> {
        let found = self.bucket(OPERATION, bucket).await?;
        if self.drift(bucket, &found).is_empty() {
            return Ok(());
        }
        let policy = &self.config.policy;
        // What is not configured is sent as it is: some versions take a missing field for "none".
        let types = policy.types(bucket);
        let body = settings(
            policy.max_bytes.or(found.file_size_limit),
            types.or(found.allowed_mime_types.as_deref()),
        );
        let url = self.config.storage.bucket(Some(bucket));
        let call = Call::new(Method::PUT, url).with_body(Value::Object(body));
        self.http.done(OPERATION, &call).await
    }

    fn drift(&self, bucket: Bucket, found: &Found) -> Vec<BucketDrift> {
        let policy = &self.config.policy;
        let size = policy
            .max_bytes
            .is_some_and(|bytes| found.file_size_limit != Some(bytes));
        let types = policy.types(bucket).is_some_and(|types| {
            let mut wanted: Vec<&str> = types.iter().map(String::as_str).collect();
            let mut there: Vec<&str> = found
                .allowed_mime_types
                .iter()
                .flatten()
                .map(String::as_str)
                .collect();
            wanted.sort_unstable();
            there.sort_unstable();
            wanted != there
        });
        [
            (found.public, BucketDrift::Public),
            (size, BucketDrift::SizeLimit),
            (types, BucketDrift::MimeTypes),
        ]
        .into_iter()
        .filter_map(|(differs, drift)| differs.then_some(drift))
        .collect()
    }

    async fn bucket(&self, operation: Operation, bucket: Bucket) -> Result<Found, Failure> {
        let call = Call::get(self.config.storage.bucket(Some(bucket)));
        let found: Result<Value, Failure> = self.http.call(operation, &call).await;
        let found = found.map_err(|failure| match failure.meaning() {
            // A version without codes says of everything that it is not found.
            Meaning::NoObject => failure.meaning_now(Meaning::NoBucket),
            _ => failure,
        })?;
        serde_json::from_value(found)
            .map_err(|_| Failure::malformed("bucket that is not understood"))
    }

    /// Makes sure, where an object is said to be missing, that its bucket is not: most endpoints answer the
    /// same for both, and a storage that is not set up must not look like objects that are gone.
    pub(super) async fn bucket_is_there(
        &self,
        operation: Operation,
        bucket: Bucket,
    ) -> Result<(), Failure> {
        self.bucket(operation, bucket).await.map(|_| ())
    }
}

/// What a bucket is to be like: private, and without the fields that nobody has set.
fn settings(max_bytes: Option<u64>, types: Option<&[String]>) -> Map<String, Value> {
    let mut fields = Map::from_iter([("public".to_owned(), Value::Bool(false))]);
    if let Some(bytes) = max_bytes {
        fields.insert("file_size_limit".to_owned(), json!(bytes));
    }
    if let Some(types) = types {
        fields.insert("allowed_mime_types".to_owned(), json!(types));
    }
    fields
}

/// "Too large" is about a setting here, not about an object.
fn explained(failure: &Failure) -> Error {
    if failure.meaning() == Meaning::TooLarge {
        Error::caused(
            Code::ConfigInvalid,
            "the buckets' size limit is above the limit of the storage itself; lower bucket-max-bytes",
            Cause::new("storage 413"),
        )
    } else {
        failure.of(OPERATION)
    }
}
