//! The bot's directory: core's accounts, the password, the invite link.

use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// For the bot only: core keeps its secret key there.
const DIR_MODE: u32 = 0o700;

/// Who may read a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Readers {
    /// The user of the process.
    Owner,
    /// Everybody.
    All,
}

/// The directory of one bot.
#[derive(Debug, Clone)]
pub(super) struct State {
    dir: PathBuf,
}

impl State {
    /// At `dir`, which need not exist.
    pub(super) fn at(dir: &Path) -> State {
        State {
            dir: dir.to_owned(),
        }
    }

    /// Makes the directory if it is missing, but nothing above it, and shuts everybody else out.
    pub(super) fn open(&self) -> io::Result<()> {
        match DirBuilder::new().mode(DIR_MODE).create(&self.dir) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                let mode = fs::metadata(&self.dir).map(|found| found.permissions().mode());
                match mode {
                    Ok(mode) if mode & 0o077 == 0 => Ok(()),
                    _ => fs::set_permissions(&self.dir, Permissions::from_mode(DIR_MODE)),
                }
            }
            result => result,
        }
        .map_err(|error| named(&self.dir, error))
    }

    /// Core's part.
    pub(super) fn accounts(&self) -> PathBuf {
        self.dir.join("accounts")
    }

    /// Where the password is unless the operator says otherwise.
    pub(super) fn password(&self) -> PathBuf {
        self.dir.join("password")
    }

    /// Where the link is that invites people to talk to the bot.
    pub(super) fn invite_link(&self) -> PathBuf {
        self.dir.join("invite-link.txt")
    }
}

/// Replaces a file at once, on the disk before it gets its name. Changes nothing if it holds that line
/// already.
pub(super) fn put_line(path: &Path, line: &str, readers: Readers) -> io::Result<()> {
    let text = format!("{line}\n");
    if fs::read(path).is_ok_and(|found| found == text.as_bytes()) {
        return Ok(());
    }
    let mode = match readers {
        Readers::Owner => 0o600,
        Readers::All => 0o644,
    };
    let tmp = path.with_extension("tmp");
    let written = write_new(&tmp, text.as_bytes(), mode).and_then(|()| fs::rename(&tmp, path));
    written.map_err(|error| {
        // A leftover would do no harm; the first error is the one to tell.
        let _ = fs::remove_file(&tmp);
        named(path, error)
    })
}

fn write_new(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    // Left behind by a crash.
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(mode);
    let mut file = options.open(path)?;
    // What the umask took.
    file.set_permissions(Permissions::from_mode(mode))?;
    file.write_all(content)?;
    file.sync_all()
}

/// An error that says which file it is about.
pub(super) fn named(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn nobody_else_may_enter_the_directory_even_if_it_was_there() {
        let base = tempfile::tempdir().unwrap();
        let dir = base.path().join("state");
        let state = State::at(&dir);
        state.open().unwrap();
        assert_eq!(mode(&dir), 0o700);
        fs::set_permissions(&dir, Permissions::from_mode(0o755)).unwrap();
        state.open().unwrap();
        assert_eq!(mode(&dir), 0o700);

        let nowhere = State::at(&base.path().join("a/b"));
        assert_eq!(nowhere.open().unwrap_err().kind(), ErrorKind::NotFound);
    }

    #[test]
    fn a_line_is_replaced_whole_and_is_as_readable_as_asked() {
        let base = tempfile::tempdir().unwrap();
        for (name, readers, expected) in [
            ("password", Readers::Owner, 0o600),
            ("link.txt", Readers::All, 0o644),
        ] {
            let path = base.path().join(name);
            put_line(&path, "one", readers).unwrap();
            fs::write(path.with_extension("tmp"), "left behind").unwrap();
            put_line(&path, "two", readers).unwrap();
            assert_eq!(fs::read(&path).unwrap(), b"two\n");
            assert_eq!(mode(&path), expected);
        }
        assert_eq!(fs::read_dir(base.path()).unwrap().count(), 2);
    }
}
