//! Commands of the MTA.

use std::net::IpAddr;

use super::ProtocolError;
use super::negotiation::Offer;

const ABORT: u8 = b'A';
pub(super) const BODY: u8 = b'B';
const CONNECT: u8 = b'C';
const MACROS: u8 = b'D';
pub(super) const END_OF_MESSAGE: u8 = b'E';
const HELO: u8 = b'H';
const QUIT_NEW_CONNECTION: u8 = b'K';
const HEADER: u8 = b'L';
const MAIL: u8 = b'M';
const END_OF_HEADERS: u8 = b'N';
const NEGOTIATE: u8 = b'O';
const QUIT: u8 = b'Q';
const RECIPIENT: u8 = b'R';
const DATA: u8 = b'T';
const UNKNOWN: u8 = b'U';

/// A command with its parameters, borrowed from the frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command<'a> {
    /// Start of option negotiation.
    Negotiate(Offer),
    /// Macros for the command that follows; we use two of them.
    Macros {
        /// Macro `i`.
        queue_id: Option<&'a [u8]>,
        /// Macro `{auth_authen}` of MAIL: the login.
        login: Option<&'a [u8]>,
    },
    /// The connection of an SMTP client: its network address, if it has one and the MTA knows it.
    Connect(Option<IpAddr>),
    /// MAIL FROM, without the angle brackets; empty is the null sender.
    Mail(&'a [u8]),
    /// RCPT TO, without the angle brackets.
    Recipient(&'a [u8]),
    /// One header field; folds are bare line feeds or CRLF, as the MTA has them.
    Header {
        /// Without the colon.
        name: &'a [u8],
        /// With the white space after the colon, if that was agreed upon.
        value: &'a [u8],
    },
    /// The empty line between header and body.
    EndOfHeaders,
    /// The end of a body frame, whose octets came before.
    BodyEnd,
    /// The end of the message: the answer decides.
    EndOfMessage,
    /// The end of a transaction, whatever came of it.
    Abort,
    /// The end of the connection.
    Quit,
    /// The end of the SMTP connection; another one follows on this filter connection.
    QuitNewConnection,
    /// A step of no interest to us (HELO, DATA, unknown commands), sent by an MTA that
    /// could not be told to leave it out.
    Uninteresting,
}

impl<'a> Command<'a> {
    /// Reads a frame.
    ///
    /// # Errors
    ///
    /// An unknown command, or a payload that does not belong to it.
    pub fn parse(command: u8, payload: &'a [u8]) -> Result<Command<'a>, ProtocolError> {
        let malformed = ProtocolError::MalformedPayload(command);
        let bare = |parsed: Command<'a>| match payload {
            [] => Ok(parsed),
            _ => Err(malformed),
        };
        match command {
            NEGOTIATE => Offer::parse(payload)
                .map(Command::Negotiate)
                .ok_or(malformed),
            MACROS => macros(payload).ok_or(malformed),
            CONNECT => client(payload).map(Command::Connect).ok_or(malformed),
            // What follows the address are ESMTP parameters.
            MAIL => address(payload).map(Command::Mail).ok_or(malformed),
            RECIPIENT => address(payload).map(Command::Recipient).ok_or(malformed),
            HEADER => match strings(payload) {
                Some(mut strings) => match (strings.next(), strings.next(), strings.next()) {
                    (Some(name), Some(value), None) if !name.is_empty() => {
                        Ok(Command::Header { name, value })
                    }
                    _ => Err(malformed),
                },
                None => Err(malformed),
            },
            END_OF_HEADERS => bare(Command::EndOfHeaders),
            BODY => bare(Command::BodyEnd),
            END_OF_MESSAGE => bare(Command::EndOfMessage),
            ABORT => bare(Command::Abort),
            QUIT => bare(Command::Quit),
            QUIT_NEW_CONNECTION => bare(Command::QuitNewConnection),
            HELO | DATA | UNKNOWN => Ok(Command::Uninteresting),
            _ => Err(ProtocolError::UnknownCommand(command)),
        }
    }
}

/// Strings that each end in NUL; `None` if the last one does not.
fn strings(payload: &[u8]) -> Option<impl Iterator<Item = &[u8]>> {
    let inner = payload.strip_suffix(b"\0")?;
    Some(inner.split(|octet| *octet == 0))
}

fn address(payload: &[u8]) -> Option<&[u8]> {
    let path = strings(payload)?.next()?;
    let inner = path
        .strip_prefix(b"<")
        .and_then(|path| path.strip_suffix(b">"));
    Some(inner.unwrap_or(path))
}

/// Name and value pairs, after the octet of the command they belong to. `None` if they are not pairs.
fn macros(payload: &[u8]) -> Option<Command<'_>> {
    let (command, pairs) = payload.split_first()?;
    let (mut queue_id, mut login) = (None, None);
    if !pairs.is_empty() {
        let mut strings = strings(pairs)?;
        while let Some(name) = strings.next() {
            let value = strings.next()?;
            match name {
                b"i" | b"{i}" => queue_id = Some(value),
                b"{auth_authen}" if *command == MAIL => login = Some(value),
                _ => {}
            }
        }
    }
    Some(Command::Macros { queue_id, login })
}

/// Name of the client, address family, and for IP its port in two octets and its address as text.
/// Sendmail writes `IPv6:` before an IPv6 address.
fn client(payload: &[u8]) -> Option<Option<IpAddr>> {
    let end = payload.iter().position(|octet| *octet == 0)?;
    let (_, rest) = payload.split_at(end);
    let (family, rest) = rest.strip_prefix(b"\0")?.split_first()?;
    if !matches!(family, b'4' | b'6') {
        return Some(None);
    }
    let (_port, address) = rest.split_first_chunk::<2>()?;
    let address = strings(address)?.next()?;
    let address = std::str::from_utf8(address).ok()?;
    Some(
        address
            .strip_prefix("IPv6:")
            .unwrap_or(address)
            .parse()
            .ok(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_null_sender_is_an_empty_address() {
        assert_eq!(
            Command::parse(b'M', b"<>\0SIZE=12\0"),
            Ok(Command::Mail(b""))
        );
    }

    #[test]
    fn an_address_loses_its_angle_brackets_and_keeps_its_case() {
        assert_eq!(
            Command::parse(b'R', b"<Bob@chat.test>\0NOTIFY=NEVER\0"),
            Ok(Command::Recipient(b"Bob@chat.test"))
        );
    }

    #[test]
    fn a_header_value_may_be_empty_but_a_name_may_not() {
        assert_eq!(
            Command::parse(b'L', b"Subject\0\0"),
            Ok(Command::Header {
                name: b"Subject",
                value: b""
            })
        );
        assert!(Command::parse(b'L', b"\0value\0").is_err());
        assert!(Command::parse(b'L', b"Subject\0").is_err());
        assert!(Command::parse(b'L', b"Subject\0a\0b\0").is_err());
        assert!(Command::parse(b'L', b"Subject\0a").is_err());
    }

    #[test]
    fn the_queue_id_is_found_among_other_macros() {
        let payload = b"Ej\0mx.chat.test\0i\x004DFF6990062\0";
        assert_eq!(
            Command::parse(b'D', payload),
            Ok(Command::Macros {
                queue_id: Some(b"4DFF6990062"),
                login: None
            })
        );
        assert_eq!(
            Command::parse(b'D', b"C"),
            Ok(Command::Macros {
                queue_id: None,
                login: None
            })
        );
        assert!(Command::parse(b'D', b"").is_err());
        assert!(Command::parse(b'D', b"Ci\0").is_err());
    }

    #[test]
    fn the_login_is_a_macro_of_mail_and_of_no_other_command() {
        let login = |payload| match Command::parse(b'D', payload) {
            Ok(Command::Macros { login, .. }) => login,
            other => panic!("{other:?}"),
        };
        assert_eq!(login(b"M{auth_authen}\0a@b\0"), Some(b"a@b".as_slice()));
        assert_eq!(
            login(b"Mi\0NOQUEUE\0{auth_authen}\0\0"),
            Some(b"".as_slice())
        );
        assert_eq!(login(b"M{auth_author}\0a@b\0"), None);
        assert_eq!(login(b"Mi\0{auth_authen}\0"), None);
        assert_eq!(login(b"C{auth_authen}\0a@b\0"), None);
        assert_eq!(login(b"R{auth_authen}\0a@b\0"), None);
    }

    #[test]
    fn a_client_has_an_address_or_none() {
        let client = |payload| match Command::parse(b'C', payload) {
            Ok(Command::Connect(client)) => client.map(|client| client.to_string()),
            other => panic!("{other:?}"),
        };
        for (payload, address) in [
            (
                b"mx.test\x004\x00\x19192.0.2.1\0".as_slice(),
                Some("192.0.2.1"),
            ),
            (b"mx.test\x006\0\x002001:db8::1\0", Some("2001:db8::1")),
            (b"mx.test\x006\0\0IPv6:2001:db8::1\0", Some("2001:db8::1")),
            (
                b"mx.test\x006\0\0::ffff:192.0.2.1\0",
                Some("::ffff:192.0.2.1"),
            ),
            (b"mx.test\x004\0\0unknown\0", None),
            (b"unknown\0U", None),
            (b"localhost\0L\0\0/run/socket\0", None),
        ] {
            assert_eq!(client(payload).as_deref(), address);
        }
        for wrong in [
            b"".as_slice(),
            b"mx.test",
            b"mx.test\0",
            b"mx.test\x004\0",
            b"mx.test\x004\0\0a",
        ] {
            assert!(Command::parse(b'C', wrong).is_err());
        }
    }

    #[test]
    fn an_unknown_command_is_an_error() {
        assert_eq!(
            Command::parse(b'z', b""),
            Err(ProtocolError::UnknownCommand(b'z'))
        );
    }

    proptest! {
        #[test]
        fn any_payload_is_a_command_or_an_error(command: u8, payload in prop::collection::vec(prop_oneof![Just(0u8), any::<u8>()], 0..200)) {
            let _ = Command::parse(command, &payload);
        }
    }
}
