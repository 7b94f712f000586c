//! Which notification is tried when. Holds file names only: tokens stay in the spool until the
//! moment they are sent.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::time::Instant;

/// One notification, on its way between the queue and an attempt.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    /// Its file in the spool.
    pub(super) file: Arc<Path>,
    /// Attempts that failed so far, in this process.
    pub(super) failed: u32,
}

/// Notifications by the time of their next attempt. Each file is in it once, also while it is
/// being sent, however often the spool is swept.
#[derive(Debug, Default)]
pub(super) struct Queue {
    known: HashSet<Arc<Path>>,
    due: BinaryHeap<Reverse<(Instant, Entry)>>,
}

impl Queue {
    /// A file of the spool, to be tried at once. Nothing changes if it is known already.
    pub(super) fn add(&mut self, file: PathBuf, now: Instant) {
        let file: Arc<Path> = file.into();
        if self.known.insert(Arc::clone(&file)) {
            self.due.push(Reverse((now, Entry { file, failed: 0 })));
        }
    }

    /// When the next one is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due.peek().map(|Reverse((due, _))| *due)
    }

    /// Takes one that is due. It stays known until [`Queue::forget`].
    pub(super) fn take_due(&mut self, now: Instant) -> Option<Entry> {
        match self.next_due() {
            Some(due) if due <= now => self.due.pop().map(|Reverse((_, entry))| entry),
            _ => None,
        }
    }

    /// Puts one back after a failed attempt.
    pub(super) fn retry(&mut self, mut entry: Entry, at: Instant) {
        entry.failed += 1;
        self.due.push(Reverse((at, entry)));
    }

    /// The file is gone from the spool.
    pub(super) fn forget(&mut self, entry: &Entry) {
        self.known.remove(&entry.file);
    }

    /// Notifications known, those on their way included.
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_file_seen_twice_is_sent_once() {
        let now = Instant::now();
        let mut queue = Queue::default();
        queue.add("a".into(), now);
        queue.add("a".into(), now);
        let entry = queue.take_due(now).expect("the first");
        assert_eq!(queue.take_due(now), None);
        queue.add("a".into(), now);
        assert_eq!(queue.take_due(now), None, "it is on its way");
        queue.forget(&entry);
        queue.add("a".into(), now);
        assert!(queue.take_due(now).is_some(), "a new file of the same name");
    }

    #[test]
    fn a_failed_one_waits_and_lets_others_pass() {
        let now = Instant::now();
        let later = now + Duration::from_secs(8);
        let mut queue = Queue::default();
        queue.add("a".into(), now);
        let entry = queue.take_due(now).expect("due");
        queue.retry(entry, later);
        queue.add("b".into(), now);
        assert_eq!(
            queue.take_due(now).map(|entry| entry.file),
            Some(Path::new("b").into())
        );
        assert_eq!(queue.take_due(now), None);
        assert_eq!(queue.next_due(), Some(later));
        assert_eq!(queue.take_due(later).map(|entry| entry.failed), Some(1));
    }
}
