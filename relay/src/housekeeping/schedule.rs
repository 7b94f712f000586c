//! When the daily expiry is due: at the beginning of an hour (UTC), and at most once a day.

use std::time::{SystemTime, UNIX_EPOCH};

const HOUR: u64 = 60 * 60;
const DAY: u64 = 24 * HOUR;

/// Asked every minute, so that a clock that is set does not matter.
#[derive(Debug)]
pub(super) struct Schedule {
    hour: Option<u8>,
    /// The last day that is done with, counted from 1970.
    done: u64,
}

impl Schedule {
    /// `hour` from 0 to 23, or `None` for never. An hour that has begun at `now` is waited for till
    /// tomorrow: nothing is removed because a service was restarted.
    pub(super) fn new(hour: Option<u8>, now: SystemTime) -> Schedule {
        let (day, hour_now) = day_and_hour(now);
        let begun = hour.is_some_and(|hour| u64::from(hour) <= hour_now);
        Schedule {
            hour,
            done: if begun { day } else { day.saturating_sub(1) },
        }
    }

    /// Whether it is time; says so once.
    pub(super) fn is_due(&mut self, now: SystemTime) -> bool {
        let (day, hour_now) = day_and_hour(now);
        let due = self.hour.is_some_and(|hour| u64::from(hour) == hour_now) && day != self.done;
        if due {
            self.done = day;
        }
        due
    }
}

fn day_and_hour(time: SystemTime) -> (u64, u64) {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = since.as_secs();
    (seconds / DAY, seconds % DAY / HOUR)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn at(day: u64, hour: u64, minute: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(day * DAY + hour * HOUR + minute * 60)
    }

    /// The minutes, from a day's midnight on, at which it is due when asked every minute.
    fn due(schedule: &mut Schedule, first_day: u64, days: u64) -> Vec<u64> {
        (0..days * 24 * 60)
            .filter(|minute| schedule.is_due(at(first_day, 0, *minute)))
            .collect()
    }

    #[test]
    fn it_is_due_once_a_day_at_the_beginning_of_its_hour() {
        for hour in [0, 3, 23] {
            let mut schedule = Schedule::new(Some(hour), at(99, 23, 59));
            let minute = u64::from(hour) * 60;
            assert_eq!(due(&mut schedule, 100, 2), [minute, minute + 24 * 60]);
        }
        assert!(due(&mut Schedule::new(None, at(99, 0, 0)), 100, 2).is_empty());
    }

    #[test]
    fn a_restart_within_the_hour_or_after_it_is_no_reason() {
        for start in [at(100, 3, 0), at(100, 3, 30), at(100, 4, 0)] {
            let mut schedule = Schedule::new(Some(3), start);
            assert!(!schedule.is_due(at(100, 3, 45)));
            assert!(schedule.is_due(at(101, 3, 0)));
        }
        assert!(Schedule::new(Some(3), at(100, 2, 59)).is_due(at(100, 3, 0)));
    }

    #[test]
    fn a_clock_that_is_set_back_and_forth_does_not_make_it_due_twice_a_day() {
        let mut schedule = Schedule::new(Some(3), at(99, 12, 0));
        assert!(schedule.is_due(at(100, 3, 5)));
        assert!(!schedule.is_due(at(100, 2, 59)));
        assert!(!schedule.is_due(at(100, 3, 0)));
        // Missed while the machine slept: there is a next day.
        assert!(!schedule.is_due(at(101, 4, 0)));
        assert!(schedule.is_due(at(102, 3, 59)));
    }
}
