//! How far a long look at all mailboxes has come, on a terminal.

use std::io::{IsTerminal, Write};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use chatmail_relay::housekeeping::watch::Watch;

const TICK: Duration = Duration::from_millis(200);

/// Back to the beginning of the line, and the line is empty.
const CLEAR: &str = "\r\x1b[K";

/// Runs `work`; meanwhile a line on standard error shows what `watch` tells, if that is a terminal.
pub(crate) fn shown<T>(watch: &Watch, what: &str, work: impl FnOnce() -> T) -> T {
    if !std::io::stderr().is_terminal() {
        return work();
    }
    let (end, ended) = channel::<()>();
    thread::scope(|scope| {
        scope.spawn(move || {
            while ended.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                line(what, watch.progress());
            }
            eprint!("{CLEAR}");
        });
        let result = work();
        drop(end);
        result
    })
}

fn line(what: &str, (seen, total): (u64, u64)) {
    let mut terminal = std::io::stderr().lock();
    // Nothing to be done about a closed terminal.
    let _ = match total {
        0 => write!(terminal, "{CLEAR}{what}: {seen} mailboxes"),
        total => write!(terminal, "{CLEAR}{what}: {seen} of {total} mailboxes"),
    };
    let _ = terminal.flush();
}

/// A line that stays, above the one that changes.
pub(crate) fn say(text: &str) {
    let clear = match std::io::stderr().is_terminal() {
        true => CLEAR,
        false => "",
    };
    eprintln!("{clear}chatmail: {text}");
}
