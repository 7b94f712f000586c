//! The daemon's sockets: named on the command line, or passed on by systemd under the same names.

use std::env;
use std::io;

use chatmail_milter::{Access, Endpoint, Listener};
use listenfd::ListenFd;

use crate::failure::{Failure, exit};

/// Sockets that are open already: `LISTEN_FDS` and `LISTEN_FDNAMES`, as in sd_listen_fds(3).
pub(crate) struct Inherited {
    names: Vec<String>,
    sockets: ListenFd,
}

/// Whether the daemon can do without a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    Required,
    Optional,
}

impl Inherited {
    /// Takes over what systemd passes on, if anything. To be called once, before there are threads:
    /// the variables are removed, so that no child takes the sockets for its own.
    ///
    /// # Errors
    ///
    /// There is a socket with a name that is none of `known`, or two of one name.
    pub(crate) fn from_env(known: &[&str]) -> Result<Inherited, Failure> {
        let sockets = ListenFd::from_env();
        let names = match sockets.len() {
            0 => Vec::new(),
            _ => names(
                &env::var("LISTEN_FDNAMES").unwrap_or_default(),
                sockets.len(),
            ),
        };
        for (index, name) in names.iter().enumerate() {
            let problem = if !known.contains(&name.as_str()) {
                format!(
                    "has FileDescriptorName={name}: one of {} is expected",
                    known.join(", ")
                )
            } else if names[..index].contains(name) {
                format!("is the second one with FileDescriptorName={name}")
            } else {
                continue;
            };
            return Err(Failure::new(
                exit::USAGE,
                format!("socket {} passed on by systemd {problem}", index + 1),
            ));
        }
        Ok(Inherited { names, sockets })
    }

    /// Whether the socket of this name is there exactly once: passed on, or on the command line.
    ///
    /// # Errors
    ///
    /// It is there twice; or not at all, and is needed.
    pub(crate) fn check(&self, name: &str, option: bool, need: Need) -> Result<(), Failure> {
        let message = match (self.index(name), option) {
            (Some(_), true) => {
                format!("--{name}: systemd passes this socket on; give one or the other")
            }
            (None, false) if need == Need::Required => format!(
                "there is no socket for {name} mail: give --{name} SOCKET, or let systemd pass on \
                 one with FileDescriptorName={name}"
            ),
            _ => return Ok(()),
        };
        Err(Failure::new(exit::USAGE, message))
    }

    /// The socket of this name: passed on, or made at `endpoint`, or none.
    ///
    /// # Errors
    ///
    /// It cannot be made or used.
    pub(crate) fn listener(
        &mut self,
        name: &str,
        endpoint: Option<&Endpoint>,
        access: Access,
    ) -> Result<Option<Listener>, Failure> {
        match (self.index(name), endpoint) {
            (Some(index), _) => self.take(index).map(Some).map_err(|error| {
                let message = format!("socket '{name}' passed on by systemd: {error}");
                Failure::new(exit::OS_ERROR, message)
            }),
            (None, Some(endpoint)) => bind(endpoint, access).map(Some),
            (None, None) => Ok(None),
        }
    }

    fn index(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|known| known == name)
    }

    fn take(&mut self, index: usize) -> io::Result<Listener> {
        let taken = || io::Error::other("it is gone");
        // Which of the two it is, the one that does not fit says without a change.
        match self.sockets.take_unix_listener(index) {
            Ok(listener) => Listener::from_unix(listener.ok_or_else(taken)?),
            Err(_) => {
                let listener = self.sockets.take_tcp_listener(index)?;
                Listener::from_tcp(listener.ok_or_else(taken)?)
            }
        }
    }
}

/// One name for each socket; those systemd gave no name are `unknown`, as it calls them itself.
fn names(listed: &str, sockets: usize) -> Vec<String> {
    let mut names = listed.split(':').filter(|name| !name.is_empty());
    (0..sockets)
        .map(|_| names.next().unwrap_or("unknown").to_owned())
        .collect()
}

fn bind(endpoint: &Endpoint, access: Access) -> Result<Listener, Failure> {
    Listener::bind(endpoint, access).map_err(|error| {
        let exit = match error.kind() {
            io::ErrorKind::AddrInUse => exit::TEMPORARY_FAILURE,
            _ => exit::CANNOT_CREATE,
        };
        Failure::new(exit, format!("{endpoint}: {error}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_socket_has_a_name() {
        assert_eq!(names("outgoing:incoming", 2), ["outgoing", "incoming"]);
        assert_eq!(names("outgoing", 2), ["outgoing", "unknown"]);
        assert_eq!(names("", 1), ["unknown"]);
        assert_eq!(names("a:b:c", 1), ["a"]);
    }
}
