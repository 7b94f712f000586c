//! What the check answers: verdict, class, refusal and its reason.

use std::fmt;
use std::io;

use super::reply::Reply;

/// Which way a message goes through the relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From a user of ours who is logged in (submission, ports 587 and 465).
    Outgoing,
    /// From another host (port 25).
    Incoming,
}

/// The decision about one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The message passes, with these edits of its header.
    Accepted(Accepted),
    /// The message does not pass; the refusal owns the SMTP reply.
    Refused(Refusal),
}

/// A message that passes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// Why it passes.
    pub class: Class,
    /// What to change in its header, in an order in which each index still holds when it is
    /// applied: per name the highest index first.
    pub edits: Vec<HeaderEdit>,
    /// The one address of its one From field, as it is written there.
    pub author: String,
    /// Version of the encrypted data packet (SEIPD, RFC 9580 section 5.13), 1 or 2; `None` unless
    /// the class is [`Class::Encrypted`].
    pub seipd: Option<u8>,
}

/// Why a message passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// OpenPGP/MIME (RFC 3156) of which every byte is accounted for.
    Encrypted,
    /// `Secure-Join: vc-request` or `vg-request` and nothing beside it.
    SecureJoinRequest,
    /// A delivery report of another mail server (RFC 3464), whose text is short (incoming only).
    DeliveryReport,
    /// Anything, to recipients who all allow cleartext (incoming only).
    Cleartext,
}

impl Class {
    /// A short name for logs and the corpus: `encrypted`, `secure-join-request`,
    /// `delivery-report`, `cleartext`.
    pub fn name(self) -> &'static str {
        match self {
            Class::Encrypted => "encrypted",
            Class::SecureJoinRequest => "secure-join-request",
            Class::DeliveryReport => "delivery-report",
            Class::Cleartext => "cleartext",
        }
    }
}

/// One edit of the message header, in the terms of the milter protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeaderEdit {
    /// Remove a field.
    Delete {
        /// Field name in lower case.
        name: String,
        /// Which of the fields with this name, from 1.
        index: u32,
    },
    /// Put another value into a field.
    Replace {
        /// Field name as the message spells it.
        name: String,
        /// Which of the fields with this name, from 1.
        index: u32,
        /// The new value, without a leading space.
        value: String,
    },
}

/// A message that does not pass, and where the check stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The rule that said no.
    pub reason: Reason,
    /// The piece of the message in which it was broken.
    pub part: Part,
    /// In the body: bytes from its start to the line that breaks the rule. In the header: the
    /// number of the field, from 1; 0 for the header as a whole, and in the envelope.
    pub offset: u64,
}

impl Refusal {
    pub(super) fn of_envelope(reason: Reason) -> Refusal {
        Refusal {
            reason,
            part: Part::Envelope,
            offset: 0,
        }
    }

    /// The SMTP reply for this refusal.
    pub fn reply(&self) -> Reply {
        self.reason.reply()
    }
}

/// `preamble text (body, offset 0)`: for logs; holds nothing of the message.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} ({}, offset {})",
            self.reason.name(),
            self.part,
            self.offset
        )
    }
}

/// A piece of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// The envelope, which is not in the message.
    Envelope,
    /// The message header.
    Header,
    /// The body outside of its parts: preamble, delimiters, epilogue.
    Body,
    /// A body part, header included, counted from 1.
    BodyPart(u8),
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Part::Envelope => f.write_str("envelope"),
            Part::Header => f.write_str("header"),
            Part::Body => f.write_str("body"),
            Part::BodyPart(number) => write!(f, "part {number}"),
        }
    }
}

/// The rule a message broke. Each reason owns its reply, see [`Reason::reply`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// Outgoing: the client has not logged in.
    NotLoggedIn,
    /// Outgoing: the envelope sender is not the login.
    SenderMismatch {
        /// The envelope sender.
        sender: String,
        /// The address that the user has logged in as.
        login: String,
    },
    /// No From field, more than one, or not exactly one plain address in it. Holds what the reply
    /// shows.
    InvalidFrom(String),
    /// Outgoing: From is not the envelope sender.
    FromMismatch {
        /// The address in the From field.
        header: String,
        /// The envelope sender.
        envelope: String,
    },
    /// More header fields, or more bytes in them, than [`limits`](super::limits) allow.
    HeaderTooLarge,
    /// Not `multipart/encrypted` at all, and no other class that passes.
    NotEncrypted,
    /// A header field that is none, or that mail readers read differently: malformed, of an
    /// unexpected value, or present twice.
    HeaderField,
    /// Outgoing: a field that has to stay has a longer line than mail servers send unchanged.
    HeaderLine,
    /// A Content-Type that mail readers read differently, or with parameters it has no use for.
    ContentType,
    /// A Content-Transfer-Encoding that is not allowed there, or a part that is not validly encoded.
    TransferEncoding,
    /// Text before the first delimiter.
    Preamble,
    /// Text after the last delimiter.
    Epilogue,
    /// A line that begins like a delimiter and is none.
    Delimiter,
    /// Not exactly the parts there have to be, or no closing delimiter.
    Parts,
    /// A field in the header of a body part that has no place there, or text beside its fields.
    PartHeader,
    /// The first part is not the line `Version: 1`.
    VersionPart,
    /// A line longer than RFC 5322 allows, or bare CR, or CRLF and LF mixed.
    Line,
    /// Text beside, or an error in, the ASCII armor.
    Armor,
    /// A header line of the armor that may not be there.
    ArmorHeader,
    /// A packet, or an order of packets, that is no encrypted message.
    Packet,
    /// A session key packet with room for something else than a session key, or too many of them.
    SessionKeyPacket,
    /// A Secure-Join request with something beside its line.
    SecureJoin,
    /// A delivery report whose envelope or header is not that of one: it has an envelope sender or
    /// several recipients, is not from a mail server or not marked as automatic, or its header is long.
    Report,
    /// The text of a delivery report is too long, or holds control characters.
    ReportText,
    /// The fields of a delivery report are not those of RFC 3464.
    DeliveryStatus,
    /// The content that a delivery report returns is neither a header nor an encrypted message.
    Returned,
    /// Readable mail from an author whose domain is an address literal, sent by a client with another
    /// address.
    ForeignLiteral,
    /// Incoming mail from an author whose domain is the address literal of this relay: nobody could sign it, and
    /// nobody of this relay sends mail that way.
    OwnLiteral,
}

impl Reason {
    /// A short name for logs and the corpus.
    pub fn name(&self) -> &'static str {
        match self {
            Reason::NotLoggedIn => "not-logged-in",
            Reason::SenderMismatch { .. } => "sender-mismatch",
            Reason::InvalidFrom(_) => "invalid-from",
            Reason::FromMismatch { .. } => "from-mismatch",
            Reason::HeaderTooLarge => "header-too-large",
            Reason::NotEncrypted => "not-encrypted",
            Reason::HeaderField => "header-field",
            Reason::HeaderLine => "header-line",
            Reason::ContentType => "content-type",
            Reason::TransferEncoding => "transfer-encoding",
            Reason::Preamble => "preamble",
            Reason::Epilogue => "epilogue",
            Reason::Delimiter => "delimiter",
            Reason::Parts => "parts",
            Reason::PartHeader => "part-header",
            Reason::VersionPart => "version-part",
            Reason::Line => "line",
            Reason::Armor => "armor",
            Reason::ArmorHeader => "armor-header",
            Reason::Packet => "packet",
            Reason::SessionKeyPacket => "session-key-packet",
            Reason::SecureJoin => "secure-join",
            Reason::Report => "report",
            Reason::ReportText => "report-text",
            Reason::DeliveryStatus => "delivery-status",
            Reason::Returned => "returned",
            Reason::ForeignLiteral => "foreign-literal",
            Reason::OwnLiteral => "own-literal",
        }
    }
}

/// The check could not be made: a temporary failure ([`Reply::temporary`]), never a verdict.
#[derive(Debug)]
pub struct Undecided {
    pub(super) source: io::Error,
}

impl Undecided {
    /// The reply for it.
    pub fn reply(&self) -> Reply {
        Reply::temporary()
    }
}

impl fmt::Display for Undecided {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "cannot tell whether a recipient accepts cleartext: {}",
            self.source
        )
    }
}

impl std::error::Error for Undecided {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}
