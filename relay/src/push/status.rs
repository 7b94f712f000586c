//! What push delivery is at, for whoever asks from another task or thread.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// No pending notification: later than any.
const NONE: u64 = u64::MAX;

/// Figures of a running [`Delivery`](super::Delivery). Reading one costs next to nothing and waits for
/// nobody; two that are read one after the other may be of different moments.
#[derive(Debug)]
pub struct Status {
    pending: AtomicU64,
    in_flight: AtomicU64,
    /// Seconds since 1970.
    oldest: AtomicU64,
    paused: AtomicBool,
}

impl Default for Status {
    fn default() -> Status {
        Status {
            pending: AtomicU64::new(0),
            in_flight: AtomicU64::new(0),
            oldest: AtomicU64::new(NONE),
            paused: AtomicBool::new(false),
        }
    }
}

impl Status {
    /// Notifications in the spool that the service knows of, those on their way included: 50,000 at
    /// most, the others stay in the spool until there is room.
    pub fn pending(&self) -> u64 {
        self.pending.load(Relaxed)
    }

    /// Requests on their way to the push service.
    pub fn in_flight(&self) -> u64 {
        self.in_flight.load(Relaxed)
    }

    /// When the message of the oldest pending notification was stored, to the second; `None` if
    /// none is pending.
    pub fn oldest(&self) -> Option<SystemTime> {
        let seconds = Some(self.oldest.load(Relaxed)).filter(|seconds| *seconds != NONE)?;
        UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
    }

    /// Whether the push service is taken to be down: one request at a time asks whether it is back.
    pub fn paused(&self) -> bool {
        self.paused.load(Relaxed)
    }

    pub(super) fn set(&self, pending: usize, in_flight: usize, oldest: Option<u64>, paused: bool) {
        self.pending.store(pending as u64, Relaxed);
        self.in_flight.store(in_flight as u64, Relaxed);
        self.oldest.store(oldest.unwrap_or(NONE), Relaxed);
        self.paused.store(paused, Relaxed);
    }
}
