//! How far a slow command is, on one line of a terminal.

use std::io::{IsTerminal, Write, stderr};
use std::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_millis(100);

/// A line on standard error that is written over; nothing if that is no terminal. Gone when dropped.
pub(crate) struct Progress {
    on_terminal: bool,
    last: Option<Instant>,
}

impl Progress {
    pub(crate) fn new() -> Progress {
        Progress {
            on_terminal: stderr().is_terminal(),
            last: None,
        }
    }

    /// Shows this, unless something was shown just now.
    pub(crate) fn show(&mut self, text: impl FnOnce() -> String) {
        let is_due = self.last.is_none_or(|last| last.elapsed() >= PAUSE);
        if self.on_terminal && is_due {
            self.last = Some(Instant::now());
            let _ = write!(stderr(), "\r{}\x1b[K", text());
        }
    }

    /// Empties the line, for another one to be written.
    pub(crate) fn clear(&mut self) {
        if self.last.take().is_some() {
            let _ = write!(stderr(), "\r\x1b[K");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}
