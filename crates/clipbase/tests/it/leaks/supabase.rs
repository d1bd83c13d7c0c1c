//! A Supabase storage that fails in every way: no key, token, address, bucket or path shows anywhere.

use std::path::Path;
use std::time::Duration;

use clipbase::storage::{
    Bucket, ListCursor, RemoveOutcome, RetryPolicy, SignOptions, Storage, StorageKey,
    SupabaseConfig, SupabaseStorage, byte_stream,
};
use clipbase::{Error, JobId};
use clipbase_testkit::fake_supabase::{Call, FakeSupabase, Fault, Rule};

use super::capture::{Capture, assert_discreet};

const CALLS: [Call; 16] = [
    Call::Upload,
    Call::Download,
    Call::Info,
    Call::Sign,
    Call::SignMany,
    Call::SignUpload,
    Call::List,
    Call::Copy,
    Call::DeleteMany,
    Call::CreateBucket,
    Call::GetBucket,
    Call::UpdateBucket,
    Call::TusCreate,
    Call::TusPatch,
    Call::TusHead,
    Call::TusDelete,
];

fn faults() -> Vec<Fault> {
    vec![
        Fault::Reset,
        Fault::LoseAnswer,
        Fault::refusal(404, "NoSuchKey"),
        Fault::refusal(404, "NoSuchBucket"),
        Fault::refusal(403, "AccessDenied"),
        Fault::refusal(409, "planted"),
        Fault::refusal(413, "EntityTooLarge"),
        Fault::refusal(500, "InternalError"),
        Fault::Html { status: 404 },
        Fault::MalformedJson { status: 200 },
        Fault::Plain {
            status: 409,
            text: "planted",
        },
        Fault::Plain {
            status: 400,
            text: "planted sources/planted",
        },
    ]
}

fn storage(server: &FakeSupabase, key: &str, resume: &Path) -> SupabaseStorage {
    let config = SupabaseConfig::from_storage_url(&server.url(), key)
        .unwrap()
        .with_retry(RetryPolicy {
            tries: 2,
            base: Duration::ZERO,
            cap: Duration::ZERO,
        })
        .unwrap()
        .with_tus_threshold(4)
        .unwrap()
        .with_resume_dir(Some(resume.to_owned()));
    SupabaseStorage::new(config).unwrap()
}

/// Runs everything once and returns what failed, and what links were made.
async fn everything(
    storage: &SupabaseStorage,
    key: &StorageKey,
    folder: &Path,
) -> (Vec<Error>, Vec<String>) {
    let mut failed: Vec<Option<Error>> = Vec::new();
    let mut links = Vec::new();
    let file = folder.join("planted.mp4");
    std::fs::write(&file, "planted").unwrap();
    let keys = std::slice::from_ref(key);
    let options = SignOptions::default();
    failed.push(storage.ensure_buckets().await.err());
    failed.push(storage.mend_buckets().await.err());
    failed.push(storage.upload(&file, key).await.err());
    for (content, length) in [("four", 4), ("planted", 7), ("planted", 8)] {
        let stream = byte_stream(content);
        failed.push(storage.upload_stream(stream, length, key).await.err());
    }
    failed.push(
        storage
            .download(key, &folder.join("planted.out"))
            .await
            .err(),
    );
    failed.push(storage.read_small(key).await.err());
    let mut signed = vec![storage.sign(key, &options).await];
    signed.push(storage.sign_upload(key).await);
    match storage.sign_many(keys, &options).await {
        Ok(many) => signed.extend(many),
        Err(error) => failed.push(Some(error)),
    }
    for link in signed {
        match link {
            Ok(link) => {
                super::capture::assert_clean(&format!("{link} {link:?}"));
                links.push(link.expose().to_owned());
            }
            Err(error) => failed.push(Some(error)),
        }
    }
    failed.push(storage.info(key).await.err());
    failed.push(storage.list(Bucket::Results, None, 5).await.err());
    let cursor = ListCursor::new("planted\nplanted");
    failed.push(storage.list(Bucket::Results, Some(&cursor), 5).await.err());
    let other = StorageKey::result_srt(JobId::new(), 1);
    failed.push(storage.copy(key, &other).await.err());
    match storage.remove(keys).await {
        Err(error) => failed.push(Some(error)),
        Ok(removals) => failed.extend(removals.into_iter().map(|removal| match removal.outcome {
            RemoveOutcome::Failed(error) => Some(error),
            _ => None,
        })),
    }
    (failed.into_iter().flatten().collect(), links)
}

#[tokio::test]
async fn no_fault_of_a_server_shows_a_secret() {
    let capture = Capture::start();
    let folder = tempfile::Builder::new()
        .prefix("planted")
        .tempdir()
        .unwrap();
    let server = FakeSupabase::start().await;
    let resume = folder.path().join("planted-resume");
    let (jwt, secret) = (server.service_key(), server.secret_key());
    let mut secrets = vec![
        jwt.to_owned(),
        secret.to_owned(),
        server.powerless_key().to_owned(),
    ];
    let mut seen = 0;
    let mut check = |(errors, links): (Vec<Error>, Vec<String>), key: &StorageKey| {
        seen += errors.len();
        for error in &errors {
            assert_discreet(error);
            let shown = format!("{error:?} {:?}", std::error::Error::source(error));
            assert!(!shown.contains(&key.path()), "{shown}");
        }
        secrets.push(key.path());
        secrets.extend(
            links
                .iter()
                .filter_map(|link| Some(link.split_once("token=")?.1.to_owned())),
        );
    };
    for (n, fault) in faults().into_iter().enumerate() {
        let storage = storage(&server, if n % 2 == 0 { jwt } else { secret }, &resume);
        super::capture::assert_clean(&format!("{storage:?}"));
        let key = StorageKey::result_video(JobId::new(), 2);
        check(everything(&storage, &key, folder.path()).await, &key);
        for call in CALLS {
            server.fail(Rule::always(call, fault.clone()));
        }
        check(everything(&storage, &key, folder.path()).await, &key);
        server.clear_faults();
    }
    let powerless = storage(&server, server.powerless_key(), &resume);
    let key = StorageKey::result_video(JobId::new(), 1);
    check(everything(&powerless, &key, folder.path()).await, &key);
    server.go_down().await;
    check(everything(&powerless, &key, folder.path()).await, &key);
    assert!(seen > 100, "{seen}");
    secrets.extend(["/storage/v1".to_owned(), server.url()]);
    secrets.extend(["\"sources\"", "\"results\""].map(str::to_owned));
    let named = ("storage call", "clipbase_storage_calls_total");
    capture.assert_shows(named, &secrets);
}
