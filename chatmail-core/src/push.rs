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
use crate::mailbox::Mailboxes;
use crate::metadata::DeviceTokens;

mod aside;
mod name;
mod schedule;
mod spool;

pub use name::SpoolName;
pub use schedule::RetrySchedule;
pub use spool::{Added, Pending, Spool, Unreadable};

/// What [`notify_recipient`] did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Notified {
    /// Devices to be notified: one notification was spooled for each.
    pub devices: usize,
    /// How many of these notifications replaced one that had not been sent yet.
    pub merged: usize,
}

/// Spools a notification for each device of `recipient`, after a message was stored in that
/// mailbox. There are none if the message comes from the recipient itself, or if `recipient` is not
/// an address of this relay.
///
/// A notification replaces an earlier one for the same device that has not been sent yet. So a mailbox
/// has at most two files in the spool for each of its [`TOKENS_MAX`](crate::metadata::TOKENS_MAX)
/// tokens: one that waits and one that is being sent. See [`SpoolName`].
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
) -> Result<Notified, PushError> {
    let mut notified = Notified::default();
    let Some(address) = Address::parse(recipient, &config.mail_domain) else {
        return Ok(notified);
    };
    // A copy to oneself: the other devices fetch it without being woken.
    if header_address(from_header).is_some_and(|from| from.eq_ignore_ascii_case(address.as_str())) {
        return Ok(notified);
    }
    let mailboxes = config.mailboxes();
    let tokens = DeviceTokens::of(&mailboxes.mailbox(&address));
    let mut wanted = tokens.valid(now)?;
    if wanted.is_empty() {
        return Ok(notified);
    }
    let spool = Spool::open(&mailboxes.push_spool())?;
    for token in &wanted {
        notified.devices += 1;
        if spool.add(address.as_str(), token, now)?.replaced {
            notified.merged += 1;
        }
    }
    // A token may have been dropped meanwhile, by a process that looked for its notification before
    // it was spooled.
    let still_valid = tokens.valid(now)?;
    wanted.retain(|token| !still_valid.contains(token));
    withdraw(&mailboxes, &address, &wanted)?;
    Ok(notified)
}

/// Removes the pending notifications of tokens that are no longer valid. Otherwise a mailbox whose
/// tokens change often would accumulate them.
pub(crate) fn withdraw(
    mailboxes: &Mailboxes,
    address: &Address,
    tokens: &[String],
) -> io::Result<()> {
    let dir = mailboxes.push_spool();
    tokens
        .iter()
        .try_for_each(|token| spool::withdraw(&dir, address.as_str(), token))
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
