//! The `clipbase` command.
#[allow(
    dead_code,
    reason = "the command that calls it comes with the other commands"
)]
mod bench;

fn main() {}
