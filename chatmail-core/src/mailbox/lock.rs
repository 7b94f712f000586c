//! The lock of one mailbox: `flock` on the directory itself.
//!
//! A lock file would be left behind by a crash, and would have to be explained to everything that
//! lists a mailbox; the directory is there anyway, and the kernel lets go of it with the process.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::OFlags;

use super::{Mailbox, named};

/// Nobody holds the lock longer than a few writes. Behind a holder that was stopped or sits on a
/// dead disk, an answer "could not decide" is better than a process that waits for ever.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// Between two tries while someone else holds the lock.
const PAUSE: Duration = Duration::from_millis(2);

/// While it lives, no other process or thread changes `password` or `metadata.json` of the mailbox.
#[derive(Debug)]
pub struct MailboxLock {
    dir: File,
}

impl MailboxLock {
    /// Brings the names in the directory to the disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.dir.sync_all()
    }
}

impl Drop for MailboxLock {
    fn drop(&mut self) {
        // A process forked meanwhile has the directory open, too, and would keep the lock.
        let _ = self.dir.unlock();
    }
}

impl Mailbox {
    /// Waits for the lock of this mailbox, for 5 seconds at most.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] if there is no directory, [`ErrorKind::TimedOut`] if somebody else
    /// held the lock all the time.
    pub fn lock(&self) -> io::Result<MailboxLock> {
        lock(&self.path, PATIENCE).map_err(|error| named(&self.path, error))
    }
}

pub(super) fn lock(path: &Path, patience: Duration) -> io::Result<MailboxLock> {
    let give_up = Instant::now() + patience;
    let mut options = OpenOptions::new();
    options
        .read(true)
        .custom_flags(OFlags::DIRECTORY.bits() as i32);
    loop {
        let dir = options.open(path)?;
        loop {
            match dir.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if Instant::now() < give_up => thread::sleep(PAUSE),
                Err(TryLockError::WouldBlock) => {
                    return Err(io::Error::new(
                        ErrorKind::TimedOut,
                        "locked by someone else",
                    ));
                }
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
        // While we waited, the mailbox may have been removed and made anew: then this is the lock
        // of a directory nobody can see any more.
        if same_file(&dir, path)? {
            return Ok(MailboxLock { dir });
        }
    }
}

fn same_file(file: &File, path: &Path) -> io::Result<bool> {
    let (open, named) = (file.metadata()?, fs::metadata(path)?);
    Ok((open.dev(), open.ino()) == (named.dev(), named.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_lock_excludes_others_until_it_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let held = lock(dir.path(), Duration::ZERO).unwrap();
        let error = lock(dir.path(), Duration::from_millis(5)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        drop(held);
        assert!(lock(dir.path(), Duration::ZERO).is_ok());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn who_waited_for_a_removed_mailbox_locks_the_new_one() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("alice@chat.example");
        // Through links, so that one takes the place of the other in one step.
        for name in ["old", "new"] {
            fs::create_dir(base.path().join(name)).unwrap();
        }
        symlink("old", &path).unwrap();
        symlink("new", base.path().join("next")).unwrap();
        let old = lock(&path, Duration::ZERO).unwrap();
        thread::scope(|scope| {
            let waiting = scope.spawn(|| lock(&path, Duration::from_secs(20)).unwrap());
            // Whenever the other thread gets to open the directory, it must end with the new one.
            thread::sleep(Duration::from_millis(10));
            fs::rename(base.path().join("next"), &path).unwrap();
            drop(old);
            let locked = waiting.join().unwrap();
            assert!(same_file(&locked.dir, &base.path().join("new")).unwrap());
        });
    }

    #[test]
    fn there_is_no_lock_without_a_directory() {
        let base = tempfile::tempdir().unwrap();
        let missing = lock(&base.path().join("x"), Duration::ZERO).unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::NotFound);
        fs::write(base.path().join("file"), "").unwrap();
        assert!(lock(&base.path().join("file"), Duration::ZERO).is_err());
    }
}
