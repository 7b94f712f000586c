//! A service's sockets: named on the command line, or passed on by systemd under the same names.

use std::env;
use std::io;

use listenfd::ListenFd;

use crate::access::Access;
use crate::listener::{Endpoint, Listener};
use crate::problem::{Kind, Problem};

/// Sockets that are open already: `LISTEN_FDS` and `LISTEN_FDNAMES`, as in sd_listen_fds(3).
pub struct Inherited {
    names: Vec<String>,
    sockets: ListenFd,
}

/// Whether a service can do without a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// No.
    Required,
    /// Yes.
    Optional,
    /// Yes, and there may be several.
    Any,
}

impl Inherited {
    /// Takes over what systemd passes on, if anything. To be called once, before there are threads:
    /// the variables are removed, so that no child takes the sockets for its own.
    ///
    /// # Errors
    ///
    /// There is a socket with a name that is none of `known`, or two of one name that may be there once.
    pub fn from_env(known: &[(&str, Need)]) -> Result<Inherited, Problem> {
        let sockets = ListenFd::from_env();
        let names = match sockets.len() {
            0 => Vec::new(),
            _ => names(
                &env::var("LISTEN_FDNAMES").unwrap_or_default(),
                sockets.len(),
            ),
        };
        for (index, name) in names.iter().enumerate() {
            let need = known.iter().find(|(known, _)| known == name);
            let again = names.iter().take(index).any(|earlier| earlier == name);
            let problem = match need {
                None => {
                    let known: Vec<_> = known.iter().map(|(name, _)| *name).collect();
                    let known = known.join(", ");
                    format!("has FileDescriptorName={name}: one of {known} is expected")
                }
                Some((_, Need::Required | Need::Optional)) if again => {
                    format!("is the second one with FileDescriptorName={name}")
                }
                Some(_) => continue,
            };
            return Err(Problem::new(
                Kind::Usage,
                format!("socket {} passed on by systemd {problem}", index + 1),
            ));
        }
        Ok(Inherited { names, sockets })
    }

    /// Whether the socket of this name is either passed on or on the command line.
    ///
    /// # Errors
    ///
    /// It is both; or neither, and is needed.
    pub fn check(&self, name: &str, option: bool, need: Need) -> Result<(), Problem> {
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
        Err(Problem::new(Kind::Usage, message))
    }

    /// The socket of this name: passed on, or made at `endpoint`, or none.
    ///
    /// # Errors
    ///
    /// It cannot be made or used.
    pub fn listener(
        &mut self,
        name: &str,
        endpoint: Option<&Endpoint>,
        access: Access,
    ) -> Result<Option<Listener>, Problem> {
        match (self.index(name), endpoint) {
            (Some(index), _) => self.take(name, index).map(Some),
            (None, Some(endpoint)) => bind(endpoint, access).map(Some),
            (None, None) => Ok(None),
        }
    }

    /// All sockets of this name: passed on, or made at `endpoints`, or none.
    ///
    /// # Errors
    ///
    /// One cannot be made or used.
    pub fn listeners(
        &mut self,
        name: &str,
        endpoints: &[Endpoint],
        access: Access,
    ) -> Result<Vec<Listener>, Problem> {
        let passed_on: Vec<usize> = (0..self.names.len())
            .filter(|index| self.names.get(*index).is_some_and(|known| known == name))
            .collect();
        let mut listeners = Vec::new();
        for index in passed_on {
            listeners.push(self.take(name, index)?);
        }
        for endpoint in endpoints {
            listeners.push(bind(endpoint, access)?);
        }
        Ok(listeners)
    }

    fn index(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|known| known == name)
    }

    fn take(&mut self, name: &str, index: usize) -> Result<Listener, Problem> {
        self.take_either(index).map_err(|error| {
            let message = format!("socket '{name}' passed on by systemd: {error}");
            Problem::new(Kind::System, message)
        })
    }

    fn take_either(&mut self, index: usize) -> io::Result<Listener> {
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

fn bind(endpoint: &Endpoint, access: Access) -> Result<Listener, Problem> {
    Listener::bind(endpoint, access).map_err(|error| {
        let kind = match error.kind() {
            io::ErrorKind::AddrInUse => Kind::InUse,
            _ => Kind::CannotCreate,
        };
        Problem::new(kind, format!("{endpoint}: {error}"))
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
