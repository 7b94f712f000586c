//! How the command ends: sysexits(3) and a line for standard error.

use std::path::Path;

use chatmail_core::config::Config;

/// sysexits(3).
#[derive(Debug, Clone, Copy)]
pub(crate) enum Exit {
    Refused = 1,
    Usage = 64,
    Unavailable = 69,
    CannotCreate = 73,
    CannotWrite = 74,
    TemporaryFailure = 75,
    Configuration = 78,
}

/// Why the command failed: a line for standard error, and the exit code.
#[derive(Debug)]
pub(crate) struct Failure(pub(crate) Exit, pub(crate) String);

impl Failure {
    /// Wrong chatmail.ini or another file of the operator's.
    pub(crate) fn configuration(why: impl ToString) -> Failure {
        Failure(Exit::Configuration, why.to_string())
    }
}

/// The `chatmail.ini` a command was given.
pub(crate) fn load(path: &Path) -> Result<Config, Failure> {
    Config::load(path).map_err(Failure::configuration)
}
