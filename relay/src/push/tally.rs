//! What became of notifications, for the counters that all processes share.

use std::sync::Arc;
use std::time::Duration;

use chatmail_core::counters::{Counter, Counters};
use tokio::time::Instant;

/// How long a count may stay in memory.
const PATIENCE: Duration = Duration::from_secs(1);

/// Counts in memory, and adds it to the file now and then: a thousand times a second would be much
/// locking. A kill loses the counts of a second.
#[derive(Debug)]
pub(super) struct Tally {
    counters: Arc<Counters>,
    counts: Vec<(Counter, u64)>,
    due: Option<Instant>,
}

impl Tally {
    pub(super) fn new(counters: Counters) -> Tally {
        Tally {
            counters: Arc::new(counters),
            counts: Vec::new(),
            due: None,
        }
    }

    /// When to flush; `None` if there is nothing.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    pub(super) fn add(&mut self, counter: Counter, more: u64) {
        self.due.get_or_insert_with(|| Instant::now() + PATIENCE);
        match self.counts.iter_mut().find(|(known, _)| *known == counter) {
            Some((_, count)) => *count += more,
            None => self.counts.push((counter, more)),
        }
    }

    /// Adds to the file what was counted since the last time, in another thread.
    pub(super) fn flush_aside(&mut self) {
        let mut aside = Tally {
            counters: Arc::clone(&self.counters),
            counts: std::mem::take(&mut self.counts),
            due: self.due.take(),
        };
        tokio::task::spawn_blocking(move || aside.flush());
    }

    /// The same, before it returns.
    pub(super) fn flush(&mut self) {
        for (counter, count) in std::mem::take(&mut self.counts) {
            self.counters.add(counter, count);
        }
    }
}
