//! Reading and replacing small files.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;
use rustix::io::Errno;

/// For the user of the mailboxes only.
pub(super) const FILE_MODE: u32 = 0o600;

/// An error that says which file it is about.
pub(crate) fn named(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// Enough for most of these files, so that they are read by one call and seen to end by another: a vector that
/// starts with nothing would ask for 32 bytes first.
const READ_FIRST: usize = 1024;

/// The first `limit + 1` bytes of a file, so that the caller can tell a file that is too long;
/// `None` if there is no file.
///
/// Leaves the time of last access alone where the system lets it: it would tell when a person was
/// online.
///
/// # Errors
///
/// [`ErrorKind::InvalidData`] if it is not a regular file but a link, a FIFO or a device;
/// [`ErrorKind::IsADirectory`].
pub(crate) fn read_at_most(path: &Path, limit: u64) -> io::Result<Option<Vec<u8>>> {
    read_opened(path, open_regular(path), limit)
}

/// Like [`read_at_most`], for a file that the operator named, which may be a link.
#[cfg(feature = "metadata")]
pub(crate) fn read_linked_at_most(path: &Path, limit: u64) -> io::Result<Option<Vec<u8>>> {
    read_opened(path, open_quietly(path, OFlags::empty()), limit)
}

fn read_opened(path: &Path, file: io::Result<File>, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::with_capacity(READ_FIRST);
    match file.and_then(|file| file.take(limit + 1).read_to_end(&mut bytes)) {
        Ok(_) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(named(path, error)),
    }
}

/// Opens a file of a mailbox for reading. A link is not followed, and a FIFO cannot block a login.
pub(crate) fn open_regular(path: &Path) -> io::Result<File> {
    match open_quietly(path, OFlags::NOFOLLOW) {
        // A link, and a socket.
        Err(error) if is_errno(&error, &[Errno::LOOP, Errno::NXIO]) => Err(not_regular()),
        opened => opened,
    }
}

fn open_quietly(path: &Path, more: OFlags) -> io::Result<File> {
    // NONBLOCK: a FIFO would wait for a writer.
    let flags = |flags: OFlags| (flags | more | OFlags::NONBLOCK).bits() as i32;
    let mut options = OpenOptions::new();
    options.read(true);
    let file = match options.custom_flags(flags(OFlags::NOATIME)).open(path) {
        // Only the owner may.
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            options.custom_flags(flags(OFlags::empty())).open(path)
        }
        result => result,
    }?;
    check_regular(&file)?;
    Ok(file)
}

/// Metadata of a file, without following a link.
///
/// # Errors
///
/// As for [`read_at_most`].
pub(super) fn regular_metadata(path: &Path) -> io::Result<Metadata> {
    let metadata = fs::symlink_metadata(path)?;
    match metadata.is_file() {
        true => Ok(metadata),
        false => Err(not_regular()),
    }
}

/// Refuses an open file that is a FIFO, a device or a directory.
pub(crate) fn check_regular(file: &File) -> io::Result<()> {
    let kind = file.metadata()?.file_type();
    if kind.is_dir() {
        return Err(ErrorKind::IsADirectory.into());
    }
    match kind.is_file() {
        true => Ok(()),
        false => Err(not_regular()),
    }
}

pub(super) fn not_regular() -> io::Error {
    io::Error::new(ErrorKind::InvalidData, "is not a regular file")
}

fn is_errno(error: &io::Error, wanted: &[Errno]) -> bool {
    let errno = Errno::from_io_error(error);
    errno.is_some_and(|errno| wanted.contains(&errno))
}

/// Whether a file must outlive a power failure, or only the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    /// `fsync` before the file gets its name.
    Disk,
    /// Whole for every reader, and kept by the kernel if the process is killed.
    #[cfg(feature = "metadata")]
    Kernel,
}

/// Replaces `path` by `content` at once: readers find the old file or the new one, never half of
/// one. `tmp` is the name to write under first; the caller sees to it that nobody else uses it.
#[cfg(feature = "metadata")]
pub(crate) fn replace(
    path: &Path,
    tmp: &Path,
    content: &[u8],
    durability: Durability,
) -> io::Result<()> {
    replace_prepared(path, tmp, content, durability, |_| Ok(()))
}

/// [`replace`], with a last touch to the file before it gets its name.
pub(super) fn replace_prepared(
    path: &Path,
    tmp: &Path,
    content: &[u8],
    durability: Durability,
    prepare: impl FnOnce(&File) -> io::Result<()>,
) -> io::Result<()> {
    let written = write_new(tmp, content)
        .and_then(|file| {
            prepare(&file)?;
            if durability == Durability::Disk {
                file.sync_all()?;
            }
            Ok(())
        })
        .and_then(|()| fs::rename(tmp, path));
    written.map_err(|error| {
        // A leftover would do no harm; the first error is the one to tell.
        let _ = fs::remove_file(tmp);
        named(path, error)
    })
}

/// Makes `tmp` anew. Whatever has that name, a file that a crash left or a link, is removed and never
/// written to.
pub(super) fn write_new(tmp: &Path, content: &[u8]) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(FILE_MODE);
    let mut file = match options.open(tmp) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            fs::remove_file(tmp)?;
            options.open(tmp)?
        }
        opened => opened?,
    };
    file.write_all(content)?;
    Ok(file)
}

/// Makes an empty file unless something has that name.
pub(super) fn make_empty(path: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(FILE_MODE);
    match options.open(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(named(path, error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    fn make_fifo(path: &Path) {
        let owner = Mode::RUSR | Mode::WUSR;
        mknodat(CWD, path, FileType::Fifo, owner, 0).unwrap();
    }

    #[test]
    fn what_is_not_a_regular_file_is_neither_read_nor_waited_for() {
        let base = tempfile::tempdir().unwrap();
        let path = |name: &str| base.path().join(name);
        let secret = path("secret");
        fs::write(&secret, "secret").unwrap();
        symlink(&secret, path("link")).unwrap();
        symlink("nowhere", path("dangling")).unwrap();
        symlink("/dev/zero", path("device")).unwrap();
        fs::create_dir(path("directory")).unwrap();
        let _socket = UnixListener::bind(path("socket")).unwrap();
        make_fifo(&path("fifo"));
        for name in ["link", "dangling", "device", "socket", "fifo"] {
            let error = read_at_most(&path(name), 100).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidData, "{name}: {error}");
            assert!(error.to_string().contains(name), "{error}");
        }
        let error = read_at_most(&path("directory"), 100).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::IsADirectory);
        assert_eq!(read_at_most(&secret, 3).unwrap().unwrap(), b"secr");
        assert_eq!(read_at_most(&path("missing"), 3).unwrap(), None);
    }

    #[test]
    fn a_file_is_made_anew_whatever_has_its_name() {
        let base = tempfile::tempdir().unwrap();
        let path = |name: &str| base.path().join(name);
        let canary = path("canary");
        fs::write(&canary, "canary").unwrap();
        symlink(&canary, path("link")).unwrap();
        fs::hard_link(&canary, path("hard link")).unwrap();
        make_fifo(&path("fifo"));
        fs::write(path("leftover"), "much that is left over").unwrap();
        for name in ["link", "hard link", "fifo", "leftover", "new"] {
            write_new(&path(name), b"new").unwrap();
            assert!(fs::symlink_metadata(path(name)).unwrap().is_file());
            assert_eq!(fs::read(path(name)).unwrap(), b"new", "{name}");
            assert_eq!(fs::read(&canary).unwrap(), b"canary", "{name}");
        }
        symlink(path("unmade"), path("mark")).unwrap();
        make_empty(&path("mark")).unwrap();
        assert!(!path("unmade").exists());
    }
}
