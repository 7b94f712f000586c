//! The files of a sign-up that did not finish, because the disk was full or the process was killed.
//!
//! A sign-up makes the directory, `enforceE2EEincoming`, `password.tmp` and, by renaming that, `password`.
//! Before the last step there is no account. The next sign-up of the address cleans up what an earlier one left;
//! if there is none, the expiry removes it.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::PathBuf;
#[cfg(feature = "housekeeping")]
use std::time::SystemTime;

use super::{ENFORCE, Mailbox, named};

/// The temporary name of a `password` that is being written.
pub(super) const PASSWORD_TMP: &str = "password.tmp";

/// The content of a directory without `password`.
#[cfg(feature = "housekeeping")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Remains {
    /// Nothing.
    Nothing,
    /// Only files of a sign-up, and when the last of them changed. The sign-up may still be running.
    SignUp(SystemTime),
    /// Other files, perhaps mail; or it is a link to another place.
    Files,
}

/// Whether a sign-up, of this or of older software, creates a file of this name before `password`.
fn is_of_sign_up(name: &[u8]) -> bool {
    name.starts_with(PASSWORD_TMP.as_bytes())
        || name == ENFORCE.as_bytes()
        || name == b"password.lock"
}

impl Mailbox {
    /// Under the lock, removes the `password.tmp` of a sign-up that did not finish. Fails if the directory holds
    /// other files than those of a sign-up.
    pub(super) fn clear_leftovers(&self) -> io::Result<()> {
        for path in self.files()? {
            let name = path.file_name().unwrap_or_default().as_encoded_bytes();
            if !is_of_sign_up(name) {
                let why = "holds files but no password: neither an account nor free for a new one";
                return Err(named(&self.path, io::Error::other(why)));
            }
            if name.starts_with(PASSWORD_TMP.as_bytes()) {
                remove_file(&path)?;
            }
        }
        Ok(())
    }

    /// Under the lock, removes the files of a failed sign-up. Errors are ignored: the expiry removes what cannot
    /// be removed now.
    pub(super) fn undo_sign_up(&self) {
        if !self.exists().unwrap_or(true) {
            let _ = self.remove_remains();
        }
    }

    /// The content of this directory, which has no `password`.
    #[cfg(feature = "housekeeping")]
    pub(crate) fn remains(&self) -> io::Result<Remains> {
        let own = fs::symlink_metadata(&self.path).map_err(|error| named(&self.path, error))?;
        if !own.is_dir() {
            return Ok(Remains::Files);
        }
        let mut changed = None;
        for path in self.files()? {
            let name = path.file_name().unwrap_or_default().as_encoded_bytes();
            let file = match fs::symlink_metadata(&path) {
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                file => file.map_err(|error| named(&path, error))?,
            };
            if !is_of_sign_up(name) || file.is_dir() {
                return Ok(Remains::Files);
            }
            changed = changed.max(Some(file.modified()?));
        }
        Ok(match changed {
            None => Remains::Nothing,
            Some(changed) => Remains::SignUp(changed.max(own.modified()?)),
        })
    }

    /// Under the lock, removes the directory if it holds only files of a sign-up.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::DirectoryNotEmpty`] if it holds anything else.
    pub(crate) fn remove_remains(&self) -> io::Result<()> {
        for path in self.files()? {
            if is_of_sign_up(path.file_name().unwrap_or_default().as_encoded_bytes()) {
                remove_file(&path)?;
            }
        }
        fs::remove_dir(&self.path).map_err(|error| named(&self.path, error))
    }

    fn files(&self) -> io::Result<Vec<PathBuf>> {
        let failed = |error| named(&self.path, error);
        fs::read_dir(&self.path)
            .map_err(failed)?
            .map(|entry| entry.map(|entry| entry.path()).map_err(failed))
            .collect()
    }
}

fn remove_file(path: &std::path::Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(named(path, error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{HASH, Relay, at};
    use super::*;
    use crate::mailbox::Creation;

    /// The files there are between the steps of a sign-up, of this and of older software.
    const STATES: [&[&str]; 6] = [
        &[],
        &["enforceE2EEincoming"],
        &["enforceE2EEincoming", "password.tmp"],
        &["password.tmp"],
        &["password.tmp-adopted", "enforceE2EEincoming"],
        &["password.lock", "password.tmp1234"],
    ];

    #[test]
    fn the_next_login_goes_over_each_state_of_a_sign_up_that_was_killed() {
        for state in STATES {
            let relay = Relay::new();
            let alice = relay.torso("alice", state);
            assert!(!alice.exists().unwrap());
            let created = alice.create(HASH, at(0)).unwrap();
            assert_eq!(created, Creation::Created, "{state:?}");
            assert_eq!(alice.password().unwrap().as_deref(), Some(HASH.as_bytes()));
            assert!(alice.enforces_encryption().unwrap());
        }
    }

    #[test]
    fn what_is_left_is_told_from_mail() {
        let relay = Relay::new();
        for state in STATES {
            let alice = relay.torso("alice", state);
            let remains = alice.remains().unwrap();
            match state.is_empty() {
                true => assert_eq!(remains, Remains::Nothing),
                false => assert!(matches!(remains, Remains::SignUp(_)), "{state:?}"),
            }
            alice.remove_remains().unwrap();
            assert!(!alice.path().exists());
        }
        for files in [
            &["cur/1.M1P1.host"][..],
            &["enforceE2EEincoming", "new/.keep"],
            &["password.tmp", "metadata.json"],
            &["password.tmp/x"],
        ] {
            let bob = relay.torso("bob", files);
            assert_eq!(bob.remains().unwrap(), Remains::Files, "{files:?}");
            assert!(bob.remove_remains().is_err());
            assert!(bob.path().exists());
            fs::remove_dir_all(bob.path()).unwrap();
        }
    }
}
