//! Whether the push service takes notifications, told once per change: an outage with thousands of
//! pending notifications is two log lines.

use tracing::{info, warn};

#[derive(Debug, Default)]
pub(super) struct Health {
    failed: u64,
}

impl Health {
    /// An attempt reached the push service.
    pub(super) fn well(&mut self) {
        if self.failed > 0 {
            info!(
                "the push service answers again, after {} failed attempts",
                self.failed
            );
            self.failed = 0;
        }
    }

    /// An attempt failed for a reason that is none of the notification's.
    pub(super) fn unwell(&mut self, why: &str) {
        if self.failed == 0 {
            warn!("the push service takes no notifications, will try again: {why}");
        }
        self.failed += 1;
    }
}
