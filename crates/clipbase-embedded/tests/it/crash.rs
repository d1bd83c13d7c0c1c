//! Any part may be killed at any time: nothing committed is lost and nothing is left running.

use std::fs;

use clipbase_embedded::{Durability, Settings, start};

use crate::program::Program;
use crate::support::{Place, kill, spin_until, sql};

const ROWS: &str = "CREATE TABLE t AS SELECT generate_series(1, 150) AS n";
const COUNT: &str = "SELECT count(*) FROM t";

#[test]
fn a_killed_program_takes_its_server_along() {
    let place = Place::new();
    let mut program = Program::run(&place, Durability::Fast);
    assert_eq!(sql(&program.url(), "SELECT 1"), ["1"]);
    program.kill();
    place.wait_until_stopped();
    assert!(
        !place.path("pgdata/postmaster.pid").exists(),
        "the server did not stop cleanly"
    );
}

#[test]
fn rows_survive_when_program_keeper_and_server_are_killed() {
    let place = Place::new();
    let mut program = Program::run(&place, Durability::Durable);
    sql(&program.url(), ROWS);
    let postmaster = place.postmaster();
    place.kill_keeper();
    kill(postmaster, "-KILL");
    program.kill();
    assert!(place.path("pgdata/postmaster.pid").exists());

    let server = start(&Settings {
        durability: Durability::Durable,
        ..place.settings()
    })
    .unwrap();
    assert_eq!(sql(&server.url("postgres"), COUNT), ["150"]);
    drop(server);
    place.wait_until_stopped();
}

#[test]
fn a_server_without_program_and_keeper_gets_a_new_keeper() {
    let place = Place::new();
    let mut program = Program::run(&place, Durability::Fast);
    sql(&program.url(), ROWS);
    let (keeper, postmaster) = (place.pid("keeper"), place.postmaster());
    place.kill_keeper();
    program.kill();

    let server = place.start();
    assert_eq!(place.postmaster(), postmaster);
    assert_eq!(sql(&server.url("postgres"), COUNT), ["150"]);
    drop(server);
    place.wait_until_stopped();
    assert_ne!(place.pid("keeper"), keeper);
}

#[test]
fn a_program_that_lost_its_keeper_still_stops_its_server() {
    let place = Place::new();
    let server = place.start();
    place.kill_keeper();
    drop(server);
    place.wait_until_stopped();
}

#[test]
fn a_server_killed_under_its_user_is_started_again_by_the_next() {
    let place = Place::new();
    let durable = Settings {
        durability: Durability::Durable,
        ..place.settings()
    };
    let first = start(&durable).unwrap();
    sql(&first.url("postgres"), ROWS);
    let killed = place.postmaster();
    kill(killed, "-KILL");

    let second = start(&durable).unwrap();
    assert_ne!(place.postmaster(), killed);
    assert_eq!(sql(&second.url("postgres"), COUNT), ["150"]);
    drop(second);
    assert_eq!(
        sql(&first.url("postgres"), COUNT),
        ["150"],
        "the first user lost the server"
    );
    drop(first);
    place.wait_until_stopped();
}

#[test]
fn a_keeper_ignores_the_signals_of_its_session() {
    let place = Place::new();
    let mut program = Program::run(&place, Durability::Fast);
    program.url();
    for signal in ["-HUP", "-INT", "-QUIT", "-TERM"] {
        kill(place.pid("keeper"), signal);
    }
    program.kill();
    place.wait_until_stopped();
    assert!(!place.path("pgdata/postmaster.pid").exists());
}

#[test]
fn a_program_killed_while_it_starts_leaves_nothing_in_the_way() {
    let place = Place::new();
    for moment in [
        "lock",
        "alive",
        "pgdata.new",
        "starting",
        "pgdata/postmaster.pid",
    ] {
        let path = place.path(moment);
        let program = Program::run(&place, Durability::Fast);
        spin_until(moment, || path.exists());
        program.kill();
        let server = place.start();
        assert_eq!(
            sql(&server.url("postgres"), "SELECT 1"),
            ["1"],
            "after {moment}"
        );
        drop(server);
        place.wait_until_stopped();
        // Back to the first start, so that every moment comes again.
        fs::remove_dir_all(&place.directory).unwrap();
    }
}
