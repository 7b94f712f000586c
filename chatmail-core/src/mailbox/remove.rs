//! Removing a mailbox as a whole.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::lock::{PATIENCE, lock};
use super::{Mailbox, Mailboxes, named};

/// What a mailbox is called while it is being removed. Hidden and without `@`: nobody takes it for one.
const REMOVED: &str = ".removed-";

/// What a mailbox is called that is not complete yet, see `staging`.
pub(super) const STAGING: &str = ".import-";

impl Mailbox {
    /// Removes the mailbox and all that is in it, if `still` says so under its lock; answers whether it
    /// did. In one step it is out of sight: a login that comes next finds no account.
    ///
    /// Pending notifications are not in the mailbox and stay. A session that is open keeps its files
    /// until it looks for their names.
    ///
    /// # Errors
    ///
    /// Those of `still` and of the lock. Or something cannot be removed: then it is out of sight all the same,
    /// and [`Mailboxes::sweep`] tries again.
    pub fn remove_if(&self, still: impl FnOnce() -> io::Result<bool>) -> io::Result<bool> {
        let locked = match self.lock() {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            locked => locked?,
        };
        if !still()? {
            return Ok(false);
        }
        // Beside it, so that a link to a mailbox on another disk still leads there.
        let aside = self.path.with_file_name(unique(REMOVED));
        fs::rename(&self.path, &aside).map_err(|error| named(&self.path, error))?;
        // Whoever waits for the lock sees now that the mailbox is gone, before all of it is.
        drop(locked);
        // And whoever sweeps, that somebody is at it. Without the lock it would only be done twice.
        let _locked = lock(&aside, PATIENCE);
        remove_tree(&aside)?;
        Ok(true)
    }
}

impl Mailboxes {
    /// Removes what a process that was killed has left of mailboxes that it was removing or had not made
    /// completely, and answers how many there were.
    ///
    /// # Errors
    ///
    /// `MAILBOXES_DIR` cannot be read, or one of them cannot be removed: the others are.
    pub fn sweep(&self) -> io::Result<usize> {
        let (mut swept, mut failed) = (0, None);
        for entry in fs::read_dir(&self.dir).map_err(|error| named(&self.dir, error))? {
            let path = entry.map_err(|error| named(&self.dir, error))?.path();
            let name = path.file_name().unwrap_or_default().as_encoded_bytes();
            if ![REMOVED, STAGING]
                .iter()
                .any(|prefix| name.starts_with(prefix.as_bytes()))
            {
                continue;
            }
            // Who makes or removes it holds the lock. A link may lead nowhere any more.
            let abandoned = lock(&path, Duration::ZERO);
            match &abandoned {
                Err(error) if error.kind() == ErrorKind::TimedOut => continue,
                Err(_) if !path.is_symlink() => continue,
                _ => {}
            }
            // One that cannot be removed does not keep the others.
            match remove_tree(&path) {
                Ok(()) => swept += 1,
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(swept), Err)
    }
}

/// A name in `MAILBOXES_DIR` that nothing else has.
pub(super) fn unique(prefix: &str) -> PathBuf {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let nanos = now.unwrap_or_default().as_nanos();
    format!("{prefix}{}-{nanos:x}", std::process::id()).into()
}

/// A directory with all that is in it, or a link together with the directory it leads to.
pub(super) fn remove_tree(path: &Path) -> io::Result<()> {
    let removed = match path.is_symlink() {
        true => remove_linked(path),
        false => remove_dir(path),
    };
    removed.map_err(|error| named(path, error))
}

fn remove_linked(link: &Path) -> io::Result<()> {
    match fs::canonicalize(link) {
        Ok(target) => {
            let above = link.parent().ok_or(ErrorKind::NotFound)?;
            // A directory of another owner is not a mailbox that moved.
            if fs::metadata(&target)?.uid() != fs::metadata(above)?.uid() {
                return Err(io::Error::other("a link to another user's directory"));
            }
            remove_dir(&target)?;
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    fs::remove_file(link)
}

/// Also if another process is at it.
fn remove_dir(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::{Address, MailDomain};
    use crate::mailbox::Creation;
    use std::os::unix::fs::symlink;

    fn mailboxes(base: &Path) -> Mailboxes {
        Mailboxes::new(
            base.join("mail"),
            MailDomain::parse("chat.example").unwrap(),
        )
    }

    fn alice(mailboxes: &Mailboxes) -> Mailbox {
        let address = Address::parse(b"alice@chat.example", mailboxes.domain()).unwrap();
        mailboxes.mailbox(&address)
    }

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    }

    #[test]
    fn a_mailbox_goes_with_all_that_is_in_it_and_may_come_anew() {
        let base = tempfile::tempdir().unwrap();
        let mailboxes = mailboxes(base.path());
        let alice = alice(&mailboxes);
        assert!(!alice.remove_if(|| Ok(true)).unwrap());
        alice.create("x", SystemTime::now()).unwrap();
        fs::create_dir_all(alice.path().join(".DeltaChat/cur")).unwrap();
        fs::write(alice.path().join(".DeltaChat/cur/1.M1P1.host:2,S"), "x").unwrap();

        assert!(!alice.remove_if(|| Ok(false)).unwrap());
        assert!(alice.exists().unwrap());
        assert!(alice.remove_if(|| Err(ErrorKind::Other.into())).is_err());
        assert!(alice.exists().unwrap());

        assert!(alice.remove_if(|| Ok(true)).unwrap());
        assert!(names(mailboxes.dir()).is_empty());
        let again = alice.create("y", SystemTime::now()).unwrap();
        assert_eq!(again, Creation::Created);
    }

    #[test]
    fn who_waits_for_its_lock_finds_it_gone() {
        let base = tempfile::tempdir().unwrap();
        let mailboxes = mailboxes(base.path());
        let alice = alice(&mailboxes);
        alice.create("x", SystemTime::now()).unwrap();
        std::thread::scope(|scope| {
            let mut waiting = None;
            let removed = alice.remove_if(|| {
                waiting = Some(scope.spawn(|| alice.lock().map(drop)));
                std::thread::sleep(Duration::from_millis(20));
                Ok(true)
            });
            assert!(removed.unwrap());
            let error = waiting.unwrap().join().unwrap().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotFound);
        });
    }

    #[test]
    fn a_mailbox_on_another_disk_goes_with_its_link() {
        let base = tempfile::tempdir().unwrap();
        let mailboxes = mailboxes(base.path());
        let alice = alice(&mailboxes);
        fs::create_dir_all(base.path().join("disk2/alice/cur")).unwrap();
        fs::create_dir(mailboxes.dir()).unwrap();
        symlink("../disk2/alice", alice.path()).unwrap();
        assert!(alice.remove_if(|| Ok(true)).unwrap());
        assert!(names(mailboxes.dir()).is_empty());
        assert!(names(&base.path().join("disk2")).is_empty());
    }

    #[test]
    fn what_a_crash_left_is_swept_and_nothing_else() {
        let base = tempfile::tempdir().unwrap();
        let mailboxes = mailboxes(base.path());
        alice(&mailboxes).create("x", SystemTime::now()).unwrap();
        let dir = mailboxes.dir();
        for name in [
            ".removed-1/cur",
            ".removed-3",
            ".import-1/cur",
            ".import-2",
            ".chatmail",
        ] {
            fs::create_dir_all(dir.join(name)).unwrap();
        }
        symlink("nowhere", dir.join(".removed-2")).unwrap();
        let held = [".import-2", ".removed-3"].map(|name| lock(&dir.join(name), Duration::ZERO));
        assert_eq!(mailboxes.sweep().unwrap(), 3);
        let left = [".chatmail", ".import-2", ".removed-3", "alice@chat.example"];
        assert_eq!(names(dir), left);
        drop(held);
        assert_eq!(mailboxes.sweep().unwrap(), 2);
    }
}
