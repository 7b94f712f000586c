//! Why the daemon does not run.

use std::io;

use chatmail_sockets::{Kind, Problem};

/// sysexits(3).
pub(crate) mod exit {
    pub(crate) const USAGE: u8 = 64;
    pub(crate) const OS_ERROR: u8 = 71;
    pub(crate) const CANNOT_CREATE: u8 = 73;
    pub(crate) const TEMPORARY_FAILURE: u8 = 75;
    pub(crate) const CONFIGURATION: u8 = 78;
}

/// A reason not to run, already complete for the log.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) message: String,
    /// One of [`exit`].
    pub(crate) exit: u8,
}

impl Failure {
    pub(crate) fn new(exit: u8, message: impl Into<String>) -> Failure {
        Failure {
            message: message.into(),
            exit,
        }
    }

    /// A call to the system that should have worked.
    pub(crate) fn system(error: io::Error) -> Failure {
        Failure::new(exit::OS_ERROR, error.to_string())
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Failure {
        let exit = match problem.kind {
            Kind::Usage => exit::USAGE,
            Kind::CannotCreate => exit::CANNOT_CREATE,
            Kind::InUse => exit::TEMPORARY_FAILURE,
            Kind::System => exit::OS_ERROR,
        };
        Failure::new(exit, problem.to_string())
    }
}
