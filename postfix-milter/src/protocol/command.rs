//! Commands of the MTA.

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
    /// Macros for the command that follows; of all of them we know one.
    Macros {
        /// Macro `i`.
        queue_id: Option<&'a [u8]>,
    },
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
    /// A step of no interest to us (CONNECT, HELO, DATA, unknown commands), sent by an MTA that
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
            MACROS => queue_id(payload)
                .map(|queue_id| Command::Macros { queue_id })
                .ok_or(malformed),
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
            CONNECT | HELO | DATA | UNKNOWN => Ok(Command::Uninteresting),
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

/// Macro `i` among name and value pairs, behind the octet of the command they belong to. The outer
/// `None`: these are no pairs.
fn queue_id(payload: &[u8]) -> Option<Option<&[u8]>> {
    let (_, pairs) = payload.split_first()?;
    if pairs.is_empty() {
        return Some(None);
    }
    let mut strings = strings(pairs)?;
    let mut found = None;
    while let Some(name) = strings.next() {
        let value = strings.next()?;
        if name == b"i" || name == b"{i}" {
            found = Some(value);
        }
    }
    Some(found)
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
                queue_id: Some(b"4DFF6990062")
            })
        );
        assert_eq!(
            Command::parse(b'D', b"C"),
            Ok(Command::Macros { queue_id: None })
        );
        assert!(Command::parse(b'D', b"").is_err());
        assert!(Command::parse(b'D', b"Ci\0").is_err());
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
