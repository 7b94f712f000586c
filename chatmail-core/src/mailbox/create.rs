//! Making an account: the one way a `password` file comes into being.

use std::convert::Infallible;
use std::fs::{self, DirBuilder, FileTimes};
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::time::SystemTime;

use super::files::{Durability, make_empty, replace_prepared};
use super::leftovers::PASSWORD_TMP;
use super::{ENFORCE, Mailbox, MailboxLock, PASSWORD, day_of, named};

/// For the user of the mailboxes only; also for `MAILBOXES_DIR` and the spool.
pub(super) const DIR_MODE: u32 = 0o700;

/// How often a mailbox may vanish between `mkdir` and `flock` before it is nobody's bad luck.
const TRIES: usize = 8;

/// What became of [`Mailbox::create`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Creation {
    /// The account is new.
    Created,
    /// Somebody else was first, perhaps this moment; nothing was changed.
    Existed,
}

impl Mailbox {
    /// Makes the account with `password` as content of its file, under the mailbox's lock, and
    /// turns cleartext away from it. `password` comes last, whole and on the disk: whoever finds
    /// it finds a complete account.
    ///
    /// `MAILBOXES_DIR` itself is made if it is missing, but nothing above it: that would be a disk
    /// that is not mounted.
    ///
    /// # Errors
    ///
    /// Besides the usual: the directory holds something but no `password`. It may be somebody's
    /// mail, and a stranger must not get it by choosing that name.
    pub fn create(&self, password: &str, now: SystemTime) -> io::Result<Creation> {
        match self.create_if(password, now, || Ok(Ok::<(), Infallible>(())))? {
            Ok(creation) => Ok(creation),
        }
    }

    /// [`Mailbox::create`], if `permit` allows it. That is asked under the lock, when it is sure that the
    /// account is new, and so at most once for each account. A directory is not left behind.
    ///
    /// # Errors
    ///
    /// As for [`Mailbox::create`], and those of `permit`.
    pub fn create_if<R>(
        &self,
        password: &str,
        now: SystemTime,
        permit: impl FnOnce() -> io::Result<Result<(), R>>,
    ) -> io::Result<Result<Creation, R>> {
        let lock = self.make_and_lock()?;
        if self.exists()? {
            return Ok(Ok(Creation::Existed));
        }
        self.clear_leftovers()?;
        match permit() {
            Ok(Ok(())) => {}
            refused => {
                // It may not be empty, and does no harm.
                let _ = fs::remove_dir(&self.path);
                return refused.map(|refused| refused.map(|()| Creation::Existed));
            }
        }
        match self.write_account(password, now, &lock) {
            Ok(()) => Ok(Ok(Creation::Created)),
            Err(error) => {
                self.undo_sign_up();
                Err(error)
            }
        }
    }

    fn write_account(&self, password: &str, now: SystemTime, lock: &MailboxLock) -> io::Result<()> {
        make_empty(&self.path.join(ENFORCE))?;
        let day = day_of(now);
        let times = FileTimes::new().set_accessed(day).set_modified(day);
        replace_prepared(
            &self.path.join(PASSWORD),
            &self.path.join(PASSWORD_TMP),
            password.as_bytes(),
            Durability::Disk,
            |file| file.set_times(times),
        )?;
        lock.sync().map_err(|error| named(&self.path, error))
    }

    pub(super) fn make_and_lock(&self) -> io::Result<MailboxLock> {
        let mut error = io::Error::from(ErrorKind::NotFound);
        for _ in 0..TRIES {
            make_dir(&self.path)?;
            match self.lock() {
                // Removed again before it was locked.
                Err(missing) if missing.kind() == ErrorKind::NotFound => error = missing,
                result => return result,
            }
        }
        Err(error)
    }
}

/// `mkdir`, and the directory above it if only that is missing. An existing one is fine.
pub(crate) fn make_dir(path: &Path) -> io::Result<()> {
    match make_one(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => match path.parent() {
            Some(parent) => make_one(parent).and_then(|()| make_one(path)),
            None => Err(error),
        },
        result => result,
    }
}

fn make_one(path: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(DIR_MODE).create(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        result => result.map_err(|error| named(path, error)),
    }
}
