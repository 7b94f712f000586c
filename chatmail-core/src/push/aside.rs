//! Where files go that stand in the spool and are no notifications.
//!
//! What cannot be read is nobody's to throw away, and must not be looked at again and again either:
//! it goes to `MAILBOXES_DIR/.chatmail/unreadable_notifications`. There are at most 100 files, each
//! for at most seven days: they may hold an address and a token.

use std::fs::{self, DirBuilder};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::mailbox::named;
use crate::state::STATE_DIR;

const NAME: &str = "unreadable_notifications";

/// So many are kept, the newest.
const KEPT: usize = 100;

/// So long.
const AGE: Duration = Duration::from_secs(7 * 86_400);

/// The directory that belongs to a spool.
pub(super) fn beside(spool: &Path) -> PathBuf {
    let mailboxes = spool.parent().unwrap_or(spool);
    mailboxes.join(STATE_DIR).join(NAME)
}

/// Moves a file, or whatever it is, from the spool there. Nothing that is there is overwritten.
pub(super) fn move_there(spool: &Path, file: &Path, now: SystemTime) -> io::Result<()> {
    let dir = beside(spool);
    for dir in dir.parent().into_iter().chain([dir.as_path()]) {
        match DirBuilder::new().mode(0o700).create(dir) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                return Err(named(dir, error));
            }
            _ => {}
        }
    }
    let free = free_name(&dir, file).ok_or_else(|| {
        let why = "too many unreadable files of one name";
        named(file, io::Error::other(why))
    })?;
    fs::rename(file, &free).map_err(|error| named(file, error))?;
    // The file that was just moved is the one to look at: it is among those that stay.
    clear(spool, now)
}

/// Removes what is too old or too much. Fine if there is no such directory.
pub(super) fn clear(spool: &Path, now: SystemTime) -> io::Result<()> {
    let dir = beside(spool);
    let entries = match fs::read_dir(&dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(named(&dir, error)),
    };
    let mut files: Vec<(SystemTime, PathBuf)> = entries
        .flatten()
        .map(|entry| (moved_at(&entry), entry.path()))
        .collect();
    files.sort_by(|a, b| b.cmp(a));
    for (place, (moved, file)) in files.iter().enumerate() {
        let too_old = now.duration_since(*moved).is_ok_and(|age| age > AGE);
        if place >= KEPT || too_old {
            // A directory with something in it stays: nothing of ours makes one.
            let _ = fs::remove_file(file).or_else(|_| fs::remove_dir(file));
        }
    }
    Ok(())
}

/// A rename changes the inode's time, not the file's.
fn moved_at(entry: &fs::DirEntry) -> SystemTime {
    let seconds = entry.metadata().map_or(0, |metadata| metadata.ctime());
    UNIX_EPOCH + Duration::from_secs(seconds.try_into().unwrap_or(0))
}

fn free_name(dir: &Path, file: &Path) -> Option<PathBuf> {
    let name = file.file_name()?;
    let is_free = |path: &PathBuf| fs::symlink_metadata(path).is_err();
    let numbered = (1..=KEPT).map(|number| {
        let mut name = name.to_owned();
        name.push(format!(".{number}"));
        dir.join(name)
    });
    std::iter::once(dir.join(name))
        .chain(numbered)
        .find(is_free)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::push::Spool;

    fn spool() -> (tempfile::TempDir, Spool) {
        let base = tempfile::tempdir().unwrap();
        let spool = Spool::open(&base.path().join("mail/pending_notifications")).unwrap();
        (base, spool)
    }

    fn set_aside(spool: &Spool, name: &str, content: &str, now: SystemTime) {
        let file = spool.dir().join(name);
        fs::write(&file, content).unwrap();
        spool.set_aside(&file, now).unwrap();
        assert!(!file.exists());
    }

    #[test]
    fn what_is_moved_aside_keeps_its_name_and_overwrites_nothing() {
        let (base, spool) = spool();
        set_aside(&spool, "odd", "first", SystemTime::now());
        set_aside(&spool, "odd", "second", SystemTime::now());
        let dir = base.path().join("mail/.chatmail/unreadable_notifications");
        let content = |name: &str| fs::read_to_string(dir.join(name)).unwrap();
        assert_eq!([content("odd"), content("odd.1")], ["first", "second"]);
        assert_eq!(fs::metadata(&dir).unwrap().mode() & 0o7777, 0o700);
        let directory = spool.dir().join("dir");
        fs::create_dir(&directory).unwrap();
        spool.set_aside(&directory, SystemTime::now()).unwrap();
        assert!(dir.join("dir").is_dir());
    }

    #[test]
    fn a_hundred_are_kept_for_seven_days() {
        let (base, spool) = spool();
        for n in 0..KEPT + 20 {
            set_aside(&spool, &format!("odd{n}"), "", SystemTime::now());
        }
        let dir = base.path().join("mail/.chatmail/unreadable_notifications");
        let count = || fs::read_dir(&dir).unwrap().count();
        assert_eq!(count(), KEPT);
        let day = Duration::from_secs(86_400);
        spool.clear_aside(SystemTime::now() + 6 * day).unwrap();
        assert_eq!(count(), KEPT);
        spool.clear_aside(SystemTime::now() + 8 * day).unwrap();
        assert_eq!(count(), 0);
    }

    #[test]
    fn a_spool_without_unreadable_files_has_no_such_directory() {
        let (base, spool) = spool();
        spool.clear_aside(SystemTime::now()).unwrap();
        assert!(!base.path().join("mail/.chatmail").exists());
    }
}
