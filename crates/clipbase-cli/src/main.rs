//! The `clipbase` command: one file per subcommand in `commands`.
//!
//! It is the only part that reads the environment and writes to the terminal.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line prints"
)]

mod bench;
mod commands;
mod context;
mod environment;
mod failure;
mod metrics;
mod output;
mod progress;
mod storage;
mod time;
mod tools;

use std::process::ExitCode;

use clap::Parser;
use commands::Command;
use context::Global;
use output::Output;

/// Turns videos into clips, on a data layer that cannot lie.
///
/// Without settings, everything is kept in a private PostgreSQL and a folder of this user's. Set DATABASE_URL
/// to use a server of yours instead.
#[derive(Parser)]
#[command(name = "clipbase", version, max_term_width = 100, after_long_help = AFTER_HELP)]
struct Arguments {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
Environment:
  DATABASE_URL                 the PostgreSQL server; a private one when unset
  CLIPBASE_DATABASE_MODE       direct, session or transaction; by default from the port
  CLIPBASE_DATABASE_ROOT_CERT  a PEM file with the authority of the server's certificate
  SUPABASE_URL, SUPABASE_SERVICE_ROLE_KEY
                               the Supabase project whose storage holds the files; a local
                               folder when unset; docs/STORAGE.md has more settings
  CLIPBASE_KEEP_DONE, CLIPBASE_KEEP_FAILED, CLIPBASE_KEEP_SOURCES
                               how long jobs, and sources of ended jobs, are kept: 12h, 7d,
                               forever; see docs/STORAGE.md
  ADMIN_ENABLED, API_KEY_AUTH  both true: the API asks for keys; see docs/API_KEYS.md
  CLIPBASE_DATA_DIR            where everything local is kept
  CLIPBASE_PG_BIN              the folder with `postgres`, when the private server is not found
  FFMPEG_BIN, FFPROBE_BIN      the programs, when they are not on PATH
  YTDLP_BIN                    the program for `work --youtube`, when it is not on PATH
  CLIPBASE_YOUTUBE_PROXY       the proxy that it is given: http://user:password@host:port
  CLIPBASE_TRANSCRIBER         a command that writes down speech, for sources without a text track:
                               words between blanks, with {audio}, and maybe {language} and {output}
  CLIPBASE_LOG                 what to log: warn (default), info, debug, clipbase=trace
  CLIPBASE_LOG_FORMAT          text (default), or json: one object a line

Exit codes:
    0  done
    1  failed
    2  wrong usage
    3  bad input
    4  something is not installed or not configured
    5  database or storage not available; try again
    6  no space left
    7  not found, or the state does not allow it
    8  the schema or the installation does not fit
  130  interrupted";

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let output = Output::new(arguments.global.json);
    let environment = environment::Environment::read();
    environment::start_logging(&environment);
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: the runtime cannot be started: {error}");
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(
        arguments
            .command
            .run(&arguments.global, &environment, &output),
    );
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output.failure(&failure);
            ExitCode::from(failure.exit_code())
        }
    }
}
