//! Holds a durable cluster until its input ends: `hold DIRECTORY`.
//!
//! Prints the connection string, for `psql` and other tools, and how long the start took.

use std::io::{Read, Write};
use std::time::Instant;

use clipbase_embedded::{Settings, start};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = std::env::args_os().nth(1).ok_or("usage: hold DIRECTORY")?;
    let begun = Instant::now();
    let server = start(&Settings::durable(directory))?;
    let took = begun.elapsed();
    let mut output = std::io::stdout();
    writeln!(output, "{}", server.url("postgres"))?;
    writeln!(
        output,
        "PostgreSQL {} after {took:.1?}; Ctrl-D ends it",
        server.version()
    )?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
