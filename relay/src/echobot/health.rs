//! Whether the relay can be reached, told once per change: an hour without it is two log lines.

use std::time::{Duration, Instant};

use tracing::{info, warn};

/// A restart of Dovecot is not worth a line.
const UNTOLD: Duration = Duration::from_secs(60);

/// From here on core is connected.
const CONNECTED: u32 = 3000;

#[derive(Debug, Default)]
pub(super) struct Health {
    down_since: Option<Instant>,
    told: bool,
}

impl Health {
    /// Notes how core is connected, see [`crate::deltachat::Account::connectivity`]. To be called at every
    /// change, and every now and then.
    pub(super) fn is(&mut self, connectivity: u32, now: Instant) {
        if connectivity >= CONNECTED {
            if self.told {
                info!("connected to the relay again");
            }
            *self = Health::default();
            return;
        }
        let since = *self.down_since.get_or_insert(now);
        if !self.told && now.duration_since(since) >= UNTOLD {
            warn!("not connected to the relay for {UNTOLD:?}, still trying");
            self.told = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_without_connection_is_told_once() {
        let start = Instant::now();
        let mut health = Health::default();
        let mut told = |connectivity, seconds| {
            health.is(connectivity, start + Duration::from_secs(seconds));
            health.told
        };
        assert!(!told(1000, 0));
        assert!(!told(2000, 59));
        assert!(told(1000, 60));
        assert!(!told(4000, 61));
        assert!(!told(1000, 100));
        assert!(!told(3000, 150));
        assert!(!told(1000, 161));
    }
}
