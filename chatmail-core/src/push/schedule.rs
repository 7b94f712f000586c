//! When to try again.

use std::time::{Duration, SystemTime};

/// How long after its message a notification is still worth something.
const LIFETIME: Duration = Duration::from_secs(5 * 3600);

/// Pauses after the first, second, … failure, in seconds.
const PAUSES: [u64; 4] = [8, 64, 512, 4096];

/// The attempts at one notification: at once, then after 8, 64, 512 and 4096 seconds, and none
/// later than 5 hours after the message. A restart begins anew with the first; the 5 hours stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetrySchedule {
    deadline: SystemTime,
}

impl RetrySchedule {
    /// For a notification of a message of this time.
    pub fn of(since: SystemTime) -> RetrySchedule {
        RetrySchedule {
            // A time so far ahead is nonsense; it has no deadline that can be told.
            deadline: since.checked_add(LIFETIME).unwrap_or(since),
        }
    }

    /// How long to wait at `now` before the next attempt, after so many that failed. `None`: give
    /// up, and log it.
    pub fn next_attempt(&self, failures: u32, now: SystemTime) -> Option<Duration> {
        let pause = match failures.checked_sub(1) {
            None => 0,
            Some(index) => *PAUSES.get(usize::try_from(index).ok()?)?,
        };
        let pause = Duration::from_secs(pause);
        (now.checked_add(pause)? <= self.deadline).then_some(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::UNIX_EPOCH;

    const HOUR: Duration = Duration::from_secs(3600);

    fn pauses(schedule: RetrySchedule, now: SystemTime) -> Vec<Option<u64>> {
        let pause = |failures| schedule.next_attempt(failures, now);
        (0..6)
            .map(|failures| pause(failures).map(|pause| pause.as_secs()))
            .collect()
    }

    #[test]
    fn a_notification_is_tried_five_times() {
        let since = UNIX_EPOCH + 400_000 * HOUR;
        let schedule = RetrySchedule::of(since);
        assert_eq!(
            pauses(schedule, since),
            [Some(0), Some(8), Some(64), Some(512), Some(4096), None]
        );
        assert_eq!(schedule.next_attempt(u32::MAX, since), None);
    }

    #[test]
    fn nothing_is_sent_more_than_five_hours_after_the_message() {
        let since = UNIX_EPOCH + 400_000 * HOUR;
        let schedule = RetrySchedule::of(since);
        let late = since + 5 * HOUR - Duration::from_secs(64);
        assert_eq!(
            pauses(schedule, late),
            [Some(0), Some(8), Some(64), None, None, None]
        );
        assert_eq!(
            schedule.next_attempt(0, since + 5 * HOUR),
            Some(Duration::ZERO)
        );
        assert_eq!(
            schedule.next_attempt(0, since + 5 * HOUR + Duration::from_secs(1)),
            None
        );
        // A message from the future waits for nothing.
        assert_eq!(schedule.next_attempt(0, UNIX_EPOCH), Some(Duration::ZERO));
    }
}
