//! The dashboard in a browser: `tests/browser` uses it as a person does.
//!
//! It needs node, npm and a Chromium: `scripts/setup --test` installs them. The pictures that it takes are in
//! `target/tmp/dashboard`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

use crate::serving::{Serving, output, succeeds};
use crate::support::{Gate, Place, Stop};

/// What the program is made of.
const FILES: [&str; 5] = [
    "package.json",
    "package-lock.json",
    ".npmrc",
    "main.js",
    "page.js",
];

#[tokio::test]
async fn a_person_makes_watches_and_cancels_clips() {
    let program = install();
    let place = Place::on_a_database().await;
    let gate = Gate::new(&place, Stop::Before);
    fs::write(gate.opening(), "").unwrap();
    let serving = Serving::start(&place, &[], Some(gate.program()));
    let mut node = Command::new("node");
    node.arg(program.join("main.js"))
        .arg(serving.url())
        .arg(place.path("talk.mp4"))
        .arg(gate.opening())
        .arg(pictures());
    assert_eq!(succeeds(&output(&mut node)), "good\n");
    serving.terminate().good();
    place.assert_tidy();
}

fn pictures() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("dashboard")
}

/// Returns a folder with the program and its packages. Its name is made of all that goes into it, and it gets that name
/// when it is complete: what is there need not be made again.
fn install() -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser");
    let mut digest = Sha256::new();
    for file in FILES {
        let content = fs::read(source.join(file)).unwrap();
        digest.update(format!("{file} {}\n", content.len()));
        digest.update(content);
    }
    let digest = digest.finalize();
    let tag: String = digest.iter().take(8).map(|b| format!("{b:02x}")).collect();
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let complete = scratch.join(format!("browser-{tag}"));
    if complete.exists() {
        return complete;
    }
    let building = tempfile::tempdir_in(scratch).unwrap();
    for file in FILES {
        fs::copy(source.join(file), building.path().join(file)).unwrap();
    }
    let mut npm = Command::new("npm");
    npm.args([
        "ci",
        "--ignore-scripts",
        "--prefer-offline",
        "--no-audit",
        "--no-fund",
    ]);
    succeeds(&output(npm.current_dir(building.path())));
    if let Err(error) = fs::rename(building.path(), &complete) {
        assert!(complete.exists(), "{}: {error}", complete.display());
    }
    complete
}
