//! Small files that all processes of the relay share: `MAILBOXES_DIR/.chatmail/`.
//!
//! What a worker remembers dies with it, and there are many of them. What all have to know stands in
//! files that are read and written under `flock`, in place if their size is fixed, else replaced as a
//! whole: no lock file that a crash leaves behind, no shared memory, no process of its own. The name is hidden and has no `@`,
//! so that whoever lists mailboxes passes over it.
//!
//! A file is opened for each use. A descriptor that is kept open would be shared with every forked process,
//! and so would the lock: `flock` belongs to the open file description, so parent and child would both hold it.

use std::fs::{File, TryLockError};
#[cfg(feature = "auth")]
use std::io::Write;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

#[cfg(feature = "auth")]
use rustix::fs::{AtFlags, fsync, renameat, unlinkat};
use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};
use rustix::io::Errno;

use crate::mailbox::{check_regular, named};

/// The directory of these files, in `MAILBOXES_DIR`.
pub(crate) const STATE_DIR: &str = ".chatmail";
const DIR_MODE: Mode = Mode::RWXU;
const FILE_MODE: Mode = Mode::RUSR.union(Mode::WUSR);

/// Between two tries while another process has the file: about as long as it needs for it.
const PAUSE: Duration = Duration::from_micros(20);

/// Before the first of them, others get the processor so often: the one that has the file may be
/// waiting for it.
const YIELDS: usize = 8;

/// How often a file may be removed between `open` and `flock`, however short the time is.
const TRIES: usize = 8;

/// One of the files.
#[derive(Debug)]
pub(crate) struct StateFile {
    path: PathBuf,
}

impl StateFile {
    pub(crate) fn new(mailboxes_dir: &Path, name: &str) -> StateFile {
        StateFile {
            path: mailboxes_dir.join(STATE_DIR).join(name),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Runs `work` while no other process or thread uses the file, which is made, empty, if it is missing.
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
        let result = self.lock(patience).and_then(|file| {
            let result = work(&file);
            // Unlocked explicitly: a child forked meanwhile may have the file open, too.
            file.unlock()?;
            result
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
    pub(crate) fn replacement(&self, content: &[u8]) -> io::Result<Replacement> {
        let name = PathBuf::from(self.path.file_name().ok_or(ErrorKind::NotFound)?);
        let replacement = Replacement {
            dir: self.dir()?,
            tmp: name.with_extension("tmp"),
            name,
            is_put: false,
        };
        // Left behind by a crash: nobody else writes it under the lock.
        match unlinkat(&replacement.dir, &replacement.tmp, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = openat(&replacement.dir, &replacement.tmp, flags, FILE_MODE)?;
        let mut file = File::from(file);
        file.write_all(content)?;
        file.sync_all()?;
        Ok(replacement)
    }

    fn lock(&self, patience: Duration) -> io::Result<File> {
        let mut give_up = None;
        for tries in 1.. {
            let file = self.open()?;
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
        let dir = self.dir()?;
        let name = self.path.file_name().ok_or(ErrorKind::NotFound)?;
        // NONBLOCK: a FIFO must not hang a login.
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match openat(&dir, name, flags, Mode::empty()) {
            Err(Errno::NOENT) => openat(&dir, name, flags | OFlags::CREATE, FILE_MODE),
            opened => opened,
        };
        let file = File::from(file?);
        check_regular(&file)?;
        Ok(file)
    }

    /// The directory of these files, which is made if it is missing. A link in its place is not followed.
    fn dir(&self) -> io::Result<OwnedFd> {
        let path = self.path.parent().ok_or(ErrorKind::NotFound)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = match openat(CWD, path, flags, Mode::empty()) {
            Err(Errno::NOENT) => {
                match mkdirat(CWD, path, DIR_MODE) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(error) => return Err(error.into()),
                }
                openat(CWD, path, flags, Mode::empty())
            }
            opened => opened,
        };
        Ok(opened?)
    }
}

/// What [`StateFile::replacement`] made. Dropped, it changes nothing.
#[cfg(feature = "auth")]
#[derive(Debug)]
pub(crate) struct Replacement {
    dir: OwnedFd,
    name: PathBuf,
    tmp: PathBuf,
    is_put: bool,
}

#[cfg(feature = "auth")]
impl Replacement {
    /// Lets it take the place of the file.
    pub(crate) fn put(mut self) -> io::Result<()> {
        renameat(&self.dir, &self.tmp, &self.dir, &self.name)?;
        // The lock was on the old file: from now on another process may have the new one, and make a
        // replacement of the same name.
        self.is_put = true;
        Ok(fsync(&self.dir)?)
    }
}

#[cfg(feature = "auth")]
impl Drop for Replacement {
    fn drop(&mut self) {
        if !self.is_put {
            // A leftover does no harm.
            let _ = unlinkat(&self.dir, &self.tmp, AtFlags::empty());
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{FileExt, PermissionsExt, symlink};

    use rustix::fs::{FileType, mknodat};

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

    #[test]
    fn a_link_or_a_fifo_in_its_place_is_an_error_and_nothing_is_made_elsewhere() {
        let base = tempfile::tempdir().unwrap();
        let elsewhere = base.path().join("elsewhere");
        let mail = base.path().join("mail");
        fs::create_dir(&elsewhere).unwrap();
        fs::create_dir(&mail).unwrap();
        symlink(&elsewhere, mail.join(".chatmail")).unwrap();
        let locked = || StateFile::new(&mail, "x").locked(PATIENCE, |_| Ok(()));
        assert!(locked().is_err());
        #[cfg(feature = "auth")]
        assert!(StateFile::new(&mail, "x").replacement(b"new").is_err());
        assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);

        fs::remove_file(mail.join(".chatmail")).unwrap();
        locked().unwrap();
        let file = mail.join(".chatmail/x");
        fs::remove_file(&file).unwrap();
        symlink(elsewhere.join("made"), &file).unwrap();
        assert!(locked().is_err());
        assert!(!elsewhere.join("made").exists());
        fs::remove_file(&file).unwrap();
        mknodat(CWD, &file, FileType::Fifo, FILE_MODE, 0).unwrap();
        assert!(locked().is_err());
    }
}
