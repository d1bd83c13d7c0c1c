//! `docs/ERRORS.md` is made from the list of codes.

use clipbase::Code;
use clipbase_testkit::database::workspace;

use crate::generated;

/// The SQLSTATEs that the triggers and migrations raise, and who meets them.
const SQLSTATES: [(&str, &str); 8] = [
    (
        "CB001",
        "The tables that are here are not those of the seed, or a role of ours is a user: the migration changes nothing.",
    ),
    (
        "CB002",
        "The state machine has no such edge, or a claim does not raise the lease.",
    ),
    (
        "CB003",
        "A new job does not start queued, unclaimed and without results.",
    ),
    ("CB004", "`lease` or `event_seq` is lowered or jumps."),
    (
        "CB005",
        "An event is changed, deleted or truncated, or its data uses the reserved key `set`.",
    ),
    (
        "CB006",
        "TRUNCATE of a table that knows who owns stored objects.",
    ),
    ("CB007", "A caller adds an event to a job that has 10,000."),
    (
        "CB008",
        "A role is missing, and the user that migrates may not make it: the migration changes nothing.",
    ),
];

#[test]
fn the_page_lists_every_code() {
    let mut page = String::from(
        "# Errors\n\n\
         Made from `Code` in `crates/clipbase/src/error.rs`, and compared with it by a test. A code never changes \
         its meaning; the list only\ngrows. \"Retry\" says that the same call may succeed later without being changed. \
         Messages are fit for any client: they hold no\nconnection string, key, bucket's name or row's contents.\n\n\
         | code | HTTP | retry | meaning |\n|---|---|---|---|\n",
    );
    let meanings = meanings();
    for code in Code::ALL {
        let retry = if code.is_retryable() { "yes" } else { "no" };
        let meaning = &meanings
            .iter()
            .find(|(name, _)| name == code.as_str())
            .unwrap()
            .1;
        page.push_str(&format!(
            "| `{code}` | {} | {retry} | {meaning} |\n",
            code.http_status()
        ));
    }
    page.push_str(
        "\n## SQLSTATEs of our own\n\n\
         Raised by the triggers and the migrations, for whoever sends SQL. The library reports them as `DB_CONFLICT` \
         with the database's\nsentence and hint.\n\n| SQLSTATE | meaning |\n|---|---|\n",
    );
    for (state, meaning) in SQLSTATES {
        page.push_str(&format!("| `{state}` | {meaning} |\n"));
    }
    generated::compare("docs/ERRORS.md", &page);
}

/// The doc comments of the list, which rustdoc shows and no program can ask for.
fn meanings() -> Vec<(String, String)> {
    let path = workspace().join("crates/clipbase/src/error.rs");
    let source = std::fs::read_to_string(path).unwrap();
    let mut found = Vec::new();
    let mut comment = String::new();
    for line in source
        .lines()
        .map(str::trim)
        .skip_while(|line| *line != "codes! {")
    {
        if let Some(text) = line.strip_prefix("/// ") {
            comment = if comment.is_empty() {
                text.to_owned()
            } else {
                format!("{comment} {text}")
            };
        } else if let Some(name) = line.split('"').nth(1) {
            found.push((name.to_owned(), std::mem::take(&mut comment)));
        } else if line == "}" {
            break;
        }
    }
    found
}

#[test]
fn the_page_lists_every_sqlstate_that_the_migrations_raise() {
    let mut raised: Vec<String> = clipbase::migrate::all()
        .iter()
        .flat_map(|migration| migration.sql.split("ERRCODE = '").skip(1))
        .map(|rest| rest.chars().take(5).collect())
        .collect();
    raised.sort();
    raised.dedup();
    assert_eq!(raised, SQLSTATES.map(|(state, _)| state));
}
