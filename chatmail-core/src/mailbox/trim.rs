//! Making room in a mailbox that fills up, before Dovecot has to refuse mail.
//!
//! Dovecot keeps no lock for this, and none is needed. A message is removed by `unlink`, which
//! succeeds for one process only; Dovecot counts an expunge only where its own `unlink` did, so
//! none is subtracted twice. `maildirsize` is removed when all is done, so that the next look
//! counts the files: whoever appends to the old one meanwhile, appends what the files say as well.
//!
//! A mailbox may be full of messages that are too young to go. So that not every delivery reads all
//! their names in vain, `trim-not-before` says when the next one may: its mtime, so that one `stat`
//! tells. It is a hint. If it is missing, lost or nonsense, somebody looks.

use std::collections::BinaryHeap;
use std::fs;
use std::io;
use std::time::{Duration, Instant, SystemTime};

use super::maildir::{DELIVERED, Entry, Maildir, Message, Place, Reading};
use super::messages::{micros, time};
use super::{MAILDIRSIZE, Mailbox, TRIM_NOT_BEFORE, named};

/// Per cent of its limit from which on a mailbox is trimmed.
const FULL: u64 = 75;

/// Per cent of its limit that it is trimmed to.
const TARGET: u64 = 70;

/// Bytes from which on a message that was seen goes before all others: pictures and recordings,
/// which the client that saw them has.
const LARGE: u64 = 200_000;

/// What came in this time stays: another device may not have seen it.
const PROTECTED: Duration = Duration::from_secs(24 * 60 * 60);

/// After a look that found too little to remove, there is none for so many times as long: while
/// messages become old enough one by one, each delivery would remove one.
const REST: u32 = 100;

/// How many messages are looked up at once to be removed; about a megabyte for their names. A
/// larger number would be removed in several goes.
const BATCH: usize = 8192;

/// What [`Mailbox::trim`] has removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Trimmed {
    /// Messages.
    pub messages: u64,
    /// Their bytes, as the quota counts them.
    pub bytes: u64,
}

impl Mailbox {
    /// Makes room in a mailbox that is filled to more than 75 % of `limit` bytes, until it is
    /// filled to 70 %: first large messages that were seen (over 200,000 bytes), the oldest first,
    /// then all others, the oldest first. Messages of the last 24 hours stay, so that the mailbox
    /// may be as full as before. Subfolders count like the INBOX. A limit of 0 is no limit.
    ///
    /// Costs the reading of `maildirsize` as long as that says that there is room. A mailbox that
    /// stays fuller than 70 % is looked through again when the oldest message that is too young now
    /// may go, and for a hundredth of the time at most.
    ///
    /// # Errors
    ///
    /// A folder cannot be read, or a message cannot be removed. Others may be gone by then.
    pub fn trim(&self, limit: u64, now: SystemTime) -> io::Result<Trimmed> {
        let full = percent(limit, FULL);
        if limit == 0 || self.usage()?.is_none_or(|usage| usage <= full) {
            return Ok(Trimmed::default());
        }
        if self.is_in_vain(now) {
            return Ok(Trimmed::default());
        }
        self.trim_in_batches(limit, now, BATCH)
            .map_err(|error| named(&self.path, error))
    }

    /// Whether an earlier look has found that this one is too soon. Longer than a message is
    /// protected, none can have said; the clock was put back then.
    fn is_in_vain(&self, now: SystemTime) -> bool {
        let note = fs::symlink_metadata(self.path.join(TRIM_NOT_BEFORE));
        note.and_then(|note| note.modified())
            .is_ok_and(|not_before| now < not_before && not_before <= now + PROTECTED)
    }

    fn trim_in_batches(&self, limit: u64, now: SystemTime, batch: usize) -> io::Result<Trimmed> {
        let maildir = Maildir::open(&self.path)?;
        let mut trimmed = Trimmed::default();
        let begin = Instant::now();
        let result = trim(&maildir, limit, now, batch, &mut trimmed);
        if let Ok(Found::TooYoung(oldest)) = &result {
            let next = next_look(now, begin.elapsed(), *oldest);
            // Without it, the next delivery looks: that is no reason to report a failure.
            let _ = maildir.set_time(TRIM_NOT_BEFORE, next);
        }
        // Also if it was wrong, and there is room in fact: else each delivery would look again.
        if trimmed.messages > 0 || matches!(result, Ok(Found::Room)) {
            maildir.remove_file(MAILDIRSIZE)?;
        }
        result.map(|_| trimmed)
    }
}

fn percent(limit: u64, percent: u64) -> u64 {
    u64::try_from(u128::from(limit) * u128::from(percent) / 100).unwrap_or(limit)
}

/// When to look next, after a look that took so long and left too much.
fn next_look(now: SystemTime, took: Duration, oldest_young: Option<SystemTime>) -> SystemTime {
    let rest = now + took.saturating_mul(REST);
    oldest_young.map_or(rest, |oldest| rest.max(oldest + PROTECTED))
}

/// What a look at the files has shown.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    /// Less than `maildirsize` says.
    Room,
    /// Enough to go.
    Enough,
    /// Too little to go. The oldest message that is too young was stored then; it is `None` if
    /// there is none, or others were left out.
    TooYoung(Option<SystemTime>),
}

fn trim(
    maildir: &Maildir,
    limit: u64,
    now: SystemTime,
    batch: usize,
    trimmed: &mut Trimmed,
) -> io::Result<Found> {
    let reading = Reading {
        now,
        max_size: limit,
        parts: DELIVERED,
        beside: false,
    };
    let target = percent(limit, TARGET);
    let mut enough = percent(limit, FULL);
    let mut found = Found::Room;
    loop {
        let mut removable = Removable::new(now, batch);
        let mut total = 0_u64;
        maildir.each(&reading, |entry| {
            if let Entry::Message(message) = entry {
                total = total.saturating_add(message.size);
                removable.offer(message);
            }
            Ok(())
        })?;
        if total <= enough {
            return Ok(found);
        }
        found = Found::Enough;
        enough = target;
        let before = trimmed.messages;
        let left = removable.left_out;
        let oldest_young = removable.oldest_young.filter(|_| !left).map(time);
        for candidate in removable.in_order() {
            if total <= target {
                return Ok(found);
            }
            if maildir.remove(&candidate.place)? {
                trimmed.messages += 1;
                trimmed.bytes = trimmed.bytes.saturating_add(candidate.size);
            }
            // Gone either way: another delivery may be at the same work.
            total = total.saturating_sub(candidate.size);
        }
        if total <= target {
            return Ok(found);
        }
        if !left || trimmed.messages == before {
            return Ok(Found::TooYoung(oldest_young));
        }
    }
}

/// The messages that go first, a bounded number of them.
struct Removable {
    /// Later ones stay.
    until: u64,
    batch: usize,
    /// The one that goes last on top.
    heap: BinaryHeap<Candidate>,
    /// Whether there are more than these.
    left_out: bool,
    /// When the first of those that stay was stored.
    oldest_young: Option<u64>,
}

/// In the order in which they go.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    turn: (Class, u64),
    place: Place,
    size: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    LargeAndSeen,
    Other,
}

impl Removable {
    fn new(now: SystemTime, batch: usize) -> Removable {
        Removable {
            until: micros(now).saturating_sub(PROTECTED.as_micros() as u64),
            batch,
            heap: BinaryHeap::new(),
            left_out: false,
            oldest_young: None,
        }
    }

    fn offer(&mut self, message: &Message<'_>) {
        if message.stored > self.until {
            let oldest = self.oldest_young.unwrap_or(u64::MAX);
            self.oldest_young = Some(oldest.min(message.stored));
            return;
        }
        let class = match message.seen && message.size > LARGE {
            true => Class::LargeAndSeen,
            false => Class::Other,
        };
        let turn = (class, message.stored);
        if self.heap.len() >= self.batch {
            self.left_out = true;
            match self.heap.peek() {
                Some(last) if turn < last.turn => self.heap.pop(),
                _ => return,
            };
        }
        self.heap.push(Candidate {
            turn,
            place: message.place(),
            size: message.size,
        });
    }

    fn in_order(self) -> Vec<Candidate> {
        self.heap.into_sorted_vec()
    }
}

#[cfg(test)]
mod tests;
