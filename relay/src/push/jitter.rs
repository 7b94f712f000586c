//! Pauses that differ a little, so that what failed together does not come back together.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// The pause and up to a quarter more, at random.
pub(super) fn jittered(pause: Duration) -> Duration {
    // Its keys differ from one to the next.
    let random = RandomState::new().hash_one(0) >> 32;
    pause + (pause / 4).mul_f64(random as f64 / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_becomes_longer_by_a_quarter_at_most() {
        let pause = Duration::from_secs(8);
        let many: Vec<Duration> = (0..200).map(|_| jittered(pause)).collect();
        let most = Duration::from_secs(10);
        assert!(many.iter().all(|one| (pause..=most).contains(one)));
        let spread = many.iter().max().unwrap_or(&pause).abs_diff(pause);
        assert!(spread > Duration::from_secs(1), "{spread:?}");
    }
}
