//! Waiting for something with a deadline.

use std::thread;
use std::time::{Duration, Instant};

/// How long a test waits for what ought to happen within a second or two on a loaded machine.
pub const DEADLINE: Duration = Duration::from_secs(60);

const POLL: Duration = Duration::from_millis(20);

/// Asks until there is an answer; `None` if there is none before the deadline. Asks at least once.
pub fn poll<T>(deadline: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + deadline;
    loop {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        if Instant::now() >= end {
            return None;
        }
        thread::sleep(POLL);
    }
}

/// Asks until there is an answer.
///
/// # Panics
///
/// If [`DEADLINE`] passes first; `what` says what was waited for.
#[track_caller]
pub fn until<T>(what: &str, ask: impl FnMut() -> Option<T>) -> T {
    match poll(DEADLINE, ask) {
        Some(answer) => answer,
        None => panic!("waited {DEADLINE:?} in vain for {what}"),
    }
}

/// Asks until the condition holds.
///
/// # Panics
///
/// As [`until`].
#[track_caller]
pub fn until_true(what: &str, mut condition: impl FnMut() -> bool) {
    until(what, || condition().then_some(()));
}
