//! The messages of a mailbox: files in `cur` and `new` of the maildir and of its subfolders
//! (`.Name`, Maildir++). Nothing is followed out of the mailbox, and nothing else is touched.

use std::ffi::{CStr, CString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RawDir, openat, statat, unlinkat};
use rustix::io::Errno;

/// For the names in a directory: one system call brings about 150 messages.
const NAMES: usize = 16 * 1024;

/// The two directories of a folder that hold messages. A message goes from `new` to `cur` when a
/// client looks: read in this order it may be missed, but is never seen twice.
const PARTS: [&CStr; 2] = [c"cur", c"new"];

/// A maildir with its subfolders.
#[derive(Debug)]
pub(super) struct Maildir {
    root: OwnedFd,
}

/// One message, while its maildir is being read.
#[derive(Debug)]
pub(super) struct Message<'a> {
    folder: &'a Rc<CStr>,
    part: &'static CStr,
    name: &'a CStr,
    /// When it was stored, in microseconds since 1970.
    pub(super) stored: u64,
    /// Bytes, as Dovecot counts them: before compression.
    pub(super) size: u64,
    /// Whether a client has marked it `\Seen`.
    pub(super) seen: bool,
}

impl Message<'_> {
    pub(super) fn place(&self) -> Place {
        Place {
            folder: Rc::clone(self.folder),
            part: self.part,
            name: self.name.into(),
        }
    }
}

/// Where a message was found. By now its name may have changed with its flags, or it is gone.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    folder: Rc<CStr>,
    part: &'static CStr,
    name: Box<CStr>,
}

impl Maildir {
    /// The maildir at `path`, which may be a link to it: operators move single mailboxes.
    pub(super) fn open(path: &Path) -> io::Result<Maildir> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = openat(CWD, path, flags, Mode::empty())?;
        Ok(Maildir { root })
    }

    /// Shows every message once, in no order. What a file name does not tell, or tells as nonsense
    /// (a size above `max_size`, a time after `now`), is asked from the file.
    pub(super) fn each(
        &self,
        now: SystemTime,
        max_size: u64,
        mut visit: impl FnMut(&Message<'_>),
    ) -> io::Result<()> {
        let limits = Limits {
            now: micros(now),
            max_size,
        };
        limits.folder(&self.root, &Rc::from(c"."), &mut visit)?;
        let mut names = Vec::with_capacity(NAMES);
        let Some(root) = subdirectory(&self.root, c".")? else {
            return Ok(());
        };
        let mut entries = RawDir::new(root, names.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name();
            let kind = entry.file_type();
            if matches!(kind, FileType::Directory | FileType::Unknown)
                && name.to_bytes().starts_with(b".")
                && name != c"."
                && name != c".."
            {
                limits.folder(&self.root, &Rc::from(name), &mut visit)?;
            }
        }
        Ok(())
    }

    /// Removes a message. Answers whether it was this call that did it: a client may have been
    /// quicker, or has given the file another name.
    pub(super) fn remove(&self, place: &Place) -> io::Result<bool> {
        let Some(folder) = subdirectory(&self.root, &place.folder)? else {
            return Ok(false);
        };
        let Some(part) = subdirectory(&folder, place.part)? else {
            return Ok(false);
        };
        removed(unlinkat(part, &*place.name, AtFlags::empty()))
    }

    /// Removes a file beside the folders.
    pub(super) fn remove_file(&self, name: &str) -> io::Result<bool> {
        removed(unlinkat(&self.root, name, AtFlags::empty()))
    }
}

/// From where on a file name is nonsense.
struct Limits {
    now: u64,
    max_size: u64,
}

impl Limits {
    fn folder(
        &self,
        root: &OwnedFd,
        folder: &Rc<CStr>,
        visit: &mut impl FnMut(&Message<'_>),
    ) -> io::Result<()> {
        let Some(fd) = subdirectory(root, folder)? else {
            return Ok(());
        };
        let mut names = Vec::with_capacity(NAMES);
        for part in PARTS {
            if let Some(fd) = subdirectory(&fd, part)? {
                self.part(&fd, folder, part, names.spare_capacity_mut(), visit)?;
            }
        }
        Ok(())
    }

    fn part(
        &self,
        fd: &OwnedFd,
        folder: &Rc<CStr>,
        part: &'static CStr,
        names: &mut [MaybeUninit<u8>],
        visit: &mut impl FnMut(&Message<'_>),
    ) -> io::Result<()> {
        let mut entries = RawDir::new(fd, names);
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name();
            let kind = entry.file_type();
            if name.to_bytes().starts_with(b".")
                || !matches!(kind, FileType::RegularFile | FileType::Unknown)
            {
                continue;
            }
            let told = FileName::parse(name.to_bytes());
            let told_size = told.size.filter(|size| *size <= self.max_size);
            let told_time = told.stored.filter(|time| *time <= self.now);
            let (stored, size) = match (told_time, told_size, kind) {
                (Some(stored), Some(size), FileType::RegularFile) => (stored, size),
                (stored, size, _) => {
                    let stat = match statat(fd, name, AtFlags::SYMLINK_NOFOLLOW) {
                        Ok(stat) => stat,
                        Err(Errno::NOENT) => continue,
                        Err(error) => return Err(error.into()),
                    };
                    if !FileType::from_raw_mode(stat.st_mode).is_file() {
                        continue;
                    }
                    let seconds = u64::try_from(stat.st_mtime).unwrap_or_default();
                    (
                        stored.unwrap_or(seconds.saturating_mul(1_000_000)),
                        size.unwrap_or(u64::try_from(stat.st_size).unwrap_or_default()),
                    )
                }
            };
            visit(&Message {
                folder,
                part,
                name,
                stored,
                size,
                seen: told.seen,
            });
        }
        Ok(())
    }
}

/// What the name of a message's file tells (`1775324677.M44P30.host,S=3235,W=3305:2,S`).
#[derive(Debug, PartialEq, Eq)]
struct FileName {
    /// Microseconds since 1970.
    stored: Option<u64>,
    size: Option<u64>,
    seen: bool,
}

impl FileName {
    fn parse(name: &[u8]) -> FileName {
        let (base, info) = split_once(name, b':').unwrap_or((name, b""));
        let flags = info.strip_prefix(b"2,").unwrap_or_default();
        let flags = split_once(flags, b',').map_or(flags, |(flags, _)| flags);
        FileName {
            stored: stored(base),
            size: size(base),
            seen: flags.contains(&b'S'),
        }
    }
}

fn stored(base: &[u8]) -> Option<u64> {
    let (seconds, rest) = split_once(base, b'.')?;
    let micros = match rest.strip_prefix(b"M").map(digits) {
        Some((micros, _)) if micros.len() <= 6 => number(micros).unwrap_or_default(),
        _ => 0,
    };
    number(seconds)?.checked_mul(1_000_000)?.checked_add(micros)
}

/// The first `,S=` counts, as it does for Dovecot.
fn size(base: &[u8]) -> Option<u64> {
    const KEY: &[u8] = b",S=";
    let at = base.windows(KEY.len()).position(|bytes| bytes == KEY)?;
    let (size, rest) = digits(base.get(at + KEY.len()..)?);
    matches!(rest.first(), None | Some(b','))
        .then(|| number(size))
        .flatten()
}

fn digits(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = bytes.iter().position(|byte| !byte.is_ascii_digit());
    bytes.split_at(end.unwrap_or(bytes.len()))
}

/// Digits only.
fn number(bytes: &[u8]) -> Option<u64> {
    let (bytes, rest) = digits(bytes);
    let text = std::str::from_utf8(bytes).ok()?;
    text.parse().ok().filter(|_| rest.is_empty())
}

fn split_once(bytes: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let at = bytes.iter().position(|byte| *byte == at)?;
    Some((bytes.get(..at)?, bytes.get(at + 1..)?))
}

/// Microseconds since 1970.
pub(super) fn micros(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
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

fn in_folder(name: &CStr, error: Errno) -> io::Error {
    let error = io::Error::from(error);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_name_of_dovecots_tells_time_size_and_whether_it_was_seen() {
        let name = FileName::parse(b"1775324677.M44P30.host,S=3235,W=3305:2,S");
        let expected = FileName {
            stored: Some(1_775_324_677_000_044),
            size: Some(3235),
            seen: true,
        };
        assert_eq!(name, expected);
        let new = FileName::parse(b"1775324677.M448978P3029757.host,S=3235,W=3305");
        let expected = FileName {
            stored: Some(1_775_324_677_448_978),
            size: Some(3235),
            seen: false,
        };
        assert_eq!(new, expected);
    }

    #[test]
    fn a_name_tells_nothing_that_it_does_not_say() {
        for (name, stored, size, seen) in [
            ("", None, None, false),
            ("1775324677", None, None, false),
            ("notes.txt", None, None, false),
            ("12.host", Some(12_000_000), None, false),
            // Other software puts other things there.
            ("12.5678_1.host", Some(12_000_000), None, false),
            ("12.M1234567P1.host", Some(12_000_000), None, false),
            ("12.MP1.host", Some(12_000_000), None, false),
            ("99999999999999999999.M1P1.h", None, None, false),
            ("18446744073709.M999999P1.h", None, None, false),
            ("-12.M1P1.h,S=5", None, Some(5), false),
            ("12.h,S=", Some(12_000_000), None, false),
            ("12.h,S=5x,S=7", Some(12_000_000), None, false),
            ("12.h,S=-5", Some(12_000_000), None, false),
            ("12.h,S=99999999999999999999", Some(12_000_000), None, false),
            ("12.h,W=7,S=5", Some(12_000_000), Some(5), false),
            ("12.h:2,S", Some(12_000_000), None, true),
            ("12.h:2,FS", Some(12_000_000), None, true),
            // Keywords are small letters; the S is no flag behind a comma or in another form.
            ("12.h:2,Fs", Some(12_000_000), None, false),
            ("12.h:2,F,S=5", Some(12_000_000), None, false),
            ("12.h:1,S", Some(12_000_000), None, false),
        ] {
            let expected = FileName { stored, size, seen };
            assert_eq!(FileName::parse(name.as_bytes()), expected, "{name}");
        }
    }
}
