//! How the command ends: sysexits(3) and a line for standard error.

use std::path::Path;

use chatmail_core::config::Config;
use chatmail_sockets::{Kind, Problem};

/// sysexits(3).
#[derive(Debug, Clone, Copy)]
pub(crate) enum Exit {
    Refused = 1,
    Usage = 64,
    Data = 65,
    NoInput = 66,
    NoUser = 67,
    Unavailable = 69,
    System = 71,
    CannotCreate = 73,
    CannotWrite = 74,
    TemporaryFailure = 75,
    NoPermission = 77,
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

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Failure {
        let exit = match problem.kind {
            Kind::Usage => Exit::Usage,
            Kind::CannotCreate => Exit::CannotCreate,
            Kind::InUse => Exit::TemporaryFailure,
            Kind::System => Exit::System,
        };
        Failure(exit, problem.to_string())
    }
}

/// The `chatmail.ini` a command was given; its warnings go to standard error, once.
pub(crate) fn load(path: &Path) -> Result<Config, Failure> {
    let config = read(path)?;
    for warning in &config.warnings {
        eprintln!("chatmail: warning: {warning}");
    }
    Ok(config)
}

/// Like [`load`], without the warnings.
pub(crate) fn read(path: &Path) -> Result<Config, Failure> {
    Config::load(path).map_err(Failure::configuration)
}
