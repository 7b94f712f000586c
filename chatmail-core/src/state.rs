//! Small files that all processes of the relay share: `MAILBOXES_DIR/.chatmail/`.
//!
//! What a worker remembers dies with it, and there are many of them. What all have to know stands in
//! files that are read and written under `flock`, in place if their size is fixed, else replaced as a
//! whole: no lock file that a crash leaves behind, no shared memory, no process of its own. The name is hidden and has no `@`,
//! so that whoever lists mailboxes passes over it.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
#[cfg(feature = "auth")]
use std::io::Write;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::OFlags;

use crate::mailbox::named;

/// The directory of these files, in `MAILBOXES_DIR`.
pub(crate) const STATE_DIR: &str = ".chatmail";
const DIR_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// Between two tries while another process has the file: about as long as it needs for it.
const PAUSE: Duration = Duration::from_micros(20);

/// Before the first of them, others get the processor so often: the one that has the file may be
/// waiting for it.
const YIELDS: usize = 8;

/// How often a file may be removed between `open` and `flock`, however short the time is.
const TRIES: usize = 8;

/// One of the files, kept open from its first use on.
#[derive(Debug)]
pub(crate) struct StateFile {
    path: PathBuf,
    /// A lock is the process's, not the thread's: threads take turns here first.
    open: Mutex<Option<File>>,
}

impl StateFile {
    pub(crate) fn new(mailboxes_dir: &Path, name: &str) -> StateFile {
        StateFile {
            path: mailboxes_dir.join(STATE_DIR).join(name),
            open: Mutex::new(None),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Runs `work` while no other process uses the file, which is made, empty, if it is missing.
    /// Its directory is made as well, but never `MAILBOXES_DIR`: nobody has a mailbox then.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] if there is no `MAILBOXES_DIR`; [`ErrorKind::TimedOut`] if another
    /// process had the file for all of `patience`.
    pub(crate) fn locked<T>(
        &self,
        patience: Duration,
        work: impl FnOnce(&File) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let result = self.lock(open.take(), patience).and_then(|file| {
            let result = work(&file)?;
            file.unlock()?;
            *open = Some(file);
            Ok(result)
        });
        result.map_err(|error| named(&self.path, error))
    }

    /// Content that takes the place of the file when it is put there, at once and on the disk. Only for
    /// [`StateFile::locked`]: who waits for the lock of the old file finds it gone and takes the new one.
    ///
    /// # Errors
    ///
    /// From the system, for lack of space above all. Nothing is left behind then.
    #[cfg(feature = "auth")]
    pub(crate) fn replacement(&self, content: &[u8]) -> io::Result<Replacement<'_>> {
        let tmp = self.path.with_extension("tmp");
        let replacement = Replacement {
            of: self,
            tmp,
            is_put: false,
        };
        // Left behind by a crash: nobody else writes it under the lock.
        match fs::remove_file(&replacement.tmp) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(FILE_MODE);
        let mut file = options.open(&replacement.tmp)?;
        give_to_owner_above(&file, &replacement.tmp);
        file.write_all(content)?;
        file.sync_all()?;
        Ok(replacement)
    }

    fn lock(&self, mut open: Option<File>, patience: Duration) -> io::Result<File> {
        let mut give_up = None;
        for tries in 1.. {
            let file = match open.take() {
                Some(file) => file,
                None => self.open()?,
            };
            wait_for(&file, patience)?;
            // An operator may have removed it, or another process put one in its place: others would
            // not see what is written here.
            if file.metadata()?.nlink() > 0 {
                return Ok(file);
            }
            let now = Instant::now();
            if now >= *give_up.get_or_insert(now + patience) && tries >= TRIES {
                break;
            }
        }
        let why = "it is replaced again and again";
        Err(io::Error::new(ErrorKind::TimedOut, why))
    }

    fn open(&self) -> io::Result<File> {
        // NONBLOCK: a FIFO must not hang a login.
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32;
        let mut options = OpenOptions::new();
        options.read(true).write(true).custom_flags(flags);
        match options.open(&self.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            result => return result,
        }
        let dir = self.path.parent().ok_or(ErrorKind::NotFound)?;
        match DirBuilder::new().mode(DIR_MODE).create(dir) {
            Ok(()) => give_to_owner_above(&File::open(dir)?, dir),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        let file = options.create(true).mode(FILE_MODE).open(&self.path)?;
        give_to_owner_above(&file, &self.path);
        Ok(file)
    }
}

/// What [`StateFile::replacement`] made. Dropped, it changes nothing.
#[cfg(feature = "auth")]
#[derive(Debug)]
pub(crate) struct Replacement<'a> {
    of: &'a StateFile,
    tmp: PathBuf,
    is_put: bool,
}

#[cfg(feature = "auth")]
impl Replacement<'_> {
    /// Lets it take the place of the file.
    pub(crate) fn put(mut self) -> io::Result<()> {
        fs::rename(&self.tmp, &self.of.path)?;
        // The lock was on the old file: from now on another process may have the new one, and make a
        // replacement of the same name.
        self.is_put = true;
        let dir = self.of.path.parent().ok_or(ErrorKind::NotFound)?;
        File::open(dir)?.sync_all()
    }
}

#[cfg(feature = "auth")]
impl Drop for Replacement<'_> {
    fn drop(&mut self) {
        if !self.is_put {
            // A leftover does no harm.
            let _ = fs::remove_file(&self.tmp);
        }
    }
}

fn wait_for(file: &File, patience: Duration) -> io::Result<()> {
    let mut give_up = None;
    let mut yields = 0..YIELDS;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) => {
                if yields.next().is_some() {
                    thread::yield_now();
                    continue;
                }
                let now = Instant::now();
                if now >= *give_up.get_or_insert(now + patience) {
                    let why = "another process does not let go of it";
                    return Err(io::Error::new(ErrorKind::TimedOut, why));
                }
                thread::sleep(PAUSE);
            }
        }
    }
}

/// What root makes, with a command of the operator for example, the mail user has to write as well.
/// Whoever is not root cannot give it away and need not.
fn give_to_owner_above(file: &File, path: &Path) {
    let above = path.parent().map(fs::metadata);
    if let (Some(Ok(above)), Ok(own)) = (above, file.metadata())
        && (above.uid(), above.gid()) != (own.uid(), own.gid())
    {
        let _ = fchown(file, Some(above.uid()), Some(above.gid()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{FileExt, PermissionsExt};

    const PATIENCE: Duration = Duration::from_secs(20);

    #[test]
    fn the_file_is_made_for_the_mail_user_alone_but_no_directory_of_mailboxes() {
        let base = tempfile::tempdir().unwrap();
        let mail = base.path().join("mail");
        let state = StateFile::new(&mail, "x");
        let missing = state.locked(PATIENCE, |_| Ok(())).unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::NotFound);
        assert!(!mail.exists());

        fs::create_dir(&mail).unwrap();
        let length = state.locked(PATIENCE, |file| Ok(file.metadata()?.len()));
        assert_eq!(length.unwrap(), 0);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode(&mail.join(".chatmail")), 0o700);
        assert_eq!(mode(state.path()), 0o600);
    }

    #[test]
    fn another_process_is_waited_for_and_not_for_ever() {
        let base = tempfile::tempdir().unwrap();
        let [ours, theirs] = [(); 2].map(|()| StateFile::new(base.path(), "x"));
        theirs
            .locked(PATIENCE, |_| {
                let short = Duration::from_millis(2);
                let error = ours.locked(short, |_| Ok(())).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::TimedOut);
                assert!(error.to_string().contains(".chatmail/x"), "{error}");
                Ok(())
            })
            .unwrap();
        ours.locked(Duration::ZERO, |_| Ok(())).unwrap();
    }

    #[test]
    fn a_file_that_was_removed_is_not_written_to_any_more() {
        let base = tempfile::tempdir().unwrap();
        let state = StateFile::new(base.path(), "x");
        let write = |text: &'static [u8]| {
            let written = state.locked(PATIENCE, |file| file.write_all_at(text, 0));
            written.unwrap();
        };
        write(b"old");
        fs::remove_dir_all(base.path().join(".chatmail")).unwrap();
        write(b"new");
        assert_eq!(fs::read(state.path()).unwrap(), b"new");
    }
}
