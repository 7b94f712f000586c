//! Equal notifications, for the same device of the same address: each device is asked to wake up once
//! a second at most.
//!
//! The first goes at once. What is there before that request is on its way *rides* along: its file
//! goes when the request was answered with 200 or 410, and stays when it was not. What comes later
//! must not ride, since the phone may have looked for mail before this message was stored; it waits
//! until a second has passed and then goes, with all others that came meanwhile, in one request.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::name::Key;
use super::queue::Entry;

/// Between two requests for one device.
pub(super) const APART: Duration = Duration::from_secs(1);

/// So many devices are remembered. At more than so many in a second the oldest may be asked twice; each
/// takes a hundred bytes.
const REMEMBERED: usize = 4096;

/// Stands for an address and a token of it.
pub(super) type Device = [u8; 16];

/// When a notification is looked at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    pub(super) instant: Instant,
    /// The same in seconds since 1970.
    pub(super) second: u64,
    /// No request leaves between two moments of the same number.
    pub(super) batch: u64,
}

/// What is to become of a notification.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// It is sent, now.
    Send,
    /// It rides with one that is on its way; [`Merge::answered`] gives it back.
    Rides,
    /// One that was sent after this message came has been delivered.
    Done,
    /// The device was just asked to wake up.
    Wait(Instant),
}

/// The last request for a device.
#[derive(Debug)]
struct Last {
    leader: Key,
    at: Moment,
    delivered: bool,
}

/// The devices that were notified within the last second, and who rides with whom.
#[derive(Debug, Default)]
pub(super) struct Merge {
    last: HashMap<Device, Last>,
    /// By the time they were sent, with the batch, which holds one request for each device.
    sent: VecDeque<(Instant, u64, Device)>,
    riders: HashMap<Key, Vec<Entry>>,
}

impl Merge {
    /// It is this notification's turn; its message was stored in that second since 1970.
    pub(super) fn turn(&mut self, entry: Entry, device: Device, since: u64, now: Moment) -> Turn {
        self.forget_before(now.instant);
        if let Some(last) = self.last.get(&device) {
            // Stored in an earlier second, or found in the spool before the request left.
            let was_there = since < last.at.second || now.batch == last.at.batch;
            if was_there && last.delivered {
                return Turn::Done;
            }
            if was_there {
                self.riders.entry(last.leader).or_default().push(entry);
                return Turn::Rides;
            }
            let until = last.at.instant + APART;
            if now.instant < until {
                return Turn::Wait(until);
            }
        }
        let last = Last {
            leader: entry.key,
            at: now,
            delivered: false,
        };
        self.last.insert(device, last);
        self.sent.push_back((now.instant, now.batch, device));
        Turn::Send
    }

    /// A request was answered, or was not: gives back who rode with it.
    pub(super) fn answered(&mut self, leader: Key, device: Device, delivered: bool) -> Vec<Entry> {
        if let Some(last) = self.last.get_mut(&device)
            && last.leader == leader
        {
            if delivered {
                last.delivered = true;
            } else {
                self.last.remove(&device);
            }
        }
        self.riders.remove(&leader).unwrap_or_default()
    }

    /// Forgets requests of more than a second ago, or too many, but not those on their way.
    fn forget_before(&mut self, now: Instant) {
        while let Some((at, batch, device)) = self.sent.front().copied()
            && (at + APART <= now || self.sent.len() > REMEMBERED)
        {
            self.sent.pop_front();
            match self.last.get(&device) {
                // There was another request since, which has a place of its own.
                Some(last) if last.at.batch != batch => {}
                // Still on its way: look again later.
                Some(last) if !last.delivered => self.sent.push_back((now, batch, device)),
                _ => {
                    self.last.remove(&device);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::super::name::Names;
    use super::*;

    const DEVICE: Device = [7; 16];
    const OTHER: Device = [8; 16];
    /// The second of the message in most tests, and of the request.
    const SECOND: u64 = 1_775_324_677;

    fn entries<const N: usize>() -> [Entry; N] {
        let mut names = Names::default();
        std::array::from_fn(|n| Entry {
            key: names.key(OsStr::new(&n.to_string())),
            failed: 0,
        })
    }

    struct Clock(Instant);

    impl Clock {
        fn at(&self, milliseconds: u64, batch: u64) -> Moment {
            Moment {
                instant: self.0 + Duration::from_millis(milliseconds),
                second: SECOND + milliseconds / 1000,
                batch,
            }
        }
    }

    #[test]
    fn what_is_in_the_spool_together_is_sent_once_and_shares_its_fate() {
        let clock = Clock(Instant::now());
        let [a, b, c, d] = entries();
        let mut merge = Merge::default();
        assert_eq!(merge.turn(a, DEVICE, SECOND, clock.at(0, 1)), Turn::Send);
        assert_eq!(merge.turn(b, DEVICE, SECOND, clock.at(0, 1)), Turn::Rides);
        assert_eq!(merge.turn(c, OTHER, SECOND, clock.at(0, 1)), Turn::Send);
        // Found later, and older than the request.
        let older = SECOND - 1;
        assert_eq!(merge.turn(d, DEVICE, older, clock.at(90, 2)), Turn::Rides);
        assert_eq!(merge.answered(a.key, DEVICE, false), [b, d]);
        assert_eq!(merge.answered(c.key, OTHER, true), []);
        // Not delivered: each for itself again.
        assert_eq!(merge.turn(b, DEVICE, SECOND, clock.at(100, 3)), Turn::Send);
    }

    #[test]
    fn what_comes_after_the_request_waits_for_a_request_of_its_own() {
        let clock = Clock(Instant::now());
        let [a, b, c, d] = entries();
        let mut merge = Merge::default();
        assert_eq!(merge.turn(a, DEVICE, SECOND, clock.at(0, 1)), Turn::Send);
        let until = clock.at(1000, 0).instant;
        let wait = Turn::Wait(until);
        assert_eq!(merge.turn(b, DEVICE, SECOND, clock.at(5, 2)), wait);
        assert_eq!(merge.answered(a.key, DEVICE, true), []);
        assert_eq!(merge.turn(c, DEVICE, SECOND, clock.at(900, 3)), wait);
        let older = SECOND - 1;
        assert_eq!(merge.turn(d, DEVICE, older, clock.at(901, 4)), Turn::Done);
        assert_eq!(merge.turn(b, DEVICE, SECOND, clock.at(1000, 5)), Turn::Send);
        assert_eq!(
            merge.turn(c, DEVICE, SECOND, clock.at(1000, 5)),
            Turn::Rides
        );
    }

    #[test]
    fn a_slow_answer_holds_the_next_one_up_for_a_second_only() {
        let clock = Clock(Instant::now());
        let [a, b, c] = entries();
        let mut merge = Merge::default();
        assert_eq!(merge.turn(a, DEVICE, SECOND, clock.at(0, 1)), Turn::Send);
        let next = SECOND + 1;
        assert_eq!(merge.turn(b, DEVICE, next, clock.at(1500, 2)), Turn::Send);
        assert_eq!(merge.turn(c, DEVICE, next, clock.at(1500, 2)), Turn::Rides);
        assert_eq!(merge.answered(a.key, DEVICE, false), []);
        assert_eq!(merge.answered(b.key, DEVICE, true), [c]);
    }

    #[test]
    fn nothing_is_remembered_for_longer_than_it_matters() {
        let clock = Clock(Instant::now());
        let [a, b, c] = entries();
        let mut merge = Merge::default();
        merge.turn(a, DEVICE, SECOND, clock.at(0, 1));
        merge.turn(b, OTHER, SECOND, clock.at(10, 1));
        merge.answered(a.key, DEVICE, true);
        merge.turn(c, [9; 16], SECOND, clock.at(5000, 2));
        merge.answered(b.key, OTHER, true);
        merge.answered(c.key, [9; 16], true);
        merge.forget_before(clock.at(9000, 3).instant);
        merge.forget_before(clock.at(18_000, 3).instant);
        assert!(merge.last.is_empty() && merge.sent.is_empty() && merge.riders.is_empty());
    }
    #[test]
    fn a_bounded_number_of_devices_is_remembered() {
        let clock = Clock(Instant::now());
        let [waits, other] = entries();
        let mut merge = Merge::default();
        merge.turn(waits, DEVICE, SECOND, clock.at(0, 0));
        for n in 0..3 * REMEMBERED as u64 {
            let mut device = [0; 16];
            device[..8].copy_from_slice(&n.to_be_bytes());
            merge.turn(other, device, SECOND, clock.at(1, n + 1));
            merge.answered(other.key, device, true);
        }
        assert!(merge.last.len() <= REMEMBERED + 2, "{}", merge.last.len());
        assert!(merge.sent.len() <= REMEMBERED + 2, "{}", merge.sent.len());
        assert!(merge.last.contains_key(&DEVICE), "it is on its way");
    }
}
