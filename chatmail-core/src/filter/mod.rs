//! One message's session: sender, recipients, header, body, verdict.
//!
//! The relay's promise is that it carries no readable text. So the check is a grammar that
//! accounts for every byte: what it does not name is refused, and where standards leave a choice
//! that mail readers resolve differently, the message is refused too. The check streams: its memory
//! does not grow with the message, its time is linear, and how the body is cut into chunks never
//! changes the verdict.
//!
//! ```
//! use chatmail_core::address::MailDomain;
//! use chatmail_core::filter::{Direction, MessageFilter, Verdict};
//! use chatmail_core::mailbox::Mailboxes;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let domain = MailDomain::parse("chat.test").ok_or("no domain")?;
//! let mailboxes = Mailboxes::new("/home/vmail/mail/chat.test".into(), domain);
//!
//! let mut message = MessageFilter::new(Direction::Outgoing, b"alice@chat.test");
//! message.recipient(b"bob@chat.test");
//! message.header(b"From", b" alice@chat.test");
//! message.header(b"Content-Type", b" text/plain");
//! message.end_of_headers();
//! message.body(b"Attack at dawn.\r\n");
//! let Verdict::Refused(refusal) = message.finish(&mailboxes)? else {
//!     return Err("readable text went through".into());
//! };
//! assert_eq!(refusal.reply().to_string(), "523 Encryption Needed: Invalid Unencrypted Mail");
//! # Ok(())
//! # }
//! ```

pub mod limits;
pub mod rate;
mod reply;
mod verdict;

use crate::mailbox::Mailboxes;

pub use reply::Reply;
pub use verdict::{
    Accepted, Class, Direction, HeaderEdit, Part, Reason, Refusal, Undecided, Verdict,
};

/// The check of one message, fed as it arrives.
///
/// Call [`recipient`](Self::recipient) for each recipient, [`header`](Self::header) for each field
/// in any order, [`end_of_headers`](Self::end_of_headers), [`body`](Self::body) for each chunk, and
/// [`finish`](Self::finish). For a raw stream there is [`RawMessage`].
#[derive(Debug)]
pub struct MessageFilter {
    _direction: Direction,
}

impl MessageFilter {
    /// A message with this envelope sender, with or without angle brackets; empty is the null
    /// sender.
    pub fn new(direction: Direction, sender: &[u8]) -> MessageFilter {
        let _ = sender;
        MessageFilter {
            _direction: direction,
        }
    }

    /// One envelope recipient, with or without angle brackets.
    pub fn recipient(&mut self, address: &[u8]) {
        let _ = address;
    }

    /// One header field: its name without the colon, its value as it stands, folds (LF or CRLF and
    /// white space) included, with or without the space after the colon.
    pub fn header(&mut self, name: &[u8], value: &[u8]) {
        let _ = (name, value);
    }

    /// No further header field comes.
    pub fn end_of_headers(&mut self) {}

    /// The next bytes of the body, cut anywhere.
    pub fn body(&mut self, chunk: &[u8]) {
        let _ = chunk;
    }

    /// The verdict. `mailboxes` is asked only for incoming cleartext: whether each recipient
    /// allows it. An `Err` means that this could not be found out: answer with
    /// [`Reply::temporary`].
    pub fn finish(self, mailboxes: &Mailboxes) -> Result<Verdict, Undecided> {
        let _ = mailboxes;
        Err(Undecided {
            source: std::io::Error::other("the check is not built yet"),
        })
    }
}

/// The check of one message as a raw stream (RFC 5322, line ends CRLF or LF), cut anywhere.
#[derive(Debug)]
pub struct RawMessage {
    filter: MessageFilter,
}

impl RawMessage {
    /// Feeds `filter`, which has its recipients and nothing else yet.
    pub fn new(filter: MessageFilter) -> RawMessage {
        RawMessage { filter }
    }

    /// The next bytes of the message.
    pub fn write(&mut self, chunk: &[u8]) {
        self.filter.body(chunk);
    }

    /// See [`MessageFilter::finish`].
    pub fn finish(self, mailboxes: &Mailboxes) -> Result<Verdict, Undecided> {
        self.filter.finish(mailboxes)
    }
}
