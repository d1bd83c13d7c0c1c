//! Finds an installed PostgreSQL server.
//!
//! The highest major version wins, except that existing data decide for themselves. Each candidate has
//! to answer `postgres --version` as the user that will run it: that also drops binaries built for
//! another machine or a newer C library.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use crate::account::Account;
use crate::error::{Error, Result};
use crate::layout;
use crate::settings::Settings;

/// The oldest version that is tested.
pub const OLDEST: Major = Major(15);

/// What has to be in a directory of binaries.
const PROGRAMS: [&str; 2] = ["postgres", "initdb"];

/// Where packages put their servers: below the first, each directory that starts with the second,
/// and in it the third.
const INSTALLED: [(&str, &str, &str); 10] = [
    ("/usr/lib/postgresql", "", "bin"),
    ("/usr/lib64/postgresql", "", "bin"),
    ("/usr/lib", "postgresql", "bin"),
    ("/usr/lib64", "postgresql-", "bin"),
    ("/usr", "pgsql-", "bin"),
    ("/usr/libexec", "postgresql", ""),
    ("/opt/homebrew/opt", "postgresql@", "bin"),
    ("/usr/local/opt", "postgresql@", "bin"),
    ("/Applications/Postgres.app/Contents/Versions", "", "bin"),
    ("/Library/PostgreSQL", "", "bin"),
];

/// A major version of PostgreSQL: data of one cannot be read by another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Major(pub u32);

impl fmt::Display for Major {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A server that can be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binaries {
    /// The directory with `postgres` and `initdb`.
    pub directory: PathBuf,
    /// The version they all have.
    pub major: Major,
}

/// Finds the server that [`start`](crate::start) would run, without starting anything.
pub fn find(settings: &Settings) -> Result<Binaries> {
    let account = Account::of_server(settings.search_path.as_deref())?;
    find_for(settings, layout::data_major(&settings.directory)?, &account)
}

/// Finds the server for data of a given version, or the newest one for data that do not exist yet.
pub(crate) fn find_for(
    settings: &Settings,
    needed: Option<Major>,
    account: &Account,
) -> Result<Binaries> {
    if let Some(directory) = &settings.bin_dir {
        let named = probe(directory, account).map_err(|reason| Error::Unusable {
            directory: directory.clone(),
            reason,
        })?;
        return choose(vec![named], needed).map_err(|other| missing(settings, needed, &other, &[]));
    }
    let mut passed_over = Vec::new();
    let mut usable = Vec::new();
    let mut seen = BTreeSet::new();
    for candidate in candidates(settings.search_path.as_deref(), account) {
        if !seen.insert(resolved(&candidate)) {
            continue;
        }
        match probe(&candidate, account) {
            Ok(found) => usable.push(found),
            Err(reason) => passed_over.push(format!("{}: {reason}", candidate.display())),
        }
    }
    choose(usable, needed).map_err(|other| missing(settings, needed, &other, &passed_over))
}

/// Lists the directories that hold a `postgres`, best known first, doubles included.
fn candidates(search_path: Option<&OsStr>, account: &Account) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = search_path
        .map(std::env::split_paths)
        .into_iter()
        .flatten()
        .collect();
    found.retain(|directory| directory.is_absolute());
    found.extend(asked_of_pg_config(account));
    for (parent, prefix, below) in INSTALLED {
        let Ok(entries) = fs::read_dir(parent) else {
            continue;
        };
        let mut versions: Vec<PathBuf> = entries
            .flatten()
            .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
            .map(|entry| entry.path().join(below))
            .collect();
        versions.sort();
        found.extend(versions);
    }
    found.retain(|directory| directory.join("postgres").exists());
    found
}

fn asked_of_pg_config(account: &Account) -> Option<PathBuf> {
    let answer = account
        .output(account.command("pg_config").arg("--bindir"))
        .ok()?;
    let directory = PathBuf::from(String::from_utf8(answer.stdout).ok()?.trim_end());
    directory.is_absolute().then_some(directory)
}

/// Follows a link from a directory of the PATH to where the server and its companions really are.
fn resolved(directory: &Path) -> PathBuf {
    fs::canonicalize(directory.join("postgres"))
        .ok()
        .and_then(|server| server.parent().map(Path::to_owned))
        .unwrap_or_else(|| directory.to_owned())
}

/// Tries a directory out. An error is the reason why it cannot be used, for a person.
fn probe(directory: &Path, account: &Account) -> Result<Binaries, String> {
    let directory = resolved(directory);
    if account.stands_in_for_root
        && let Err(error) = layout::check_passage(&directory.join("postgres"), account)
    {
        return Err(error.to_string());
    }
    if let Some(absent) = PROGRAMS.iter().find(|name| !directory.join(name).is_file()) {
        return Err(format!("it has no `{absent}`"));
    }
    let mut command = account.command(directory.join("postgres"));
    let answer = account
        .output(command.arg("--version"))
        .map_err(|error| error.to_string())?;
    match version(&String::from_utf8_lossy(&answer.stdout)) {
        Some(major) if answer.status.success() => Ok(Binaries { directory, major }),
        _ => {
            let said = String::from_utf8_lossy(&answer.stderr);
            Err(said
                .lines()
                .next()
                .unwrap_or("it does not say its version")
                .to_owned())
        }
    }
}

/// Reads `postgres (PostgreSQL) 17.10 (Debian 17.10-1)`; a beta says `18beta1`.
fn version(text: &str) -> Option<Major> {
    let rest = text.split_once("(PostgreSQL) ")?.1;
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok().map(Major)
}

/// Picks the version that the data need, else the highest; the first found wins a draw. The error
/// gives the candidates back.
fn choose(usable: Vec<Binaries>, needed: Option<Major>) -> Result<Binaries, Vec<Binaries>> {
    let fits = |found: &&Binaries| match needed {
        Some(major) => found.major == major,
        None => found.major >= OLDEST,
    };
    let best = usable
        .iter()
        .rev()
        .filter(fits)
        .max_by_key(|found| found.major)
        .cloned();
    best.ok_or(usable)
}

fn missing(
    settings: &Settings,
    needed: Option<Major>,
    other: &[Binaries],
    unusable: &[String],
) -> Error {
    let versions = other.iter().map(|found| {
        format!(
            "{}: it is version {}",
            found.directory.display(),
            found.major
        )
    });
    let all: Vec<String> = versions.chain(unusable.iter().cloned()).collect();
    let passed_over = match all.as_slice() {
        [] => String::new(),
        all => format!(" (passed over: {})", all.join("; ")),
    };
    match needed {
        Some(needed) => Error::WrongMajor {
            directory: settings.directory.clone(),
            needed,
            passed_over,
        },
        None => Error::NotFound { passed_over },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(directory: &str, major: u32) -> Binaries {
        Binaries {
            directory: directory.into(),
            major: Major(major),
        }
    }

    #[test]
    fn versions_are_read_with_and_without_a_packagers_suffix() {
        let read = |text| version(text).map(|major| major.0);
        assert_eq!(
            read("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n"),
            Some(15)
        );
        assert_eq!(read("postgres (PostgreSQL) 18beta1\n"), Some(18));
        assert_eq!(read("something else 9\n"), None);
    }

    #[test]
    fn the_highest_version_wins_and_the_first_of_equals() {
        let all = vec![at("/a", 15), at("/b", 17), at("/c", 17)];
        assert_eq!(choose(all, None), Ok(at("/b", 17)));
    }

    #[test]
    fn existing_data_decide_which_version_runs() {
        let all = vec![at("/a", 15), at("/b", 17)];
        assert_eq!(choose(all.clone(), Some(Major(15))), Ok(at("/a", 15)));
        assert_eq!(choose(all.clone(), Some(Major(16))), Err(all));
    }

    #[test]
    fn a_version_that_is_too_old_is_passed_over_and_named() {
        let old = choose(vec![at("/old", 14)], None).unwrap_err();
        let error = missing(&Settings::fast("/d"), None, &old, &[]);
        assert!(
            error
                .to_string()
                .contains("(passed over: /old: it is version 14)"),
            "{error}"
        );
    }
}
