//! The content of `message/delivery-status` (RFC 3464 section 2): a group of fields about the
//! message, then one for each recipient.
//!
//! Only the fields in the table and `X-…` are allowed, and no field of the table twice in a group.
//! There can be free text where the standard allows `*text` or a comment.

use super::super::body::Grammar;
use super::super::form::Form;
use super::super::limits;
use super::super::mime;
use super::super::verdict::Reason;
use super::fields::{Field, Fields, Long};

/// A streaming reader of the lines.
#[derive(Debug)]
pub(super) struct Status {
    size: usize,
    fields: Fields,
    groups: Groups,
    blank_lines: u32,
}

/// The groups so far.
#[derive(Debug)]
struct Groups {
    current: Group,
    /// Fields that the current group has, one bit for each row; extensions count as one.
    seen: u16,
    recipients: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Group {
    Message,
    Recipient,
}

/// The form that a value must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// One word.
    Word,
    /// `type; name` of a host, or the name alone; a comment or an address may follow.
    Name,
    /// `type; address`.
    Address,
    Date,
    Action,
    /// `5.1.1`, optionally with a comment.
    Status,
    /// `type; text`: what the remote server replied.
    Diagnostic,
    /// The value of an extension.
    Text,
}

/// One row. `None` if the field may be in groups of either kind.
struct Row(&'static str, Option<Group>, Kind);

use Group::{Message, Recipient};

/// RFC 3464 sections 2.2 and 2.3, and RFC 4865. maddy writes the time of the last attempt into the
/// first group.
const ROWS: [Row; 15] = [
    Row("Original-Envelope-Id", Some(Message), Kind::Word),
    Row("Reporting-MTA", Some(Message), Kind::Name),
    Row("DSN-Gateway", Some(Message), Kind::Name),
    Row("Received-From-MTA", Some(Message), Kind::Name),
    Row("Arrival-Date", Some(Message), Kind::Date),
    Row("Future-Release-Request", Some(Message), Kind::Word),
    Row("Original-Recipient", Some(Recipient), Kind::Address),
    Row("Final-Recipient", Some(Recipient), Kind::Address),
    Row("Action", Some(Recipient), Kind::Action),
    Row("Status", Some(Recipient), Kind::Status),
    Row("Remote-MTA", Some(Recipient), Kind::Name),
    Row("Diagnostic-Code", Some(Recipient), Kind::Diagnostic),
    Row("Last-Attempt-Date", None, Kind::Date),
    Row("Final-Log-ID", Some(Recipient), Kind::Name),
    Row("Will-Retry-Until", Some(Recipient), Kind::Date),
];

/// The bit of extensions.
const EXTENSION: usize = ROWS.len();

const ACTIONS: [&str; 5] = ["failed", "delayed", "delivered", "relayed", "expanded"];

impl Status {
    pub(super) fn new() -> Status {
        let most = limits::REPORT_FIELD_BYTES + limits::HEADER_NAME_BYTES;
        Status {
            size: 0,
            fields: Fields::new(most, Long::Refuse, Reason::DeliveryStatus),
            groups: Groups {
                current: Message,
                seen: 0,
                recipients: 0,
            },
            blank_lines: 0,
        }
    }

    /// The part has ended.
    pub(super) fn finish(&mut self) -> Result<(), Reason> {
        let groups = &mut self.groups;
        self.fields.end(|field| groups.read(field))?;
        groups.end()?;
        match groups.recipients > 0 {
            true => Ok(()),
            false => Err(Reason::DeliveryStatus),
        }
    }
}

impl Grammar for Status {
    fn line(&mut self, line: &[u8]) -> Result<(), Reason> {
        self.size += line.len() + 2;
        if self.size > limits::REPORT_STATUS_BYTES {
            return Err(Reason::DeliveryStatus);
        }
        let groups = &mut self.groups;
        if !self.fields.line(line, |field| groups.read(field))? {
            self.blank_lines = 0;
            return Ok(());
        }
        self.blank_lines += 1;
        if self.blank_lines > limits::BLANK_LINES_INCOMING {
            return Err(Reason::DeliveryStatus);
        }
        groups.end()
    }
}

impl Groups {
    fn read(&mut self, field: Field<'_>) -> Result<(), Reason> {
        let is = |row: &Row| mime::is_same(field.name, row.0.as_bytes());
        let known = ROWS.iter().enumerate().find(|(_, row)| is(row));
        let value = field.value.trim_ascii();
        let (row, good) = match known {
            Some((at, Row(_, group, kind))) => {
                let here = group.is_none_or(|group| group == self.current);
                (at, here && kind.fits(value))
            }
            None => (
                EXTENSION,
                is_extension(field.name) && Kind::Text.fits(value),
            ),
        };
        let twice = row != EXTENSION && self.seen & 1 << row != 0;
        self.seen |= 1 << row;
        match good && !twice {
            true => Ok(()),
            false => Err(Reason::DeliveryStatus),
        }
    }

    /// A group has ended, at an empty line or at the end of the part.
    fn end(&mut self) -> Result<(), Reason> {
        if self.seen == 0 {
            return Ok(());
        }
        let needed: &[&str] = match self.current {
            Message => &["Reporting-MTA"],
            Recipient => &["Final-Recipient", "Action", "Status"],
        };
        let has = |name: &&str| {
            let row = ROWS.iter().position(|row| row.0 == *name);
            row.is_some_and(|row| self.seen & 1 << row != 0)
        };
        if !needed.iter().all(has) {
            return Err(Reason::DeliveryStatus);
        }
        self.recipients += u32::from(self.current == Recipient);
        self.current = Recipient;
        self.seen = 0;
        Ok(())
    }
}

impl Kind {
    /// Whether a value, without white space at its ends, is of this kind.
    fn fits(self, value: &[u8]) -> bool {
        let size = value.len();
        match self {
            Kind::Word => size <= limits::REPORT_WORD_BYTES && is_word(value),
            Kind::Name => (1..=limits::REPORT_NAME_BYTES).contains(&size),
            Kind::Address => typed(value)
                .is_some_and(|address| address.len() <= limits::ADDRESS_BYTES && is_word(address)),
            Kind::Date => Form::Date.room_in(value, b"").is_some(),
            Kind::Action => {
                let action = before_comment(value);
                ACTIONS
                    .iter()
                    .any(|known| mime::is_same(action, known.as_bytes()))
            }
            Kind::Status => is_status(before_comment(value)),
            Kind::Diagnostic => typed(value).is_some_and(|_| size <= limits::REPORT_FIELD_BYTES),
            Kind::Text => size <= limits::REPORT_FIELD_BYTES,
        }
    }
}

/// The text after `type;`.
fn typed(value: &[u8]) -> Option<&[u8]> {
    let (kind, text) = value.split_at(memchr::memchr(b';', value)?);
    let letter = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
    let named = (1..=limits::FILE_NAME_BYTES).contains(&kind.len()) && kind.iter().all(letter);
    named.then(|| text.get(1..).unwrap_or_default().trim_ascii())
}

/// One word, in any script.
fn is_word(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|byte| *byte > b' ')
}

/// A value without the comment after it.
fn before_comment(value: &[u8]) -> &[u8] {
    let comment = memchr::memchr(b'(', value).filter(|_| value.ends_with(b")"));
    let (word, _) = value.split_at(comment.unwrap_or(value.len()));
    word.trim_ascii_end()
}

/// `class.subject.detail` (RFC 3463 section 2).
fn is_status(value: &[u8]) -> bool {
    let mut parts = value.split(|byte| *byte == b'.');
    let class = matches!(parts.next(), Some([b'2' | b'4' | b'5']));
    let mut rest = 0;
    let numbers = parts.all(|part| {
        rest += 1;
        (1..=3).contains(&part.len()) && part.iter().all(u8::is_ascii_digit)
    });
    class && numbers && rest == 2
}

/// RFC 3464 section 2.4.
fn is_extension(name: &[u8]) -> bool {
    name.len() <= limits::HEADER_NAME_BYTES
        && matches!(name, [b'X' | b'x', b'-', first, ..] if first.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<(), Reason> {
        let mut status = Status::new();
        for line in text.lines() {
            status.line(line.as_bytes())?;
        }
        status.finish()
    }

    const MESSAGE: &str = "Reporting-MTA: dns; mail.elsewhere.test\n";
    const RECIPIENT: &str =
        "Final-Recipient: rfc822; bob@elsewhere.test\nAction: failed\nStatus: 5.1.1\n";

    fn with(message: &str, recipient: &str) -> Result<(), Reason> {
        read(&format!("{MESSAGE}{message}\n{RECIPIENT}{recipient}"))
    }

    #[test]
    fn the_fields_that_servers_write_pass() {
        for (message, recipient) in [
            ("", ""),
            (
                "X-Postfix-Queue-ID: 4XyZ\nX-Postfix-Sender: rfc822; alice@chat.test\n",
                "",
            ),
            ("Arrival-Date: Wed,  1 Oct 2026 06:00:00 +0000 (UTC)\n", ""),
            ("Arrival-Date: Mon, 02 Jan 2026 15:04:05 MST\n", ""),
            ("Received-From-MTA: dns; [127.0.0.1]\n", ""),
            ("Received-From-MTA: dns;mail.chat.test ([192.0.2.1])\n", ""),
            ("Original-envelope-id: 0MFH0016N46XRU00@host.example\n", ""),
            ("", "Original-Recipient: rfc822;Bobby@Elsewhere.Test\n"),
            (
                "",
                "Remote-MTA: dns; mx.elsewhere.test. (192.0.2.3, the server for the domain elsewhere.test.)\n",
            ),
            ("", "Remote-MTA: mx.elsewhere.test\n"),
            (
                "",
                "Diagnostic-Code: smtp; 550-5.1.1 There is no\n    such user\n 550 5.1.1 here\n",
            ),
            (
                "",
                "Diagnostic-Code: X-Postfix; Domain elsewhere.test does not accept mail (nullMX)\n",
            ),
            (
                "",
                "Will-Retry-Until: Sun, 5 Oct 2026 06:00:00 +0000 (UTC)\n",
            ),
            (
                "",
                "X-Display-Name: Bob\n\nFinal-Recipient: RFC822;\n carol@elsewhere.test\nAction: expanded (to multi-recipient alias)\nStatus: 2.0.0\n",
            ),
            (
                "",
                "\nFinal-Recipient: utf-8; b\u{f6}b@elsewhere.test\nStatus: 4.4.7 (unable to deliver this message after 2 days)\nAction: Delayed\n\n\n",
            ),
        ] {
            assert_eq!(with(message, recipient), Ok(()), "{message}{recipient}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        let text = "Attack at dawn. ".repeat(70);
        for (message, recipient) in [
            ("Attack at dawn.\n", ""),
            ("Subject: Attack at dawn\n", ""),
            ("Attack: at dawn\n", ""),
            ("X-: Attack at dawn\n", ""),
            ("X-Text : Attack at dawn\n", ""),
            ("X-Text: Attack\n \n at dawn\n", ""),
            ("X-Text: Attack\u{1b}[2J\n", ""),
            (&*format!("X-Text: {text}\n"), ""),
            ("Original-Envelope-Id: Attack at dawn\n", ""),
            (&*format!("Original-Envelope-Id: {}\n", "a".repeat(251)), ""),
            (&*format!("X-Text: {}\n", "a".repeat(1025)), ""),
            ("Arrival-Date: Attack at dawn\n", ""),
            ("Reporting-MTA: dns; twice.test\n", ""),
            ("Final-Recipient: rfc822; bob@elsewhere.test\n", ""),
            ("", "Reporting-MTA: dns; late.test\n"),
            ("", "Original-Recipient: rfc822; Attack at dawn\n"),
            ("", "Original-Recipient: bob@elsewhere.test\n"),
            ("", "Original-Recipient: Attack at; dawn\n"),
            (
                "",
                &*format!("Original-Recipient: rfc822; {}\n", "a".repeat(255)),
            ),
            ("", "Status: 5.1.1\n"),
            ("", "Diagnostic-Code: Attack at dawn\n"),
            ("", &*format!("Diagnostic-Code: smtp; {text}\n")),
            (
                "",
                &*format!("Diagnostic-Code: smtp; {}\n", "a".repeat(1019)),
            ),
            ("", &*format!("Remote-MTA: dns; {text}\n")),
            ("", &*format!("Remote-MTA: {}\n", "a".repeat(256))),
            ("", "\nAttack at dawn.\n"),
            (
                "",
                "\nFinal-Recipient: rfc822; bob@elsewhere.test\nAction: failed\n",
            ),
            ("", "\nX-Text: Attack at dawn\n"),
            ("", &*"\n".repeat(limits::BLANK_LINES_INCOMING as usize + 2)),
            ("", &*format!("X-Text: {}\n", "a".repeat(900)).repeat(10)),
        ] {
            let refused = Err(Reason::DeliveryStatus);
            assert_eq!(with(message, recipient), refused, "{message}{recipient}");
        }
        for text in [
            "",
            "\n",
            MESSAGE,
            RECIPIENT,
            &*format!("\n{RECIPIENT}"),
            &*format!("{RECIPIENT}\n{MESSAGE}"),
        ] {
            assert_eq!(read(text), Err(Reason::DeliveryStatus), "{text}");
        }
    }

    #[test]
    fn actions_and_codes_are_those_of_the_standards() {
        for (action, status) in [
            ("attack", "5.1.1"),
            ("failed at dawn", "5.1.1"),
            ("failed (at dawn", "5.1.1"),
            ("", "5.1.1"),
            ("failed", "5"),
            ("failed", "5.1"),
            ("failed", "5.1.1.1"),
            ("failed", "3.1.1"),
            ("failed", "5.1000.1"),
            ("failed", "5.1.1 at dawn"),
            ("failed", "5..1"),
        ] {
            let text = format!(
                "{MESSAGE}\nFinal-Recipient: rfc822; b@e.test\nAction: {action}\nStatus: {status}\n"
            );
            assert_eq!(read(&text), Err(Reason::DeliveryStatus), "{text}");
        }
    }
}
