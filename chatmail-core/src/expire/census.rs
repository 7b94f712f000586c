//! A look at all mailboxes before the first of them goes: does the clock make sense?
//!
//! A clock that is years ahead, after a battery died or by a typing error, would make every mailbox look
//! forgotten. Nobody can tell from one mailbox. Of all of them two things are known: somebody logs in every
//! few days, and few of them are given up on the same day.

use std::fmt;
use std::time::{Duration, SystemTime};

use super::{DAY, Expiry};
use crate::mailbox::Mailbox;

/// A relay on which nobody has logged in for longer than this is left alone, or its clock is wrong.
/// Less than messages are usually kept.
const QUIET: Duration = Duration::from_secs(14 * DAY);

/// So many mailboxes may always go at once, on a relay of a family for example.
const FEW: u64 = 10;

/// What is known of all mailboxes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Census {
    /// Directories that were looked at.
    pub directories: u64,
    /// Those of them that are accounts.
    pub accounts: u64,
    /// Accounts that nobody has used for too long.
    pub inactive: u64,
    /// The last login of all.
    pub last_login: Option<SystemTime>,
}

/// Why nothing should be removed unless the operator says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubt {
    /// By this clock, nobody has logged in for so many days.
    NobodyForDays(u64),
    /// More than half of all accounts would go at once.
    TooMany {
        /// So many would go.
        inactive: u64,
        /// Of so many.
        accounts: u64,
    },
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Doubt::NobodyForDays(days) => {
                write!(f, "by this clock nobody has logged in for {days} days")
            }
            Doubt::TooMany { inactive, accounts } => write!(
                f,
                "{inactive} of {accounts} accounts would be removed at once"
            ),
        }
    }
}

impl Census {
    /// Counts one mailbox. One that cannot be read is no account here; the expiry will say so.
    pub fn add(&mut self, expiry: &Expiry, mailbox: &Mailbox) {
        self.count(expiry, mailbox.last_login().unwrap_or_default());
    }

    pub(super) fn count(&mut self, expiry: &Expiry, last_login: Option<SystemTime>) {
        self.directories += 1;
        if let Some(day) = last_login {
            self.accounts += 1;
            self.inactive += u64::from(expiry.is_inactive(day));
            self.last_login = self.last_login.max(Some(day));
        }
    }

    /// Adds what another thread has counted.
    pub fn merge(&mut self, other: &Census) {
        self.directories += other.directories;
        self.accounts += other.accounts;
        self.inactive += other.inactive;
        self.last_login = self.last_login.max(other.last_login);
    }

    /// Whether it is implausible that all this is too old.
    pub fn doubt(&self, expiry: &Expiry) -> Option<Doubt> {
        let quiet = expiry.now.duration_since(self.last_login?);
        if let Ok(quiet) = quiet
            && quiet > QUIET
        {
            return Some(Doubt::NobodyForDays(quiet.as_secs() / DAY));
        }
        (self.inactive > FEW && self.inactive > self.accounts / 2).then_some(Doubt::TooMany {
            inactive: self.inactive,
            accounts: self.accounts,
        })
    }
}
