//! Whether the push service takes notifications, and who is to blame if one is not taken.
//!
//! A failure that may be the service's own (no answer, 429, 5xx) is the notification's as long as the
//! service answers others: it is tried again after 8, 64, 512 and 4096 seconds. After three such failures
//! in a row, with no answer between them, the service is taken to be **down**: nothing is sent but one
//! request after 8 seconds, then 16, 32 and every 64 s, each with another notification, and at the
//! first answer all go on at full rate. Failures while it is down are nobody's: an outage
//! uses up no notification's attempts, but the five hours after its message are not prolonged.
//!
//! Both changes are logged, the attempts between them are not: an outage is two lines.

use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use super::jitter::jittered;
use super::name::Key;

/// So many failures in a row, of any notifications.
const OPENS_AFTER: u64 = 3;

/// Before the first question whether the service is back.
const FIRST_PAUSE: Duration = Duration::from_secs(8);

/// Between two questions, unless the service asked for more.
const LONGEST_PAUSE: Duration = Duration::from_secs(64);

/// Whom a failure is counted against.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Blame {
    Notification,
    /// And nothing that was known of its connections holds any more.
    Service,
    /// The same; it left before the service was known to be down.
    ServiceBefore,
}

/// While the service is down.
#[derive(Debug)]
struct Down {
    since: Instant,
    pause: Duration,
    /// When to ask next.
    ask_at: Instant,
    /// Who asks.
    probe: Option<Key>,
}

/// The circuit breaker. Closed: all may go.
#[derive(Debug)]
pub(super) struct Circuit {
    first_pause: Duration,
    failed_in_a_row: u64,
    down: Option<Down>,
}

impl Default for Circuit {
    fn default() -> Circuit {
        Circuit::with_first_pause(FIRST_PAUSE)
    }
}

impl Circuit {
    pub(super) fn with_first_pause(first_pause: Duration) -> Circuit {
        Circuit {
            first_pause,
            failed_in_a_row: 0,
            down: None,
        }
    }

    pub(super) fn is_down(&self) -> bool {
        self.down.is_some()
    }

    /// How many requests may be on their way at once: `all`, or one more than there are, or none
    /// more.
    pub(super) fn room(&self, all: usize, in_flight: usize, now: Instant) -> usize {
        match &self.down {
            None => all.saturating_sub(in_flight),
            Some(down) => usize::from(down.probe.is_none() && down.ask_at <= now),
        }
    }

    /// When there will be room, if time alone makes it.
    pub(super) fn opens_at(&self) -> Option<Instant> {
        let down = self.down.as_ref()?;
        down.probe.is_none().then_some(down.ask_at)
    }

    /// A request leaves.
    pub(super) fn leaves(&mut self, key: Key) {
        if let Some(down) = &mut self.down {
            down.probe = Some(key);
        }
    }

    /// The push service answered; what it said does not matter here.
    pub(super) fn well(&mut self, now: Instant) {
        if let Some(down) = self.down.take() {
            info!(
                "the push service answers again, after {} failed attempts and {} s",
                self.failed_in_a_row,
                now.duration_since(down.since).as_secs()
            );
        }
        self.failed_in_a_row = 0;
    }

    /// It did not, or said that it is unwell, and perhaps when to come back.
    pub(super) fn unwell(
        &mut self,
        key: Key,
        why: &str,
        retry_after: Option<Duration>,
        now: Instant,
    ) -> Blame {
        self.failed_in_a_row += 1;
        let asked_for = retry_after.unwrap_or_default();
        match &mut self.down {
            None if self.failed_in_a_row < OPENS_AFTER => return Blame::Notification,
            None => {
                warn!("the push service takes no notifications, will ask until it does: {why}");
                self.down = Some(Down {
                    since: now,
                    pause: self.first_pause,
                    ask_at: now + jittered(self.first_pause.max(asked_for)),
                    probe: None,
                });
            }
            Some(down) if down.probe == Some(key) => {
                down.probe = None;
                down.pause = (down.pause * 2).min(LONGEST_PAUSE.max(self.first_pause));
                down.ask_at = now + jittered(down.pause.max(asked_for));
            }
            Some(down) => {
                down.ask_at = down.ask_at.max(now + asked_for);
                return Blame::ServiceBefore;
            }
        }
        Blame::Service
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::super::name::Names;
    use super::*;

    const ALL: usize = 300;

    fn keys<const N: usize>() -> [Key; N] {
        let mut names = Names::default();
        std::array::from_fn(|n| names.key(OsStr::new(&n.to_string())))
    }

    fn fail(circuit: &mut Circuit, key: Key, now: Instant) -> Blame {
        circuit.unwell(key, "why", None, now)
    }

    #[test]
    fn three_failures_in_a_row_open_it_and_no_fewer() {
        let now = Instant::now();
        let mut circuit = Circuit::default();
        let [a, b, c, d] = keys();
        for _ in 0..10 {
            assert_eq!(fail(&mut circuit, a, now), Blame::Notification);
            assert_eq!(fail(&mut circuit, b, now), Blame::Notification);
            circuit.well(now);
        }
        assert_eq!(circuit.room(ALL, 5, now), ALL - 5);
        fail(&mut circuit, a, now);
        fail(&mut circuit, b, now);
        assert_eq!(fail(&mut circuit, c, now), Blame::Service);
        assert!(circuit.is_down());
        assert_eq!(fail(&mut circuit, d, now), Blame::ServiceBefore);
        assert_eq!(circuit.room(ALL, 0, now), 0);
    }

    #[test]
    fn one_request_asks_at_a_time_and_ever_more_rarely() {
        let mut now = Instant::now();
        let mut circuit = Circuit::default();
        let [a] = keys();
        for _ in 0..OPENS_AFTER {
            fail(&mut circuit, a, now);
        }
        let mut pauses = Vec::new();
        for _ in 0..6 {
            let opens_at = circuit.opens_at().expect("a time");
            pauses.push((opens_at - now).as_secs());
            now = opens_at;
            assert_eq!(circuit.room(ALL, 0, now), 1);
            circuit.leaves(a);
            assert_eq!(circuit.room(ALL, 1, now), 0);
            assert_eq!(circuit.opens_at(), None);
            assert_eq!(fail(&mut circuit, a, now), Blame::Service);
        }
        for (pause, least) in pauses.iter().zip([8, 16, 32, 64, 64, 64]) {
            assert!((least..=least * 5 / 4).contains(pause), "{pauses:?}");
        }
        circuit.well(now);
        assert_eq!(circuit.room(ALL, 0, now), ALL);
    }

    #[test]
    fn any_answer_closes_it() {
        let now = Instant::now();
        let mut circuit = Circuit::default();
        let keys: [Key; 4] = keys();
        for key in keys {
            fail(&mut circuit, key, now);
        }
        circuit.well(now);
        assert!(!circuit.is_down());
        assert_eq!(fail(&mut circuit, keys[0], now), Blame::Notification);
    }

    #[test]
    fn it_waits_as_long_as_the_service_asks_for() {
        let now = Instant::now();
        let mut circuit = Circuit::default();
        let [a] = keys();
        let minutes = Duration::from_secs(300);
        for _ in 0..OPENS_AFTER {
            circuit.unwell(a, "503", Some(minutes), now);
        }
        assert!(circuit.opens_at().expect("a time") >= now + minutes);
    }
}
