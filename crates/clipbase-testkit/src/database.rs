//! A database per test, copied from a migrated template on one server in memory.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use clipbase::migrate::Sets;
use clipbase::{DatabaseConfig, migrate};
use clipbase_embedded::{Server, Settings, default_test_directory, start};
use sha2::{Digest, Sha256};
use tokio::sync::OnceCell;
use tokio_postgres::{Client, NoTls};
use uuid::Uuid;

/// A database that exists for one test.
#[derive(Debug)]
pub struct TestDatabase {
    name: String,
}

/// The server of this machine's test processes. It stops by itself after the last of them.
pub fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| {
        let bin_dir = bin_dir();
        let directory = default_test_directory(&workspace(), bin_dir.as_deref()).unwrap();
        let mut settings = Settings::fast(directory);
        settings.bin_dir = bin_dir;
        start(&settings).unwrap_or_else(|error| panic!("{error}"))
    })
}

/// A server of one test's own, for what concerns a whole server: roles belong to all of its databases. It ends with
/// the value, and its folder goes.
#[derive(Debug)]
pub struct OwnServer {
    server: Option<Server>,
    _folder: tempfile::TempDir,
}

impl OwnServer {
    /// Starts it, with nothing in it.
    pub fn start() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("clipbase-server-")
            .permissions(std::fs::Permissions::from_mode(0o755))
            .tempdir_in("/tmp")
            .unwrap();
        let mut settings = Settings::fast(folder.path().join("pg")).linger(Duration::ZERO);
        settings.bin_dir = bin_dir();
        let server = start(&settings).unwrap_or_else(|error| panic!("{error}"));
        Self {
            server: Some(server),
            _folder: folder,
        }
    }

    /// The address of a database, as a user who needs no password.
    pub fn url_as(&self, user: &str, database: &str) -> String {
        let url = self.server.as_ref().unwrap().url(database);
        assert!(url.contains("user=postgres"), "{url}");
        url.replace("user=postgres", &format!("user={user}"))
    }

    /// A connection for raw SQL.
    pub async fn raw(&self, user: &str, database: &str) -> Client {
        connect(&self.url_as(user, database)).await
    }
}

impl Drop for OwnServer {
    /// The server lets go of its folder before that goes.
    fn drop(&mut self) {
        drop(self.server.take());
    }
}

/// The server to test on, where the environment names one.
#[expect(
    clippy::disallowed_methods,
    reason = "which server to test on is the environment's to say"
)]
fn bin_dir() -> Option<PathBuf> {
    std::env::var_os("CLIPBASE_TEST_PG_BIN").map(PathBuf::from)
}

/// The checkout that is tested.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

impl TestDatabase {
    /// A database with the migrated schema, the optional sets included.
    pub async fn new() -> Self {
        static TEMPLATE: OnceCell<String> = OnceCell::const_new();
        let template = TEMPLATE.get_or_init(template).await;
        let name = unique();
        create(&name, &format!("TEMPLATE {template} STRATEGY file_copy")).await;
        Self { name }
    }

    /// A database with nothing in it.
    pub async fn empty() -> Self {
        let name = unique();
        create(&name, "STRATEGY file_copy").await;
        Self { name }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its address.
    pub fn url(&self) -> String {
        server().url(&self.name)
    }

    /// A connection for raw SQL, as a client that knows only the seed has.
    pub async fn raw(&self) -> Client {
        connect(&self.url()).await
    }

    /// Drops it; a test that fails leaves its database for a look.
    pub async fn drop_database(&self) {
        let sql = format!("DROP DATABASE {} WITH (FORCE)", self.name);
        admin().await.batch_execute(&sql).await.unwrap();
    }
}

fn unique() -> String {
    format!("t_{}", Uuid::new_v4().simple())
}

async fn create(name: &str, options: &str) {
    let sql = format!("CREATE DATABASE {name} {options}");
    admin().await.batch_execute(&sql).await.unwrap();
}

async fn admin() -> Client {
    connect(&server().url("postgres")).await
}

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// Makes the template once for each form of the migrations, whichever test process comes first. It holds
/// Supabase's roles with their old, open default privileges, so that the tests see what a grant would open.
async fn template() -> String {
    let checksums: String = migrate::all()
        .iter()
        .map(migrate::Migration::checksum)
        .collect();
    let digest = Sha256::digest(checksums);
    let name: String = std::iter::once("template_".to_owned())
        .chain(digest.iter().take(16).map(|b| format!("{b:02x}")))
        .collect();
    let client = admin().await;
    // Serializes test processes; a session's lock goes with the session.
    client
        .batch_execute("SELECT pg_advisory_lock(7261)")
        .await
        .unwrap();
    let exists = client
        .query_one(
            "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)",
            &[&name],
        )
        .await
        .unwrap();
    if !exists.get::<_, bool>(0) {
        drop_leftovers(&client).await;
        client.batch_execute(ROLES).await.unwrap();
        let building = format!("building_{}", Uuid::new_v4().simple());
        client
            .batch_execute(&format!("CREATE DATABASE {building}"))
            .await
            .unwrap();
        let url = server().url(&building);
        connect(&url)
            .await
            .batch_execute(OPEN_DEFAULTS)
            .await
            .unwrap();
        migrate::migrate_with(&DatabaseConfig::from_url(&url).unwrap(), Sets::ALL)
            .await
            .unwrap();
        client
            .batch_execute(&format!(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{building}'"
            ))
            .await
            .unwrap();
        crate::wait_until("the template is free", async || {
            let sql = format!("ALTER DATABASE {building} RENAME TO {name}");
            client.batch_execute(&sql).await.is_ok()
        })
        .await;
    }
    client
        .batch_execute("SELECT pg_advisory_unlock(7261)")
        .await
        .unwrap();
    name
}

/// Databases of failed runs, and templates of older migrations.
async fn drop_leftovers(client: &Client) {
    let rows = client
        .query(
            "SELECT datname::text FROM pg_database WHERE datname ~ '^(template|building)_[0-9a-f]{32}$'",
            &[],
        )
        .await
        .unwrap();
    for row in rows {
        let name: String = row.get(0);
        client
            .batch_execute(&format!("DROP DATABASE {name} WITH (FORCE)"))
            .await
            .unwrap();
    }
}

const ROLES: &str = "
DO $$
BEGIN
    IF to_regrole('anon') IS NULL THEN CREATE ROLE anon; END IF;
    IF to_regrole('authenticated') IS NULL THEN CREATE ROLE authenticated; END IF;
    IF to_regrole('service_role') IS NULL THEN CREATE ROLE service_role BYPASSRLS; END IF;
END
$$;";

const OPEN_DEFAULTS: &str = "
GRANT USAGE ON SCHEMA public TO anon, authenticated, service_role;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON TABLES TO anon, authenticated, service_role;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON FUNCTIONS TO anon, authenticated, service_role;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON SEQUENCES TO anon, authenticated, service_role;";
