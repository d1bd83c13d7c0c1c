//! Connections and statements that fail.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clipbase::storage::MemoryStorage;
use clipbase::{Clipbase, Code, DatabaseConfig, DatabaseMode, JobId, Settings, migrate};
use clipbase_testkit::TestDatabase;
use clipbase_testkit::builders::new_job;

use super::capture::{Capture, assert_clean, assert_discreet};
use super::server::{At, talkative};

fn clipbase(url: &str, mode: DatabaseMode) -> Clipbase {
    let config = DatabaseConfig::from_url(url).unwrap().with_mode(mode);
    let clipbase = Clipbase::new(&config, Arc::new(MemoryStorage::new()), Settings::default());
    let clipbase = clipbase.unwrap();
    assert_clean(&format!("{config:?} {clipbase:?} {:?}", clipbase.jobs()));
    clipbase
}

async fn refused(url: &str, codes: &[Code]) {
    for mode in [DatabaseMode::Direct, DatabaseMode::Transaction] {
        let clipbase = clipbase(url, mode);
        let error = clipbase.jobs().get(JobId::new()).await.unwrap_err();
        assert_discreet(&error);
        assert!(codes.contains(&error.code()), "{error:?}");
        assert_discreet(&clipbase.jobs().create(&new_job()).await.unwrap_err());
        assert_discreet(&clipbase.bootstrap().await.unwrap_err());
    }
    let config = DatabaseConfig::from_url(url).unwrap();
    assert_discreet(&migrate::migrate(&config).await.unwrap_err());
    assert_discreet(&migrate::check(&config).await.unwrap_err());
}

#[tokio::test]
async fn a_server_that_refuses_the_login_is_not_quoted() {
    let capture = Capture::start();
    for state in [
        "28P01", "28000", "3D000", "53300", "57P03", "XX000", "CB001",
    ] {
        let url = talkative(At::Login, state).await;
        refused(&url, &[Code::DbUnavailable]).await;
    }
    capture.assert_clean();
}

#[tokio::test]
async fn a_server_that_refuses_a_statement_is_not_quoted() {
    let capture = Capture::start();
    for state in [
        "23505", "23514", "23503", "22001", "22P02", "25006", "26000", "42501", "42P01", "53200",
        "55000", "57014", "57P01", "08006", "08P01", "XX000", "XX001",
    ] {
        let url = talkative(At::Statement, state).await;
        let known = [
            Code::DbConflict,
            Code::DbFailed,
            Code::DbTimeout,
            Code::DbUnavailable,
            Code::SchemaMismatch,
        ];
        refused(&url, &known).await;
    }
    capture.assert_clean();
}

#[tokio::test]
async fn a_server_that_is_not_there_is_not_named() {
    let capture = Capture::start();
    for url in [
        "postgresql://planteduser:plantedpassword@127.0.0.1:1/planteddatabase",
        "postgresql://planteduser:plantedpassword@localhost:1/planteddatabase?sslmode=verify-full",
        "postgresql:///planteddatabase?host=%2Fplanted%2Fsocket&user=planteduser&password=plantedpassword",
    ] {
        refused(url, &[Code::DbUnavailable]).await;
    }
    capture.assert_clean();
}

#[tokio::test]
async fn tls_that_fails_names_neither_file_nor_host() {
    let folder = tempfile::Builder::new()
        .prefix("planted")
        .tempdir()
        .unwrap();
    let no_certificate = folder.path().join("planted.pem");
    std::fs::write(&no_certificate, "planted").unwrap();
    for file in [
        PathBuf::from("/planted/root.pem"),
        no_certificate,
        folder.path().to_owned(),
    ] {
        let config = DatabaseConfig::from_url("postgresql://planted@planted.example/planted")
            .unwrap()
            .with_root_certificate(file);
        let error = migrate::migrate(&config).await.unwrap_err();
        assert_eq!(error.code(), Code::ConfigInvalid);
        assert_discreet(&error);
        let storage = Arc::new(MemoryStorage::new());
        assert_discreet(&Clipbase::new(&config, storage, Settings::default()).unwrap_err());
    }
    // A server that speaks no TLS where TLS is asked for.
    let url = talkative(At::Statement, "XX000").await;
    let url = url.replace("sslmode=disable", "sslmode=require");
    let error = clipbase(&url, DatabaseMode::Direct).jobs().stats().await;
    assert_discreet(&error.unwrap_err());
}

#[tokio::test]
async fn an_address_that_cannot_be_read_is_not_repeated() {
    for url in [
        "",
        "planted",
        "postgresql://",
        "postgresql://planted:planted@planted:port/planted",
        "postgresql://planted@planted/planted?planted=planted",
        "postgresql://planted@planted/planted?sslmode=planted",
        "postgresql://planted@planted/planted?connect_timeout=planted",
        "postgresql://planted@planted/planted?channel_binding=planted",
        "postgresql://planted%zz@planted/planted",
        "host=planted port=planted",
    ] {
        if let Err(error) = DatabaseConfig::from_url(url) {
            assert_discreet(&error);
        }
    }
}

#[tokio::test]
async fn a_database_without_the_schema_and_a_foreign_one_are_not_quoted() {
    let capture = Capture::start();
    let database = TestDatabase::empty().await;
    let config = DatabaseConfig::from_url(&database.url()).unwrap();
    let storage = Arc::new(MemoryStorage::new());
    let clipbase = Clipbase::new(&config, storage, Settings::default()).unwrap();
    let error = clipbase.jobs().stats().await.unwrap_err();
    assert_eq!(error.code(), Code::SchemaMismatch);
    assert_discreet(&error);
    let client = database.raw().await;
    let sql = "CREATE TABLE public.jobs (planted text); INSERT INTO public.jobs VALUES ('planted')";
    client.batch_execute(sql).await.unwrap();
    assert_discreet(&migrate::migrate(&config).await.unwrap_err());
    assert_discreet(&migrate::check(&config).await.unwrap_err());
    database.drop_database().await;
    capture.assert_clean();
}

#[tokio::test]
async fn a_call_that_breaks_off_or_takes_too_long_says_only_so() {
    let capture = Capture::start();
    let database = TestDatabase::new().await;
    let url = format!("{}&application_name=planted", database.url());
    let config = DatabaseConfig::from_url(&url).unwrap();
    let storage = Arc::new(MemoryStorage::new());
    let patient = Clipbase::new(&config, storage.clone(), Settings::default()).unwrap();
    patient.jobs().stats().await.unwrap();
    let client = database.raw().await;
    let lock = "BEGIN; LOCK TABLE public.jobs IN ACCESS EXCLUSIVE MODE";
    client.batch_execute(lock).await.unwrap();
    let config = config.with_call_deadline(Duration::from_millis(50));
    let hasty = Clipbase::new(&config, storage, Settings::default()).unwrap();
    let error = hasty.jobs().stats().await.unwrap_err();
    assert_eq!(error.code(), Code::DbTimeout);
    assert_discreet(&error);
    let others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                   WHERE datname = current_database() AND pid <> pg_backend_pid()";
    let jobs = patient.jobs();
    let (error, _) = tokio::join!(jobs.stats(), client.batch_execute(others));
    if let Err(error) = error {
        assert_discreet(&error);
    }
    client.batch_execute("ROLLBACK").await.unwrap();
    database.drop_database().await;
    capture.assert_clean();
}
