//! `docs/CLIP_ERRORS.md` is made from the list of codes.

use clipbase_testkit::database::workspace;
use clipbase_worker::clipper::ClipErrorCode;

const HEAD: &str = "# Why a job failed\n\n\
Made from `ClipErrorCode` in `crates/clipbase-worker/src/clipper/error.rs`, and compared with it by a test: what stands \
in a failed job's\n`error_code` beside the codes of [ERRORS.md](ERRORS.md). A code never changes its meaning; the list \
only grows. With \"retry\" the job goes back\ninto the queue after a backoff (exponential, full jitter) until its \
attempts are used up; without, it fails at once. The same holds for codes of\nthe storage and the database: all but \
`INVALID_INPUT` and `STORAGE_NOT_FOUND` are tried again. `CANCELED`, `WORKER_LOST` and `RELEASE_LIMIT` come\nfrom the \
library.\n\n| code | retry | meaning |\n|---|---|---|\n";

#[test]
fn the_page_lists_every_code() {
    let meanings = meanings();
    let mut page = String::from(HEAD);
    for code in ClipErrorCode::ALL {
        let retry = if code.is_retryable() { "yes" } else { "no" };
        let found = meanings.iter().find(|(name, _)| name == code.as_str());
        let meaning = &found.unwrap().1;
        page.push_str(&format!("| `{code}` | {retry} | {meaning} |\n"));
    }
    let path = workspace().join("docs/CLIP_ERRORS.md");
    if is_blessing() {
        std::fs::write(&path, &page).unwrap();
    }
    let checked_in = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        checked_in == page,
        "docs/CLIP_ERRORS.md is out of date; make it anew with CLIPBASE_BLESS=1"
    );
}

/// The doc comments of the list, which rustdoc shows and no program can ask for.
fn meanings() -> Vec<(String, String)> {
    let path = workspace().join("crates/clipbase-worker/src/clipper/error.rs");
    let source = std::fs::read_to_string(path).unwrap();
    let mut found = Vec::new();
    let mut comment = String::new();
    for line in source
        .lines()
        .map(str::trim)
        .skip_while(|line| *line != "codes! {")
    {
        if let Some(text) = line.strip_prefix("/// ") {
            comment = format!("{comment} {text}").trim().to_owned();
        } else if let Some(name) = line.split('"').nth(1) {
            found.push((name.to_owned(), std::mem::take(&mut comment)));
        } else if line == "}" {
            break;
        }
    }
    found
}

#[expect(
    clippy::disallowed_methods,
    reason = "whether pages are made anew is the environment's to say"
)]
fn is_blessing() -> bool {
    std::env::var_os("CLIPBASE_BLESS").is_some()
}
