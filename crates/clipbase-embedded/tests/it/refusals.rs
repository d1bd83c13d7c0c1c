//! What is refused, and what the refusal says.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use clipbase_embedded::{Error, Settings, start};

use crate::support::{Place, is_root, write};

fn refusal(settings: &Settings) -> Error {
    start(settings).unwrap_err()
}

#[test]
fn a_directory_with_other_files_is_left_as_it_is() {
    let place = Place::new();
    fs::create_dir(&place.directory).unwrap();
    fs::set_permissions(&place.directory, fs::Permissions::from_mode(0o755)).unwrap();
    write(place.path("letter.txt"), "dear");
    let error = refusal(&place.settings());
    assert_eq!(error.code(), "POSTGRES_DIRECTORY_NOT_OURS");
    assert!(
        error.to_string().contains("it holds other files"),
        "{error}"
    );
    let mode = fs::metadata(&place.directory).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o755);
    assert_eq!(fs::read_dir(&place.directory).unwrap().count(), 1);
}

#[test]
fn a_link_to_a_directory_is_refused() {
    let place = Place::new();
    let target = place.directory.with_file_name("target");
    fs::create_dir(&target).unwrap();
    symlink(&target, &place.directory).unwrap();
    assert_eq!(
        refusal(&place.settings()).code(),
        "POSTGRES_DIRECTORY_NOT_OURS"
    );
    assert_eq!(fs::read_dir(&target).unwrap().count(), 0);
}

#[test]
fn a_directory_of_another_user_is_refused() {
    if !is_root() {
        return; // Only root can make one.
    }
    let place = Place::new();
    fs::create_dir(&place.directory).unwrap();
    std::os::unix::fs::chown(&place.directory, Some(12345), None).unwrap();
    let error = refusal(&place.settings());
    assert!(
        error.to_string().contains("belongs to another user"),
        "{error}"
    );
}

#[test]
fn a_closed_directory_on_roots_way_is_named() {
    if !is_root() {
        return; // Who runs the server as themselves has no such trouble.
    }
    let place = Place::named("closed/inside/pg");
    let closed = place
        .directory
        .parent()
        .unwrap()
        .parent()
        .unwrap()
        .to_owned();
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
    let error = refusal(&place.settings());
    assert_eq!(error.code(), "POSTGRES_DIRECTORY_UNREACHABLE");
    assert!(
        error
            .to_string()
            .contains(&format!("pass through {} to", closed.display())),
        "{error}"
    );
}

#[test]
fn a_directory_without_a_server_is_named() {
    let place = Place::new();
    let error = refusal(&place.settings().bin_dir("/usr/share"));
    assert_eq!(error.code(), "POSTGRES_UNUSABLE");
    assert!(
        error
            .to_string()
            .contains("/usr/share cannot be used: it has no `postgres`"),
        "{error}"
    );
}

#[test]
fn data_of_another_version_name_the_version_they_need() {
    let place = Place::new();
    drop(place.start());
    place.wait_until_stopped();
    write(place.path("pgdata/PG_VERSION"), "9\n");
    let error = refusal(&place.settings());
    assert_eq!(error.code(), "POSTGRES_WRONG_MAJOR");
    assert!(
        error
            .to_string()
            .contains("need PostgreSQL 9, which was not found"),
        "{error}"
    );
}

#[test]
fn a_server_that_does_not_start_says_why_and_leaves_no_keeper() {
    let place = Place::new();
    drop(place.start());
    place.wait_until_stopped();
    write(
        place.path("pgdata/postgresql.conf"),
        "no_such_setting = 1\n",
    );
    let error = refusal(&place.settings());
    assert_eq!(error.code(), "POSTGRES_START_FAILED");
    assert!(error.to_string().contains("FATAL:"), "{error}");
    place.wait_until_stopped();
}
