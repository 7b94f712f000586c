//! Which notification is tried when. Holds file names only, and those in 16 bytes: tokens stay in
//! the spool until the moment they are sent.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::name::Key;

/// So many files are kept in mind. More stay in the spool until there is room: the next sweep finds
/// them. Bounds what the queue needs at about 3 MB, whatever the spool holds.
const KNOWN_MAX: usize = 50_000;

/// A time is kept as so many of these since the start: 32 bits are years.
const TICK: Duration = Duration::from_millis(50);

/// What became empty and had room for more than so many gives the room back.
const SMALL: usize = 4096;

/// One notification, on its way between the queue and an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    /// Its file in the spool.
    pub(super) key: Key,
    /// Attempts that failed so far, in this process, for which the notification is to blame.
    pub(super) failed: u8,
}

/// Notifications by the time of their next attempt, those due at the same time in the order in which
/// they came. Each file is in it once, also while it is being sent, however often the spool is swept.
#[derive(Debug)]
pub(super) struct Queue {
    /// With the second of the message.
    known: HashMap<Key, u32>,
    /// How many are known of each second.
    seconds: BTreeMap<u32, u32>,
    due: VecDeque<Entry>,
    later: BinaryHeap<Reverse<(u32, Entry)>>,
    start: Instant,
}

impl Queue {
    pub(super) fn new(start: Instant) -> Queue {
        Queue {
            known: HashMap::new(),
            seconds: BTreeMap::new(),
            due: VecDeque::new(),
            later: BinaryHeap::new(),
            start,
        }
    }

    pub(super) fn knows(&self, key: Key) -> bool {
        self.known.contains_key(&key)
    }

    pub(super) fn is_full(&self) -> bool {
        self.known.len() >= KNOWN_MAX
    }

    /// A file of the spool, to be tried at once; `second` is when its message came, since 1970.
    /// Nothing changes if it is known already.
    pub(super) fn add(&mut self, key: Key, second: u32) {
        if let std::collections::hash_map::Entry::Vacant(vacant) = self.known.entry(key) {
            vacant.insert(second);
            *self.seconds.entry(second).or_default() += 1;
            self.due.push_back(Entry { key, failed: 0 });
        }
    }

    /// When the next one is due.
    pub(super) fn next_due(&self, now: Instant) -> Option<Instant> {
        match self.due.front() {
            Some(_) => Some(now),
            None => {
                let Reverse((tick, _)) = self.later.peek()?;
                Some(self.start + TICK * *tick)
            }
        }
    }

    /// Takes one that is due. It stays known until [`Queue::forget`].
    pub(super) fn take_due(&mut self, now: Instant) -> Option<Entry> {
        while let Some(Reverse((tick, entry))) = self.later.peek().copied()
            && self.start + TICK * tick <= now
        {
            self.later.pop();
            self.due.push_back(entry);
        }
        self.due.pop_front()
    }

    /// Puts one back, to be tried at that time.
    pub(super) fn wait(&mut self, entry: Entry, until: Instant) {
        let ticks = until.duration_since(self.start).as_millis() / TICK.as_millis() + 1;
        let tick = u32::try_from(ticks).unwrap_or(u32::MAX);
        self.later.push(Reverse((tick, entry)));
    }

    /// Puts one back, to be tried when it is its turn: after all that are due.
    pub(super) fn again(&mut self, entry: Entry) {
        self.due.push_back(entry);
    }

    /// The file is gone from the spool.
    pub(super) fn forget(&mut self, key: Key) {
        let Some(second) = self.known.remove(&key) else {
            return;
        };
        if let Some(count) = self.seconds.get_mut(&second) {
            *count -= 1;
            if *count == 0 {
                self.seconds.remove(&second);
            }
        }
        if self.known.is_empty() && self.known.capacity() > SMALL {
            self.known.shrink_to_fit();
            self.due.shrink_to_fit();
            self.later.shrink_to_fit();
        }
    }

    /// Renames a notification that was taken. Another one that waits under the new name is replaced
    /// and leaves the queue. Returns whether there was one.
    pub(super) fn renamed(&mut self, from: Key, to: Key) -> bool {
        let second = self.known.get(&from).copied();
        self.forget(from);
        let replaced = self.known.contains_key(&to);
        if replaced {
            self.due.retain(|entry| entry.key != to);
            self.later.retain(|Reverse((_, entry))| entry.key != to);
            self.forget(to);
        }
        if let Some(second) = second {
            self.known.insert(to, second);
            *self.seconds.entry(second).or_default() += 1;
        }
        replaced
    }

    /// Notifications known, those on their way included.
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether sweeping again makes sense after the queue was full.
    pub(super) fn has_much_room(&self) -> bool {
        self.known.len() < KNOWN_MAX / 2
    }

    /// The second of the oldest message.
    pub(super) fn oldest(&self) -> Option<u32> {
        self.seconds.first_key_value().map(|(second, _)| *second)
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::super::name::Names;
    use super::*;

    fn keys<const N: usize>() -> [Key; N] {
        let mut names = Names::default();
        std::array::from_fn(|n| names.key(OsStr::new(&n.to_string())))
    }

    #[test]
    fn a_file_seen_twice_is_sent_once() {
        let now = Instant::now();
        let mut queue = Queue::new(now);
        let [a] = keys();
        queue.add(a, 7);
        queue.add(a, 7);
        let entry = queue.take_due(now).expect("the first");
        assert_eq!(queue.take_due(now), None);
        queue.add(a, 7);
        assert_eq!(queue.take_due(now), None, "it is on its way");
        queue.forget(entry.key);
        assert_eq!(queue.len(), 0);
        queue.add(a, 7);
        assert!(queue.take_due(now).is_some(), "a new file of the same name");
    }

    #[test]
    fn one_that_waits_lets_others_pass() {
        let now = Instant::now();
        let later = now + Duration::from_secs(8);
        let mut queue = Queue::new(now);
        let [a, b] = keys();
        queue.add(a, 7);
        let mut entry = queue.take_due(now).expect("due");
        entry.failed += 1;
        queue.wait(entry, later);
        queue.add(b, 7);
        assert_eq!(queue.next_due(now), Some(now));
        assert_eq!(queue.take_due(now).map(|entry| entry.key), Some(b));
        assert_eq!(queue.take_due(later - TICK), None);
        let due = queue.next_due(now).expect("the other");
        assert!(due >= later && due <= later + TICK, "not too early");
        assert_eq!(queue.take_due(due).map(|entry| entry.failed), Some(1));
    }

    #[test]
    fn one_that_is_renamed_takes_the_place_of_one_that_waits() {
        let now = Instant::now();
        let later = now + Duration::from_secs(8);
        let mut queue = Queue::new(now);
        let [waiting, claimed] = keys();
        queue.add(waiting, 7);
        queue.take_due(now).expect("due");
        assert!(!queue.renamed(waiting, claimed));
        assert!(!queue.knows(waiting) && queue.knows(claimed));
        let entry = Entry {
            key: claimed,
            failed: 3,
        };
        for again in [true, false] {
            match again {
                true => queue.wait(entry, later),
                false => queue.again(entry),
            }
            queue.add(waiting, 9);
            if again {
                assert_eq!(queue.take_due(now).map(|entry| entry.key), Some(waiting));
            }
            assert!(queue.renamed(waiting, claimed));
            assert_eq!(queue.oldest(), Some(9));
        }
        assert_eq!(queue.take_due(now).map(|entry| entry.key), Some(waiting));
        assert_eq!(queue.take_due(later + TICK), None);
        assert_eq!(queue.len(), 1);
    }

    #[test]
    fn the_age_of_the_oldest_is_known() {
        let now = Instant::now();
        let mut queue = Queue::new(now);
        assert_eq!(queue.oldest(), None);
        let keys: [Key; 3] = keys();
        for (key, second) in keys.iter().zip([7, 5, 5]) {
            queue.add(*key, second);
        }
        assert_eq!(queue.oldest(), Some(5));
        queue.forget(keys[1]);
        queue.forget(keys[1]);
        assert_eq!(queue.oldest(), Some(5));
        queue.forget(keys[2]);
        assert_eq!(queue.oldest(), Some(7));
        queue.forget(keys[0]);
        assert_eq!(queue.oldest(), None);
    }

    #[test]
    fn a_notification_that_waits_takes_few_bytes() {
        assert_eq!(size_of::<Entry>(), 17);
        assert_eq!(size_of::<Reverse<(u32, Entry)>>(), 24);
        assert_eq!(size_of::<(Key, u32)>(), 20);
    }
}
