//! Taking over accounts in large numbers: one write to the disk for many of them.
//!
//! A `password` must not get its name before its content is on the disk, or a power failure leaves an
//! empty one, which blocks its user. So many are written first, then comes [`Mailboxes::sync`], then all
//! get their names.

use std::fs::{self, FileTimes};
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::time::SystemTime;

use super::create::make_dir;
use super::files::{make_empty, write_new};
use super::{Creation, ENFORCE, Mailbox, Mailboxes, PASSWORD, day_of, named};

/// No other creation uses this name; but one that comes in between may remove it as a leftover.
const TMP: &str = "password.tmp-adopted";

/// A password that is written and has not got its name yet. Dropped, it is removed.
#[derive(Debug)]
pub struct Adoption {
    mailbox: Mailbox,
    tmp: PathBuf,
}

impl Mailbox {
    /// Begins to make an account of this directory, whatever mail is in it already; it is made if it is
    /// missing. Cleartext is turned away from it. `None` if the account exists: it is left as it is.
    ///
    /// # Errors
    ///
    /// A file cannot be written. There is no account then.
    pub fn adopt(&self, password: &str, last_login: SystemTime) -> io::Result<Option<Adoption>> {
        if self.exists()? {
            return Ok(None);
        }
        make_dir(&self.path)?;
        let adoption = Adoption {
            mailbox: self.clone(),
            tmp: self.path.join(TMP),
        };
        make_empty(&self.path.join(ENFORCE))?;
        let day = day_of(last_login);
        write_new(&adoption.tmp, password.as_bytes())
            .and_then(|file| file.set_times(FileTimes::new().set_accessed(day).set_modified(day)))
            .map_err(|error| named(&adoption.tmp, error))?;
        Ok(Some(adoption))
    }
}

impl Adoption {
    /// Makes it the password, unless somebody was quicker.
    ///
    /// # Errors
    ///
    /// The directory cannot be locked, or has gone away.
    pub fn finish(self) -> io::Result<Creation> {
        let _lock = self.mailbox.lock()?;
        if self.mailbox.exists()? {
            return Ok(Creation::Existed);
        }
        let renamed = fs::rename(&self.tmp, self.mailbox.path.join(PASSWORD));
        renamed.map_err(|error| named(&self.tmp, error))?;
        Ok(Creation::Created)
    }
}

impl Drop for Adoption {
    fn drop(&mut self) {
        // Gone if it has its name.
        let _ = fs::remove_file(&self.tmp);
    }
}

impl Mailboxes {
    /// Brings all that was written below `MAILBOXES_DIR` to the disk.
    ///
    /// # Errors
    ///
    /// Not all of it could be written. Fine if there is no such directory.
    pub fn sync(&self) -> io::Result<()> {
        let synced = match fs::File::open(&self.dir) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => Err(error),
            Ok(dir) => rustix::fs::syncfs(dir).map_err(io::Error::from),
        };
        synced.map_err(|error| named(&self.dir, error))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{HASH, Relay, at, names};
    use super::*;
    use crate::mailbox::DAY;

    #[test]
    fn a_directory_with_mail_becomes_an_account_and_keeps_it() {
        let relay = Relay::new();
        let bob = relay.torso("bob", &["cur/1.M1P1.host:2,S"]);
        let adoption = bob.adopt(HASH, at(20_000 * DAY + 5)).unwrap().unwrap();
        assert!(!bob.exists().unwrap());
        relay.mailboxes.sync().unwrap();
        assert_eq!(adoption.finish().unwrap(), Creation::Created);
        assert_eq!(bob.password().unwrap().as_deref(), Some(HASH.as_bytes()));
        assert_eq!(bob.last_login().unwrap(), Some(at(20_000 * DAY)));
        assert_eq!(names(&bob), ["cur", "enforceE2EEincoming", "password"]);
    }

    #[test]
    fn an_account_that_exists_is_left_as_it_is() {
        let relay = Relay::new();
        let alice = relay.mailbox("alice");
        alice.create(HASH, at(DAY)).unwrap();
        alice.set_enforces_encryption(false).unwrap();
        assert!(alice.adopt("other", at(0)).unwrap().is_none());
        assert_eq!(alice.password().unwrap().as_deref(), Some(HASH.as_bytes()));
        assert_eq!(names(&alice), ["password"]);
    }

    #[test]
    fn who_is_quicker_has_the_address() {
        let relay = Relay::new();
        let alice = relay.mailbox("alice");
        let adoption = alice.adopt("theirs", at(0)).unwrap().unwrap();
        alice.create(HASH, at(DAY)).unwrap();
        assert_eq!(adoption.finish().unwrap(), Creation::Existed);
        assert_eq!(alice.password().unwrap().as_deref(), Some(HASH.as_bytes()));
        assert_eq!(names(&alice), ["enforceE2EEincoming", "password"]);
    }

    #[test]
    fn what_was_not_finished_is_begun_anew() {
        let relay = Relay::new();
        let alice = relay.torso("alice", &["password.tmp-adopted", "enforceE2EEincoming"]);
        let adoption = alice.adopt(HASH, at(0)).unwrap().unwrap();
        assert_eq!(adoption.finish().unwrap(), Creation::Created);
        let bob = relay.mailbox("bob");
        drop(bob.adopt(HASH, at(0)).unwrap());
        assert_eq!(names(&bob), ["enforceE2EEincoming"]);
    }
}
