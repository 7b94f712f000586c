//! Reading and replacing small files.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

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
pub(crate) fn read_at_most(path: &Path, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::with_capacity(READ_FIRST);
    match open_quietly(path).and_then(|file| file.take(limit + 1).read_to_end(&mut bytes)) {
        Ok(_) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(named(path, error)),
    }
}

fn open_quietly(path: &Path) -> io::Result<File> {
    // NONBLOCK: a FIFO must not hang a login.
    let flags = |flags: OFlags| (flags | OFlags::NONBLOCK).bits() as i32;
    let mut options = OpenOptions::new();
    options.read(true);
    match options.custom_flags(flags(OFlags::NOATIME)).open(path) {
        // Only the owner may.
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            options.custom_flags(flags(OFlags::empty())).open(path)
        }
        result => result,
    }
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

fn write_new(tmp: &Path, content: &[u8]) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(FILE_MODE);
    let mut file = options.open(tmp)?;
    file.write_all(content)?;
    Ok(file)
}
