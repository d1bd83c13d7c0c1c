//! Links to local objects: who may follow them, and the key that signs them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, SystemTime};

use clipbase::storage::{
    DOWNLOAD_ROUTE, DownloadName, LinkRefusal, LinkScope, LinkTtl, LocalSigner, SignOptions,
    SignedUrl, Storage, StorageKey, UPLOAD_LINK_TTL, UPLOAD_ROUTE,
};
use clipbase::{Code, Error, JobId};
use futures_util::future::join_all;

use super::{Directory, names, video};

fn token(link: &SignedUrl) -> &str {
    link.expose().split_once("?token=").unwrap().1
}

#[tokio::test]
async fn a_signed_link_leads_to_its_object_until_it_ends() {
    let directory = Directory::new().await;
    let key = video();
    directory.store(&key, "x").await;
    let options = SignOptions {
        ttl: LinkTtl::new(Duration::from_secs(300)).unwrap(),
        download_name: Some(DownloadName::new("Urlaub ü.mp4").unwrap()),
    };
    let before = SystemTime::now();
    let link = directory.storage.sign(&key, &options).await.unwrap();
    let path = link.expose().split('?').next().unwrap();
    assert_eq!(path, format!("http://127.0.0.1:8080{DOWNLOAD_ROUTE}{key}"));

    let signer = directory.storage.signer();
    let verify = |now| signer.verify(&key.to_string(), token(&link), LinkScope::Download, now);
    let verified = verify(before).unwrap();
    assert_eq!(verified.key, key);
    assert_eq!(verified.download_name.unwrap().as_str(), "Urlaub ü.mp4");
    assert!(verify(before + Duration::from_secs(298)).is_ok());
    let late = verify(verified.expires_at);
    assert_eq!(late, Err(LinkRefusal::Expired));
    assert_eq!(Error::from(late.unwrap_err()).code(), Code::Forbidden);
}

#[tokio::test]
async fn a_link_is_for_one_object_and_one_use() {
    let directory = Directory::new().await;
    let job = JobId::new();
    let (key, other) = (
        StorageKey::result_video(job, 1),
        StorageKey::result_video(job, 2),
    );
    directory.store(&key, "x").await;
    directory.store(&other, "y").await;
    let now = SystemTime::now();
    let signer = directory.storage.signer();
    let download = directory
        .storage
        .sign(&key, &SignOptions::default())
        .await
        .unwrap();
    let upload = directory.storage.sign_upload(&key).await.unwrap();
    let verify = |key: &str, link: &SignedUrl, scope| signer.verify(key, token(link), scope, now);
    let name = key.to_string();

    assert!(verify(&name, &download, LinkScope::Download).is_ok());
    assert_eq!(
        verify(&name, &download, LinkScope::Upload),
        Err(LinkRefusal::OtherScope)
    );
    assert_eq!(
        verify(&name, &upload, LinkScope::Download),
        Err(LinkRefusal::OtherScope)
    );
    for wrong in [
        other.to_string(),
        String::new(),
        format!("{name}/"),
        format!("../{name}"),
    ] {
        let refusal = verify(&wrong, &download, LinkScope::Download);
        assert_eq!(refusal, Err(LinkRefusal::OtherObject));
    }
}

#[tokio::test]
async fn an_upload_link_names_its_route_and_lasts_two_hours() {
    let directory = Directory::new().await;
    let key = video();
    let link = directory.storage.sign_upload(&key).await.unwrap();
    assert_eq!(link.lifetime(), UPLOAD_LINK_TTL);
    assert!(
        link.expose()
            .contains(&format!("{UPLOAD_ROUTE}{key}?token="))
    );
    let verified = directory
        .storage
        .signer()
        .verify(
            &key.to_string(),
            token(&link),
            LinkScope::Upload,
            SystemTime::now(),
        )
        .unwrap();
    assert_eq!(verified.key, key);
}

#[tokio::test]
async fn a_token_of_another_installation_is_refused() {
    let (ours, theirs) = (Directory::new().await, Directory::new().await);
    let key = video();
    let link = theirs.storage.sign_upload(&key).await.unwrap();
    let refusal = ours.storage.signer().verify(
        &key.to_string(),
        token(&link),
        LinkScope::Upload,
        SystemTime::now(),
    );
    assert_eq!(refusal, Err(LinkRefusal::Altered));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn processes_that_make_the_key_at_once_agree() {
    for _ in 0..20 {
        let root = tempfile::tempdir().unwrap();
        let signers = join_all((0..16).map(|_| {
            let root = root.path().to_owned();
            tokio::spawn(async move { LocalSigner::open(&root, "").await.unwrap() })
        }))
        .await;
        let signers: Vec<_> = signers.into_iter().map(Result::unwrap).collect();
        let (key, now) = (video(), SystemTime::now());
        let ttl = Duration::from_secs(300);
        let link = signers[0]
            .sign(&key, LinkScope::Upload, ttl, None, now)
            .unwrap();
        for signer in &signers {
            let outcome = signer.verify(&key.to_string(), token(&link), LinkScope::Upload, now);
            assert!(outcome.is_ok());
        }
        assert_eq!(names(root.path()), [".incoming", "signing.key"]);
        assert!(names(&root.path().join(".incoming")).is_empty());
    }
}

#[tokio::test]
async fn a_key_that_others_can_read_or_that_is_cut_is_refused() {
    let root = tempfile::tempdir().unwrap();
    LocalSigner::open(root.path(), "").await.unwrap();
    let file = root.path().join("signing.key");
    let refuse = async || {
        let refused = LocalSigner::open(root.path(), "").await.unwrap_err();
        assert_eq!(refused.code(), Code::StorageSignFailed);
    };
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    refuse().await;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    LocalSigner::open(root.path(), "").await.unwrap();
    fs::write(&file, [7; 31]).unwrap();
    refuse().await;
    fs::remove_file(&file).unwrap();
    std::os::unix::fs::symlink("/dev/zero", &file).unwrap();
    refuse().await;
}

#[tokio::test]
async fn a_base_that_could_not_start_a_link_is_refused() {
    let root = tempfile::tempdir().unwrap();
    for base in [
        "http://host?x=",
        "http://host#",
        "http://ho st",
        "http://host\n",
    ] {
        let refused = LocalSigner::open(root.path(), base).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidInput);
        assert!(refused.to_string().starts_with("public_base:"));
    }
}

#[tokio::test]
async fn the_key_is_never_shown() {
    let directory = Directory::new().await;
    let key = fs::read(directory.path("signing.key")).unwrap();
    let signer = directory.storage.signer();
    let shown = format!("{signer:?} {signer:#?} {:?}", directory.storage);
    assert_eq!(key.len(), 32);
    assert!(!shown.contains(&format!("{key:?}")) && !shown.contains(&key[0].to_string()));
    assert!(shown.starts_with("LocalSigner { .. }"));
}
