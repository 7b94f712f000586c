//! Pending notifications: a directory of files `ADDRESS\nUNIX_TIME\nTOKEN`, named as in `name`.

use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, ReadDir};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::aside;
use super::name::SpoolName;
use crate::mailbox::{Durability, make_dir, named, read_at_most, replace};

/// Longest file that is read, in bytes: an address, a number and a token of 4096 characters.
const FILE_MAX: u64 = 32 * 1024;

/// What is being written ends in this.
const TMP: &str = "tmp";

/// A `*.tmp` younger than this may belong to a process that is about to rename it.
const TMP_AGE: Duration = Duration::from_secs(60);

/// The directory of pending notifications.
#[derive(Debug, Clone)]
pub struct Spool {
    dir: PathBuf,
}

/// What [`Spool::add`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Added {
    /// The file.
    pub path: PathBuf,
    /// Whether it replaced a notification that waited for the same device.
    pub replaced: bool,
}

/// A notification that waits to be sent.
#[derive(Clone, PartialEq, Eq)]
pub struct Pending {
    /// The file.
    pub path: PathBuf,
    /// Whose device it is. As it stands in the file: it may be no address of this relay.
    pub address: String,
    /// When the message was stored, to the second.
    pub since: SystemTime,
    /// What the push service wants to have; opaque.
    pub token: String,
}

impl fmt::Debug for Pending {
    /// Without the token: this ends up in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Pending");
        debug.field("path", &self.path).field("since", &self.since);
        debug.finish_non_exhaustive()
    }
}

/// A file in the spool that is no notification. `Display` names it, without its content.
#[derive(Debug)]
pub struct Unreadable {
    /// The file; the directory itself if that is what cannot be read.
    pub path: PathBuf,
    /// Why.
    pub why: String,
    /// Whether it will never be one: its content is at fault, or it is no file, or not ours to
    /// read. Else it could not be read this time, and the next attempt may do.
    pub damaged: bool,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.why)
    }
}

impl std::error::Error for Unreadable {}

impl Spool {
    /// The spool at `dir`, which is made if it is missing (mode 0700), as is the directory above
    /// it, but nothing further up.
    ///
    /// # Errors
    ///
    /// It cannot be made.
    pub fn open(dir: &Path) -> io::Result<Spool> {
        make_dir(dir)?;
        Ok(Spool {
            dir: dir.to_owned(),
        })
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Adds a notification; it replaces one for the same device that waits to be sent. It survives the end
    /// of this process, but not a power failure: that would cost each delivery a write to the disk, for a
    /// hint that is worth nothing hours later.
    ///
    /// # Errors
    ///
    /// The file cannot be written, or the system has no randomness.
    pub fn add(&self, address: &str, token: &str, now: SystemTime) -> io::Result<Added> {
        let path = self
            .dir
            .join(SpoolName::waiting_for(address, token).to_string());
        let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let content = format!("{address}\n{seconds}\n{token}");
        let tmp = self.tmp_path()?;
        // Only for the counters: the file may be claimed between this and the rename.
        let replaced = path.symlink_metadata().is_ok();
        replace(&path, &tmp, content.as_bytes(), Durability::Kernel)?;
        Ok(Added { path, replaced })
    }

    /// Unique to this process: two may add a notification of the same name at the same time.
    fn tmp_path(&self) -> io::Result<PathBuf> {
        let mut random = [0; 16];
        getrandom::fill(&mut random)
            .map_err(|error| io::Error::other(format!("no randomness: {error}")))?;
        let name = format!("{:032x}.{TMP}", u128::from_ne_bytes(random));
        Ok(self.dir.join(name))
    }

    /// What waits now, in no order. Files that go away while this runs are left out.
    ///
    /// # Errors
    ///
    /// The directory cannot be opened.
    pub fn pending(&self) -> io::Result<impl Iterator<Item = Result<Pending, Unreadable>> + use<>> {
        let files = self.files()?;
        Ok(files.filter_map(|path| match path {
            Ok(path) if is_tmp(&path) => None,
            Ok(path) => Pending::read(path).transpose(),
            Err(unreadable) => Some(Err(unreadable)),
        }))
    }

    /// Removes a file if it is what a process that was killed has left half-written, and answers
    /// whether it was. A file younger than a minute is left alone: somebody may be writing it.
    ///
    /// # Errors
    ///
    /// It cannot be looked at, or it cannot be removed.
    pub fn remove_leftover(&self, path: &Path, now: SystemTime) -> io::Result<bool> {
        if !is_tmp(path) {
            return Ok(false);
        }
        match fs::symlink_metadata(path).and_then(|metadata| metadata.modified()) {
            Ok(modified) if now.duration_since(modified).is_ok_and(|age| age >= TMP_AGE) => {
                remove(path).map(|()| true)
            }
            Ok(_) => Ok(false),
            // Renamed since.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(named(path, error)),
        }
    }

    /// Whether a path in the spool is that of a file somebody is still writing.
    pub fn is_half_written(path: &Path) -> bool {
        is_tmp(path)
    }

    /// Moves what is no notification out of the spool, to
    /// `MAILBOXES_DIR/.chatmail/unreadable_notifications`, where the newest 100 are kept for seven
    /// days.
    ///
    /// # Errors
    ///
    /// It cannot be moved, and stays where it is.
    pub fn set_aside(&self, path: &Path, now: SystemTime) -> io::Result<()> {
        aside::move_there(&self.dir, path, now)
    }

    /// Removes what was set aside more than seven days ago.
    ///
    /// # Errors
    ///
    /// The directory is there and cannot be read.
    pub fn clear_aside(&self, now: SystemTime) -> io::Result<()> {
        aside::clear(&self.dir, now)
    }

    fn files(&self) -> io::Result<Files> {
        let entries = fs::read_dir(&self.dir).map_err(|error| named(&self.dir, error))?;
        Ok(Files {
            dir: self.dir.clone(),
            entries,
        })
    }
}

/// The paths in the spool.
struct Files {
    dir: PathBuf,
    entries: ReadDir,
}

impl Iterator for Files {
    type Item = Result<PathBuf, Unreadable>;

    fn next(&mut self) -> Option<Self::Item> {
        let entry = self.entries.next()?;
        Some(entry.map(|entry| entry.path()).map_err(|error| Unreadable {
            path: self.dir.clone(),
            why: error.to_string(),
            damaged: false,
        }))
    }
}

impl Pending {
    /// Reads one file of a spool; `None` if it has gone away. For those who are told of new files
    /// one by one.
    ///
    /// # Errors
    ///
    /// It is no notification.
    pub fn read(path: PathBuf) -> Result<Option<Pending>, Unreadable> {
        let bytes = match read_at_most(&path, FILE_MAX) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Ok(None),
            Err(error) => {
                return Err(Unreadable {
                    path,
                    why: error.kind().to_string(),
                    damaged: stays_so(error.kind()),
                });
            }
        };
        match parse(&bytes) {
            Ok((address, since, token)) => Ok(Some(Pending {
                address: address.to_owned(),
                since,
                token: token.to_owned(),
                path: path.clone(),
            })),
            Err(why) => Err(Unreadable {
                path,
                why: why.to_owned(),
                damaged: true,
            }),
        }
    }

    /// Removes the file: sent, given up, or its token is void. Fine if it is gone already.
    ///
    /// # Errors
    ///
    /// It cannot be removed, and so will be sent again.
    pub fn done(self) -> io::Result<()> {
        remove(&self.path)
    }
}

/// Whether the reason is permanent: a directory, a link, a FIFO, or another user's file. Other reasons,
/// such as a lack of memory or descriptors, may pass.
fn stays_so(kind: ErrorKind) -> bool {
    use ErrorKind::{InvalidData, IsADirectory, PermissionDenied};
    matches!(kind, InvalidData | IsADirectory | PermissionDenied)
}

fn parse(bytes: &[u8]) -> Result<(&str, SystemTime, &str), &'static str> {
    if bytes.len() as u64 > FILE_MAX {
        return Err("too long");
    }
    let text = std::str::from_utf8(bytes).map_err(|_| "not UTF-8")?;
    let mut lines = text.splitn(3, '\n');
    let (Some(address), Some(time), Some(token)) = (lines.next(), lines.next(), lines.next())
    else {
        return Err("not three lines");
    };
    let seconds: u64 = time
        .trim()
        .parse()
        .map_err(|_| "the second line is not a time")?;
    let since = UNIX_EPOCH
        .checked_add(Duration::from_secs(seconds))
        .ok_or("the second line is not a time")?;
    if address.is_empty() || token.is_empty() {
        return Err("an empty address or token");
    }
    Ok((address, since, token))
}

/// Removes the notifications of one device from the spool at `dir`, claimed or not; fine if there are
/// none.
pub(super) fn withdraw(dir: &Path, address: &str, token: &str) -> io::Result<()> {
    let waiting = SpoolName::waiting_for(address, token);
    // In this order: one that is claimed between the two has the second name then.
    for name in [waiting, waiting.claimed()] {
        remove(&dir.join(name.to_string()))?;
    }
    Ok(())
}

fn is_tmp(path: &Path) -> bool {
    path.extension() == Some(OsStr::new(TMP))
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(named(path, error)),
        _ => Ok(()),
    }
}
