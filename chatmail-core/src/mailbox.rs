//! The directory of one address: the only place that knows its file names.
//!
//! The directory is the user's home and maildir in one. Besides Dovecot's files it holds
//!
//! | file | meaning |
//! |---|---|
//! | `password` | `{SHA512-CRYPT}$6$…`; the account exists; its mtime is the day of the last login |
//! | `enforceE2EEincoming` | cleartext is turned away |
//! | `DISABLED` | the operator let nobody in |
//! | `metadata.json` | device tokens, see module `metadata` |
//! | `maildirsize` | Dovecot's running total of what the mailbox holds (Maildir++) |
//! | `trim-not-before` | its mtime is when the full mailbox is next looked through for messages to remove |
//!
//! ```no_run
//! use chatmail_core::address::{Address, MailDomain};
//! use chatmail_core::mailbox::Mailboxes;
//!
//! let domain = MailDomain::parse("chat.example").unwrap();
//! let mailboxes = Mailboxes::new("/home/vmail/mail/chat.example".into(), domain.clone());
//! let address = Address::parse(b"alice@chat.example", &domain).unwrap();
//! assert!(mailboxes.mailbox(&address).enforces_encryption()?);
//! # Ok::<(), std::io::Error>(())
//! ```

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::address::{Address, MailDomain};
use files::regular_metadata;

mod adopt;
mod carry;
mod change;
mod create;
mod files;
mod leftovers;
mod lock;
mod maildir;
mod messages;
mod parts;
mod remove;
mod staging;
mod trim;
mod usage;

pub use adopt::Adoption;
pub use carry::Carried;
pub use change::Change;
pub use create::Creation;
pub use lock::MailboxLock;
pub use staging::Staging;
pub use trim::Trimmed;

#[cfg(feature = "push")]
pub(crate) use create::make_dir;
#[cfg(feature = "metadata")]
pub(crate) use files::{Durability, read_linked_at_most, replace};
pub(crate) use files::{check_regular, named, open_regular, read_at_most};
#[cfg(feature = "housekeeping")]
pub(crate) use leftovers::Remains;
#[cfg(feature = "housekeeping")]
pub(crate) use maildir::{ALL, Entry, Maildir, Message, Reading};
#[cfg(feature = "housekeeping")]
pub(crate) use messages::micros;

const PASSWORD: &str = "password";
const ENFORCE: &str = "enforceE2EEincoming";
const DISABLED: &str = "DISABLED";
const METADATA: &str = "metadata.json";
pub(crate) const MAILDIRSIZE: &str = "maildirsize";
const TRIM_NOT_BEFORE: &str = "trim-not-before";
const SPOOL: &str = "pending_notifications";

/// Longest `password` file that is looked at, in bytes; a hash has at most 140.
const PASSWORD_MAX: u64 = 1024;

const DAY: u64 = 86_400;

/// All mailboxes of the relay: `MAILBOXES_DIR`.
#[derive(Debug, Clone)]
pub struct Mailboxes {
    dir: PathBuf,
    domain: MailDomain,
}

impl Mailboxes {
    /// The tree at `dir` for addresses of `domain`.
    pub fn new(dir: PathBuf, domain: MailDomain) -> Mailboxes {
        Mailboxes { dir, domain }
    }

    /// `MAILBOXES_DIR`.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The domain of every address in it.
    pub fn domain(&self) -> &MailDomain {
        &self.domain
    }

    /// The mailbox of an address; whether it exists is a question to the mailbox.
    pub fn mailbox(&self, address: &Address) -> Mailbox {
        Mailbox {
            path: self.dir.join(address.as_str()),
        }
    }

    /// The addresses that have a directory, one at a time: relays have 10^5 of them. Whether the
    /// account is complete is another question.
    ///
    /// # Errors
    ///
    /// `MAILBOXES_DIR` cannot be read.
    pub fn addresses(&self) -> io::Result<Addresses> {
        Ok(Addresses {
            entries: fs::read_dir(&self.dir).map_err(|error| named(&self.dir, error))?,
            domain: self.domain.clone(),
        })
    }

    /// The spool of pending notifications, `MAILBOXES_DIR/pending_notifications`.
    pub fn push_spool(&self) -> PathBuf {
        self.dir.join(SPOOL)
    }
}

/// Iterator over the addresses that have a directory.
#[derive(Debug)]
pub struct Addresses {
    entries: fs::ReadDir,
    domain: MailDomain,
}

impl Iterator for Addresses {
    type Item = io::Result<Address>;

    fn next(&mut self) -> Option<io::Result<Address>> {
        loop {
            let entry = match self.entries.next()? {
                Ok(entry) => entry,
                Err(error) => return Some(Err(error)),
            };
            let name = entry.file_name();
            let name = name.as_encoded_bytes();
            // Upper case has no login, so it is no account either.
            let Some(address) =
                Address::parse(name, &self.domain).filter(|a| a.as_str().as_bytes() == name)
            else {
                continue;
            };
            match entry.file_type() {
                // Operators move single mailboxes to another disk and leave a link.
                Ok(kind) if kind.is_dir() || kind.is_symlink() && entry.path().is_dir() => {
                    return Some(Ok(address));
                }
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Some(Err(named(&entry.path(), error))),
            }
        }
    }
}

/// One mailbox directory.
#[derive(Debug, Clone)]
pub struct Mailbox {
    path: PathBuf,
}

impl Mailbox {
    /// Home of the user and maildir in one.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the account exists: it has a `password` file, usable or not.
    ///
    /// # Errors
    ///
    /// It cannot be told, for lack of permission for example.
    pub fn exists(&self) -> io::Result<bool> {
        self.has(PASSWORD)
    }

    /// Whether the operator put a file `DISABLED` here.
    ///
    /// # Errors
    ///
    /// As for [`Mailbox::exists`].
    pub fn is_disabled(&self) -> io::Result<bool> {
        self.has(DISABLED)
    }

    /// Whether cleartext is turned away: file `enforceE2EEincoming`.
    ///
    /// # Errors
    ///
    /// As for [`Mailbox::exists`].
    pub fn enforces_encryption(&self) -> io::Result<bool> {
        self.has(ENFORCE)
    }

    /// What the `password` file holds, without white space at its end; `None` if there is none.
    /// Empty, or no hash at all: the operator blocked the address.
    ///
    /// # Errors
    ///
    /// The file is there and cannot be read, or it is not a regular file, but a link for example.
    pub fn password(&self) -> io::Result<Option<Vec<u8>>> {
        let bytes = read_at_most(&self.path.join(PASSWORD), PASSWORD_MAX)?;
        Ok(bytes.map(|bytes| bytes.trim_ascii_end().to_owned()))
    }

    /// The day of the last login (UTC midnight); `None` if there is no account.
    ///
    /// # Errors
    ///
    /// As for [`Mailbox::exists`].
    pub fn last_login(&self) -> io::Result<Option<SystemTime>> {
        let path = self.path.join(PASSWORD);
        match regular_metadata(&path) {
            Ok(metadata) => Ok(Some(day_of(metadata.modified()?))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(named(&path, error)),
        }
    }

    /// Sets the mtime of `password` to the day of `now` (UTC), if it is not that already: the disk
    /// does not record the hour a person was online. To be called after a login that succeeded.
    ///
    /// The change is made under the mailbox's lock: the expiry, which asks under the lock as well, never
    /// takes a mailbox whose user has just been noted.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] if there is no account; or its `password` may not be touched.
    pub fn note_login(&self, now: SystemTime) -> io::Result<()> {
        let path = self.path.join(PASSWORD);
        let day = day_of(now);
        let modified = regular_metadata(&path).and_then(|metadata| metadata.modified());
        if modified.map_err(|error| named(&path, error))? == day {
            return Ok(());
        }
        let _lock = self.lock()?;
        let times = fs::FileTimes::new().set_accessed(day).set_modified(day);
        open_regular(&path)
            .and_then(|file| file.set_times(times))
            .map_err(|error| named(&path, error))
    }

    /// Bytes of mail in this mailbox by Dovecot's count, which may lag behind a delivery that is
    /// under way. `None` if nothing was counted yet, or Dovecot has to count anew.
    ///
    /// # Errors
    ///
    /// `maildirsize` is there and cannot be read.
    pub fn usage(&self) -> io::Result<Option<u64>> {
        usage::usage(&self.path.join(MAILDIRSIZE))
    }

    /// Device tokens.
    #[cfg(feature = "metadata")]
    pub(crate) fn metadata_path(&self) -> PathBuf {
        self.path.join(METADATA)
    }

    /// Whether anything has this name, also a link that leads nowhere.
    fn has(&self, name: &str) -> io::Result<bool> {
        let path = self.path.join(name);
        match fs::symlink_metadata(&path) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(named(&path, error)),
        }
    }
}

/// Midnight (UTC) before `time`.
fn day_of(time: SystemTime) -> SystemTime {
    let seconds = time
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    UNIX_EPOCH + Duration::from_secs(seconds - seconds % DAY)
}

#[cfg(test)]
mod tests;
