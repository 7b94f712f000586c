//! Looks through the spool for what the watch did not tell of, a piece at a time: a hundred thousand
//! files take a third of a second, and notifications are not to wait for that.

use std::fs::{DirEntry, ReadDir, read_dir};
use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

use chatmail_core::push::Spool;

/// Files that are looked at without a pause.
const PIECE: usize = 500;

/// A look through the spool that is not at its end.
#[derive(Debug)]
pub(super) struct Sweep {
    entries: ReadDir,
    /// There was no room for some.
    pub(super) left_out: bool,
}

impl Sweep {
    /// Begins one. The directory is made again, should somebody have removed it.
    pub(super) fn begin(spool: &Spool) -> io::Result<Sweep> {
        Spool::open(spool.dir())?;
        Ok(Sweep {
            entries: read_dir(spool.dir())?,
            left_out: false,
        })
    }

    /// The next few files; fewer than a piece, none perhaps, at the end.
    pub(super) fn piece(&mut self) -> io::Result<Vec<DirEntry>> {
        self.entries.by_ref().take(PIECE).collect()
    }

    /// Whether a piece was the last.
    pub(super) fn is_over(piece: &[DirEntry]) -> bool {
        piece.len() < PIECE
    }
}

/// The second of the message of a file in the spool, which is that of the file. The file itself says
/// the same, but is not read before its turn.
pub(super) fn second(entry: &DirEntry) -> u32 {
    let modified = entry.metadata().and_then(|metadata| metadata.modified());
    seconds(modified.unwrap_or_else(|_| SystemTime::now()))
}

/// Seconds since 1970, in 32 bits until 2106.
pub(super) fn seconds(time: SystemTime) -> u32 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u32::try_from(since.as_secs()).unwrap_or(u32::MAX)
}
