//! Runs a private PostgreSQL from a server that is installed on the machine.
//!
//! One directory is one cluster. Every process that names the directory shares its server: the first
//! starts it (in tens of milliseconds once the data exist), the others join it. It listens on a
//! unix-domain socket only, behind a directory that is closed to other users, so there is no password
//! and no port. A small shell process, the keeper, stops it after its last user, however that ended.
//! Root runs it as `postgres`, else as `nobody`.
//!
//! The crate knows nothing of what is stored, and never touches a cluster that it did not create.
//!
//! ```no_run
//! use clipbase_embedded::{Settings, start};
//!
//! let server = start(&Settings::durable("/var/lib/clipbase/pg"))?;
//! println!("{}", server.url("postgres"));
//! # Ok::<(), clipbase_embedded::Error>(())
//! ```

#[cfg(not(unix))]
compile_error!("the private PostgreSQL needs Linux or macOS; on Windows, use WSL");

mod account;
pub mod binaries;
mod error;
mod keeper;
mod layout;
mod places;
mod postmaster;
mod server;
mod settings;
mod url;
mod wait;

pub use account::effective_uid;
pub use binaries::{Binaries, Major};
pub use error::{Error, Result};
pub use places::{default_data_directory, default_test_directory};
pub use server::{Server, start};
pub use settings::{Durability, Settings};
