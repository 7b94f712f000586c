//! The fields of the message header: what each says, and what becomes of it.
//!
//! The relay cannot encrypt a header, but it keeps it from becoming a channel. [`RULES`] is the
//! whole policy: one row per field, direction and reason.

use super::limits;
use super::mime::{self, MediaType};
use super::multipart::Content;
use super::verdict::{Direction, HeaderEdit, Part, Reason, Refusal};
use crate::address::header_address;

/// What happens to a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    /// Stays; a value of more bytes than this is no encrypted message.
    Keep(usize),
    Delete,
    /// The first gets this value, others are deleted.
    Replace(&'static str),
}

struct Rule {
    /// In lower case; a `*` at the end stands for any rest.
    field: &'static str,
    direction: Direction,
    action: Action,
}

const fn row(direction: Direction, field: &'static str, action: Action) -> Rule {
    Rule {
        field,
        direction,
        action,
    }
}

use Action::{Delete, Keep, Replace};
use Direction::{Incoming, Outgoing};

/// Bytes of a field that holds addresses; Delta Chat names each member of a group.
const ADDRESSES: usize = 32 * 1024;
/// Bytes of a field that holds message ids; mail programs keep some dozen in a thread.
const THREAD: usize = 8 * 1024;
/// Bytes of a field that holds one address, or a structured value.
const SHORT: usize = 512;
/// Bytes of a field that holds one word or date.
const WORD: usize = 100;
/// Bytes of a signature.
const SIGNATURE: usize = 16 * 1024;

/// The first row that fits decides. Outgoing fields without a row are deleted, incoming ones stay.
const RULES: &[Rule] = &[
    // Who and when: what mail needs to arrive and to be answered.
    row(Outgoing, "from", Keep(SHORT)),
    row(Outgoing, "to", Keep(ADDRESSES)),
    row(Outgoing, "date", Keep(WORD)),
    row(Outgoing, "message-id", Keep(SHORT)),
    row(Outgoing, "cc", Keep(ADDRESSES)),
    row(Outgoing, "sender", Keep(SHORT)),
    row(Outgoing, "reply-to", Keep(SHORT)),
    row(Outgoing, "return-path", Keep(SHORT)),
    row(Outgoing, "in-reply-to", Keep(THREAD)),
    row(Outgoing, "references", Keep(THREAD)),
    // Always readable by everyone on the way: says nothing.
    row(Outgoing, "subject", Replace("[...]")),
    // How to read the body. The grammar looks at these.
    row(Outgoing, "mime-version", Keep(WORD)),
    row(Outgoing, "content-type", Keep(SHORT)),
    row(Outgoing, "content-*", Keep(WORD)),
    // Delta Chat's own: recognised before decryption, or steps before there is a key.
    row(Outgoing, "chat-version", Keep(WORD)),
    row(Outgoing, "chat-is-post-message", Keep(WORD)),
    row(Outgoing, "secure-join*", Keep(SHORT)),
    row(Outgoing, "autocrypt", Keep(limits::HEADER_FIELD_BYTES)),
    // Keeps automatic answers from answering each other (RFC 3834); old mailers know Precedence.
    row(Outgoing, "auto-submitted", Keep(WORD)),
    row(Outgoing, "precedence", Keep(WORD)),
    // Mailing lists (RFC 2369, RFC 2919) that are run by a bot.
    row(Outgoing, "list-*", Keep(SHORT)),
    // Signatures of a milter before us.
    row(Outgoing, "dkim-signature", Keep(SIGNATURE)),
    row(Outgoing, "arc-*", Keep(SIGNATURE)),
    // Everything else, among it where the user is and what with: Received, X-Originating-IP, X-Mailer,
    // User-Agent.
    row(Outgoing, "*", Delete),
    // What other hosts know of the way and the sender helps no one who reads the mailbox.
    row(Incoming, "received", Delete),
    row(Incoming, "authentication-results", Delete),
    row(Incoming, "dkim-signature", Delete),
];

/// What the header says about the message.
#[derive(Debug)]
pub(super) struct Header {
    direction: Direction,
    fields: u64,
    bytes: usize,
    too_large: bool,
    /// The first thing that keeps the message from being an encrypted one.
    fault: Option<Refusal>,
    /// Fields that are edited and how many there were: name, rule, count.
    edited: Vec<(Box<[u8]>, Action, u32)>,
    /// Values of Subject and the like that need no edit because they are already right.
    right_first: bool,
    from: Author,
    content_type: Option<TopType>,
    transfer_encoding: bool,
    mime_version: bool,
    auto_submitted: bool,
    secure_join: Option<&'static str>,
    invite_number: bool,
}

/// What the From field says.
#[derive(Debug, PartialEq, Eq)]
enum Author {
    Missing,
    One(String),
    /// Unreadable, or several; the value of the first, for the reply.
    Invalid(String),
}

#[derive(Debug)]
enum TopType {
    Encrypted(String),
    Mixed(String),
    Report,
    Other,
}

impl Header {
    pub(super) fn new(direction: Direction) -> Header {
        Header {
            direction,
            fields: 0,
            bytes: 0,
            too_large: false,
            fault: None,
            edited: Vec::new(),
            right_first: false,
            from: Author::Missing,
            content_type: None,
            transfer_encoding: false,
            mime_version: false,
            auto_submitted: false,
            secure_join: None,
            invite_number: false,
        }
    }

    /// Reads one field.
    pub(super) fn field(&mut self, name: &[u8], value: &[u8]) {
        self.fields += 1;
        self.bytes = self.bytes.saturating_add(name.len() + value.len());
        // Readers differ on a name with white space behind it: to some, the header ends there.
        let clean = !name.is_empty() && name.iter().all(|byte| matches!(byte, b'!'..=b'~'));
        let name = name.trim_ascii_end();
        if self.fields > limits::HEADER_FIELDS as u64
            || self.bytes > limits::HEADER_BYTES
            || value.len() > limits::HEADER_FIELD_BYTES
            || name.len() > limits::HEADER_NAME_BYTES
        {
            self.too_large = true;
            return;
        }
        let mut lower = [0; limits::HEADER_NAME_BYTES];
        let lower = lower.get_mut(..name.len()).unwrap_or_default();
        lower.copy_from_slice(name);
        lower.make_ascii_lowercase();
        if !clean || name.contains(&b':') || !is_unstructured(value) {
            self.faulty(Reason::HeaderField);
        }
        self.apply_rule(lower, value);
        if let Err(reason) = self.interpret(lower, value) {
            self.faulty(reason);
        }
    }

    /// The header holds more than fits, or a field was too long to be read.
    pub(super) fn overflow(&mut self) {
        self.too_large = true;
    }

    /// A line of the header is no field, or a field came too late.
    pub(super) fn malformed(&mut self) {
        self.fields += 1;
        self.faulty(Reason::HeaderField);
    }

    /// The header has ended: what the body has to be.
    pub(super) fn content(&self) -> Result<(Content, &str), Refusal> {
        if let Some(fault) = &self.fault {
            return Err(fault.clone());
        }
        match (&self.content_type, self.secure_join) {
            (Some(TopType::Encrypted(boundary)), _) => Ok((Content::Encrypted, boundary)),
            (Some(TopType::Mixed(boundary)), Some(step)) => match self.invite_number {
                true => Ok((Content::Request(step), boundary)),
                false => Err(refusal(Reason::SecureJoin, 0)),
            },
            _ => Err(refusal(Reason::NotEncrypted, 0)),
        }
    }

    /// Whether the header is over a limit; no class passes then.
    pub(super) fn check_size(&self) -> Result<(), Refusal> {
        match self.too_large {
            true => Err(refusal(Reason::HeaderTooLarge, self.fields)),
            false => Ok(()),
        }
    }

    /// The one address of the one From field. Outgoing it is the envelope sender.
    pub(super) fn author(&self, sender: &[u8]) -> Result<&str, Refusal> {
        let same = |address: &str| address.as_bytes().eq_ignore_ascii_case(sender);
        let reason = match &self.from {
            Author::One(address) if self.direction == Incoming || same(address) => {
                return Ok(address);
            }
            Author::One(address) => Reason::FromMismatch {
                header: super::reply::printable(address.as_bytes()),
                envelope: super::reply::printable(sender),
            },
            Author::Invalid(shown) => Reason::InvalidFrom(shown.clone()),
            Author::Missing => Reason::InvalidFrom("missing".to_owned()),
        };
        Err(refusal(reason, 0))
    }

    /// A non-delivery report: from a mailer-daemon, marked automatic, `multipart/report` (RFC
    /// 6522). Its body is not looked at: it is written by the other relay, and people need it.
    pub(super) fn is_delivery_report(&self) -> bool {
        let from_daemon = matches!(&self.from, Author::One(address)
            if address.split_at_checked(14).is_some_and(|(localpart, _)|
                localpart.eq_ignore_ascii_case("mailer-daemon@")));
        let is_report = matches!(self.content_type, Some(TopType::Report));
        self.fault.is_none() && self.auto_submitted && from_daemon && is_report
    }

    /// The edits of a message that passes.
    pub(super) fn edits(&self) -> Vec<HeaderEdit> {
        let mut edits = Vec::new();
        for (name, action, count) in &self.edited {
            let name = || String::from_utf8_lossy(name).into_owned();
            let keep = match action {
                Replace(_) => 1,
                _ => 0,
            };
            for index in (keep + 1..=*count).rev() {
                let name = name();
                edits.push(HeaderEdit::Delete { name, index });
            }
            if let Replace(value) = action
                && !self.right_first
            {
                edits.push(HeaderEdit::Replace {
                    name: name(),
                    index: 1,
                    value: (*value).to_owned(),
                });
            }
        }
        edits
    }

    fn faulty(&mut self, reason: Reason) {
        let offset = self.fields;
        self.fault.get_or_insert_with(|| refusal(reason, offset));
    }

    fn apply_rule(&mut self, name: &[u8], value: &[u8]) {
        let rule = RULES.iter().find(|rule| {
            let field = rule.field.as_bytes();
            // Most rows fall at the first letter.
            rule.direction == self.direction
                && (field.first() == name.first() || field == b"*")
                && match field.strip_suffix(b"*") {
                    Some(prefix) => name.starts_with(prefix),
                    None => name == field,
                }
        });
        let Some(Rule { action, .. }) = rule else {
            return;
        };
        if let Keep(most) = action {
            if value.len() > *most {
                self.faulty(Reason::HeaderField);
            }
            return;
        }
        match self.edited.iter_mut().find(|(known, ..)| **known == *name) {
            Some((.., count)) => *count += 1,
            None => {
                if let Replace(text) = action {
                    self.right_first = value.trim_ascii() == text.as_bytes();
                }
                self.edited.push((name.into(), *action, 1));
            }
        }
    }

    fn interpret(&mut self, name: &[u8], value: &[u8]) -> Result<(), Reason> {
        let once = |was: bool| {
            if was {
                Err(Reason::HeaderField)
            } else {
                Ok(())
            }
        };
        match name {
            b"from" => {
                let second = self.from != Author::Missing;
                self.from = match header_address(value) {
                    Some(address) if !second => Author::One(address.to_owned()),
                    _ => Author::Invalid(super::reply::printable(value.trim_ascii())),
                };
                once(second)
            }
            b"content-type" => {
                once(self.content_type.is_some())?;
                let top = top_type(value);
                let ambiguous = top.is_none();
                self.content_type = Some(top.unwrap_or(TopType::Other));
                match ambiguous {
                    true => Err(Reason::ContentType),
                    false => Ok(()),
                }
            }
            b"content-transfer-encoding" => {
                once(std::mem::replace(&mut self.transfer_encoding, true))?;
                match mime::is_identity_encoding(value) {
                    true => Ok(()),
                    false => Err(Reason::TransferEncoding),
                }
            }
            b"mime-version" => {
                once(std::mem::replace(&mut self.mime_version, true))?;
                match is_mime_version(value.trim_ascii(), self.direction) {
                    true => Ok(()),
                    false => Err(Reason::HeaderField),
                }
            }
            b"auto-submitted" => {
                self.auto_submitted |= !value.trim_ascii().is_empty();
                Ok(())
            }
            b"secure-join" => {
                let second = self.secure_join.is_some();
                self.secure_join = match value.trim_ascii() {
                    b"vc-request" => Some("vc-request"),
                    b"vg-request" => Some("vg-request"),
                    _ => None,
                };
                once(second)
            }
            b"secure-join-invitenumber" => {
                let second = std::mem::replace(&mut self.invite_number, true);
                let value = value.trim_ascii();
                let token = (1..=64).contains(&value.len())
                    && value
                        .iter()
                        .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(byte));
                match token {
                    true => once(second),
                    false => Err(Reason::SecureJoin),
                }
            }
            _ => Ok(()),
        }
    }
}

fn refusal(reason: Reason, offset: u64) -> Refusal {
    Refusal {
        reason,
        part: Part::Header,
        offset,
    }
}

/// What the Content-Type of the message says. `None`: readers differ on it.
fn top_type(value: &[u8]) -> Option<TopType> {
    let media_type = MediaType::parse(value)?;
    let only = |names: &[&str]| {
        media_type.parameters().all(|(name, content)| {
            names.iter().any(|known| name.eq_ignore_ascii_case(known))
                // Proton writes it; a multipart has no use for it.
                || name.eq_ignore_ascii_case("charset") && mime::is_ascii_charset(content)
        })
    };
    if media_type.is("multipart/encrypted") {
        let boundary = media_type.boundary()?;
        let openpgp = media_type
            .parameter("protocol")?
            .eq_ignore_ascii_case("application/pgp-encrypted");
        return (openpgp && only(&["protocol", "boundary"]))
            .then(|| TopType::Encrypted(boundary.to_owned()));
    }
    if media_type.is("multipart/mixed") {
        return Some(match media_type.boundary() {
            Some(boundary) if only(&["boundary"]) => TopType::Mixed(boundary.to_owned()),
            _ => TopType::Other,
        });
    }
    Some(match media_type.is("multipart/report") {
        true => TopType::Report,
        false => TopType::Other,
    })
}

/// `1.0`; incoming also with one small comment, as Apple Mail writes it.
fn is_mime_version(value: &[u8], direction: Direction) -> bool {
    let Some(comment) = value.strip_prefix(b"1.0") else {
        return false;
    };
    let comment = comment.trim_ascii();
    comment.is_empty()
        || direction == Incoming
            && comment.len() <= 100
            && comment.starts_with(b"(")
            && comment.ends_with(b")")
}

/// Whether a value holds no control character but folds: a line break followed by white space.
fn is_unstructured(value: &[u8]) -> bool {
    let is_control = |byte: &u8| (*byte < b' ' && *byte != b'\t') || *byte == 0x7f;
    // A fold without an early end becomes vector code.
    if !value
        .iter()
        .fold(false, |found, byte| found | is_control(byte))
    {
        return true;
    }
    let mut rest = value;
    while let Some(at) = rest.iter().position(is_control) {
        let (_, tail) = rest.split_at(at);
        rest = match tail {
            [b'\r', b'\n', b' ' | b'\t', rest @ ..] | [b'\n', b' ' | b'\t', rest @ ..] => rest,
            _ => return false,
        };
    }
    true
}
