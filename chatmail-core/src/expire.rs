//! What is too old: messages, and mailboxes nobody has used for long.
//!
//! | what | goes when |
//! |---|---|
//! | a mailbox | its last login is more than `delete_inactive_users_after` days ago |
//! | a message | it was stored more than `delete_mails_after` days ago |
//! | a message of more than 200,000 bytes in `cur` | it was stored more than `delete_large_after` days ago |
//! | a directory without `password` | it is empty, or holds only files of a sign-up that failed more than an hour ago; else it is kept and reported |
//!
//! When a message was stored and how large it is stands in the name Dovecot gave its file; only where it
//! does not, the file is asked. That time is the day the message came to this mailbox, also if a client
//! stored it with an older date, and stays if a backup is put back. The size is that of the message, as
//! the quota counts it, not what it takes on the disk after compression. Subfolders count like the INBOX,
//! and what was left in `tmp` like `new`. `maildirsize` is removed when any message was: Dovecot counts
//! anew.
//!
//! Here is one mailbox at a time; who goes through all of them, and with how many threads, is up to the
//! caller.
//!
//! ```no_run
//! use std::time::SystemTime;
//! use chatmail_core::config::Config;
//! use chatmail_core::expire::{Census, Expired, Expiry, Mode};
//!
//! let config = Config::load("/etc/chatmail.ini".as_ref())?;
//! let mailboxes = config.mailboxes();
//! let expiry = Expiry::new(&config, SystemTime::now(), Mode::DryRun);
//! let (mut census, mut expired) = (Census::default(), Expired::default());
//! for address in mailboxes.addresses()? {
//!     expiry.mailbox(&mailboxes.mailbox(&address?), &mut census, &mut expired)?;
//! }
//! println!("{} messages would be removed", expired.messages);
//! if let Some(doubt) = census.doubt(&expiry) {
//!     println!("but look at the clock: {doubt}");
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::io::{self, ErrorKind};
use std::ops::AddAssign;
use std::time::{Duration, SystemTime};

use crate::config::Config;
use crate::mailbox::{
    ALL, Entry, MAILDIRSIZE, Mailbox, Mailboxes, Maildir, Message, Reading, Remains, micros, named,
};
use crate::state::StateFile;

mod census;

pub use census::{Census, Doubt};

/// Bytes above which a message is large.
const LARGE: u64 = 200_000;

/// A size in a file name above this is nonsense; bytes.
const IMPLAUSIBLE: u64 = 1 << 40;

const DAY: u64 = 24 * 60 * 60;

/// No sign-up takes longer: it waits seconds for locks, and an import writes a thousand accounts at once.
const SIGN_UP: Duration = Duration::from_secs(60 * 60);

/// Beside the counters: who holds its lock expires.
const STATE: &str = "expiry";

/// Whether to do it or only to say what would be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Nothing is changed.
    DryRun,
    /// What is too old is removed.
    Remove,
}

/// The rules of one relay at one moment.
#[derive(Debug, Clone)]
pub struct Expiry {
    mode: Mode,
    now: SystemTime,
    /// Days; mailboxes, messages, large messages.
    inactive: u32,
    old: u32,
    large: u32,
    /// Days by which all of these are later.
    later: u32,
}

/// What was removed, or would have been.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Expired {
    /// Mailboxes nobody used, removed whole.
    pub mailboxes: u64,
    /// Directories without a password that are empty or hold only files of a failed sign-up.
    pub empty_directories: u64,
    /// Messages that were too old, in mailboxes that stay.
    pub messages: u64,
    /// Large messages that were too old for that.
    pub large_messages: u64,
    /// The size of all these messages, and of those in mailboxes that were removed whole.
    pub bytes: u64,
}

impl AddAssign for Expired {
    fn add_assign(&mut self, other: Expired) {
        self.mailboxes += other.mailboxes;
        self.empty_directories += other.empty_directories;
        self.messages += other.messages;
        self.large_messages += other.large_messages;
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}

/// What became of a mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It stays, perhaps with fewer messages.
    Kept,
    /// It is gone, or would be.
    Removed,
    /// A directory without `password` that is not empty: no account, and left for the operator to look at.
    NoAccount,
    /// There was none, or is none any more.
    Absent,
}

/// Why a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TooOld {
    Any,
    Large,
}

impl Expiry {
    /// The rules of `config` at the time `now`.
    pub fn new(config: &Config, now: SystemTime, mode: Mode) -> Expiry {
        Expiry {
            mode,
            now,
            inactive: config.delete_inactive_users_after,
            old: config.delete_mails_after,
            large: config.delete_large_after,
            later: 0,
        }
    }

    /// Decides as it would have been decided so many days ago: everything may be older by that.
    #[must_use]
    pub fn days_ago(mut self, days: u32) -> Expiry {
        self.later = days;
        self
    }

    /// Whether anything is changed.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Looks at one mailbox and removes what is too old, or only counts it. What was done before an error
    /// is counted as well. `census` counts the mailbox on the way; whoever removes has taken one of all
    /// mailboxes before, by [`Census::add`].
    ///
    /// Nobody is locked out by it and no mailbox is broken: before a whole mailbox goes, its last login is
    /// asked again under its lock, under which [`Mailbox::note_login`] changes it; then it vanishes
    /// as a whole. Messages go as in [`Mailbox::trim`], without a lock.
    ///
    /// # Errors
    ///
    /// A directory cannot be read, a file cannot be removed, or somebody else holds the lock of a mailbox
    /// that should go.
    pub fn mailbox(
        &self,
        mailbox: &Mailbox,
        census: &mut Census,
        expired: &mut Expired,
    ) -> io::Result<Fate> {
        let maildir = match Maildir::open(mailbox.path()) {
            Ok(maildir) => maildir,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Fate::Absent),
            Err(error) => return Err(named(mailbox.path(), error)),
        };
        let last_login = maildir.last_login();
        let last_login = last_login.map_err(|error| named(mailbox.path(), error))?;
        census.count(self, last_login);
        let fate = match last_login {
            None => return self.without_account(mailbox, expired),
            Some(day) if self.is_inactive(day) => {
                return self.inactive(mailbox, &maildir, expired);
            }
            Some(_) => self.messages(&maildir, expired),
        };
        fate.map_err(|error| named(mailbox.path(), error))
    }

    fn is_inactive(&self, last_login: SystemTime) -> bool {
        micros(last_login) < self.cutoff(self.inactive)
    }

    /// What is older has lived for more than so many days; in microseconds since 1970.
    fn cutoff(&self, days: u32) -> u64 {
        let days = u64::from(days) + u64::from(self.later);
        let age = Duration::from_secs(days * DAY).as_micros();
        micros(self.now).saturating_sub(u64::try_from(age).unwrap_or(u64::MAX))
    }

    fn reading(&self) -> Reading {
        Reading {
            now: self.now,
            max_size: IMPLAUSIBLE,
            parts: ALL,
            beside: false,
        }
    }

    fn inactive(
        &self,
        mailbox: &Mailbox,
        maildir: &Maildir,
        expired: &mut Expired,
    ) -> io::Result<Fate> {
        // Only for the count: what cannot be read may still be removed.
        let mut bytes = 0_u64;
        let _ = maildir.each(&self.reading(), |entry| {
            if let Entry::Message(message) = entry {
                bytes = bytes.saturating_add(message.size);
            }
            Ok(())
        });
        if self.mode == Mode::Remove {
            let removed = mailbox.remove_if(|| {
                let last_login = mailbox.last_login()?;
                Ok(last_login.is_some_and(|day| self.is_inactive(day)))
            })?;
            if !removed {
                return Ok(match mailbox.exists()? {
                    true => Fate::Kept,
                    false => Fate::Absent,
                });
            }
        }
        expired.mailboxes += 1;
        expired.bytes = expired.bytes.saturating_add(bytes);
        Ok(Fate::Removed)
    }

    fn messages(&self, maildir: &Maildir, expired: &mut Expired) -> io::Result<Fate> {
        let (old, large) = (self.cutoff(self.old), self.cutoff(self.large));
        let mut changed = false;
        let done = maildir.each(&self.reading(), |entry| {
            let Entry::Message(message) = entry else {
                return Ok(());
            };
            let Some(why) = too_old(message, old, large) else {
                return Ok(());
            };
            if self.mode == Mode::Remove {
                if !changed {
                    // If this run is killed, Dovecot counts anew all the same.
                    maildir.remove_file(MAILDIRSIZE)?;
                    changed = true;
                }
                if !message.remove()? {
                    return Ok(());
                }
            }
            match why {
                TooOld::Any => expired.messages += 1,
                TooOld::Large => expired.large_messages += 1,
            }
            expired.bytes = expired.bytes.saturating_add(message.size);
            Ok(())
        });
        if changed {
            // Somebody may have counted meanwhile.
            maildir.remove_file(MAILDIRSIZE)?;
        }
        done.map(|()| Fate::Kept)
    }

    fn without_account(&self, mailbox: &Mailbox, expired: &mut Expired) -> io::Result<Fate> {
        if self.mode == Mode::Remove {
            // A sign-up may be creating an account in it right now.
            return match mailbox.lock() {
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(Fate::Absent),
                Err(error) => Err(error),
                Ok(_) if mailbox.exists()? => Ok(Fate::Kept),
                Ok(_lock) => self.remains(mailbox, expired),
            };
        }
        self.remains(mailbox, expired)
    }

    /// Under the lock, if anything is to be removed.
    fn remains(&self, mailbox: &Mailbox, expired: &mut Expired) -> io::Result<Fate> {
        match mailbox.remains()? {
            Remains::Files => return Ok(Fate::NoAccount),
            Remains::SignUp(changed) if self.now < changed + SIGN_UP => return Ok(Fate::Kept),
            Remains::Nothing | Remains::SignUp(_) => {}
        }
        if self.mode == Mode::Remove {
            mailbox.remove_remains()?;
        }
        expired.empty_directories += 1;
        Ok(Fate::Removed)
    }
}

fn too_old(message: &Message<'_>, old: u64, large: u64) -> Option<TooOld> {
    if message.stored < old {
        Some(TooOld::Any)
    } else if message.size > LARGE && message.stored < large && message.is_in_cur() {
        Some(TooOld::Large)
    } else {
        None
    }
}

/// Runs `work` while no other process of the relay removes what is too old; `None` if one does already.
///
/// # Errors
///
/// The file with the lock, `MAILBOXES_DIR/.chatmail/expiry`, cannot be made or locked.
pub fn exclusively<T>(mailboxes: &Mailboxes, work: impl FnOnce() -> T) -> io::Result<Option<T>> {
    let file = StateFile::new(mailboxes.dir(), STATE);
    match file.locked(Duration::ZERO, |_| Ok(work())) {
        Ok(result) => Ok(Some(result)),
        Err(error) if error.kind() == ErrorKind::TimedOut => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;
