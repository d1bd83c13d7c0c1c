//! Several programs on one cluster.

use std::thread;

use clipbase_embedded::Durability;

use crate::program::Program;
use crate::support::{Place, run_of, sql};

const RUN: &str = "SELECT pg_postmaster_start_time()";

#[test]
fn eight_programs_that_start_at_once_share_one_server() {
    let place = Place::new();
    let mut programs: Vec<Program> = (0..8)
        .map(|_| Program::run(&place, Durability::Fast))
        .collect();
    let runs: Vec<_> = programs
        .iter_mut()
        .map(|program| sql(&program.url(), RUN))
        .collect();
    assert!(runs.iter().all(|run| *run == runs[0]), "{runs:?}");
    for program in programs {
        program.kill();
    }
    place.wait_until_stopped();
}

#[test]
fn a_server_stays_until_its_last_user_leaves() {
    let place = Place::new();
    let mut starter = Program::run(&place, Durability::Fast);
    let run = sql(&starter.url(), RUN);
    let second = place.start();
    starter.finish();
    assert_eq!(run_of(&second), run);
    let third = place.start();
    drop(second);
    assert_eq!(run_of(&third), run);
    drop(third);
    place.wait_until_stopped();
}

#[test]
fn programs_that_come_and_go_always_find_a_server() {
    let place = Place::new();
    thread::scope(|scope| {
        for number in 0..3 {
            let place = &place;
            scope.spawn(move || {
                for round in 0..8 {
                    let mut program = Program::run(place, Durability::Fast);
                    assert_eq!(sql(&program.url(), "SELECT 1"), ["1"]);
                    if (number + round) % 2 == 0 {
                        program.kill();
                    } else {
                        program.finish();
                    }
                }
            });
        }
    });
    place.wait_until_stopped();
}

#[test]
fn threads_of_one_program_share_one_server() {
    let place = Place::new();
    let servers: Vec<_> = thread::scope(|scope| {
        let starters: Vec<_> = (0..4).map(|_| scope.spawn(|| place.start())).collect();
        starters
            .into_iter()
            .map(|starter| starter.join().unwrap())
            .collect()
    });
    let runs: Vec<_> = servers.iter().map(run_of).collect();
    assert!(runs.iter().all(|run| *run == runs[0]), "{runs:?}");
    drop(servers);
    place.wait_until_stopped();
}
