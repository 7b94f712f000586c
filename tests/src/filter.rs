//! The filter process of a relay, made to fail.

use std::fs;
use std::io;
use std::path::PathBuf;

use crate::Instance;
use crate::process::{self, Signal};
use crate::wait;

/// Kills the filter; the supervisor starts another. Returns the old one's number.
///
/// # Panics
///
/// If it cannot be killed.
#[track_caller]
pub fn kill(relay: &Instance) -> u32 {
    let pid = pid(relay);
    process::signal(pid, Signal::KILL).expect("killing the filter");
    wait::until_true("the filter to be gone", || !runs(pid));
    pid
}

/// Asks the filter to end, as a restart of its service does; the supervisor starts another.
///
/// # Panics
///
/// If it does not end.
#[track_caller]
pub fn restart(relay: &Instance) {
    let pid = pid(relay);
    process::signal(pid, Signal::TERM).expect("ending the filter");
    wait::until_true("the filter to be gone", || !runs(pid));
    wait::until_true("another filter", || self::pid(relay) != pid);
}

/// Lets the filter hang.
///
/// # Panics
///
/// If there is none.
#[track_caller]
pub fn hang(relay: &Instance) -> process::Stopped {
    process::stop(pid(relay))
}

/// Kills the filter and lets nobody start another.
///
/// # Panics
///
/// If it cannot be killed.
#[track_caller]
pub fn keep_down(relay: &Instance) -> process::Stopped {
    let supervisor = process::stop(relay.supervisor_pid());
    kill(relay);
    supervisor
}

/// The socket on which Postfix asks about mail in this direction, `outgoing` or `incoming`.
pub fn socket(relay: &Instance, direction: &str) -> PathBuf {
    relay.dir().join(format!("run/milter/{direction}.sock"))
}

/// What Postfix keeps in its queue: the names of its files.
///
/// # Errors
///
/// A directory cannot be read.
pub fn queued(relay: &Instance) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for queue in ["maildrop", "incoming", "active", "deferred", "hold"] {
        let mut dirs = vec![relay.dir().join("postfix/queue").join(queue)];
        while let Some(dir) = dirs.pop() {
            for entry in fs::read_dir(dir)? {
                let entry = entry?;
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() => dirs.push(entry.path()),
                    // It was delivered between the two looks.
                    Err(_) => {}
                    Ok(_) => names.push(entry.file_name().to_string_lossy().into_owned()),
                }
            }
        }
    }
    Ok(names)
}

fn pid(relay: &Instance) -> u32 {
    relay.current_endpoints().expect("endpoints").milter_pid
}

/// Not if it only waits for its parent.
fn runs(pid: u32) -> bool {
    process::all()
        .iter()
        .any(|process| process.pid == pid && !process.command.is_empty())
}
