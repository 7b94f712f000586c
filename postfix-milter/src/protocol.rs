//! The milter protocol, version 6, as Postfix and Sendmail speak it: bytes to commands, answers to
//! bytes. Nothing here knows what a message means.
//!
//! A frame is a length (four octets, network order, counting what follows), a command octet and
//! a payload. The MTA sends commands, the filter answers those whose answer it did not sign away
//! when the connection was negotiated.
//!
//! Input is untrusted as far as the library is concerned: whatever arrives, decoding ends in a
//! command or in a [`ProtocolError`], after which the connection is closed. An MTA that loses its
//! filter turns the message away for the time being.

mod answer;
mod command;
mod frame;
mod negotiation;

pub use answer::{Answers, InvalidEdit, MAX_REPLY};
pub use command::Command;
pub use frame::{Decoder, MAX_BODY_FRAME, MAX_FRAME, Piece};
pub use negotiation::{Negotiated, Offer, actions, steps};

use std::fmt;

/// Why a connection is closed: the other side does not speak the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProtocolError {
    /// A frame without even a command octet.
    EmptyFrame,
    /// A frame longer than [`MAX_FRAME`], or [`MAX_BODY_FRAME`] for body frames.
    FrameTooLong {
        /// As announced, in octets.
        length: u32,
    },
    /// A command octet that this version does not know.
    UnknownCommand(u8),
    /// The payload is not what the command carries.
    MalformedPayload(u8),
    /// A command before option negotiation, or a second negotiation.
    NotNegotiated,
    /// The MTA does not let filters change header fields, or speaks a version before 2.
    Unsupported,
    /// Something behind the end of a message before that was answered.
    Impatient,
    /// A command at a time when it makes no sense, such as RCPT without MAIL.
    OutOfOrder(u8),
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            ProtocolError::EmptyFrame => write!(f, "a frame without a command"),
            ProtocolError::FrameTooLong { length } => write!(f, "a frame of {length} octets"),
            ProtocolError::UnknownCommand(c) => {
                write!(f, "unknown command '{}'", c.escape_ascii())
            }
            ProtocolError::MalformedPayload(c) => {
                write!(f, "malformed payload of command '{}'", c.escape_ascii())
            }
            ProtocolError::NotNegotiated => write!(f, "option negotiation missing or repeated"),
            ProtocolError::Unsupported => write!(
                f,
                "the MTA speaks a protocol before version 2 or forbids changes of header fields"
            ),
            ProtocolError::Impatient => write!(f, "more before a message was answered"),
            ProtocolError::OutOfOrder(c) => {
                write!(f, "command '{}' out of order", c.escape_ascii())
            }
        }
    }
}

impl std::error::Error for ProtocolError {}
