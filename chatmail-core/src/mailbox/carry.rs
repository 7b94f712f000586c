//! Reading a mailbox as a whole, to take it elsewhere, while mail arrives and clients are at work.
//!
//! No message is missed that stays in the mailbox: it is read again until nothing new is found, so
//! one that is moved or gets other flags meanwhile is found under its new name. The UIDs come last: they
//! know every message that was read before, and what came later keeps its UID to itself.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{self, Cursor, ErrorKind, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{CWD, Dir, Mode, OFlags, fstat, openat};
use rustix::io::Errno;

use super::parts::{OF_FOLDER, OF_MAILBOX, is_folder, is_message, is_uidvalidity};
use super::{Mailbox, named};

/// How often the mailbox is read again; more often comes new mail in a mailbox that never rests.
const PASSES: usize = 10;

/// One file of a mailbox that goes along.
pub struct Carried<'a> {
    /// Its path in the mailbox.
    pub path: &'a [u8],
    /// To the second; of a message, when it was received.
    pub modified: SystemTime,
    /// Bytes in `content`, exactly.
    pub size: u64,
    /// What is in it. Fails if the file becomes shorter meanwhile.
    pub content: &'a mut dyn Read,
}

impl std::fmt::Debug for Carried<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut debug = f.debug_struct("Carried");
        debug.field("size", &self.size).finish_non_exhaustive()
    }
}

impl Mailbox {
    /// Hands over every file that goes along when the account moves, see [`super::Staging`]. Answers how many
    /// messages were among them, `None` if there is no account.
    ///
    /// # Errors
    ///
    /// Those of `put`, or a file cannot be read.
    pub fn carry(
        &self,
        put: &mut dyn FnMut(Carried<'_>) -> io::Result<()>,
    ) -> io::Result<Option<u64>> {
        if !self.exists()? {
            return Ok(None);
        }
        let carried = open_dir(
            CWD,
            self.path.as_os_str().as_encoded_bytes(),
            OFlags::empty(),
        )
        .and_then(|root| Carrier::new(root.ok_or(ErrorKind::NotFound)?, put).all());
        carried.map(Some).map_err(|error| named(&self.path, error))
    }
}

type Put<'p> = &'p mut dyn FnMut(Carried<'_>) -> io::Result<()>;

struct Carrier<'p> {
    root: OwnedFd,
    put: Put<'p>,
    /// Of each folder, the INBOX being `.`: the names of the messages that were handed over, without flags.
    done: BTreeMap<Vec<u8>, HashSet<Vec<u8>>>,
    messages: u64,
}

impl<'p> Carrier<'p> {
    fn new(root: OwnedFd, put: Put<'p>) -> Carrier<'p> {
        Carrier {
            root,
            put,
            done: BTreeMap::new(),
            messages: 0,
        }
    }

    fn all(mut self) -> io::Result<u64> {
        for (name, limit) in OF_MAILBOX {
            self.small(b".", name.as_bytes(), limit)?;
        }
        for _ in 0..PASSES {
            if !self.pass()? {
                break;
            }
        }
        for name in names(&self.root)? {
            if is_uidvalidity(&name) {
                self.small(b".", &name, u64::MAX)?;
            }
        }
        for folder in self.done.keys().cloned().collect::<Vec<_>>() {
            for (name, limit) in OF_FOLDER {
                self.small(&folder, name.as_bytes(), limit)?;
            }
        }
        Ok(self.messages)
    }

    /// Reads all folders once; whether there was something new, or something that has just gone.
    fn pass(&mut self) -> io::Result<bool> {
        let mut new = self.folder(b".")?;
        for name in names(&self.root)? {
            if is_folder(&name) {
                new |= self.folder(&name)?;
            }
        }
        Ok(new)
    }

    fn folder(&mut self, folder: &[u8]) -> io::Result<bool> {
        let Some(dir) = open_dir(&self.root, folder, OFlags::NOFOLLOW)? else {
            return Ok(false);
        };
        let mut new = false;
        // A message goes from `new` to `cur`: in this order it is met at least once.
        for part in ["new", "cur"] {
            let Some(dir) = open_dir(&dir, part.as_bytes(), OFlags::NOFOLLOW)? else {
                continue;
            };
            self.done.entry(folder.to_owned()).or_default();
            for name in names(&dir)? {
                if is_message(&name) {
                    new |= self.message(&dir, folder, part, &name)?;
                }
            }
        }
        Ok(new)
    }

    fn message(
        &mut self,
        dir: &OwnedFd,
        folder: &[u8],
        part: &str,
        name: &[u8],
    ) -> io::Result<bool> {
        let base = name.split(|byte| *byte == b':').next().unwrap_or_default();
        let done = self.done.entry(folder.to_owned()).or_default();
        if done.contains(base) {
            return Ok(false);
        }
        // Under another name by now, or expunged: the next pass tells.
        let Some((file, size, modified)) = open_file(dir, name)? else {
            return Ok(true);
        };
        let Some(modified) = modified else {
            return Ok(false);
        };
        done.insert(base.to_owned());
        self.messages += 1;
        let path = [part.as_bytes(), name].join(&b'/');
        (self.put)(Carried {
            path: &in_folder(folder, &path),
            modified,
            size,
            content: &mut Exactly { file, left: size },
        })?;
        Ok(true)
    }

    /// A file that is read at once. One that is too long is none that goes along.
    fn small(&mut self, folder: &[u8], name: &[u8], limit: u64) -> io::Result<()> {
        let Some(dir) = open_dir(&self.root, folder, OFlags::NOFOLLOW)? else {
            return Ok(());
        };
        let Some((file, size, Some(modified))) = open_file(&dir, name)? else {
            return Ok(());
        };
        if size > limit {
            let name = String::from_utf8_lossy(name);
            return Err(io::Error::other(format!("{name}: too long")));
        }
        let mut content = Vec::new();
        file.take(limit).read_to_end(&mut content)?;
        if name == b"dovecot-uidlist" {
            // Dovecot may be appending to it.
            let end = content.iter().rposition(|byte| *byte == b'\n');
            content.truncate(end.map_or(0, |end| end + 1));
        }
        (self.put)(Carried {
            path: &in_folder(folder, name),
            modified,
            size: content.len() as u64,
            content: &mut Cursor::new(content),
        })
    }
}

fn in_folder(folder: &[u8], path: &[u8]) -> Vec<u8> {
    match folder {
        b"." => path.to_owned(),
        folder => [folder, path].join(&b'/'),
    }
}

/// A file that has these bytes, or fails.
struct Exactly {
    file: File,
    left: u64,
}

impl Read for Exactly {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.by_ref().take(self.left).read(buffer)?;
        if read == 0 && self.left > 0 && !buffer.is_empty() {
            let why = "a message became shorter while it was read";
            return Err(io::Error::new(ErrorKind::UnexpectedEof, why));
        }
        self.left -= read as u64;
        Ok(read)
    }
}

/// `None` if there is none, or a file or link instead of it.
fn open_dir(at: impl AsFd, name: &[u8], flags: OFlags) -> io::Result<Option<OwnedFd>> {
    let flags = flags | OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    match openat(at, name, flags, Mode::empty()) {
        Ok(dir) => Ok(Some(dir)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// With its size and time; without a time it is something else than a file. `None`: not there.
fn open_file(at: &OwnedFd, name: &[u8]) -> io::Result<Option<(File, u64, Option<SystemTime>)>> {
    // NONBLOCK: a FIFO must not hang this.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match openat(at, name, flags, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::NOENT | Errno::LOOP) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let stat = fstat(&file)?;
    let is_file = rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file();
    let seconds = u64::try_from(stat.st_mtime).unwrap_or_default();
    let modified = UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
    let size = u64::try_from(stat.st_size).unwrap_or_default();
    Ok(Some((File::from(file), size, modified.filter(|_| is_file))))
}

fn names(dir: &OwnedFd) -> io::Result<Vec<Vec<u8>>> {
    let entries = Dir::read_from(dir)?;
    let names = entries.map(|entry| Ok(entry?.file_name().to_bytes().to_owned()));
    names.collect()
}
