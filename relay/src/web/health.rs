//! `GET /healthz`: whether the relay can store what comes.

use std::io;
use std::path::{Path, PathBuf};

use chatmail_core::config::Config;
use hyper::StatusCode;
use rustix::fs::{Access, access};
use serde_json::json;

use super::answer::{self, Answer};

/// The directories without which nothing works.
#[derive(Debug, Clone)]
pub(super) struct Health {
    mailboxes: PathBuf,
    spool: PathBuf,
}

impl Health {
    pub(super) fn new(config: &Config) -> Health {
        let mailboxes = config.mailboxes();
        Health {
            spool: mailboxes.push_spool(),
            mailboxes: mailboxes.dir().to_owned(),
        }
    }

    /// 200, or 503 with what is wrong. Asks the file system, which may take its time.
    pub(super) fn answer(&self) -> Answer {
        let checks = [
            ("the mailboxes", &self.mailboxes),
            ("the push spool", &self.spool),
        ];
        let wrong: Vec<String> = checks
            .into_iter()
            .filter_map(|(what, path)| {
                let error = usable(path).err()?;
                Some(format!("{what}: {}: {error}", path.display()))
            })
            .collect();
        match wrong.is_empty() {
            true => answer::json(StatusCode::OK, &json!({ "status": "ok" })),
            false => answer::reason(StatusCode::SERVICE_UNAVAILABLE, &wrong.join("; ")),
        }
    }
}

/// Whether this process can make files there: it is a directory, its permissions and the mount allow it.
fn usable(path: &Path) -> io::Result<()> {
    if !std::fs::metadata(path)?.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    access(path, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK)?;
    Ok(())
}
