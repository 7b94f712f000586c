//! What all mailboxes hold, and who uses them: the operator's report.
//!
//! Sizes of messages are those of the quota, before compression, as Dovecot writes them into the file
//! names; the disk may hold less. A report counts and names nobody.
//!
//! ```no_run
//! use std::time::SystemTime;
//! use chatmail_core::config::Config;
//! use chatmail_core::usage::Report;
//!
//! let config = Config::load("/etc/chatmail.ini".as_ref())?;
//! let report = Report::of(&config.mailboxes(), SystemTime::now())?;
//! print!("{}", report.to_text());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::io::{self, ErrorKind};
use std::time::{Duration, SystemTime};

use crate::address::{Address, CI_PREFIXES};
use crate::mailbox::{ALL, Entry, Mailbox, Mailboxes, Maildir, Reading, micros, named};

mod format;

/// Smallest sizes of the classes, in bytes; each holds all larger ones as well. Dashboards of relays know
/// these.
const SIZES: [u64; 7] = [0, 100 << 10, 512 << 10, 1 << 20, 2 << 20, 5 << 20, 10 << 20];

/// Smallest ages of the classes, in days; each holds all older ones as well.
const AGES: [u64; 6] = [1, 3, 7, 14, 20, 30];

/// Last logins, in days.
const ACTIVE: [u64; 7] = [1, 10, 30, 40, 80, 100, 150];

const DAY: u64 = 24 * 60 * 60;

/// A size in a file name above this is nonsense; bytes.
const IMPLAUSIBLE: u64 = 1 << 40;

/// How much of something.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amount {
    /// Files.
    pub count: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Amount {
    fn add(&mut self, bytes: u64) {
        *self += Amount { count: 1, bytes };
    }
}

impl std::ops::AddAssign for Amount {
    fn add_assign(&mut self, other: Amount) {
        self.count += other.count;
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}

/// What one look at all mailboxes has shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The time for which it is true.
    pub taken: SystemTime,
    /// All accounts, those of CI included.
    pub accounts: u64,
    /// Accounts of automatic tests: their address begins with `ci-` or `ac_`.
    pub ci_accounts: u64,
    /// Messages in `cur`, `new` and `tmp`, subfolders included.
    pub messages: Amount,
    /// All other files of the mailboxes: indexes, passwords, device tokens.
    pub other: Amount,
    /// Directories that could not be read, or not to the end.
    pub unreadable: u64,
    sizes: [Amount; SIZES.len()],
    ages: [Amount; AGES.len()],
    active: [u64; ACTIVE.len()],
}

impl Report {
    /// A report on nothing yet, for the time `now`.
    pub fn new(now: SystemTime) -> Report {
        Report {
            taken: now,
            accounts: 0,
            ci_accounts: 0,
            messages: Amount::default(),
            other: Amount::default(),
            unreadable: 0,
            sizes: Default::default(),
            ages: Default::default(),
            active: Default::default(),
        }
    }

    /// The report on all mailboxes, one after the other. What cannot be read is counted as unreadable.
    ///
    /// # Errors
    ///
    /// `MAILBOXES_DIR` cannot be read.
    pub fn of(mailboxes: &Mailboxes, now: SystemTime) -> io::Result<Report> {
        let mut report = Report::new(now);
        for address in mailboxes.addresses()? {
            let address = address?;
            // It is counted.
            let _ = report.add(&address, &mailboxes.mailbox(&address));
        }
        Ok(report)
    }

    /// Adds one mailbox. One that is not there adds nothing.
    ///
    /// # Errors
    ///
    /// It cannot be read, or not to the end, which is counted. What was read is counted as well.
    pub fn add(&mut self, address: &Address, mailbox: &Mailbox) -> io::Result<()> {
        self.look_at(address, mailbox).map_err(|error| {
            self.unreadable += 1;
            named(mailbox.path(), error)
        })
    }

    fn look_at(&mut self, address: &Address, mailbox: &Mailbox) -> io::Result<()> {
        let maildir = match Maildir::open(mailbox.path()) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            maildir => maildir?,
        };
        let reading = Reading {
            now: self.taken,
            max_size: IMPLAUSIBLE,
            parts: ALL,
            beside: true,
        };
        let now = micros(self.taken);
        let mut last_login = None;
        let read = maildir.each(&reading, |entry| {
            match entry {
                Entry::Message(message) => {
                    self.message(message.size, now.saturating_sub(message.stored));
                }
                Entry::Beside {
                    bytes,
                    last_login: told,
                } => {
                    self.other.add(bytes);
                    last_login = last_login.or(told);
                }
            }
            Ok(())
        });
        // What was not come by may be there all the same: a link, or what was not read to the end.
        if last_login.is_none() {
            last_login = maildir.last_login()?;
        }
        if let Some(day) = last_login {
            self.account(address, day);
        }
        read
    }

    fn account(&mut self, address: &Address, last_login: SystemTime) {
        self.accounts += 1;
        let localpart = address.localpart();
        if CI_PREFIXES
            .iter()
            .any(|prefix| localpart.starts_with(prefix))
        {
            self.ci_accounts += 1;
            return;
        }
        let age = self.taken.duration_since(last_login).unwrap_or_default();
        for (days, accounts) in ACTIVE.iter().zip(&mut self.active) {
            *accounts += u64::from(age <= Duration::from_secs(days * DAY));
        }
    }

    /// `age` in microseconds.
    fn message(&mut self, bytes: u64, age: u64) {
        self.messages.add(bytes);
        for (at_least, amount) in SIZES.iter().zip(&mut self.sizes) {
            if bytes >= *at_least {
                amount.add(bytes);
            }
        }
        for (days, amount) in AGES.iter().zip(&mut self.ages) {
            if age >= days * DAY * 1_000_000 {
                amount.add(bytes);
            }
        }
    }

    /// Adds a report on other mailboxes, for the same time.
    pub fn merge(&mut self, other: &Report) {
        self.accounts += other.accounts;
        self.ci_accounts += other.ci_accounts;
        self.messages += other.messages;
        self.other += other.other;
        self.unreadable += other.unreadable;
        let amounts = self.sizes.iter_mut().chain(&mut self.ages);
        for (ours, theirs) in amounts.zip(other.sizes.iter().chain(&other.ages)) {
            *ours += *theirs;
        }
        for (ours, theirs) in self.active.iter_mut().zip(&other.active) {
            *ours += theirs;
        }
    }

    /// Accounts of people.
    pub fn user_accounts(&self) -> u64 {
        self.accounts.saturating_sub(self.ci_accounts)
    }

    /// Messages of at least so many bytes.
    pub fn sizes(&self) -> impl Iterator<Item = (u64, Amount)> + '_ {
        SIZES.into_iter().zip(self.sizes)
    }

    /// Messages stored at least so many days ago.
    pub fn ages(&self) -> impl Iterator<Item = (u64, Amount)> + '_ {
        AGES.into_iter().zip(self.ages)
    }

    /// Accounts of people who have logged in in the last so many days.
    pub fn active(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        ACTIVE.into_iter().zip(self.active)
    }
}

#[cfg(test)]
mod tests;
