//! Root and ordinary users.

use std::fs;
use std::os::unix::fs::chown;

use clipbase_embedded::effective_uid;

use crate::program::Program;
use crate::support::{Place, is_root, owner, sql};

#[test]
fn no_process_of_a_server_runs_as_root() {
    let place = Place::new();
    let _server = place.start();
    let (uid, _) = owner(&place.directory);
    assert_ne!(uid, 0);
    assert_eq!(uid == effective_uid().unwrap(), !is_root());
    if fs::exists("/proc/self").unwrap() {
        for pid in [place.postmaster(), place.pid("keeper")] {
            assert_eq!(owner(format!("/proc/{pid}")).0, uid);
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
            let groups = status
                .lines()
                .find_map(|line| line.strip_prefix("Groups:"))
                .unwrap();
            assert!(!is_root() || groups.trim().is_empty(), "{groups}");
        }
    }
}

#[test]
fn an_ordinary_user_runs_a_server_as_themselves() {
    const NOBODY: u32 = 65534;
    if !is_root() {
        return; // Then every other test shows it.
    }
    let place = Place::new();
    let home = place.directory.parent().unwrap();
    chown(home, Some(NOBODY), Some(NOBODY)).unwrap();
    let mut program = Program::run_as(&place, NOBODY, NOBODY);
    assert_eq!(sql(&program.url(), "SELECT 1"), ["1"]);
    assert_eq!(owner(&place.directory).0, NOBODY);
    let pid = place.postmaster();
    if fs::exists("/proc/self").unwrap() {
        assert_eq!(owner(format!("/proc/{pid}")).0, NOBODY);
    }
    program.kill();
    place.wait_until_stopped();
}

#[test]
fn the_servers_user_may_use_what_root_has_made() {
    if !is_root() {
        return; // There is no other user to share with.
    }
    let place = Place::new();
    let server = place.start();
    let (uid, gid) = owner(&place.directory);
    let mut program = Program::run_as(&place, uid, gid);
    assert_eq!(sql(&program.url(), "SELECT 1"), ["1"]);
    drop(server);
    assert_eq!(
        sql(
            &format!("{}&application_name=again", place.start().url("postgres")),
            "SELECT 1"
        ),
        ["1"]
    );
    program.kill();
    place.wait_until_stopped();
}
