//! One run of the expiry over all mailboxes.

use std::fmt;
use std::io;

use chatmail_core::config::Config;
use chatmail_core::counters::{Counter, Counters};
use chatmail_core::expire::{self, Census, Doubt, Expired, Expiry, Fate, Mode};
use chatmail_core::mailbox::Mailboxes;

use super::walk::walk;
use super::watch::{Trouble, Watch};

/// What to do if it is implausible that so much is too old.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubtful {
    /// Remove nothing.
    Refuse,
    /// The operator has looked: go on.
    GoOn,
}

/// What became of a run.
#[derive(Debug)]
pub enum Ended {
    /// It went through all mailboxes, unless it was stopped.
    Done(Outcome),
    /// Another process is at it.
    Busy,
    /// Nothing was removed: the clock may be wrong.
    Refused(Doubt),
}

/// What a run has found and done. `Display` gives a line for the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Directories of mailboxes that were there.
    pub mailboxes: u64,
    /// What was removed, or would have been.
    pub expired: Expired,
    /// Directories without a password that hold something. They were left.
    pub no_account: u64,
    /// Mailboxes that could not be worked on, or not to the end.
    pub failed: u64,
    /// Whether it was told to stop before the end.
    pub stopped: bool,
    /// Why a run that removes would be refused.
    pub doubt: Option<Doubt>,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Expired {
            mailboxes,
            empty_directories,
            messages,
            large_messages,
            bytes,
        } = self.expired;
        write!(
            f,
            "{mailboxes} unused mailboxes, {messages} old and {large_messages} large messages and {empty_directories} empty \
             directories of {} mailboxes, {bytes} bytes",
            self.mailboxes
        )?;
        if self.no_account > 0 {
            write!(f, "; {} hold files but no password", self.no_account)?;
        }
        if self.failed > 0 {
            write!(f, "; {} could not be worked on", self.failed)?;
        }
        match self.stopped {
            true => f.write_str("; stopped before the end"),
            false => Ok(()),
        }
    }
}

/// Looks at all mailboxes with so many threads, removes what is too old if `expiry` says so, and counts
/// that.
///
/// # Errors
///
/// `MAILBOXES_DIR` cannot be read, or the lock that keeps a second run away cannot be had.
pub fn run(
    config: &Config,
    expiry: &Expiry,
    doubtful: Doubtful,
    threads: usize,
    watch: &Watch,
) -> io::Result<Ended> {
    let mailboxes = config.mailboxes();
    if expiry.mode() == Mode::DryRun {
        return look(&mailboxes, expiry, 0, threads, watch).map(Ended::Done);
    }
    let ended = expire::exclusively(&mailboxes, || {
        // What a run that was killed has left.
        let swept = mailboxes.sweep();
        if let Err(error) = &swept {
            watch.tell(Trouble::Failed(error));
        }
        let census = census(&mailboxes, expiry, threads, watch)?;
        match census.doubt(expiry) {
            Some(doubt) if doubtful == Doubtful::Refuse => Ok(Ended::Refused(doubt)),
            _ => {
                let mut outcome = look(&mailboxes, expiry, census.directories, threads, watch)?;
                outcome.failed += u64::from(swept.is_err());
                Ok(Ended::Done(outcome))
            }
        }
    });
    ended?.unwrap_or(Ok(Ended::Busy))
}

fn census(
    mailboxes: &Mailboxes,
    expiry: &Expiry,
    threads: usize,
    watch: &Watch,
) -> io::Result<Census> {
    watch.begin(0);
    let counted = walk(
        mailboxes,
        threads,
        watch,
        Census::default,
        |census, address| census.add(expiry, &mailboxes.mailbox(&address)),
    )?;
    let mut census = Census::default();
    for part in &counted {
        census.merge(part);
    }
    Ok(census)
}

fn look(
    mailboxes: &Mailboxes,
    expiry: &Expiry,
    directories: u64,
    threads: usize,
    watch: &Watch,
) -> io::Result<Outcome> {
    watch.begin(directories);
    let counters = Counters::new(mailboxes);
    let parts = walk(
        mailboxes,
        threads,
        watch,
        || Part::new(expiry, &counters),
        |part, address| {
            let mailbox = mailboxes.mailbox(&address);
            let fate = expiry.mailbox(&mailbox, &mut part.census, &mut part.outcome.expired);
            part.outcome.mailboxes += 1;
            match fate {
                Ok(Fate::Kept | Fate::Removed) => {}
                Ok(Fate::Absent) => part.outcome.mailboxes -= 1,
                Ok(Fate::NoAccount) => {
                    part.outcome.no_account += 1;
                    watch.tell(Trouble::NoAccount(mailbox.path()));
                }
                Err(error) => {
                    part.outcome.failed += 1;
                    watch.tell(Trouble::Failed(&error));
                }
            }
        },
    )?;
    let mut outcome = Outcome {
        stopped: watch.is_stopped(),
        ..Outcome::default()
    };
    let mut census = Census::default();
    for part in &parts {
        census.merge(&part.census);
        outcome.mailboxes += part.outcome.mailboxes;
        outcome.expired += part.outcome.expired;
        outcome.no_account += part.outcome.no_account;
        outcome.failed += part.outcome.failed;
    }
    if expiry.mode() == Mode::DryRun {
        outcome.doubt = census.doubt(expiry);
    }
    Ok(outcome)
}

/// What one thread has done. Counted when it ends, however it does.
struct Part<'a> {
    outcome: Outcome,
    census: Census,
    counters: Option<&'a Counters>,
}

impl<'a> Part<'a> {
    fn new(expiry: &Expiry, counters: &'a Counters) -> Part<'a> {
        Part {
            outcome: Outcome::default(),
            census: Census::default(),
            counters: Some(counters).filter(|_| expiry.mode() == Mode::Remove),
        }
    }
}

impl Drop for Part<'_> {
    fn drop(&mut self) {
        let Some(counters) = self.counters else {
            return;
        };
        let expired = &self.outcome.expired;
        counters.add(Counter::ExpiredMailboxes, expired.mailboxes);
        counters.add(Counter::ExpiredMessages, expired.messages);
        counters.add(Counter::ExpiredLargeMessages, expired.large_messages);
        counters.add(Counter::ExpiredBytes, expired.bytes);
    }
}
