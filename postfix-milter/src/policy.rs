//! What all sessions share: the rate limit and the configuration of the moment.

use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Instant;

use chatmail_core::config::Config;
use chatmail_core::filter::rate::RateLimiter;
use chatmail_core::mailbox::Mailboxes;

/// The relay's rules, for all connections of the process.
#[derive(Debug)]
pub struct Policy {
    mailboxes: RwLock<Arc<Mailboxes>>,
    rate: Mutex<Rate>,
}

#[derive(Debug)]
struct Rate {
    limits: RateLimits,
    limiter: RateLimiter,
}

/// Messages per minute, and size of the bucket in messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct RateLimits {
    per_minute: u32,
    burst: u32,
}

impl RateLimits {
    fn of(config: &Config) -> RateLimits {
        RateLimits {
            per_minute: config.max_user_send_per_minute,
            burst: config.max_user_send_burst_size,
        }
    }
}

impl Rate {
    fn new(limits: RateLimits) -> Rate {
        Rate {
            limits,
            limiter: RateLimiter::new(limits.per_minute, limits.burst),
        }
    }
}

impl Policy {
    /// The rules of this configuration.
    pub fn new(config: &Config) -> Policy {
        Policy {
            mailboxes: RwLock::new(Arc::new(config.mailboxes())),
            rate: Mutex::new(Rate::new(RateLimits::of(config))),
        }
    }

    /// Takes over a new configuration. Messages whose content is on its way keep the old one.
    /// Senders start afresh if the rate limit changed, and only then.
    pub fn replace(&self, config: &Config) {
        let limits = RateLimits::of(config);
        {
            let mut rate = self.rate.lock().unwrap_or_else(PoisonError::into_inner);
            if rate.limits != limits {
                *rate = Rate::new(limits);
            }
        }
        *self
            .mailboxes
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Arc::new(config.mailboxes());
    }

    /// The mailboxes of the moment.
    pub fn mailboxes(&self) -> Arc<Mailboxes> {
        Arc::clone(
            &self
                .mailboxes
                .read()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }

    /// Whether this sender may send one more message now; if so, it is counted. Addresses that
    /// differ in case only are one sender.
    pub fn may_send(&self, sender: &[u8]) -> bool {
        let key = String::from_utf8_lossy(sender).to_lowercase();
        self.rate
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .limiter
            .check(&key, Instant::now())
    }
}
