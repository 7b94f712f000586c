//! What all sessions share: the rules of the moment, the rate limit, the counters.

use std::io;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Instant;

use chatmail_core::address::Address;
use chatmail_core::auth::{Standing, standing};
use chatmail_core::config::Config;
use chatmail_core::filter::Reply;
use chatmail_core::filter::rate::RateLimiter;
use chatmail_core::mailbox::Mailboxes;

use crate::dkim::Dkim;
use crate::metrics::Metrics;

mod addressee;
mod envelope;

pub use addressee::Addressee;

/// The relay's rules, for all connections of the process.
#[derive(Debug)]
pub struct Policy {
    rules: RwLock<Arc<Rules>>,
    rate: Mutex<Rate>,
    metrics: Metrics,
}

/// What follows from one configuration. Whoever works on something that takes several looks keeps
/// one `Arc` of it, so that a new configuration does not come in between.
#[derive(Debug)]
pub struct Rules {
    mailboxes: Arc<Mailboxes>,
    /// Bytes.
    max_mailbox_size: u64,
    dkim: Option<Arc<Dkim>>,
}

/// Why a sender or recipient does not pass, or not now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// For the client.
    pub reply: Reply,
    /// For the log and the counters: a fixed name.
    pub reason: &'static str,
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

impl Refused {
    /// Says this, for this reason.
    pub(crate) fn new(reply: Reply, reason: &'static str) -> Refused {
        Refused { reply, reason }
    }

    /// The mailbox could not be asked.
    fn undecided() -> Refused {
        Refused::new(Reply::temporary(), "undecided")
    }
}

impl Rules {
    fn of(config: &Config) -> Result<Rules, String> {
        Ok(Rules {
            mailboxes: Arc::new(config.mailboxes()),
            max_mailbox_size: config.max_mailbox_size,
            dkim: Dkim::load(config)?.map(Arc::new),
        })
    }

    /// The mailboxes of this relay.
    pub fn mailboxes(&self) -> &Arc<Mailboxes> {
        &self.mailboxes
    }

    /// Whether a user may send: the operator may have disabled the account.
    fn sender(&self, login: &[u8]) -> Result<(), Refused> {
        let Some(address) = Address::parse(login, self.mailboxes.domain()) else {
            return Ok(());
        };
        match self.standing(&address)? {
            Some(standing) if standing.is_blocked() => {
                Err(Refused::new(Reply::disabled(), "disabled"))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn recipient(&self, address: Option<&Address>) -> Result<(), Refused> {
        let unknown = |reason| Err(Refused::new(Reply::unknown_recipient(), reason));
        let Some(address) = address else {
            return unknown("unknown");
        };
        match self.standing(address)? {
            Some(Standing::Active) => {}
            // Same reply for both: strangers must not learn that an account is disabled.
            None => return unknown("unknown"),
            Some(Standing::Disabled | Standing::NoPassword) => return unknown("disabled"),
            Some(Standing::Damaged) => return Err(Refused::undecided()),
        }
        // The error names a mailbox, and so an address: it must not be logged.
        let undecided = |_: io::Error| Refused::undecided();
        match self.mailboxes.mailbox(address).usage().map_err(undecided)? {
            Some(usage) if usage >= self.max_mailbox_size => {
                Err(Refused::new(Reply::mailbox_full(), "over-quota"))
            }
            _ => Ok(()),
        }
    }

    fn standing(&self, address: &Address) -> Result<Option<Standing>, Refused> {
        standing(&self.mailboxes.mailbox(address)).map_err(|_| Refused::undecided())
    }
}

impl Policy {
    /// The rules of this configuration.
    ///
    /// # Errors
    ///
    /// What it asks for is not there: see [`Dkim::load`].
    pub fn new(config: &Config) -> Result<Policy, String> {
        Ok(Policy {
            rules: RwLock::new(Arc::new(Rules::of(config)?)),
            rate: Mutex::new(Rate::new(RateLimits::of(config))),
            metrics: Metrics::new(),
        })
    }

    /// Takes over a new configuration. Messages whose content is on its way keep the old one.
    /// Senders start afresh if the rate limit changed, and only then.
    ///
    /// # Errors
    ///
    /// As for [`new`](Policy::new); the old rules stay.
    pub fn replace(&self, config: &Config) -> Result<(), String> {
        let rules = Arc::new(Rules::of(config)?);
        let limits = RateLimits::of(config);
        let mut rate = self.rate.lock().unwrap_or_else(PoisonError::into_inner);
        if rate.limits != limits {
            *rate = Rate::new(limits);
        }
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = rules;
        Ok(())
    }

    /// The rules of the moment.
    pub fn rules(&self) -> Arc<Rules> {
        Arc::clone(&self.rules.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The mailboxes of the moment.
    pub fn mailboxes(&self) -> Arc<Mailboxes> {
        Arc::clone(self.rules().mailboxes())
    }

    /// Keys to sign with and to verify with; `None` if others do that.
    pub fn dkim(&self) -> Option<Arc<Dkim>> {
        self.rules().dkim.clone()
    }

    /// What this process counts.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Whether the user with this login may send one more message now; if so, it is counted. The case
    /// of the login does not matter.
    ///
    /// # Errors
    ///
    /// The account is disabled, its state cannot be read, or the user is over the rate limit.
    pub fn may_send(&self, login: &[u8]) -> Result<(), Refused> {
        self.rules().sender(login)?;
        let key = String::from_utf8_lossy(login);
        let mut rate = self.rate.lock().unwrap_or_else(PoisonError::into_inner);
        if rate.limiter.check(&key, Instant::now()) {
            Ok(())
        } else {
            Err(Refused::new(Reply::rate_limited(login), "rate-limit"))
        }
    }

    /// The addressee of this address, however it is spelled.
    pub fn addressee(&self, address: &[u8]) -> Addressee {
        Addressee::of(address, self.rules().mailboxes.domain())
    }

    /// Whether mail to this address of ours arrives. `None` is a name that no mailbox can have.
    ///
    /// # Errors
    ///
    /// There is no such account, it is disabled, its mailbox is full, or this cannot be determined.
    pub fn may_receive(&self, address: Option<&Address>) -> Result<(), Refused> {
        self.rules().recipient(address)
    }
}

#[cfg(test)]
mod tests;
