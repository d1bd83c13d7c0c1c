//! Every help text, as a checked-in file. `CLIPBASE_BLESS=1 cargo test -p clipbase-cli help` writes it anew.

use std::fs;
use std::path::Path;
use std::process::Command;

const COMMANDS: [&str; 22] = [
    "",
    "clip",
    "serve",
    "work",
    "jobs",
    "jobs create",
    "jobs list",
    "jobs get",
    "jobs events",
    "jobs cancel",
    "jobs retry",
    "jobs delete",
    "keys",
    "keys create",
    "keys list",
    "keys revoke",
    "keys rotate",
    "stats",
    "cleanup",
    "doctor",
    "migrate",
    "bootstrap",
];

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "blessing is asked for by the environment"
)]
fn help_texts_are_as_checked_in() {
    let mut text = String::new();
    // All but `bench`.
    for words in COMMANDS {
        let output = Command::new(env!("CARGO_BIN_EXE_clipbase"))
            .env_clear()
            .args(words.split_whitespace())
            .arg("--help")
            .output()
            .unwrap();
        assert!(output.status.success(), "{words}");
        let help = String::from_utf8(output.stdout).unwrap();
        text +=
            &format!("$ clipbase {words} --help\n{help}\n").replace("clipbase  --", "clipbase --");
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/help.txt");
    if std::env::var_os("CLIPBASE_BLESS").is_some() {
        fs::write(&path, &text).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        text == expected,
        "help texts changed; look at them with CLIPBASE_BLESS=1 and git diff"
    );
}
