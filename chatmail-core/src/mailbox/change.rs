//! What an operator changes of an account that exists. Everything takes effect at once: each login, and
//! each recipient, asks the files.

use std::fs::{self, FileTimes, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::OpenOptionsExt;

use super::files::{Durability, FILE_MODE, replace_prepared};
use super::leftovers::PASSWORD_TMP;
use super::{DISABLED, ENFORCE, Mailbox, MailboxLock, PASSWORD, named};

/// What became of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It is different now.
    Changed,
    /// It was like that before.
    Unchanged,
    /// There is no such account; nothing was made.
    NoAccount,
}

impl Mailbox {
    /// Gives the account another password: `hash` is the new content of the file. The day of the last
    /// login stays. Sessions that are open stay so.
    ///
    /// # Errors
    ///
    /// Somebody else holds the lock, or the file cannot be replaced: it is as it was then.
    pub fn set_password(&self, hash: &str) -> io::Result<Change> {
        self.change(|lock| {
            let Some(day) = self.last_login()? else {
                return Ok(Change::NoAccount);
            };
            let times = FileTimes::new().set_accessed(day).set_modified(day);
            replace_prepared(
                &self.path.join(PASSWORD),
                &self.path.join(PASSWORD_TMP),
                hash.as_bytes(),
                Durability::Disk,
                |file| file.set_times(times),
            )?;
            lock.sync().map_err(|error| named(&self.path, error))?;
            Ok(Change::Changed)
        })
    }

    /// Lets nobody in, and no mail either: makes the file `DISABLED`, or removes it again.
    ///
    /// # Errors
    ///
    /// As for [`Mailbox::set_password`].
    pub fn set_disabled(&self, disabled: bool) -> io::Result<Change> {
        self.change(|lock| self.set_mark(lock, DISABLED, disabled))
    }

    /// Whether cleartext is turned away: makes the file `enforceE2EEincoming`, or removes it.
    ///
    /// # Errors
    ///
    /// As for [`Mailbox::set_password`].
    pub fn set_enforces_encryption(&self, enforces: bool) -> io::Result<Change> {
        self.change(|lock| self.set_mark(lock, ENFORCE, enforces))
    }

    fn change(&self, work: impl FnOnce(&MailboxLock) -> io::Result<Change>) -> io::Result<Change> {
        match self.lock() {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Change::NoAccount),
            Err(error) => Err(error),
            Ok(lock) if self.exists()? => work(&lock),
            Ok(_) => Ok(Change::NoAccount),
        }
    }

    fn set_mark(&self, lock: &MailboxLock, name: &str, wanted: bool) -> io::Result<Change> {
        let path = self.path.join(name);
        let changed = match wanted {
            true => {
                let mut options = OpenOptions::new();
                options.write(true).create_new(true).mode(FILE_MODE);
                options.open(&path).map(drop)
            }
            false => fs::remove_file(&path),
        };
        match changed {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists && wanted => {
                return Ok(Change::Unchanged);
            }
            Err(error) if error.kind() == ErrorKind::NotFound && !wanted => {
                return Ok(Change::Unchanged);
            }
            Err(error) => return Err(named(&path, error)),
        }
        lock.sync().map_err(|error| named(&self.path, error))?;
        Ok(Change::Changed)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{HASH, Relay, at, names};
    use super::*;
    use crate::mailbox::DAY;

    #[test]
    fn a_new_password_keeps_the_day_of_the_last_login() {
        let relay = Relay::new();
        let alice = relay.mailbox("alice");
        assert_eq!(alice.set_password("x").unwrap(), Change::NoAccount);
        assert!(!alice.path().exists());
        alice.create(HASH, at(20_000 * DAY)).unwrap();
        assert_eq!(alice.set_password("other").unwrap(), Change::Changed);
        assert_eq!(alice.password().unwrap().as_deref(), Some(&b"other"[..]));
        assert_eq!(alice.last_login().unwrap(), Some(at(20_000 * DAY)));
        assert_eq!(names(&alice), ["enforceE2EEincoming", "password"]);
    }

    #[test]
    fn an_account_is_disabled_and_enabled() {
        let relay = Relay::new();
        let alice = relay.mailbox("alice");
        alice.create(HASH, at(0)).unwrap();
        for (disabled, change) in [
            (false, Change::Unchanged),
            (true, Change::Changed),
            (true, Change::Unchanged),
            (false, Change::Changed),
        ] {
            assert_eq!(alice.set_disabled(disabled).unwrap(), change);
            assert_eq!(alice.is_disabled().unwrap(), disabled);
        }
        alice.set_disabled(true).unwrap();
        assert_eq!(alice.password().unwrap().as_deref(), Some(HASH.as_bytes()));
    }

    #[test]
    fn cleartext_is_allowed_and_turned_away() {
        let relay = Relay::new();
        let alice = relay.mailbox("alice");
        alice.create(HASH, at(0)).unwrap();
        assert_eq!(
            alice.set_enforces_encryption(false).unwrap(),
            Change::Changed
        );
        assert!(!alice.enforces_encryption().unwrap());
        assert_eq!(
            alice.set_enforces_encryption(true).unwrap(),
            Change::Changed
        );
        assert!(alice.enforces_encryption().unwrap());
    }

    #[test]
    fn what_is_no_account_is_not_changed() {
        let relay = Relay::new();
        let torso = relay.torso("bob", &["cur/1.M1P1.host:2,S"]);
        for change in [
            torso.set_password("x"),
            torso.set_disabled(true),
            torso.set_enforces_encryption(true),
        ] {
            assert_eq!(change.unwrap(), Change::NoAccount);
        }
        assert_eq!(names(&torso), ["cur"]);
    }
}
