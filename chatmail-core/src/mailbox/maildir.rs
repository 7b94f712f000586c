//! The files of a mailbox: messages in `cur`, `new` and `tmp` of the maildir and of its subfolders
//! (`.Name`, Maildir++), and what lies beside those directories. Nothing is followed out of the mailbox.
//!
//! Read with as few system calls as possible, and in constant memory: each directory once, 150 names at a
//! time, and no file is looked at whose name tells all that is asked for.

use std::ffi::{CStr, CString};
use std::fs::{File, FileTimes};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, RawDir, SeekFrom, Stat, fstat, openat, seek, statat,
    unlinkat,
};
use rustix::io::Errno;

use super::files::FILE_MODE;
#[cfg(feature = "housekeeping")]
use super::files::not_regular;
use super::messages::{FileName, micros};
use super::{PASSWORD, day_of};

/// For the names in a directory: one system call brings about 150 messages.
const NAMES: usize = 16 * 1024;

/// The directory of a folder that holds what a client has seen there.
pub(crate) const CUR: &CStr = c"cur";

/// The two directories of a folder that hold messages. A message goes from `new` to `cur` when a
/// client looks: read in this order it may be missed, but is never seen twice.
pub(super) const DELIVERED: &[&CStr] = &[CUR, c"new"];

/// The same, and what is still being delivered, or was when the power failed.
#[cfg(feature = "housekeeping")]
pub(crate) const ALL: &[&CStr] = &[CUR, c"new", c"tmp"];

/// A maildir with its subfolders.
#[derive(Debug)]
pub(crate) struct Maildir {
    root: OwnedFd,
}

/// What to show of a maildir.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reading {
    /// A time after this is nonsense in a file name.
    pub(crate) now: SystemTime,
    /// And so is a size above this, in bytes.
    pub(crate) max_size: u64,
    /// Which directories of each folder.
    pub(crate) parts: &'static [&'static CStr],
    /// Whether the files beside these directories are shown as well, which costs a look at each.
    pub(crate) beside: bool,
}

/// What is in a maildir.
#[derive(Debug)]
pub(crate) enum Entry<'a> {
    Message(&'a Message<'a>),
    /// A file beside the messages.
    #[cfg_attr(not(feature = "housekeeping"), expect(dead_code))]
    Beside {
        bytes: u64,
        /// The day of the last login (UTC midnight), if this file is the one that tells.
        last_login: Option<SystemTime>,
    },
}

/// One message, while its maildir is being read.
#[derive(Debug)]
pub(crate) struct Message<'a> {
    folder: &'a Rc<CStr>,
    part: &'static CStr,
    #[cfg_attr(not(feature = "housekeeping"), expect(dead_code))]
    dir: BorrowedFd<'a>,
    name: &'a CStr,
    /// When it was stored, in microseconds since 1970.
    pub(crate) stored: u64,
    /// Bytes, as Dovecot counts them: before compression.
    pub(crate) size: u64,
    /// Whether a client has marked it `\Seen`.
    pub(crate) seen: bool,
}

impl Message<'_> {
    pub(crate) fn place(&self) -> Place {
        Place {
            folder: Rc::clone(self.folder),
            part: self.part,
            name: self.name.into(),
        }
    }
}

#[cfg(feature = "housekeeping")]
impl Message<'_> {
    /// Whether a client has seen that it is there.
    pub(crate) fn is_in_cur(&self) -> bool {
        self.part == CUR
    }

    /// Removes it. Answers whether it was this call that did it.
    pub(crate) fn remove(&self) -> io::Result<bool> {
        removed(unlinkat(self.dir, self.name, AtFlags::empty()))
    }
}

/// Where a message was found. By now its name may have changed with its flags, or it is gone.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    folder: Rc<CStr>,
    part: &'static CStr,
    name: Box<CStr>,
}

impl Maildir {
    /// The maildir at `path`, which may be a link to it: operators move single mailboxes.
    pub(crate) fn open(path: &Path) -> io::Result<Maildir> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = openat(CWD, path, flags, Mode::empty())?;
        Ok(Maildir { root })
    }

    /// Shows everything once, in no order. What the file name of a message does not tell, or tells as
    /// nonsense, is asked from the file. A message may be removed while it is shown.
    pub(crate) fn each(
        &self,
        reading: &Reading,
        mut visit: impl FnMut(Entry<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut walk = Walk {
            now: micros(reading.now),
            reading,
            names: Vec::with_capacity(NAMES),
            visit: &mut visit,
        };
        let parts = walk.parts(self.root.as_fd(), &Rc::from(c"."))?;
        if !reading.beside && self.has_no_more_directories(parts)? {
            return Ok(());
        }
        let mut names = Vec::with_capacity(NAMES);
        seek(&self.root, SeekFrom::Start(0))?;
        let mut entries = RawDir::new(&self.root, names.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let (name, kind) = (entry.file_name(), entry.file_type());
            if may_be(kind, FileType::Directory) && is_folder(name) {
                walk.folder(self.root.as_fd(), name)?;
            } else if reading.beside && may_be(kind, FileType::RegularFile) {
                walk.beside(
                    self.root.as_fd(),
                    name,
                    name.to_bytes() == PASSWORD.as_bytes(),
                )?;
            }
        }
        Ok(())
    }

    /// Whether those that were read are all: a directory is linked to by each one in it, as its `..`, by
    /// itself and by its own name. File systems that do not count so, such as btrfs, say 1.
    fn has_no_more_directories(&self, read: usize) -> io::Result<bool> {
        let links = usize::try_from(fstat(&self.root)?.st_nlink);
        Ok(links == Ok(read + 2))
    }

    /// The day of the last login (UTC midnight); `None` if there is no account.
    #[cfg(feature = "housekeeping")]
    pub(crate) fn last_login(&self) -> io::Result<Option<SystemTime>> {
        match statat(&self.root, PASSWORD, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(file) if !FileType::from_raw_mode(file.st_mode).is_file() => {
                Err(in_folder(c"password", not_regular()))
            }
            Ok(file) => Ok(Some(last_login(&file))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes a message. Answers whether it was this call that did it: a client may have been
    /// quicker, or has given the file another name.
    pub(crate) fn remove(&self, place: &Place) -> io::Result<bool> {
        let Some(folder) = subdirectory(&self.root, &place.folder)? else {
            return Ok(false);
        };
        let Some(part) = subdirectory(&folder, place.part)? else {
            return Ok(false);
        };
        removed(unlinkat(part, &*place.name, AtFlags::empty()))
    }

    /// Gives an empty file beside the folders this mtime; makes it, if there is none.
    pub(super) fn set_time(&self, name: &str, time: SystemTime) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        // NONBLOCK: a FIFO would wait for a reader.
        let flags = flags | OFlags::NONBLOCK;
        let file = openat(&self.root, name, flags, Mode::from_raw_mode(FILE_MODE))?;
        File::from(file).set_times(FileTimes::new().set_modified(time))
    }

    /// Removes a file beside the folders.
    pub(crate) fn remove_file(&self, name: &str) -> io::Result<bool> {
        removed(unlinkat(&self.root, name, AtFlags::empty()))
    }
}

/// A name of Maildir++ for a subfolder.
fn is_folder(name: &CStr) -> bool {
    name.to_bytes().starts_with(b".") && name != c"." && name != c".."
}

/// Not every file system says what kind of file a name stands for.
fn may_be(kind: FileType, wanted: FileType) -> bool {
    kind == wanted || kind == FileType::Unknown
}

/// On its way through a maildir.
struct Walk<'a, V> {
    reading: &'a Reading,
    /// In microseconds since 1970.
    now: u64,
    names: Vec<u8>,
    visit: &'a mut V,
}

impl<V: FnMut(Entry<'_>) -> io::Result<()>> Walk<'_, V> {
    fn folder(&mut self, root: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
        let Some(folder) = subdirectory(root, name)? else {
            return Ok(());
        };
        self.parts(folder.as_fd(), &Rc::from(name))?;
        if !self.reading.beside {
            return Ok(());
        }
        let mut names = std::mem::take(&mut self.names);
        let mut entries = RawDir::new(&folder, names.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            let entry = entry?;
            if may_be(entry.file_type(), FileType::RegularFile) {
                self.beside(folder.as_fd(), entry.file_name(), false)?;
            }
        }
        self.names = names;
        Ok(())
    }

    /// Answers how many of these directories there are.
    fn parts(&mut self, folder: BorrowedFd<'_>, name: &Rc<CStr>) -> io::Result<usize> {
        let mut names = std::mem::take(&mut self.names);
        let mut read = 0;
        for part in self.reading.parts {
            if let Some(fd) = subdirectory(folder, part)? {
                self.part(fd.as_fd(), name, part, names.spare_capacity_mut())?;
                read += 1;
            }
        }
        self.names = names;
        Ok(read)
    }

    fn part(
        &mut self,
        dir: BorrowedFd<'_>,
        folder: &Rc<CStr>,
        part: &'static CStr,
        names: &mut [MaybeUninit<u8>],
    ) -> io::Result<()> {
        let mut entries = RawDir::new(dir, names);
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let (name, kind) = (entry.file_name(), entry.file_type());
            if name.to_bytes().starts_with(b".") || !may_be(kind, FileType::RegularFile) {
                continue;
            }
            let told = FileName::parse(name.to_bytes());
            let told_size = told.size.filter(|size| *size <= self.reading.max_size);
            let told_time = told.stored.filter(|time| *time <= self.now);
            let (stored, size) = match (told_time, told_size, kind) {
                (Some(stored), Some(size), FileType::RegularFile) => (stored, size),
                (stored, size, _) => match regular_file(dir, name)? {
                    Some(file) => (
                        stored.unwrap_or_else(|| modified(&file)),
                        size.unwrap_or_else(|| bytes(&file)),
                    ),
                    None => continue,
                },
            };
            (self.visit)(Entry::Message(&Message {
                folder,
                part,
                dir,
                name,
                stored,
                size,
                seen: told.seen,
            }))?;
        }
        Ok(())
    }

    fn beside(&mut self, dir: BorrowedFd<'_>, name: &CStr, is_password: bool) -> io::Result<()> {
        match regular_file(dir, name)? {
            Some(file) => (self.visit)(Entry::Beside {
                bytes: bytes(&file),
                last_login: is_password.then(|| last_login(&file)),
            }),
            None => Ok(()),
        }
    }
}

/// What a look at a file tells; `None` if it is gone, or none.
fn regular_file(dir: BorrowedFd<'_>, name: &CStr) -> io::Result<Option<Stat>> {
    match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat).filter(|stat| FileType::from_raw_mode(stat.st_mode).is_file())),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// In microseconds since 1970, to the second.
fn modified(file: &Stat) -> u64 {
    let seconds = u64::try_from(file.st_mtime).unwrap_or_default();
    seconds.saturating_mul(1_000_000)
}

/// What the time of a `password` tells.
fn last_login(password: &Stat) -> SystemTime {
    let seconds = u64::try_from(password.st_mtime).unwrap_or_default();
    day_of(UNIX_EPOCH + Duration::from_secs(seconds))
}

fn bytes(file: &Stat) -> u64 {
    u64::try_from(file.st_size).unwrap_or_default()
}

/// `None` if there is no such directory, but nothing, a file, or a link.
fn subdirectory(fd: impl AsFd, name: &CStr) -> io::Result<Option<OwnedFd>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(fd, name, flags, Mode::empty()) {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        Err(error) => Err(in_folder(name, error)),
    }
}

fn in_folder(name: &CStr, error: impl Into<io::Error>) -> io::Error {
    let error = error.into();
    let name = CString::from(name);
    io::Error::new(error.kind(), format!("{}: {error}", name.to_string_lossy()))
}

fn removed(result: Result<(), Errno>) -> io::Result<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
