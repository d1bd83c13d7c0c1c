//! The `clipbase` command.
fn main() {}
