//! How many messages a sender may send: the generic cell rate algorithm (GCRA).
//!
//! Each sender has a *theoretical arrival time*: when the bucket would be empty again. A message
//! moves it on by one emission interval; it passes if the bucket does not overflow by that. One
//! number for each sender, and no work but at a message.
//!
//! ```
//! use std::time::Instant;
//! use chatmail_core::filter::rate::RateLimiter;
//!
//! let mut limiter = RateLimiter::new(60, 10);
//! let now = Instant::now();
//! let passed = (0..20).filter(|_| limiter.check("alice@chat.example", now)).count();
//! assert_eq!(passed, 10);
//! ```

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher};
use std::time::{Duration, Instant};

/// A rate limit for each sender. Holds no names, only a keyed hash of each.
#[derive(Debug)]
pub struct RateLimiter {
    /// Nanoseconds between two messages at the sustained rate.
    interval: u64,
    /// Nanoseconds from an empty bucket to a full one, and back.
    window: u64,
    /// Random for each limiter, so that nobody can choose addresses that collide with another's.
    hash_key: RandomState,
    /// Theoretical arrival times count from here, in nanoseconds.
    start: Option<Instant>,
    /// Two generations instead of sweeps: what was written before the current one began lies at
    /// most one window ahead of that moment. When the current one is a window old, the older one
    /// holds nothing but empty buckets and is dropped whole.
    current: Generation,
    older: Generation,
    current_since: u64,
}

type Generation = HashMap<u64, u64, BuildHasherDefault<AlreadyHashed>>;

impl RateLimiter {
    /// At most `burst` messages at once and `per_minute` sustained. With 0 for either, none.
    pub fn new(per_minute: u32, burst: u32) -> RateLimiter {
        let (interval, window) = match (per_minute, burst) {
            (0, _) | (_, 0) => (u64::MAX, 0),
            _ => {
                let interval = 60_000_000_000 / u64::from(per_minute);
                (interval, interval.saturating_mul(burst.into()))
            }
        };
        RateLimiter {
            interval,
            window,
            hash_key: RandomState::new(),
            start: None,
            current: Generation::default(),
            older: Generation::default(),
            current_since: 0,
        }
    }

    /// Whether a message of `key` may pass at `now`; counts it if so. A message that is refused
    /// costs its sender nothing. `key` is the address, in any case.
    ///
    /// Time that runs backwards counts as standing still.
    pub fn check(&mut self, key: &str, now: Instant) -> bool {
        let start = *self.start.get_or_insert(now);
        let now = nanoseconds(now.saturating_duration_since(start));
        self.turn_generation(now);
        let sender = self.hash(key);
        let known = self
            .current
            .get(&sender)
            .or_else(|| self.older.get(&sender));
        let arrival = known.copied().unwrap_or_default().max(now);
        let next = arrival.saturating_add(self.interval);
        let passes = next - now <= self.window;
        if passes {
            self.current.insert(sender, next);
        }
        passes
    }

    fn turn_generation(&mut self, now: u64) {
        let age = now.saturating_sub(self.current_since);
        if age >= self.window {
            self.older = std::mem::take(&mut self.current);
            if age >= self.window.saturating_mul(2) {
                self.older = Generation::default();
            }
            self.current_since = now;
        }
    }

    fn hash(&self, key: &str) -> u64 {
        let mut hasher = self.hash_key.build_hasher();
        for byte in key.bytes() {
            hasher.write_u8(byte.to_ascii_lowercase());
        }
        hasher.finish()
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The keys are hashes: hashing them again would double the cost of a check.
#[derive(Debug, Default)]
struct AlreadyHashed(u64);

impl Hasher for AlreadyHashed {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }
    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn passed(limiter: &mut RateLimiter, key: &str, now: Instant, messages: usize) -> usize {
        (0..messages).filter(|_| limiter.check(key, now)).count()
    }

    #[test]
    fn ten_messages_pass_at_once_and_then_one_each_second() {
        let mut limiter = RateLimiter::new(60, 10);
        let start = Instant::now();
        assert_eq!(passed(&mut limiter, "a@x", start, 100), 10);
        for second in 1..=30 {
            let now = start + second * SECOND;
            assert!(!limiter.check("a@x", now - SECOND / 100));
            assert_eq!(passed(&mut limiter, "a@x", now, 5), 1);
        }
        // Idle for five seconds, five more; idle for an hour, no more than the bucket holds.
        assert_eq!(passed(&mut limiter, "a@x", start + 35 * SECOND, 100), 5);
        assert_eq!(passed(&mut limiter, "a@x", start + 3600 * SECOND, 100), 10);
    }

    #[test]
    fn senders_do_not_share_a_bucket_and_case_makes_no_second_one() {
        let mut limiter = RateLimiter::new(60, 2);
        let now = Instant::now();
        assert_eq!(passed(&mut limiter, "alice@chat.example", now, 5), 2);
        assert!(!limiter.check("Alice@Chat.Example", now));
        assert_eq!(passed(&mut limiter, "bob@chat.example", now, 5), 2);
    }

    #[test]
    fn a_limit_of_nothing_lets_nothing_pass() {
        let now = Instant::now();
        for (per_minute, burst) in [(0, 10), (60, 0), (0, 0)] {
            let mut limiter = RateLimiter::new(per_minute, burst);
            assert_eq!(passed(&mut limiter, "a@x", now, 3), 0);
            assert!(!limiter.check("a@x", now + 3600 * SECOND));
        }
        let mut generous = RateLimiter::new(u32::MAX, u32::MAX);
        assert_eq!(passed(&mut generous, "a@x", now, 1000), 1000);
    }

    #[test]
    fn a_clock_that_jumps_back_opens_no_bucket() {
        let mut limiter = RateLimiter::new(60, 10);
        let now = Instant::now() + 100 * SECOND;
        assert!(limiter.check("b@x", now - 50 * SECOND));
        assert_eq!(passed(&mut limiter, "a@x", now, 100), 10);
        assert!(!limiter.check("a@x", now - 90 * SECOND));
    }

    #[test]
    fn memory_holds_the_senders_of_two_windows_and_no_more() {
        let mut limiter = RateLimiter::new(60, 10);
        let start = Instant::now();
        let mut most = 0;
        // 200,000 senders, 100 of them each second: a window of ten seconds sees 1,000.
        for sender in 0..200_000_u32 {
            let now = start + Duration::from_millis(u64::from(sender) * 10);
            assert!(limiter.check(&format!("{sender}@x"), now));
            most = most.max(limiter.current.len() + limiter.older.len());
        }
        assert!((1_000..=2_001).contains(&most), "{most}");
        limiter.check("a@x", start + 10_000 * SECOND);
        assert_eq!(limiter.current.len() + limiter.older.len(), 1);
    }

    proptest! {
        /// Against GCRA with a map that forgets nothing.
        #[test]
        fn forgetting_makes_no_difference(
            per_minute in 1..200_u32,
            burst in 1..20_u32,
            steps in proptest::collection::vec((0..4_usize, 0..4_000_u64), 1..200),
        ) {
            let mut limiter = RateLimiter::new(per_minute, burst);
            let interval = Duration::from_nanos(60_000_000_000 / u64::from(per_minute));
            let start = Instant::now();
            let mut now = start;
            let mut arrival = [start; 4];
            for (sender, wait) in steps {
                now += Duration::from_millis(wait);
                let next = arrival[sender].max(now) + interval;
                let expected = next - now <= interval * burst;
                if expected {
                    arrival[sender] = next;
                }
                prop_assert_eq!(limiter.check(["a", "b", "c", "d"][sender], now), expected);
            }
        }
    }
}
