//! One message's session: sender, recipients, header, body, verdict.
//!
//! The relay's promise is that it carries no readable text. So the check is a grammar that
//! accounts for every byte: what it does not name is refused, and where standards leave a choice
//! that mail readers resolve differently, the message is refused too. The check streams: its memory
//! does not grow with the message, its time is linear, and how the body is cut into chunks never
//! changes the verdict.
//!
//! # What passes
//!
//! | class | outgoing | incoming |
//! |---|---|---|
//! | [`Class::Encrypted`] | yes | yes |
//! | [`Class::SecureJoinRequest`] | yes | yes |
//! | [`Class::DeliveryReport`] | no | yes |
//! | [`Class::Cleartext`] | no | if every recipient's mailbox allows it |
//!
//! Autocrypt Setup Messages do not: older relays let a message to oneself pass by its Subject, which
//! carries any text one likes, and clients transfer keys in other ways today. Nor do read receipts
//! in clear, inline PGP, or S/MIME.
//!
//! Reports and cleartext of an author whose domain is an address literal pass only from a client with
//! that address, because no DKIM key proves who the author is. Encrypted mail and Secure-Join requests
//! pass from any client, because hosts have several addresses. On a relay whose own domain is a literal, no incoming
//! mail has an author of that domain.
//!
//! Every message must have one From field with one address. Outgoing mail must have the login as its
//! envelope sender, and the envelope sender in From. Anything else is refused, whatever its content.
//!
//! # Map
//!
//! `raw` splits a stream into fields and body; `headers` reads fields, `policy` holds the table of
//! what becomes of them, `form` measures their values and `edits` collects what is to change; `body`
//! cuts lines; `multipart`, `part`, `encoded` and `mime` are the MIME grammar; `armor`, `alphabet`,
//! `decode`, `openpgp` and `session_key` are what is inside. `report` is the grammar of
//! delivery reports, with all the free text that they may have.
//! [`limits`] has every number, `reply` every text.
//!
//! # What it cannot see
//!
//! Nobody without the key can tell ciphertext from other bytes: who writes a client of their own can
//! put anything into the encrypted data packet, in base64. What remains readable of an outgoing
//! header stands in `policy`; that of incoming mail is as the other host wrote it.
//!
//! ```
//! use chatmail_core::address::MailDomain;
//! use chatmail_core::filter::{MessageFilter, Origin, Verdict};
//! use chatmail_core::mailbox::Mailboxes;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let domain = MailDomain::parse("chat.test").ok_or("no domain")?;
//! let mailboxes = Mailboxes::new("/home/vmail/mail/chat.test".into(), domain);
//!
//! let alice = b"alice@chat.test";
//! let mut message = MessageFilter::new(Origin::Outgoing { login: alice }, alice);
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

mod alphabet;
mod armor;
mod body;
mod decode;
mod edits;
mod encoded;
mod form;
mod headers;
pub mod limits;
mod mime;
mod multipart;
mod openpgp;
mod origin;
mod part;
mod policy;
pub mod rate;
mod raw;
mod reply;
mod report;
mod session_key;
#[cfg(test)]
mod tests;
mod verdict;

use std::io;
use std::net::IpAddr;

use crate::address::Address;
use crate::mailbox::Mailboxes;

use body::{Body, Whole};
use headers::{Announced, Header};
use multipart::{Content, Multipart};
use report::Report;

pub use origin::Origin;
pub use raw::RawMessage;
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
    direction: Direction,
    /// Why the envelope is refused, whatever the message says.
    envelope: Result<(), Refusal>,
    /// The client's address, for incoming mail and if it is known.
    client: Option<IpAddr>,
    sender: Vec<u8>,
    recipients: Recipients,
    header: Header,
    body: Progress,
    /// Memory for the body, of which small messages need little.
    spare: Vec<u8>,
}

/// How far the grammar got.
#[derive(Debug)]
enum Progress {
    Header,
    Body(Box<Body>, Class),
    /// It is no encrypted message; its body does not matter any more.
    Fault(Refusal),
}

/// Who must allow cleartext, one address per line.
#[derive(Debug, Default)]
struct Recipients {
    lines: Vec<u8>,
    /// More than are remembered, or one that is no address.
    refuse: bool,
}

impl MessageFilter {
    /// A message with this envelope sender, with or without angle brackets; empty is the null
    /// sender. What [`Origin::check_sender`] says of it becomes the verdict.
    pub fn new(origin: Origin<'_>, sender: &[u8]) -> MessageFilter {
        let direction = origin.direction();
        MessageFilter {
            direction,
            envelope: origin.check_sender(sender).map_err(Refusal::of_envelope),
            client: origin.client(),
            sender: bare(sender).to_vec(),
            recipients: Recipients::default(),
            header: Header::new(direction),
            body: Progress::Header,
            spare: Vec::new(),
        }
    }

    /// One envelope recipient, with or without angle brackets.
    pub fn recipient(&mut self, address: &[u8]) {
        if self.direction == Direction::Incoming {
            self.recipients.add(bare(address));
        }
    }

    /// One header field: its name without the colon, its value as it stands, folds (LF or CRLF and
    /// white space) included, with or without the space after the colon.
    pub fn header(&mut self, name: &[u8], value: &[u8]) {
        match self.body {
            Progress::Header => self.header.field(name, value, &self.sender),
            _ => self.header_malformed(),
        }
    }

    /// No further header field comes.
    pub fn end_of_headers(&mut self) {
        if !matches!(self.body, Progress::Header) {
            return;
        }
        self.body = match self.header.content() {
            Ok(Announced::Multipart(content, boundary)) => {
                let class = match content {
                    Content::Encrypted => Class::Encrypted,
                    Content::Request(_) => Class::SecureJoinRequest,
                };
                let spare = std::mem::take(&mut self.spare);
                let grammar = Multipart::new(self.direction, content, boundary, spare);
                Progress::Body(Box::new(Body::new(Whole::Multipart(grammar))), class)
            }
            Ok(Announced::Report(boundary)) => {
                let grammar = Whole::Report(Report::new(boundary));
                Progress::Body(Box::new(Body::new(grammar)), Class::DeliveryReport)
            }
            Err(refusal) => Progress::Fault(refusal),
        };
    }

    /// The next bytes of the body, cut anywhere.
    pub fn body(&mut self, chunk: &[u8]) {
        self.end_of_headers();
        if let Progress::Body(body, _) = &mut self.body
            && let Err(refusal) = body.feed(chunk)
        {
            self.body = Progress::Fault(refusal);
        }
    }

    /// Whether further body chunks can change the verdict. A caller that needs the body for nothing
    /// else may stop sending it.
    pub fn wants_body(&self) -> bool {
        !matches!(self.body, Progress::Fault(_))
    }

    /// The verdict. `mailboxes` is asked only for incoming cleartext: whether each recipient
    /// allows it. An `Err` means that this could not be found out: answer with
    /// [`Reply::temporary`].
    pub fn finish(mut self, mailboxes: &Mailboxes) -> Result<Verdict, Undecided> {
        self.end_of_headers();
        let outgoing = self.direction == Direction::Outgoing;
        let report = self.check_report();
        let checked = self.envelope.and_then(|()| self.header.check_size());
        if let Err(refusal) = checked.and_then(|()| self.header.check_author(&self.sender)) {
            return Ok(Verdict::Refused(refusal));
        }
        let content = match self.body {
            Progress::Body(body, Class::DeliveryReport) => body
                .finish()
                .and(report)
                .map(|()| (Class::DeliveryReport, None)),
            Progress::Body(body, class) => body.finish().map(|seipd| (class, seipd)),
            Progress::Fault(refusal) => Err(refusal),
            // `end_of_headers` was called above.
            Progress::Header => {
                let source = io::Error::other("the header has not ended");
                return Err(Undecided { source });
            }
        };
        let (class, seipd) = match content {
            Ok(passed) => passed,
            Err(_) if !outgoing && self.recipients.allow_cleartext(mailboxes)? => {
                (Class::Cleartext, None)
            }
            Err(refusal) => return Ok(Verdict::Refused(refusal)),
        };
        let readable = matches!(class, Class::DeliveryReport | Class::Cleartext);
        let ours = mailboxes.domain();
        if !outgoing && let Err(refusal) = self.header.check_literal(readable, self.client, ours) {
            return Ok(Verdict::Refused(refusal));
        }
        Ok(Verdict::Accepted(Accepted {
            class,
            edits: self.header.take_edits(),
            author: self.header.into_author(),
            seipd,
        }))
    }

    /// Whether the envelope and the header are those of a delivery report.
    fn check_report(&self) -> Result<(), Refusal> {
        match self.sender.is_empty() && self.recipients.is_one() {
            true => self.header.check_report(),
            false => Err(Refusal::of_envelope(Reason::Report)),
        }
    }

    /// Offers memory that is not needed any more, unless it is large.
    fn reuse(&mut self, mut memory: Vec<u8>) {
        if memory.capacity() <= limits::LINE_BYTES {
            memory.clear();
            self.spare = memory;
        }
    }

    /// The header holds more than [`limits`] allow.
    fn header_overflow(&mut self) {
        self.header.overflow();
    }

    /// A line of the header is no field.
    fn header_malformed(&mut self) {
        self.header.malformed();
        if !matches!(self.body, Progress::Header)
            && let Err(refusal) = self.header.content()
        {
            self.body = Progress::Fault(refusal);
        }
    }
}

impl Recipients {
    fn add(&mut self, address: &[u8]) {
        let fits = self.lines.len() + address.len() < limits::RECIPIENT_BYTES;
        if !fits || address.contains(&b'\n') {
            self.refuse = true;
            return;
        }
        self.lines.extend_from_slice(address);
        self.lines.push(b'\n');
    }

    /// Whether there is exactly one.
    fn is_one(&self) -> bool {
        !self.refuse && memchr::memchr_iter(b'\n', &self.lines).count() == 1
    }

    /// Whether there are recipients and every one is a mailbox of ours that allows cleartext.
    fn allow_cleartext(&self, mailboxes: &Mailboxes) -> Result<bool, Undecided> {
        let Some(lines) = self.lines.strip_suffix(b"\n") else {
            return Ok(false);
        };
        if self.refuse {
            return Ok(false);
        }
        for line in lines.split(|&byte| byte == b'\n') {
            let Some(address) = Address::parse(line, mailboxes.domain()) else {
                return Ok(false);
            };
            let mailbox = mailboxes.mailbox(&address);
            let undecided = |source| Undecided { source };
            let allowed = mailbox.exists().map_err(undecided)?
                && !mailbox.enforces_encryption().map_err(undecided)?;
            if !allowed {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// An address without its angle brackets.
fn bare(address: &[u8]) -> &[u8] {
    address
        .strip_prefix(b"<")
        .and_then(|rest| rest.strip_suffix(b">"))
        .unwrap_or(address)
}
