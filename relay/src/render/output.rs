//! Writes rendered files, and overwrites nothing before the difference was shown.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use similar::TextDiff;

/// One file to be: its path below the output directory, and its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// `postfix/main.cf`.
    pub name: &'static str,
    /// All of it.
    pub text: String,
}

/// What stands at the place of a rendered file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    Absent,
    /// The same text.
    Same,
    /// Another text: a unified diff from it to the rendered one.
    Different(String),
}

impl Rendered {
    /// Where it goes below `directory`.
    pub fn path(&self, directory: &Path) -> PathBuf {
        directory.join(self.name)
    }

    /// Compares with what is there. Bytes that are not UTF-8 count as different.
    pub fn compare(&self, directory: &Path) -> io::Result<Found> {
        let path = self.path(directory);
        let there = match fs::read(&path) {
            Ok(bytes) if bytes == self.text.as_bytes() => return Ok(Found::Same),
            Ok(bytes) => bytes,
            Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(Found::Absent),
            Err(why) => return Err(why),
        };
        let there = String::from_utf8_lossy(&there);
        let diff = TextDiff::from_lines(there.as_ref(), self.text.as_str());
        let path = path.display().to_string();
        Ok(Found::Different(
            diff.unified_diff()
                .header(&path, &format!("{path} (rendered)"))
                .to_string(),
        ))
    }

    /// Writes it under a temporary name and renames: a daemon that starts meanwhile reads the old
    /// file or the new one.
    pub fn write(&self, directory: &Path) -> io::Result<()> {
        let path = self.path(directory);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        let mut temporary = path.clone().into_os_string();
        temporary.push(".new");
        let mut file = fs::File::create(&temporary)?;
        file.write_all(self.text.as_bytes())?;
        file.sync_all()?;
        drop(file);
        fs::rename(&temporary, &path)
    }
}
