//! Why a socket cannot be had.

use std::fmt;

/// What kind of problem it is; a service's exit code follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// What the operator asked for makes no sense.
    Usage,
    /// The socket cannot be made: no permission, no such directory, something else is there.
    CannotCreate,
    /// Another process listens there.
    InUse,
    /// What the system passed on is of no use.
    System,
}

/// A problem with a socket. `Display` gives a whole line for the log.
#[derive(Debug)]
pub struct Problem {
    /// What kind of problem.
    pub kind: Kind,
    message: String,
}

impl Problem {
    /// With a line that names the socket.
    pub fn new(kind: Kind, message: impl Into<String>) -> Problem {
        Problem {
            kind,
            message: message.into(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Problem {}
