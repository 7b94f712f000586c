//! Small files that all processes of the relay share: `MAILBOXES_DIR/.chatmail/`.
//!
//! What a worker remembers dies with it, and there are many of them. What all have to know stands in
//! files of a fixed size that are read and written in place under `flock`: no lock file that a
//! crash leaves behind, no shared memory, no process of its own. The name is hidden and has no `@`,
//! so that whoever lists mailboxes passes over it.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::OFlags;

use crate::mailbox::named;

const DIR: &str = ".chatmail";
const DIR_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// Between two tries while another process has the file: about as long as it needs for it.
const PAUSE: Duration = Duration::from_micros(20);

/// How often a file may be removed between `open` and `flock` before it is nobody's bad luck.
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
            path: mailboxes_dir.join(DIR).join(name),
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

    fn lock(&self, mut open: Option<File>, patience: Duration) -> io::Result<File> {
        for _ in 0..TRIES {
            let file = match open.take() {
                Some(file) => file,
                None => self.open()?,
            };
            wait_for(&file, patience)?;
            // An operator may have removed it: others would not see what is written here.
            if file.metadata()?.nlink() > 0 {
                return Ok(file);
            }
        }
        Err(ErrorKind::NotFound.into())
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

fn wait_for(file: &File, patience: Duration) -> io::Result<()> {
    let mut give_up = None;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) => {
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
