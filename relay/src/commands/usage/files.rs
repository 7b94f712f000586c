//! The files of `chatmail usage`. They are usually where only root may write, but root must not read mailboxes:
//! a process that has become the mail user makes the report, and root reads it from a pipe and writes it.

use std::fs::{self, Permissions};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use chatmail_core::usage::Report;
use chatmail_relay::mail_user::{LastLink, open_directory};
use serde_json::{Value, json};

use super::Arguments;
use crate::exit::{Exit, Failure};

/// The file that relays have always written in the directory of the node exporter.
const TEXTFILE: &str = "fsreport.prom";

/// Longest report that root accepts from the mail user, in bytes; one has a few thousand.
const HANDED_OVER_MAX: u64 = 1 << 20;

/// A report in the forms of the files.
pub(super) struct Files {
    textfile: String,
    legacy: String,
    json: Value,
}

impl Files {
    pub(super) fn of(report: &Report, json: Value) -> Files {
        Files {
            textfile: report.to_textfile(),
            legacy: report.to_legacy(),
            json,
        }
    }

    /// The report in the form that [`Files::parse`] reads.
    pub(super) fn handed_over(&self) -> String {
        let Files {
            textfile,
            legacy,
            json,
        } = self;
        json!({"textfile": textfile, "legacy": legacy, "json": json}).to_string()
    }

    fn parse(text: &[u8]) -> Option<Files> {
        let mut all: Value = serde_json::from_slice(text).ok()?;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        Some(Files {
            textfile: text(&all["textfile"])?,
            legacy: text(&all["legacy"])?,
            json: all["json"].take(),
        })
    }

    pub(super) fn json_line(&self) -> String {
        format!("{}\n", self.json)
    }

    /// Writes the requested files, and prints the JSON object if it was requested.
    pub(super) fn write(&self, arguments: &Arguments) -> Result<(), Failure> {
        if let Some(path) = &arguments.textfile {
            let path = match path.is_dir() {
                true => path.join(TEXTFILE),
                false => path.clone(),
            };
            replace(&path, &self.textfile)?;
        }
        if let Some(path) = &arguments.legacy_metrics {
            replace(path, &self.legacy)?;
        }
        match arguments.json {
            true => crate::commands::print(&self.json_line()),
            false => Ok(()),
        }
    }
}

/// Has the report made by a second process of this program, which becomes the mail user, and writes the files. That
/// process reports problems with mailboxes itself; its exit code is returned.
pub(super) fn root_writes(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let mut command = Command::new("/proc/self/exe");
    command
        .arg0("chatmail")
        .args(["usage", "--hand-over", "--config"])
        .arg(&arguments.config)
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let failed = |why: io::Error| Failure(Exit::System, format!("the report: {why}"));
    let mut child = command.spawn().map_err(failed)?;
    let mut text = Vec::new();
    if let Some(output) = child.stdout.take() {
        let read = output.take(HANDED_OVER_MAX).read_to_end(&mut text);
        read.map_err(failed)?;
    }
    let status = child.wait().map_err(failed)?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    match (Files::parse(&text), code) {
        (Some(files), Some(code)) => {
            files.write(arguments)?;
            Ok(code.into())
        }
        (None, Some(code)) if code != 0 => Ok(code.into()),
        _ => Err(failed(io::Error::other("it was not made to the end"))),
    }
}

/// Replaces a file that everybody may read.
fn replace(path: &Path, text: &str) -> Result<(), Failure> {
    let replace = || -> io::Result<()> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let dir = match path.parent() {
            Some(dir) if !dir.as_os_str().is_empty() => dir,
            _ => Path::new("."),
        };
        let dir = Directory::open(dir)?;
        let mut file = tempfile::Builder::new()
            .permissions(Permissions::from_mode(0o644))
            .tempfile_in(dir.path())?;
        file.write_all(text.as_bytes())?;
        // Regardless of the umask.
        file.as_file()
            .set_permissions(Permissions::from_mode(0o644))?;
        file.persist(dir.path().join(name))?;
        Ok(())
    };
    replace().map_err(|error| Failure(Exit::CannotCreate, format!("{}: {error}", path.display())))
}

/// The place of a file to write. Root keeps the directory open, so renaming it cannot redirect the file.
enum Directory {
    Named(PathBuf),
    Opened(OwnedFd),
}

impl Directory {
    fn open(path: &Path) -> io::Result<Directory> {
        if !rustix::process::geteuid().is_root() {
            return fs::canonicalize(path).map(Directory::Named);
        }
        match open_directory(path, LastLink::Follow) {
            Ok((directory, _)) => Ok(Directory::Opened(directory)),
            Err(why) => Err(io::Error::other(why)),
        }
    }

    fn path(&self) -> PathBuf {
        match self {
            Directory::Named(path) => path.clone(),
            Directory::Opened(fd) => format!("/proc/self/fd/{}", fd.as_raw_fd()).into(),
        }
    }
}
