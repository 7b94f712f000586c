//! Which Dovecot is under test.
//!
//! `CHATMAIL_TEST_DOVECOT` says it (`2.3` or `2.4`); unset, it is the one installed on this host. Tests hold for both:
//! what asks for the version is what has to differ, such as a message of Dovecot's own.

use std::env;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::str::FromStr;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use crate::instance::xtask;

/// The variable of the environment that chooses one.
pub const VARIABLE: &str = "CHATMAIL_TEST_DOVECOT";

/// A series of Dovecot: configuration and plugin interfaces are the same within it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Version {
    /// Of Debian 12.
    #[default]
    #[serde(rename = "2.3")]
    V2_3,
    /// Of Debian 13.
    #[serde(rename = "2.4")]
    V2_4,
}

impl Version {
    /// Every one, the oldest first.
    pub const ALL: [Version; 2] = [Version::V2_3, Version::V2_4];

    /// `2.3` or `2.4`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Version::V2_3 => "2.3",
            Version::V2_4 => "2.4",
        }
    }

    /// The series of what `dovecot --version` prints, such as `2.4.1-4 (7d8c0e5759)`.
    pub fn of_release(release: &str) -> Option<Version> {
        Version::ALL.into_iter().find(|version| {
            let rest = release.trim().strip_prefix(version.as_str());
            rest.is_some_and(|rest| rest.starts_with('.'))
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Version {
    type Err = String;

    fn from_str(text: &str) -> Result<Version, String> {
        let known = Version::ALL.into_iter().find(|v| v.as_str() == text);
        known.ok_or_else(|| format!("{text:?} is neither 2.3 nor 2.4"))
    }
}

/// What [`VARIABLE`] says; `None` if it is unset or empty.
///
/// # Panics
///
/// If it names no version we know.
#[track_caller]
pub fn wanted() -> Option<Version> {
    let text = env::var(VARIABLE).ok().filter(|text| !text.is_empty())?;
    match text.parse() {
        Ok(version) => Some(version),
        Err(why) => panic!("{VARIABLE}: {why}"),
    }
}

/// The version under test.
///
/// # Panics
///
/// If [`VARIABLE`] names none, or is unset and this host has no Dovecot 2.3 or 2.4.
#[track_caller]
pub fn dovecot() -> Version {
    static HOST: OnceLock<Option<Version>> = OnceLock::new();
    let host = || {
        let asked = Command::new("dovecot")
            .arg("--version")
            .stdin(Stdio::null())
            .output();
        let output = asked.ok().filter(|output| output.status.success())?;
        Version::of_release(&String::from_utf8_lossy(&output.stdout))
    };
    wanted()
        .or_else(|| *HOST.get_or_init(host))
        .expect("no Dovecot 2.3 or 2.4 on this host")
}

/// Exit status of a command that this system does not let run (sysexits.h).
pub const EX_UNAVAILABLE: u8 = 69;

/// The Dovecot modules that this repository builds. Files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Modules {
    /// `libauthdb_chatmail.so`.
    pub auth: PathBuf,
    /// `lib90_chatmail_plugin.so`.
    pub mail: PathBuf,
    /// `libchatmail_settings.so`; Dovecot 2.3 needs none.
    pub settings: Option<PathBuf>,
    /// The root directory of the Debian system that has this Dovecot.
    pub root: PathBuf,
}

impl Modules {
    /// Builds them for this version, which need not be the one under test. `None` if this system can run no other
    /// Dovecot than the host's.
    pub fn build(version: Version) -> io::Result<Option<Modules>> {
        let output = Command::new(xtask()?)
            .args(["modules", "--dovecot", version.as_str()])
            .stdin(Stdio::null())
            .output()?;
        let errors = String::from_utf8_lossy(&output.stderr);
        if output.status.code() == Some(EX_UNAVAILABLE.into()) {
            eprint!("{errors}");
            return Ok(None);
        }
        if !output.status.success() {
            return Err(io::Error::other(errors));
        }
        Ok(Some(serde_json::from_slice(&output.stdout)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_belongs_to_its_series() {
        let of = Version::of_release;
        assert_eq!(of("2.3.19.1 (9b53102964)\n"), Some(Version::V2_3));
        assert_eq!(of("2.4.1-4 (7d8c0e5759)\n"), Some(Version::V2_4));
        assert_eq!(of("2.40.0"), None);
        assert_eq!(of(""), None);
    }
}
