//! Where a message comes from, as the mail server has established it.

use std::net::IpAddr;

use super::bare;
use super::reply::printable;
use super::verdict::{Direction, Reason};

/// Where a message comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin<'a> {
    /// A user of this relay (submission, ports 587 and 465).
    Outgoing {
        /// The address that the user has logged in as, in upper or lower case. Empty if the client has
        /// not logged in: then the message is refused.
        login: &'a [u8],
    },
    /// Another host (port 25).
    Incoming {
        /// The network address of the client, `None` if it is not known.
        client: Option<IpAddr>,
    },
}

impl Origin<'_> {
    /// Which way the message goes.
    pub fn direction(self) -> Direction {
        match self {
            Origin::Outgoing { .. } => Direction::Outgoing,
            Origin::Incoming { .. } => Direction::Incoming,
        }
    }

    /// Whether this envelope sender, with or without angle brackets, may be used. A user may only use
    /// the login, ignoring case: no other spelling, and no `+detail`. Other hosts may use any.
    ///
    /// # Errors
    ///
    /// The client has not logged in ([`Reason::NotLoggedIn`]), or has logged in as somebody else
    /// ([`Reason::SenderMismatch`]).
    pub fn check_sender(self, sender: &[u8]) -> Result<(), Reason> {
        let sender = bare(sender);
        match self {
            Origin::Incoming { .. } => Ok(()),
            Origin::Outgoing { login: b"" } => Err(Reason::NotLoggedIn),
            Origin::Outgoing { login } if sender.eq_ignore_ascii_case(login) => Ok(()),
            Origin::Outgoing { login } => Err(Reason::SenderMismatch {
                sender: printable(sender),
                login: printable(login),
            }),
        }
    }

    /// The client's network address; an IPv4-mapped IPv6 address becomes the IPv4 address.
    pub(super) fn client(self) -> Option<IpAddr> {
        match self {
            Origin::Outgoing { .. } => None,
            Origin::Incoming { client } => client.map(|address| address.to_canonical()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_sends_as_the_login_in_any_case_and_as_nothing_else() {
        let alice = Origin::Outgoing {
            login: b"alice@chat.test",
        };
        for sender in ["alice@chat.test", "<Alice@CHAT.test>"] {
            assert_eq!(alice.check_sender(sender.as_bytes()), Ok(()), "{sender}");
        }
        for sender in [
            "",
            "<>",
            "alice",
            "bob@chat.test",
            "alice@chat.test.",
            "alice+news@chat.test",
            "\"alice\"@chat.test",
            "alice%chat.test@[127.0.0.1]",
            "chat.test!alice@[127.0.0.1]",
            "alice%chat.test.@x",
            "@relay.test:alice@chat.test",
            "<<alice@chat.test>>",
            " alice@chat.test",
        ] {
            let refused = alice.check_sender(sender.as_bytes());
            assert!(
                matches!(refused, Err(Reason::SenderMismatch { .. })),
                "{sender}: {refused:?}"
            );
        }
    }

    #[test]
    fn without_a_login_nobody_sends() {
        let nobody = Origin::Outgoing { login: b"" };
        for sender in [&b""[..], b"<>", b"alice@chat.test"] {
            assert_eq!(nobody.check_sender(sender), Err(Reason::NotLoggedIn));
        }
    }

    #[test]
    fn an_ipv4_client_is_the_same_on_a_socket_for_ipv6() {
        let client = |text: &str| {
            let client = Some(text.parse().expect("an IP address"));
            Origin::Incoming { client }.client()
        };
        assert_eq!(client("::ffff:192.0.2.1"), client("192.0.2.1"));
        assert_ne!(client("::ffff:192.0.2.1"), client("::1"));
    }
}
