//! The keeper: a few lines of shell that outlive the program and stop the server after it.
//!
//! It reads the FIFO that every user of the server holds open. The kernel closes it with the last
//! user, whether that returned, crashed or was killed; so no program has to clean up, and no server
//! is left behind. There is one keeper per cluster: it holds a lock.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::process::Child;
use std::thread;
use std::time::Duration;

use crate::account::Account;
use crate::error::Result;
use crate::layout::{self, Layout};
use crate::wait;

const SCRIPT: &str = include_str!("keeper.sh");

/// Waits until no keeper is on the way out. The caller must count among the users already, so that
/// no keeper decides to go after this.
pub(crate) fn wait_while_stopping(layout: &Layout, account: &Account) -> Result<()> {
    // No deadline: a server's last checkpoint takes what it takes.
    wait::until(None, || {
        if !layout.stopping.exists() {
            return Ok(Some(()));
        }
        let Some(_lock) = layout.try_lock_keeper(account)? else {
            return Ok(None);
        };
        layout::remove_file(&layout.stopping).map(Some)
    })
    .map(|_| ())
}

/// Starts a keeper unless one lives. The caller must count among the users.
pub(crate) fn ensure(layout: &Layout, account: &Account, linger: Duration) -> Result<()> {
    let Some(lock) = layout.try_lock_keeper(account)? else {
        return Ok(());
    };
    // Opened here, not in the script: by the time that runs, the program may be gone and the open
    // would wait for a writer for ever.
    let users: File = layout.watch_alive()?;
    let mut command = account.command("/bin/sh");
    command
        .args(["-c", SCRIPT, "clipbase-keeper"])
        .arg(seconds(linger))
        .arg(&layout.directory)
        .stdin(users)
        .stdout(lock)
        // Ctrl-C at the terminal is for the program; the server follows when that is gone.
        .process_group(0);
    reap(account.spawn(&mut command)?);
    Ok(())
}

/// Collects a child whenever it ends, so that a long-lived program keeps no zombies.
pub(crate) fn reap(mut child: Child) {
    let collect = move || {
        let _ = child.wait();
    };
    // Without a thread to spare the zombie stays until the program ends, and harms nobody.
    let _ = thread::Builder::new()
        .name("clipbase-reap".into())
        .stack_size(64 * 1024)
        .spawn(collect);
}

/// What `sleep` takes; the script skips it for `0`.
fn seconds(linger: Duration) -> String {
    if linger.is_zero() {
        "0".to_owned()
    } else {
        format!("{:.3}", linger.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lingering_is_told_in_seconds_with_a_fraction() {
        assert_eq!(seconds(Duration::ZERO), "0");
        assert_eq!(seconds(Duration::from_millis(1500)), "1.500");
    }
}
