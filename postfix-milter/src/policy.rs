//! What all sessions share: the rules of the moment, the rate limit, the counters.

use std::io;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Instant;

use chatmail_core::address::Address;
use chatmail_core::config::Config;
use chatmail_core::filter::Reply;
use chatmail_core::filter::rate::RateLimiter;
use chatmail_core::mailbox::Mailboxes;

use crate::dkim::Dkim;
use crate::metrics::Metrics;

mod envelope;

use envelope::Parts;

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

/// Whose an address is.
enum Owner {
    /// This address of ours, less its detail. Its mailbox may not exist.
    Ours(Address),
    /// Of our domain, but no mailbox could have this name.
    Nobody,
    /// Of another domain.
    Elsewhere,
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
    fn new(reply: Reply, reason: &'static str) -> Refused {
        Refused { reply, reason }
    }

    /// The mailbox could not be asked. Its name, which is an address, stays out of the log.
    fn undecided(_: &io::Error) -> Refused {
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

    /// Whose address this is, however it is written.
    fn owner(&self, address: &[u8]) -> Owner {
        let Parts { localpart, domain } = envelope::parts(address);
        let ours = self.mailboxes.domain();
        if localpart.is_empty() && domain.is_empty() {
            return Owner::Elsewhere;
        }
        if !domain.is_empty() && !domain.eq_ignore_ascii_case(ours.in_address().as_bytes()) {
            return Owner::Elsewhere;
        }
        let localpart = without_detail(&localpart);
        let address = [localpart, b"@", ours.in_address().as_bytes()].concat();
        match Address::parse(&address, ours) {
            Some(address) => Owner::Ours(address),
            None => Owner::Nobody,
        }
    }

    /// The sender as the rate limit counts it.
    fn sender(&self, sender: &[u8]) -> Result<String, Refused> {
        let Owner::Ours(address) = self.owner(sender) else {
            return Ok(String::from_utf8_lossy(sender).to_lowercase());
        };
        match self.mailboxes.mailbox(&address).is_disabled() {
            Ok(false) => Ok(address.as_str().to_owned()),
            Ok(true) => Err(Refused::new(Reply::disabled(), "disabled")),
            Err(error) => Err(Refused::undecided(&error)),
        }
    }

    fn recipient(&self, address: &[u8]) -> Result<(), Refused> {
        let unknown = |reason| Err(Refused::new(Reply::unknown_recipient(), reason));
        let undecided = |error: io::Error| Refused::undecided(&error);
        let mailbox = match self.owner(address) {
            Owner::Ours(address) => self.mailboxes.mailbox(&address),
            Owner::Nobody => return unknown("unknown"),
            Owner::Elsewhere => return Ok(()),
        };
        // The two look the same from outside: who was disabled is nobody's business.
        if !mailbox.exists().map_err(undecided)? {
            return unknown("unknown");
        }
        if mailbox.is_disabled().map_err(undecided)? {
            return unknown("disabled");
        }
        match mailbox.usage().map_err(undecided)? {
            Some(usage) if usage >= self.max_mailbox_size => {
                Err(Refused::new(Reply::mailbox_full(), "over-quota"))
            }
            _ => Ok(()),
        }
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

    /// Whether this user of ours may send one more message now; if so, it is counted. However its
    /// address is written, and whatever stands behind a `+` in it, it is one sender.
    ///
    /// # Errors
    ///
    /// The mailbox is disabled, that cannot be told, or there were too many messages.
    pub fn may_send(&self, sender: &[u8]) -> Result<(), Refused> {
        let key = self.rules().sender(sender)?;
        let passes = self
            .rate
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .limiter
            .check(&key, Instant::now());
        match passes {
            true => Ok(()),
            false => Err(Refused::new(Reply::rate_limited(sender), "rate-limit")),
        }
    }

    /// Whether mail to this address may come, however it is written. Addresses of other domains
    /// pass: others decide on them.
    ///
    /// # Errors
    ///
    /// An address of ours has no mailbox, is disabled or full, or that cannot be told.
    pub fn recipient(&self, address: &[u8]) -> Result<(), Refused> {
        self.rules().recipient(address)
    }
}

/// `alice` for `alice+news`: `recipient_delimiter = +` as Postfix and Dovecot have it.
fn without_detail(localpart: &[u8]) -> &[u8] {
    match localpart.iter().position(|&b| b == b'+') {
        // Without a name before it, the plus is the name.
        Some(plus) if plus > 0 => &localpart[..plus],
        _ => localpart,
    }
}

#[cfg(test)]
mod tests;
