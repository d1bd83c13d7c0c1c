//! What earlier, killed runs may have left in the directory.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

use clipbase_embedded::start;

use crate::support::{Place, kill, owner, spin_until, sql, write};

/// A cluster that ran once and stopped.
fn stopped_cluster() -> Place {
    let place = Place::new();
    drop(place.start());
    place.wait_until_stopped();
    place
}

fn assert_starts(place: &Place) {
    let server = place.start();
    assert_eq!(sql(&server.url("postgres"), "SELECT 1"), ["1"]);
    drop(server);
    place.wait_until_stopped();
}

/// Leaves a pid file and a socket's lock file that name a process.
fn leave_pid_files(place: &Place, pid: u32) {
    let data = place.path("pgdata");
    let text = format!("{pid}\n{}\n1700000000\n5432\n\n\n\nready\n", data.display());
    write(data.join("postmaster.pid"), &text);
    write(place.path("sock/.s.PGSQL.5432.lock"), &text);
}

#[test]
fn a_pid_file_that_names_a_living_stranger_is_no_obstacle() {
    let place = stopped_cluster();
    leave_pid_files(&place, std::process::id());
    assert_starts(&place);
}

#[test]
fn a_pid_file_that_names_a_zombie_is_no_obstacle() {
    let place = stopped_cluster();
    let mut zombie = Command::new("true").spawn().unwrap();
    let state = format!("/proc/{}/stat", zombie.id());
    if fs::exists("/proc/self").unwrap() {
        spin_until("the zombie", || {
            fs::read_to_string(&state).unwrap().contains(") Z ")
        });
    }
    leave_pid_files(&place, zombie.id());
    assert_starts(&place);
    zombie.wait().unwrap();
}

#[test]
fn a_pid_file_that_names_nobody_is_no_obstacle() {
    let place = stopped_cluster();
    let mut ended = Command::new("true").spawn().unwrap();
    ended.wait().unwrap();
    leave_pid_files(&place, ended.id());
    assert_starts(&place);
}

#[test]
fn a_keeper_never_stops_a_stranger_named_by_an_old_pid_file() {
    let place = Place::new();
    let server = place.start();
    kill(place.postmaster(), "-KILL");
    let mut stranger = Command::new("sleep")
        .arg("600")
        .uid(owner(&place.directory).0)
        .spawn()
        .unwrap();
    leave_pid_files(&place, stranger.id());
    drop(server);
    place.wait_until_stopped();
    assert_eq!(stranger.try_wait().unwrap(), None);
    stranger.kill().unwrap();
    stranger.wait().unwrap();
    // Also clears the shared memory of the killed server.
    assert_starts(&place);
}

#[test]
fn a_killed_initdb_is_done_again() {
    let place = stopped_cluster();
    fs::remove_dir_all(place.path("pgdata")).unwrap();
    fs::create_dir(place.path("pgdata.new")).unwrap();
    write(place.path("pgdata.new/PG_VERSION"), "15\n");
    assert_starts(&place);
    assert!(!place.path("pgdata.new").exists());
}

#[test]
fn markers_of_a_killed_keeper_and_a_killed_start_are_cleared() {
    let place = stopped_cluster();
    write(place.path("stopping"), "");
    write(place.path("starting"), "");
    let server = place.start();
    assert!(!place.path("stopping").exists());
    assert!(!place.path("starting").exists());
    drop(server);
    place.wait_until_stopped();
}

#[test]
fn a_server_that_someone_else_runs_on_the_data_is_left_alone() {
    let place = Place::new();
    let bin_dir = place.start().bin_dir().to_owned();
    place.wait_until_stopped();
    let (uid, gid) = owner(&place.directory);
    let mut foreign: Child = Command::new(bin_dir.join("postgres"))
        .arg("-D")
        .arg(place.path("pgdata"))
        .args([
            "-c",
            "listen_addresses=",
            "-c",
            "unix_socket_directories=.",
            "-F",
        ])
        .uid(uid)
        .gid(gid)
        .current_dir("/")
        .spawn()
        .unwrap();
    let pid_file = place.path("pgdata/postmaster.pid");
    spin_until("the other server", || {
        fs::read_to_string(&pid_file).is_ok_and(|text| text.contains("ready"))
    });
    let error = start(&place.settings()).unwrap_err();
    assert_eq!(error.code(), "POSTGRES_ALREADY_RUNNING", "{error}");
    assert_eq!(foreign.try_wait().unwrap(), None);
    kill(foreign.id(), "-INT");
    foreign.wait().unwrap();
    assert_starts(&place);
}
