//! PgBouncer in transaction mode in front of the test server: 4 server connections for all clients of a
//! database, and no prepared statements kept. It ends with the test process.

use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use crate::database::{TestDatabase, server};

struct Pooler {
    port: u16,
    _shell: Child,
    _folder: tempfile::TempDir,
}

/// The address of a database behind the pooler.
pub fn url(database: &TestDatabase) -> String {
    static POOLER: OnceLock<Pooler> = OnceLock::new();
    let port = POOLER.get_or_init(launch).port;
    format!(
        "postgresql://postgres@127.0.0.1:{port}/{}?sslmode=disable",
        database.name()
    )
}

fn launch() -> Pooler {
    // Not below the home directory: as root, PgBouncer runs as another user.
    let folder = tempfile::Builder::new()
        .prefix("clipbase-pooler-")
        .tempdir_in("/tmp")
        .unwrap();
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let config = folder.path().join("pgbouncer.ini");
    let text = format!(
        "[databases]\n* = host={} user=postgres\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
         unix_socket_dir =\nauth_type = any\npool_mode = transaction\ndefault_pool_size = 4\n\
         max_client_conn = 500\nmax_db_connections = 4\nserver_idle_timeout = 5\n",
        server().socket_dir().display()
    );
    std::fs::write(&config, text).unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut arguments = Vec::new();
    if clipbase_embedded::effective_uid().unwrap() == 0 {
        // PgBouncer refuses root, and only the server's own user may enter its socket's directory.
        let owner = std::fs::metadata(server().socket_dir()).unwrap().uid();
        chown(folder.path(), Some(owner), None).unwrap();
        arguments.extend(["-u".to_owned(), user_name(owner)]);
    }
    // The shell holds our pipe: when this process ends, however it does, it takes PgBouncer along.
    let shell = Command::new("/bin/sh")
        .arg("-c")
        .arg("\"$@\" >\"$0\" 2>&1 & pid=$!; read -r _; kill $pid")
        .arg(folder.path().join("log"))
        .arg(pgbouncer())
        .args(arguments)
        .arg(&config)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let started = std::time::Instant::now();
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        let log = folder.path().join("log");
        assert!(
            started.elapsed().as_secs() < 20,
            "PgBouncer did not start: {}",
            std::fs::read_to_string(log).unwrap_or_default()
        );
        std::thread::yield_now();
    }
    Pooler {
        port,
        _shell: shell,
        _folder: folder,
    }
}

fn user_name(uid: u32) -> String {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap();
    let entry = passwd
        .lines()
        .find(|line| line.split(':').nth(2) == Some(&uid.to_string()));
    entry
        .and_then(|line| line.split(':').next())
        .expect("the server's user has a name")
        .to_owned()
}

fn pgbouncer() -> PathBuf {
    [
        "/usr/sbin/pgbouncer",
        "/usr/local/bin/pgbouncer",
        "/opt/homebrew/bin/pgbouncer",
    ]
    .into_iter()
    .map(PathBuf::from)
    .find(|path| path.exists())
    .expect("PgBouncer is missing; run ./scripts/setup --test")
}
