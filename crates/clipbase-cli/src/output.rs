//! What a command prints: for people by default, the `ServiceResult` envelope with `--json`.

use std::io::Write;

use clipbase::ServiceResult;
use comfy_table::Table;
use comfy_table::presets::NOTHING;
use serde::Serialize;

use crate::failure::Failure;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    json: bool,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Self { json }
    }

    pub(crate) fn is_json(self) -> bool {
        self.json
    }

    /// Prints what a command answers: the envelope, or what `show` makes of it.
    pub(crate) fn success<T: Serialize>(self, data: &T, show: impl FnOnce(&T) -> String) {
        if self.json {
            self.envelope(&ServiceResult::success(data));
        } else {
            print_line(&show(data));
        }
    }

    /// Prints a piece of an answer that is too long to be kept; for people only.
    #[allow(clippy::unused_self, reason = "only an Output prints")]
    pub(crate) fn text(self, text: &str) {
        print_line(text);
    }

    /// Prints why a command failed: the envelope to standard output, or a line to standard error.
    pub(crate) fn failure(self, failure: &Failure) {
        if failure.is_told() {
            return;
        }
        if self.json {
            let code = failure.code().to_owned();
            self.envelope(&ServiceResult::<()>::failure(code, failure.message()));
        } else {
            eprintln!(
                "error: {} [{}]",
                one_line(failure.message()),
                failure.code()
            );
        }
    }

    /// Prints what a command found together with why that is a failure; for people the failure follows as any
    /// other does.
    pub(crate) fn finding<T: Serialize>(
        self,
        data: &T,
        failure: Failure,
        show: impl FnOnce(&T) -> String,
    ) -> Failure {
        if self.json {
            let code = failure.code().to_owned();
            let mut result = ServiceResult::failure(code, failure.message());
            result.data = Some(data);
            self.envelope(&result);
            failure.told()
        } else {
            print_line(&show(data));
            failure
        }
    }

    #[allow(clippy::unused_self, reason = "only an Output prints")]
    fn envelope<T: Serialize>(self, result: &ServiceResult<T>) {
        match serde_json::to_string(result) {
            Ok(text) => print_line(&text),
            Err(error) => eprintln!("error: the answer cannot be written as JSON: {error}"),
        }
    }
}

/// Text that stays on its line and moves no cursor, whatever a file is called.
fn one_line(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            let escape = c.is_control().then(|| c.escape_default());
            let plain = escape.is_none().then_some(c);
            escape.into_iter().flatten().chain(plain)
        })
        .collect()
}

/// Prints to standard output. A reader that went away (`clipbase jobs list | head`) is no error.
fn print_line(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let text = text.trim_end();
    if !text.is_empty() && writeln!(stdout, "{text}").is_err() {
        // Nobody reads.
    }
}

/// A table for people: a header, and columns apart.
pub(crate) fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table
        .load_preset(NOTHING)
        .set_header(header.iter().map(|name| name.to_uppercase()));
    for row in rows {
        table.add_row(row);
    }
    table
        .lines()
        .map(|line| {
            line.strip_prefix(' ')
                .unwrap_or(&line)
                .trim_end()
                .to_owned()
                + "\n"
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_stays_on_its_line() {
        assert_eq!(one_line("ä b\nc\u{1b}[2J"), "ä b\\nc\\u{1b}[2J");
    }
}
