//! The invite link of the echo bot, in a file that belongs to the bot and that root may read.

use std::fs::OpenOptions;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

/// Longest file that is read, in bytes; a link has a few hundred.
const MAX: u64 = 16 * 1024;

/// The content of the file. A FIFO cannot block this, and a device is not read.
pub(super) fn read(path: &Path) -> io::Result<String> {
    let mut options = OpenOptions::new();
    options
        .read(true)
        .custom_flags(OFlags::NONBLOCK.bits() as i32);
    let file = options.open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(
            ErrorKind::InvalidData,
            "is not a regular file",
        ));
    }
    let mut text = String::new();
    file.take(MAX).read_to_string(&mut text)?;
    let is_plain = |character: char| matches!(character, '\r' | '\n') || !character.is_control();
    match text.chars().all(is_plain) {
        true => Ok(text),
        false => Err(io::Error::new(ErrorKind::InvalidData, "is not a link")),
    }
}
