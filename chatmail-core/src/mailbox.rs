//! The directory of one address: the only place that knows its file names.

use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::address::{Address, MailDomain};

/// All mailboxes of the relay: `MAILBOXES_DIR`.
#[derive(Debug, Clone)]
pub struct Mailboxes {/* dir, domain */}

impl Mailboxes {
    /// The tree at `dir` for addresses of `domain`.
    pub fn new(dir: PathBuf, domain: MailDomain) -> Mailboxes {
        let _ = (dir, domain);
        todo!()
    }
    /// `MAILBOXES_DIR`.
    pub fn dir(&self) -> &Path {
        todo!()
    }
    /// The domain of every address in it.
    pub fn domain(&self) -> &MailDomain {
        todo!()
    }
    /// The mailbox of an address; whether it exists is a question to the mailbox.
    pub fn mailbox(&self, address: &Address) -> Mailbox {
        let _ = address;
        todo!()
    }
    /// The directories whose name holds an `@`, one at a time: relays have 10^5 of them.
    pub fn addresses(&self) -> io::Result<Addresses> {
        todo!()
    }
    /// The spool of pending notifications, `MAILBOXES_DIR/pending_notifications`.
    pub fn push_spool(&self) -> PathBuf {
        todo!()
    }
}

/// Iterator over the addresses that have a directory.
pub struct Addresses {/* … */}

/// One mailbox directory.
#[derive(Debug, Clone)]
pub struct Mailbox {/* … */}

impl Mailbox {
    /// Home of the user and maildir in one.
    pub fn path(&self) -> &Path {
        todo!()
    }
    /// Whether the account exists: it has a `password` file, usable or not.
    pub fn exists(&self) -> io::Result<bool> {
        todo!()
    }
    /// Whether the operator put a file `DISABLED` here.
    pub fn is_disabled(&self) -> io::Result<bool> {
        todo!()
    }
    /// Whether cleartext is turned away: file `enforceE2EEincoming`.
    pub fn enforces_encryption(&self) -> io::Result<bool> {
        todo!()
    }
    /// Sets the mtime of `password` to the day of `now` (UTC), if it is not that already.
    pub fn note_login(&self, now: SystemTime) -> io::Result<()> {
        let _ = now;
        todo!()
    }
}
