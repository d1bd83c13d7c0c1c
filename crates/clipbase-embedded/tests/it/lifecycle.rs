//! From the first start to a restart.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use clipbase_embedded::{Durability, Settings, start};

use crate::support::{Place, run_of, sql};

#[test]
fn data_outlive_a_restart_of_a_durable_cluster() {
    let place = Place::new();
    let settings = Settings {
        durability: Durability::Durable,
        ..place.settings()
    };
    let server = start(&settings).unwrap();
    sql(
        &server.url("postgres"),
        "CREATE TABLE t (n int); INSERT INTO t VALUES (1), (2)",
    );
    let first_run = run_of(&server);
    drop(server);
    place.wait_until_stopped();

    let server = start(&settings).unwrap();
    assert_eq!(
        sql(&server.url("postgres"), "SELECT n FROM t ORDER BY n"),
        ["1", "2"]
    );
    assert_ne!(run_of(&server), first_run);
    drop(server);
    place.wait_until_stopped();
}

#[test]
fn a_durable_cluster_syncs_and_a_fast_one_does_not() {
    for (durability, fsync, max_connections) in [
        (Durability::Durable, "on", "100"),
        (Durability::Fast, "off", "200"),
    ] {
        let place = Place::new();
        let server = start(&Settings {
            durability,
            ..place.settings()
        })
        .unwrap();
        let show = |name: &str| sql(&server.url("postgres"), &format!("SHOW {name}")).remove(0);
        assert_eq!(show("fsync"), fsync);
        assert_eq!(show("full_page_writes"), fsync);
        assert_eq!(show("synchronous_commit"), fsync);
        assert_eq!(show("max_connections"), max_connections);
        assert_eq!(show("listen_addresses"), "");
        assert_eq!(show("server_encoding"), "UTF8");
        let collation = "SELECT datcollate FROM pg_database WHERE datname = 'template1'";
        assert_eq!(sql(&server.url("postgres"), collation), ["C"]);
        assert!(show("server_version_num").starts_with(&server.version().to_string()));
        assert!(server.bin_dir().join("postgres").exists());
    }
}

#[test]
fn the_directory_is_closed_to_other_users() {
    let place = Place::new();
    let server = place.start();
    assert_eq!(
        fs::metadata(&place.directory).unwrap().mode() & 0o777,
        0o700
    );
    assert_eq!(
        fs::metadata(server.socket_dir()).unwrap().mode() & 0o777,
        0o700
    );
}

#[test]
fn a_lingering_server_is_joined_by_the_next_user() {
    let place = Place::new();
    let lingering = place.settings().linger(Duration::from_secs(600));
    let server = start(&lingering).unwrap();
    let run = run_of(&server);
    drop(server);
    let server = start(&lingering).unwrap();
    assert_eq!(run_of(&server), run);
    // Another keeper, which does not linger, or this test would take 600 s.
    place.kill_keeper();
    let last = place.start();
    drop(server);
    drop(last);
    place.wait_until_stopped();
}

#[test]
fn a_place_with_a_long_and_odd_name_works() {
    let name = format!("it's \"a, long\" $name {}", "x".repeat(100));
    let place = Place::named(&name);
    let server = place.start();
    assert!(server.socket_dir().starts_with("/tmp"));
    assert_eq!(sql(&server.url("postgres"), "SELECT 1"), ["1"]);
    let socket_dir = server.socket_dir().to_owned();
    drop(server);
    place.wait_until_stopped();
    fs::remove_dir_all(socket_dir).unwrap();
}

#[test]
fn an_odd_name_in_the_sockets_path_works() {
    let place = Place::named("it's \"a, b\" $c");
    let server = place.start();
    assert!(server.socket_dir().starts_with(&place.directory));
    assert_eq!(sql(&server.url("postgres"), "SELECT 1"), ["1"]);
}

#[test]
fn a_log_past_10_megabytes_is_emptied_at_the_start() {
    let place = Place::new();
    drop(place.start());
    place.wait_until_stopped();
    let log = OpenOptions::new()
        .write(true)
        .open(place.path("postgres.log"))
        .unwrap();
    log.set_len(11 * 1024 * 1024).unwrap();
    let server = place.start();
    let length = fs::metadata(server.log()).unwrap().len();
    assert!((1..100_000).contains(&length), "{length}");
}
