//! The Dovecot that a relay runs on: the host's, or one of another Debian release in a tree of its own.

mod enter;
mod mirror;
mod tree;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Result, bail};
pub(crate) use chatmail_tests::dovecot::Version;

use crate::command::{target_directory, workspace};
use crate::privilege;

/// A Dovecot that is installed, and where.
pub(crate) struct Dovecot {
    version: Version,
    /// `None`: on the host.
    tree: Option<PathBuf>,
}

impl Dovecot {
    /// The one of this version: the host's if it is that, else one in a tree, which is made if it is not there. Without
    /// a wish: the host's.
    pub(crate) fn find(wanted: Option<Version>) -> Result<Dovecot> {
        let host = host_release();
        let version = host.as_deref().and_then(Version::of_release);
        match (wanted, version) {
            (None, Some(version)) => Ok(Dovecot {
                version,
                tree: None,
            }),
            (Some(wanted), Some(version)) if wanted == version => Ok(Dovecot {
                version,
                tree: None,
            }),
            (Some(wanted), _) => Ok(Dovecot {
                version: wanted,
                tree: Some(tree::take(wanted)?),
            }),
            (None, None) => match host {
                Some(release) => bail!(
                    "this is Dovecot {release}; the modules and the configuration are for 2.3 and 2.4, \
                     which Debian 12 and 13 have. --dovecot 2.4 takes it from there"
                ),
                None => bail!("cannot run dovecot: is dovecot-core installed?"),
            },
        }
    }

    /// Why [`Dovecot::find`] cannot have this version on this system, if it needs what the system refuses.
    pub(crate) fn obstacle(wanted: Version) -> Option<String> {
        let host = host_release().as_deref().and_then(Version::of_release);
        (host != Some(wanted)).then(enter::is_possible)?.err()
    }

    pub(crate) fn version(&self) -> Version {
        self.version
    }

    /// Whether it is the host's.
    pub(crate) fn is_of_host(&self) -> bool {
        self.tree.is_none()
    }

    /// The path by which this process reaches a file that Dovecot knows by this absolute one.
    pub(crate) fn outside(&self, path: &Path) -> PathBuf {
        match &self.tree {
            None => path.to_owned(),
            Some(tree) => tree.join(path.strip_prefix("/").unwrap_or(path)),
        }
    }

    /// What stands before the command line of a program that is to run beside Dovecot: nothing on the host. `directory`
    /// is the one that it works in.
    pub(crate) fn words(&self, directory: &Path) -> Result<Vec<String>> {
        let Some(tree) = &self.tree else {
            return Ok(Vec::new());
        };
        // The temporary directory, because tests and their relays have their files there.
        let temporary = std::env::temp_dir();
        let target = target_directory()?;
        enter::with(tree, &[workspace(), &target, &temporary, directory])
    }

    /// A command that runs where this Dovecot is, as the one who called sudo.
    pub(crate) fn as_caller(&self, program: &str, directory: &Path) -> Result<Command> {
        let words = self.words(directory)?;
        let Some((first, rest)) = words.split_first() else {
            return Ok(privilege::as_caller(program));
        };
        let mut command = Command::new(first);
        command.args(rest);
        if let Some((uid, gid)) = privilege::caller() {
            command.args(["setpriv", "--clear-groups"]);
            command.args([format!("--reuid={uid}"), format!("--regid={gid}")]);
            command.arg("--");
        }
        command.arg(program);
        Ok(command)
    }
}

/// What the host's `dovecot --version` prints.
fn host_release() -> Option<String> {
    let output = Command::new("dovecot")
        .arg("--version")
        .stdin(Stdio::null())
        .output()
        .ok()?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
