//! The fields of the message header: what each says. What becomes of it stands in `policy`.

use std::borrow::Cow;
use std::net::IpAddr;

use super::edits::Edits;
use super::limits;
use super::mime::{self, Boundary, MediaType};
use super::multipart::Content;
use super::policy::{self, Reads};
use super::verdict::{Direction, HeaderEdit, Part, Reason, Refusal};
use crate::address::{self, MailDomain, header_address, plain_header_address};

/// What the header says about the message.
#[derive(Debug)]
pub(super) struct Header {
    direction: Direction,
    fields: u64,
    bytes: usize,
    too_large: bool,
    /// The first thing that keeps the message from being an encrypted one.
    fault: Option<Refusal>,
    edits: Edits,
    from: Author,
    content_type: Option<TopType>,
    transfer_encoding: bool,
    mime_version: bool,
    auto_submitted: AutoSubmitted,
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

#[derive(Debug, PartialEq, Eq)]
enum TopType {
    Encrypted(Boundary),
    Mixed(Boundary),
    /// With `report-type=delivery-status`.
    Report(Boundary),
    Other,
}

/// The value of the Auto-Submitted field (RFC 3834 section 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AutoSubmitted {
    Missing,
    /// `auto-replied` or `auto-generated`.
    Automatic,
    /// Something else, or the field occurs twice.
    Other,
}

/// The form that the header demands of the body.
#[derive(Debug)]
pub(super) enum Announced {
    Multipart(Content, Boundary),
    Report(Boundary),
}

impl TopType {
    /// Whether there is a space in the boundary. Clients of a relay never write one.
    fn has_space(&self) -> bool {
        match self {
            TopType::Encrypted(boundary) | TopType::Mixed(boundary) => boundary.has_space(),
            TopType::Report(_) | TopType::Other => false,
        }
    }
}

impl Header {
    pub(super) fn new(direction: Direction) -> Header {
        Header {
            direction,
            fields: 0,
            bytes: 0,
            too_large: false,
            fault: None,
            edits: Edits::new(),
            from: Author::Missing,
            content_type: None,
            transfer_encoding: false,
            mime_version: false,
            auto_submitted: AutoSubmitted::Missing,
            secure_join: None,
            invite_number: false,
        }
    }

    /// Reads one field. `author` is the address that an outgoing message must come from.
    pub(super) fn field(&mut self, name: &[u8], value: &[u8], author: &[u8]) {
        // Nearly all programs write one space after the colon; the limits do not count it.
        let value = value.strip_prefix(b" ").unwrap_or(value);
        self.fields += 1;
        self.bytes = self.bytes.saturating_add(name.len() + value.len());
        let (whole_name, name) = (name, name.trim_ascii_end());
        if self.fields > limits::HEADER_FIELDS as u64
            || self.bytes > limits::HEADER_BYTES
            || value.len() > limits::HEADER_FIELD_BYTES
            || name.len() > limits::HEADER_NAME_BYTES
        {
            self.too_large = true;
            return;
        }
        let row = policy::row_of(self.direction, name);
        // A name that stands in the table is one. Readers differ on white space behind it: to some,
        // the header ends there.
        let named = row.is_some_and(|row| !policy::is_others(row)) || is_field_name(name);
        let named = named && name.len() == whole_name.len();
        if !named || !is_unstructured(value) {
            self.faulty(Reason::HeaderField);
        }
        let Some((row, rule)) = row.and_then(|row| Some((row, policy::RULES.get(row)?))) else {
            return;
        };
        if let Err(reason) = self.interpret(rule.reads, value) {
            self.faulty(reason);
        }
        if let Err(reason) = self.edits.field(row, name, value, author) {
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
    pub(super) fn content(&self) -> Result<Announced, Refusal> {
        if let Some(fault) = &self.fault {
            return Err(fault.clone());
        }
        match (&self.content_type, self.secure_join) {
            (Some(TopType::Encrypted(boundary)), _) => {
                Ok(Announced::Multipart(Content::Encrypted, *boundary))
            }
            (Some(TopType::Mixed(boundary)), Some(step)) => match self.invite_number {
                true => Ok(Announced::Multipart(Content::Request(step), *boundary)),
                false => Err(refusal(Reason::SecureJoin, 0)),
            },
            (Some(TopType::Report(boundary)), _) if self.direction == Direction::Incoming => {
                Ok(Announced::Report(*boundary))
            }
            _ => Err(refusal(Reason::NotEncrypted, 0)),
        }
    }

    /// Whether there is no Content-Type.
    pub(super) fn is_untyped(&self) -> bool {
        self.content_type.is_none()
    }

    /// Whether the header is over a limit; no class passes then.
    pub(super) fn check_size(&self) -> Result<(), Refusal> {
        match self.too_large {
            true => Err(refusal(Reason::HeaderTooLarge, self.fields)),
            false => Ok(()),
        }
    }

    /// Whether there is one From field with one address. Outgoing it is the envelope sender.
    pub(super) fn check_author(&self, sender: &[u8]) -> Result<(), Refusal> {
        let same = |address: &str| mime::is_same(address.as_bytes(), sender);
        let reason = match &self.from {
            Author::One(address) if self.direction == Direction::Incoming || same(address) => {
                return Ok(());
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

    /// Whether this is the header of a delivery report: small, automatic, and from the mail server.
    pub(super) fn check_report(&self) -> Result<(), Refusal> {
        let from_server = matches!(&self.from, Author::One(address) if is_server(address));
        let automatic = self.auto_submitted == AutoSubmitted::Automatic;
        match from_server && automatic && self.bytes <= limits::REPORT_HEADER_BYTES {
            true => Ok(()),
            false => Err(refusal(Reason::Report, 0)),
        }
    }

    /// Whether the author of incoming mail may have this address, if the domain is an address literal, for which
    /// nobody can sign: it is not that of this relay, and what is readable comes from the client that it names.
    pub(super) fn check_literal(
        &self,
        readable: bool,
        client: Option<IpAddr>,
        ours: &MailDomain,
    ) -> Result<(), Refusal> {
        let Author::One(author) = &self.from else {
            return Ok(());
        };
        let (_, domain) = author.rsplit_once('@').unwrap_or_default();
        if !domain.starts_with('[') {
            return Ok(());
        }
        let named = address::literal(domain);
        let is_client = named.is_some() && named == client.map(|client| client.to_canonical());
        match ours.is_literal() && named == address::literal(&ours.in_address()) {
            true => Err(refusal(Reason::OwnLiteral, 0)),
            false if readable && !is_client => Err(refusal(Reason::ForeignLiteral, 0)),
            false => Ok(()),
        }
    }

    /// The address [`Header::check_author`] found.
    pub(super) fn into_author(self) -> String {
        match self.from {
            Author::One(address) => address,
            Author::Missing | Author::Invalid(_) => String::new(),
        }
    }

    /// The edits of a message that passes.
    pub(super) fn take_edits(&mut self) -> Vec<HeaderEdit> {
        self.edits.take()
    }

    fn faulty(&mut self, reason: Reason) {
        let offset = self.fields;
        self.fault.get_or_insert_with(|| refusal(reason, offset));
    }

    fn interpret(&mut self, reads: Reads, value: &[u8]) -> Result<(), Reason> {
        let once = |was: bool| {
            if was {
                Err(Reason::HeaderField)
            } else {
                Ok(())
            }
        };
        match reads {
            Reads::Nothing => Ok(()),
            Reads::From => {
                let second = self.from != Author::Missing;
                // Clients of a relay write only the plain forms.
                let address = match self.direction {
                    Direction::Outgoing => plain_header_address(value).map(str::to_owned),
                    Direction::Incoming => header_address(value).map(Cow::into_owned),
                };
                self.from = match address {
                    Some(address) if !second => Author::One(address),
                    _ => Author::Invalid(super::reply::printable(value.trim_ascii())),
                };
                once(second)
            }
            Reads::ContentType => {
                once(self.content_type.is_some())?;
                let outgoing = self.direction == Direction::Outgoing;
                let top = top_type(value).filter(|top| !(outgoing && top.has_space()));
                let ambiguous = top.is_none();
                self.content_type = Some(top.unwrap_or(TopType::Other));
                match ambiguous {
                    true => Err(Reason::ContentType),
                    false => Ok(()),
                }
            }
            Reads::TransferEncoding => {
                once(std::mem::replace(&mut self.transfer_encoding, true))?;
                match mime::is_identity_encoding(value) {
                    true => Ok(()),
                    false => Err(Reason::TransferEncoding),
                }
            }
            Reads::MimeVersion => {
                once(std::mem::replace(&mut self.mime_version, true))?;
                match is_mime_version(value.trim_ascii(), self.direction) {
                    true => Ok(()),
                    false => Err(Reason::HeaderField),
                }
            }
            Reads::AutoSubmitted => {
                let first = self.auto_submitted == AutoSubmitted::Missing;
                self.auto_submitted = match first && is_automatic(value.trim_ascii()) {
                    true => AutoSubmitted::Automatic,
                    false => AutoSubmitted::Other,
                };
                Ok(())
            }
            Reads::SecureJoin => {
                let second = self.secure_join.is_some();
                self.secure_join = match value.trim_ascii() {
                    b"vc-request" => Some("vc-request"),
                    b"vg-request" => Some("vg-request"),
                    _ => None,
                };
                once(second)
            }
            Reads::InviteNumber => {
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
        }
    }
}

/// Whether this is the address of a mail server: RFC 3464 section 2 asks for the postmaster's, but most
/// servers write another.
fn is_server(address: &str) -> bool {
    let (localpart, _) = address.rsplit_once('@').unwrap_or_default();
    ["mailer-daemon", "postmaster"]
        .iter()
        .any(|known| localpart.eq_ignore_ascii_case(known))
}

/// Whether an Auto-Submitted field says that no person wrote the message. It may have a comment, as
/// sendmail writes it, or a parameter.
fn is_automatic(value: &[u8]) -> bool {
    let end = value.iter().position(|byte| b"(; \t".contains(byte));
    let (word, rest) = value.split_at(end.unwrap_or(value.len()));
    let known = [&b"auto-replied"[..], b"auto-generated"];
    known.iter().any(|known| mime::is_same(known, word))
        && matches!(rest.trim_ascii_start(), [] | [b'(' | b';', ..])
}

fn is_field_name(name: &[u8]) -> bool {
    let allowed = |byte: &u8| matches!(byte, b'!'..=b'~') && *byte != b':';
    !name.is_empty() && name.iter().all(allowed)
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
    match usual_boundary(value) {
        Some(boundary) => Some(TopType::Encrypted(boundary)),
        None => read_type(value),
    }
}

fn read_type(value: &[u8]) -> Option<TopType> {
    let media_type = MediaType::parse(value)?;
    let only = |names: &[&[u8]]| {
        media_type.parameters().all(|(name, content)| {
            names.iter().any(|known| mime::is_same(name, known))
                // Proton writes it; a multipart has no use for it.
                || mime::is_same(name, b"charset") && mime::is_ascii_charset(content)
        })
    };
    if media_type.is("multipart/encrypted") {
        let boundary = media_type.boundary()?;
        let protocol = media_type.parameter(b"protocol")?;
        let openpgp = mime::is_same(protocol, b"application/pgp-encrypted");
        return (openpgp && only(&[b"protocol", b"boundary"]))
            .then_some(TopType::Encrypted(boundary));
    }
    if media_type.is("multipart/mixed") {
        return Some(match media_type.boundary() {
            Some(boundary) if only(&[b"boundary"]) => TopType::Mixed(boundary),
            _ => TopType::Other,
        });
    }
    if media_type.is("multipart/report") {
        let report_type = media_type.parameter(b"report-type");
        let status = report_type.is_some_and(|kind| mime::is_same(kind, b"delivery-status"));
        return Some(match media_type.boundary() {
            Some(boundary) if status && only(&[b"boundary", b"report-type"]) => {
                TopType::Report(boundary)
            }
            _ => TopType::Other,
        });
    }
    Some(TopType::Other)
}

/// The boundary of a Content-Type as Delta Chat and most others write it, which is found without
/// reading the rest. `None`: it has to be read.
fn usual_boundary(value: &[u8]) -> Option<Boundary> {
    let start = b"multipart/encrypted; protocol=\"application/pgp-encrypted\";";
    let value = value.strip_prefix(b" ").unwrap_or(value);
    let boundary = match value.strip_prefix(start)? {
        [b' ', b'\n', b'\t' | b' ', rest @ ..] => rest,
        [b'\n', b'\t' | b' ', rest @ ..] => rest,
        [b' ', rest @ ..] => rest,
        _ => return None,
    };
    let quoted = boundary.strip_prefix(b"boundary=\"")?;
    let boundary = quoted.strip_suffix(b"\"")?;
    // It might be an encoded word.
    (!boundary.contains(&b'?')).then(|| Boundary::new(boundary))?
}

/// `1.0`; incoming also with one small comment, as Apple Mail writes it.
fn is_mime_version(value: &[u8], direction: Direction) -> bool {
    let Some(comment) = value.strip_prefix(b"1.0") else {
        return false;
    };
    let comment = comment.trim_ascii();
    comment.is_empty()
        || direction == Direction::Incoming
            && comment.len() <= 100
            && comment.starts_with(b"(")
            && comment.ends_with(b")")
}

/// Whether a value holds no control character but folds: a line break followed by white space and
/// something else. To some readers the header ends at a line of white space.
fn is_unstructured(value: &[u8]) -> bool {
    if !mime::has_control(value) {
        return true;
    }
    let mut rest = value;
    let mut first = true;
    loop {
        let end = memchr::memchr(b'\n', rest);
        let (line, after) = rest.split_at(end.unwrap_or(rest.len()));
        let line = match end {
            Some(_) => line.strip_suffix(b"\r").unwrap_or(line),
            None => line,
        };
        let blank = line.iter().all(|byte| b" \t".contains(byte));
        let fold = matches!(line, [b' ' | b'\t', ..]) && !blank;
        if mime::has_control(line) || !(first || fold) {
            return false;
        }
        first = false;
        match after.split_first() {
            Some((_, after)) => rest = after,
            None => return true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn usual(fold: &str, boundary: &str) -> String {
        let start = "multipart/encrypted; protocol=\"application/pgp-encrypted\";";
        format!("{start}{fold}boundary={boundary}")
    }

    #[test]
    fn the_boundary_of_a_usual_content_type_is_found_without_reading_it() {
        for fold in [" \n\t", "\n\t", "\n ", " "] {
            for space in ["", " "] {
                let value = space.to_owned() + &usual(fold, "\"18a7c3b2f1d0e9c8_5f3a=b1c2\"");
                let boundary = usual_boundary(value.as_bytes()).map(TopType::Encrypted);
                assert!(boundary.is_some(), "{value:?}");
                assert_eq!(boundary, read_type(value.as_bytes()), "{value:?}");
            }
        }
        for (fold, boundary) in [
            ("\n", "\"b\""),
            (" ", "\"=?utf-8?q?b?=\""),
            (" ", "\"\""),
            (" ", "\"a\"b\""),
            (" ", "\"b\\\""),
            (" ", "\"b\"; charset=utf-7; x=\"\""),
            (" ", "\"---BEGIN\""),
        ] {
            let value = usual(fold, boundary);
            assert_eq!(usual_boundary(value.as_bytes()), None, "{value:?}");
            assert_eq!(read_type(value.as_bytes()), None, "{value:?}");
        }
    }

    #[test]
    fn a_mime_version_has_a_small_comment_or_outgoing_none() {
        let comment = |size: usize| format!("1.0 ({})", "a".repeat(size - 2));
        for (value, incoming, outgoing) in [
            ("1.0", true, true),
            (&*comment(100), true, false),
            (&*comment(101), false, false),
            ("1.0 attack", false, false),
            ("1.1", false, false),
        ] {
            let is = |direction| is_mime_version(value.as_bytes(), direction);
            assert_eq!(is(Direction::Incoming), incoming, "{value}");
            assert_eq!(is(Direction::Outgoing), outgoing, "{value}");
        }
    }

    proptest! {
        #[test]
        fn a_content_type_is_never_usual_to_be_read_differently(
            space in " {0,2}",
            protocol in "protocol=\"application/(pgp|PGP)-encrypted\"; ?",
            fold in "[ \r\n\t]{0,3}",
            boundary in "boundary=\"?([a-z=?_\" \\\\:-]{0,8}|-{1,4}BEGIN|a{70,71})\"?",
            tail in "([; ]|; a=b){0,1}",
        ) {
            let value = format!("{space}multipart/encrypted; {protocol}{fold}{boundary}{tail}");
            if let Some(boundary) = usual_boundary(value.as_bytes()) {
                let read = read_type(value.as_bytes());
                prop_assert_eq!(Some(TopType::Encrypted(boundary)), read, "{:?}", value);
            }
        }
    }
}
