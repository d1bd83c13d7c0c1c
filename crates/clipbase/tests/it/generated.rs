//! Pages that are made from the code and the catalog: checked in, and compared here.

use clipbase_testkit::database::workspace;

/// Compares a page with its checked-in form; with `CLIPBASE_BLESS=1` writes it instead.
pub(crate) fn compare(file: &str, fresh: &str) {
    let path = workspace().join(file);
    if is_blessing() {
        std::fs::write(&path, fresh).unwrap();
        return;
    }
    let checked_in = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = checked_in
        .lines()
        .zip(fresh.lines())
        .position(|(old, new)| old != new)
        .unwrap_or_else(|| checked_in.lines().count().min(fresh.lines().count()));
    assert!(
        checked_in == fresh,
        "{file} is out of date from line {}: the page has {:?}, it should have {:?}. \
         Make it anew with CLIPBASE_BLESS=1 cargo test -p clipbase --test it",
        differs + 1,
        checked_in.lines().nth(differs),
        fresh.lines().nth(differs),
    );
}

#[expect(
    clippy::disallowed_methods,
    reason = "whether pages are made anew is the environment's to say"
)]
fn is_blessing() -> bool {
    std::env::var_os("CLIPBASE_BLESS").is_some()
}
