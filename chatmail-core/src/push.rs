//! The spool of pending notifications and its retry schedule.
//!
//! The process that stores a message writes one small file for each device; the process that talks
//! to the push service reads them, also those of before a crash. Nothing else passes between the
//! two.
//!
//! ```no_run
//! use std::time::SystemTime;
//! use chatmail_core::config::Config;
//! use chatmail_core::push::{RetrySchedule, Spool, notify_recipient};
//!
//! let config = Config::load("/etc/chatmail.ini".as_ref())?;
//! notify_recipient(&config, b"alice@chat.example", b"Bob <bob@chat.example>", SystemTime::now())?;
//!
//! let spool = Spool::open(&config.mailboxes().push_spool())?;
//! for pending in spool.pending()?.flatten() {
//!     if RetrySchedule::of(pending.since).next_attempt(0, SystemTime::now()).is_some() {
//!         // … POST pending.token …
//!     }
//!     pending.done()?;
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::fmt;
use std::io;
use std::time::SystemTime;

use crate::address::{Address, header_address};
use crate::config::Config;
use crate::metadata::DeviceTokens;

mod aside;
mod schedule;
mod spool;

pub use schedule::RetrySchedule;
pub use spool::{Pending, Spool, Unreadable};

/// Spools a notification for each device of `recipient`, after a message was stored in that
/// mailbox. Answers how many: none if the message comes from the recipient itself, or if
/// `recipient` is no address of this relay.
///
/// `from_header` is the value of the message's From header; empty if there is none.
///
/// # Errors
///
/// The tokens cannot be read, or the spool cannot be written. Some of the notifications may be on
/// their way. The message is stored, so this must not fail its delivery.
pub fn notify_recipient(
    config: &Config,
    recipient: &[u8],
    from_header: &[u8],
    now: SystemTime,
) -> Result<usize, PushError> {
    let Some(address) = Address::parse(recipient, &config.mail_domain) else {
        return Ok(0);
    };
    // A copy to oneself: the other devices fetch it without being woken.
    if header_address(from_header).is_some_and(|from| from.eq_ignore_ascii_case(address.as_str())) {
        return Ok(0);
    }
    let mailboxes = config.mailboxes();
    let tokens = DeviceTokens::of(&mailboxes.mailbox(&address)).valid(now)?;
    if tokens.is_empty() {
        return Ok(0);
    }
    let spool = Spool::open(&mailboxes.push_spool())?;
    for token in &tokens {
        spool.add(address.as_str(), token, now)?;
    }
    Ok(tokens.len())
}

/// Could not spool. `Display` names the file at fault.
#[derive(Debug)]
pub struct PushError {
    error: io::Error,
}

impl fmt::Display for PushError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for PushError {}

impl From<io::Error> for PushError {
    fn from(error: io::Error) -> PushError {
        PushError { error }
    }
}

#[cfg(test)]
mod tests;
