//! Every fault meets every operation: it ends in success after another try, or in the right code, in time.

use std::path::Path;
use std::time::{Duration, Instant};

use clipbase::storage::{Operation, RemoveOutcome, SignOptions, Storage, StorageKey, byte_stream};
use clipbase::{Code, JobId, Result};
use clipbase_testkit::fake_supabase::{Call, Fault, Rule};
use futures_util::future::join_all;
use metrics_util::debugging::{DebugValue, DebuggingRecorder};

use super::{Bench, config, impatient, open, video};

/// Each operation, and the request that its fault is ordered for.
const OPERATIONS: [(Operation, Call); 12] = [
    (Operation::EnsureBuckets, Call::GetBucket),
    (Operation::Upload, Call::Upload),
    (Operation::UploadStream, Call::Upload),
    (Operation::Download, Call::Download),
    (Operation::ReadSmall, Call::Download),
    (Operation::Sign, Call::Sign),
    (Operation::SignMany, Call::SignMany),
    (Operation::SignUpload, Call::SignUpload),
    (Operation::Info, Call::Info),
    (Operation::List, Call::List),
    (Operation::Copy, Call::Copy),
    (Operation::Remove, Call::DeleteMany),
];

const TRIES: u64 = 4;

/// Runs one operation on an object that exists.
async fn run(
    storage: &dyn Storage,
    operation: Operation,
    key: &StorageKey,
    folder: &Path,
) -> Result<()> {
    fn unit<T>(outcome: Result<T>) -> Result<()> {
        outcome.map(|_| ())
    }
    let file = folder.join("file.mp4");
    let options = SignOptions::default();
    let keys = std::slice::from_ref(key);
    match operation {
        Operation::EnsureBuckets => unit(storage.ensure_buckets().await),
        Operation::Upload => storage.upload(&file, key).await,
        Operation::UploadStream => storage.upload_stream(byte_stream("12345678"), 8, key).await,
        Operation::Download => storage.download(key, &folder.join("out.mp4")).await,
        Operation::ReadSmall => unit(storage.read_small(key).await),
        Operation::Sign => unit(storage.sign(key, &options).await),
        Operation::SignMany => match storage.sign_many(keys, &options).await?.pop().unwrap() {
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        },
        Operation::SignUpload => unit(storage.sign_upload(key).await),
        Operation::Info => unit(storage.info(key).await),
        Operation::List => unit(storage.list(key.bucket(), None, 10).await),
        Operation::Copy => storage.copy(key, &video()).await,
        Operation::Remove => match storage.remove(keys).await?.pop().unwrap().outcome {
            RemoveOutcome::Failed(error) => Err(error),
            _ => Ok(()),
        },
        other => panic!("{other:?} is not run"),
    }
}

/// A bench with a local file to upload.
struct Field {
    bench: Bench,
    folder: tempfile::TempDir,
}

impl Field {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("file.mp4"), "12345678").unwrap();
        Self {
            bench: Bench::new().await,
            folder,
        }
    }

    /// Orders a fault, runs the operation, and returns its outcome and how many requests it took.
    async fn meet(&self, operation: Operation, call: Call, rule: Rule) -> (Result<()>, u64) {
        let key = video();
        self.bench
            .server
            .put_object("results", &key.path(), "12345678");
        let before = self.bench.server.calls(call);
        self.bench.server.fail(rule);
        let outcome = run(&self.bench.storage, operation, &key, self.folder.path()).await;
        self.bench.server.clear_faults();
        (outcome, self.bench.server.calls(call) - before)
    }
}

fn passing() -> Vec<Fault> {
    vec![
        Fault::Reset,
        Fault::LoseAnswer,
        Fault::refusal(500, "InternalError"),
        Fault::refusal(503, "DatabaseReadOnly"),
        Fault::refusal(423, "ResourceLocked"),
        Fault::refusal(400, "LockTimeout"),
        Fault::http(544, "DatabaseTimeout"),
        Fault::slow_down(0),
        Fault::http(429, "Unheard"),
        Fault::Html { status: 502 },
        Fault::Html { status: 504 },
        Fault::Html { status: 524 },
        Fault::Plain {
            status: 503,
            text: "no words",
        },
        Fault::MalformedJson { status: 500 },
        Fault::HugeError {
            status: 500,
            bytes: 10_000_000,
        },
    ]
}

#[tokio::test]
async fn what_passes_is_tried_again_and_given_up_in_time() {
    let field = Field::new().await;
    let started = Instant::now();
    for fault in passing() {
        for (operation, call) in OPERATIONS {
            let told = format!("{operation:?} {fault:?}");
            // A stream whose bytes are gone is the one thing that cannot be sent again.
            let once = operation == Operation::UploadStream;
            let rule = Rule::next(call, fault.clone());
            let (outcome, _) = field.meet(operation, call, rule).await;
            if once {
                let code = outcome.unwrap_err().code();
                assert_eq!(code, Code::StorageUnavailable, "{told}");
            } else {
                assert!(outcome.is_ok(), "{told}: {outcome:?}");
            }
            let rule = Rule::always(call, fault.clone());
            let (outcome, requests) = field.meet(operation, call, rule).await;
            let code = outcome.unwrap_err().code();
            assert_eq!(code, Code::StorageUnavailable, "{told}");
            assert_eq!(requests, if once { 1 } else { TRIES }, "{told}");
        }
    }
    assert!(started.elapsed() < Duration::from_secs(120));
}

#[tokio::test]
async fn what_does_not_pass_is_told_at_once() {
    let field = Field::new().await;
    for (fault, code) in [
        (
            Fault::refusal(402, "PaymentRequired"),
            Some(Code::StorageRestricted),
        ),
        (Fault::Html { status: 402 }, Some(Code::StorageRestricted)),
        (
            Fault::refusal(403, "AccessDenied"),
            Some(Code::StorageForbidden),
        ),
        (Fault::http(401, "Unheard"), Some(Code::StorageForbidden)),
        (Fault::Html { status: 403 }, Some(Code::StorageForbidden)),
        (
            Fault::refusal(413, "EntityTooLarge"),
            Some(Code::StorageQuota),
        ),
        // A page of a proxy is no word about an object.
        (Fault::Html { status: 404 }, Some(Code::StorageUnavailable)),
        (Fault::Html { status: 302 }, Some(Code::StorageUnavailable)),
        (Fault::refusal(415, "InvalidMimeType"), None),
        (Fault::refusal(400, "InvalidRequest"), None),
        (Fault::refusal(400, "Unheard"), None),
        (Fault::MalformedJson { status: 400 }, None),
    ] {
        for (operation, call) in OPERATIONS {
            let told = format!("{operation:?} {fault:?}");
            let rule = Rule::always(call, fault.clone());
            let (outcome, requests) = field.meet(operation, call, rule).await;
            let expected = match (code, operation) {
                // A setting is too large, not an object.
                (Some(Code::StorageQuota), Operation::EnsureBuckets) => Code::ConfigInvalid,
                (Some(code), _) => code,
                (None, _) => operation.failure_code(),
            };
            assert_eq!(outcome.unwrap_err().code(), expected, "{told}");
            assert_eq!(requests, 1, "{told}");
        }
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_asked_for_again() {
    let field = Field::new().await;
    for (operation, call) in OPERATIONS {
        let fault = Fault::ShortBody { bytes: 3 };
        let (outcome, _) = field.meet(operation, call, Rule::next(call, fault)).await;
        let once = operation == Operation::UploadStream;
        assert_eq!(outcome.is_ok(), !once, "{operation:?} {outcome:?}");
    }
}

#[tokio::test]
async fn a_server_that_stalls_is_given_up() {
    let started = Instant::now();
    let all = OPERATIONS.into_iter().flat_map(|(operation, call)| {
        [Fault::Stall, Fault::StallAfter].map(|fault| async move {
            let mut field = Field::new().await;
            field.bench.storage = field.bench.another(impatient);
            let rule = Rule::always(call, fault);
            let (outcome, _) = field.meet(operation, call, rule).await;
            let code = outcome.unwrap_err().code();
            assert_eq!(code, Code::StorageUnavailable, "{operation:?}");
        })
    });
    join_all(all).await;
    assert!(started.elapsed() < Duration::from_secs(60));
}

#[tokio::test]
async fn a_server_that_is_down_is_told_and_found_again() {
    let field = Field::new().await;
    let (bench, folder) = (&field.bench, field.folder.path());
    let key = video();
    bench.server.put_object("results", &key.path(), "12345678");
    bench.server.go_down().await;
    for (operation, _) in OPERATIONS {
        let outcome = run(&bench.storage, operation, &key, folder).await;
        let code = outcome.unwrap_err().code();
        assert_eq!(code, Code::StorageUnavailable, "{operation:?}");
    }
    bench.server.come_back().await;
    for (operation, _) in OPERATIONS {
        let outcome = run(&bench.storage, operation, &key, folder).await;
        assert!(outcome.is_ok(), "{operation:?} {outcome:?}");
    }
}

#[tokio::test]
async fn a_restricted_account_is_told_as_such_by_one_request() {
    let field = Field::new().await;
    field.bench.server.set_restricted(true);
    for (operation, _) in OPERATIONS {
        let before = field.bench.server.total_calls();
        let outcome = run(
            &field.bench.storage,
            operation,
            &video(),
            field.folder.path(),
        )
        .await;
        let error = outcome.unwrap_err();
        assert_eq!(error.code(), Code::StorageRestricted, "{operation:?}");
        assert!(error.to_string().contains("restricted"));
        assert_eq!(
            field.bench.server.total_calls() - before,
            1,
            "{operation:?}"
        );
    }
}

#[tokio::test]
async fn a_key_that_is_refused_or_powerless_never_makes_objects_look_gone() {
    let field = Field::new().await;
    let (server, folder) = (&field.bench.server, field.folder.path());
    let key = video();
    server.put_object("results", &key.path(), "12345678");
    let expired = open(config(server, server.expired_key()));
    let unknown = open(config(server, "sb_secret_unknown"));
    for storage in [expired, unknown] {
        for (operation, _) in OPERATIONS {
            let outcome = run(&storage, operation, &key, folder).await;
            let code = outcome.unwrap_err().code();
            assert_eq!(code, Code::StorageForbidden, "{operation:?}");
        }
    }
    let powerless = open(config(server, server.powerless_key()));
    for (operation, _) in OPERATIONS {
        let outcome = run(&powerless, operation, &key, folder).await;
        let error = outcome.expect_err("a powerless key can do nothing");
        assert_ne!(error.code(), Code::StorageNotFound, "{operation:?}");
    }
    assert!(server.object("results", &key.path()).is_some());
}

#[tokio::test]
async fn a_server_without_tls_is_no_storage_for_https() {
    let bench = Bench::new().await;
    let address = bench.server.url().replace("http://", "https://");
    let config = clipbase::storage::SupabaseConfig::from_storage_url(&address, "k").unwrap();
    let storage = open(config);
    let before = bench.server.connections();
    let refused = storage.info(&video()).await.unwrap_err();
    assert_eq!(refused.code(), Code::StorageUnavailable, "{refused:?}");
    assert!(format!("{refused:?}").contains("tls"), "{refused:?}");
    assert_eq!(bench.server.connections() - before, 1);
}

#[tokio::test]
async fn a_root_certificate_that_cannot_be_read_is_a_wrong_setting() {
    let folder = tempfile::Builder::new().prefix("canary").tempdir().unwrap();
    let empty = folder.path().join("empty.pem");
    std::fs::write(&empty, "").unwrap();
    for file in [folder.path().join("absent.pem"), empty] {
        let config = clipbase::storage::SupabaseConfig::from_storage_url("https://host", "k")
            .unwrap()
            .with_root_certificate(file);
        let refused = clipbase::storage::SupabaseStorage::new(config).unwrap_err();
        assert_eq!(refused.code(), Code::ConfigInvalid);
        assert!(!format!("{refused:?}").contains("canary"), "{refused:?}");
    }
}

#[tokio::test]
async fn calls_and_retries_are_counted_by_operation_and_code() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let field = Field::new().await;
    let _recorder = metrics::set_default_local_recorder(&recorder);
    let storage = &field.bench.storage;
    field
        .bench
        .server
        .fail(Rule::next(Call::Info, Fault::refusal(500, "InternalError")));
    let absent = StorageKey::source(JobId::new(), "mp4").unwrap();
    assert_eq!(storage.info(&absent).await.unwrap(), None);
    assert!(storage.read_small(&absent).await.is_err());
    let mut counted: Vec<_> = snapshotter
        .snapshot()
        .into_vec()
        .into_iter()
        .map(|(key, _, _, value)| {
            let labels: Vec<_> = key.key().labels().map(|l| l.value().to_owned()).collect();
            let value = match value {
                DebugValue::Counter(count) => count,
                DebugValue::Histogram(values) => values.len() as u64,
                DebugValue::Gauge(_) => 0,
            };
            (key.key().name().to_owned(), labels.join(" "), value)
        })
        .collect();
    counted.sort();
    let of = |name: &str, labels: &str, value| (name.to_owned(), labels.to_owned(), value);
    assert_eq!(
        counted,
        [
            of("clipbase_storage_call_seconds", "info", 1),
            of("clipbase_storage_call_seconds", "read_small", 1),
            of("clipbase_storage_calls_total", "info OK", 1),
            of(
                "clipbase_storage_calls_total",
                "read_small STORAGE_NOT_FOUND",
                1
            ),
            of("clipbase_storage_retries_total", "info", 1),
        ]
    );
}
