//! The header of a part of a report: its content type and its encoding.

use super::super::limits;
use super::super::mime::{self, MediaType};
use super::super::verdict::Reason;
use super::encoding::Encoding;
use super::fields::{Field, Fields, Long};
use super::returned::Kind;

/// The parts, in the order of RFC 6522 section 3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Slot {
    Text,
    Status,
    Returned,
}

impl Slot {
    /// Counted from 1.
    pub(super) fn number(self) -> u8 {
        match self {
            Slot::Text => 1,
            Slot::Status => 2,
            Slot::Returned => 3,
        }
    }
}

/// The content of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    Text,
    Status,
    Returned(Kind),
}

const HEADER: Content = Content::Returned(Kind::Header);
const MESSAGE_HEADER: Content = Content::Returned(Kind::MessageHeader);
const MESSAGE: Content = Content::Returned(Kind::Message);

const TYPES: [(Slot, &str, Content); 8] = [
    (Slot::Text, "text/plain", Content::Text),
    (Slot::Status, "message/delivery-status", Content::Status),
    (
        Slot::Status,
        "message/global-delivery-status",
        Content::Status,
    ),
    (Slot::Returned, "text/rfc822-headers", HEADER),
    (Slot::Returned, "message/global-headers", HEADER),
    (Slot::Returned, "message/rfc822-headers", HEADER),
    (Slot::Returned, "message/rfc822", MESSAGE),
    (Slot::Returned, "message/global", MESSAGE),
];

/// Reads the header of one part, line by line.
#[derive(Debug)]
pub(super) struct PartHeader {
    slot: Slot,
    fields: Fields,
    known: Known,
}

/// The information in the fields so far.
#[derive(Debug, Default)]
struct Known {
    size: usize,
    /// The fields seen so far, one bit each.
    seen: u8,
    content: Option<Content>,
    encoding: Option<Encoding>,
}

impl PartHeader {
    pub(super) fn new(slot: Slot) -> PartHeader {
        let most = limits::REPORT_PART_HEADER_BYTES;
        PartHeader {
            slot,
            fields: Fields::new(most, Long::Refuse, Reason::PartHeader),
            known: Known::default(),
        }
    }

    pub(super) fn slot(&self) -> Slot {
        self.slot
    }

    /// Reads one line, without its line end. `Some` for the empty line after the header.
    pub(super) fn line(&mut self, line: &[u8]) -> Result<Option<(Content, Encoding)>, Reason> {
        self.known.size += line.len() + 2;
        if self.known.size > limits::REPORT_PART_HEADER_BYTES {
            return Err(Reason::PartHeader);
        }
        let (slot, known) = (self.slot, &mut self.known);
        let ended = self.fields.line(line, |field| known.read(slot, field))?;
        ended.then(|| self.known.outcome(slot)).transpose()
    }
}

impl Known {
    fn read(&mut self, slot: Slot, field: Field<'_>) -> Result<(), Reason> {
        let kinds = [
            "Content-Type",
            "Content-Transfer-Encoding",
            "Content-Description",
            "Content-Disposition",
            "Content-Language",
            "MIME-Version",
        ];
        let is = |kind: &&str| mime::is_same(field.name, kind.as_bytes());
        let kind = kinds.iter().position(is).ok_or(Reason::PartHeader)?;
        let bit = 1 << kind;
        if self.seen & bit != 0 {
            return Err(Reason::PartHeader);
        }
        self.seen |= bit;
        let value = field.value.trim_ascii();
        let good = match kind {
            0 => {
                self.content = Some(content(slot, value).ok_or(Reason::ContentType)?);
                true
            }
            1 => {
                self.encoding = Some(Encoding::parse(value).ok_or(Reason::TransferEncoding)?);
                true
            }
            2 => is_description(value),
            3 => is_disposition(value),
            4 => is_language(value),
            _ => value == b"1.0",
        };
        good.then_some(()).ok_or(Reason::PartHeader)
    }

    /// The content and encoding that the whole header announces.
    fn outcome(&self, slot: Slot) -> Result<(Content, Encoding), Reason> {
        let encoding = self.encoding.unwrap_or(Encoding::Identity);
        match (self.content, slot) {
            // RFC 2046 section 5.2.1 forbids encoding a message, so some programs do not decode it.
            // A header alone is short enough for either reading.
            (Some(MESSAGE), _) if encoding != Encoding::Identity => Ok((MESSAGE_HEADER, encoding)),
            (Some(content), _) => Ok((content, encoding)),
            // sendmail's text has no header.
            (None, Slot::Text) => Ok((Content::Text, encoding)),
            (None, _) => Err(Reason::ContentType),
        }
    }
}

/// The content that a Content-Type announces.
fn content(slot: Slot, value: &[u8]) -> Option<Content> {
    let media_type = MediaType::parse(value)?;
    let (_, _, content) = TYPES
        .iter()
        .find(|(of, essence, _)| *of == slot && media_type.is(essence))?;
    let known = |name: &[u8], text: &[u8]| {
        let is = |known: &str| mime::is_same(name, known.as_bytes());
        // The text may be in any language and charset; everything else must be ASCII or UTF-8.
        let charset = mime::is_ascii_charset(text) || slot == Slot::Text && is_charset(text);
        is("charset") && charset
            || is("name") && is_file_name(text)
            || slot == Slot::Text && is("format") && [&b"flowed"[..], b"fixed"].contains(&text)
            || slot == Slot::Text && is("delsp") && [&b"yes"[..], b"no"].contains(&text)
    };
    media_type
        .parameters()
        .all(|(name, text)| known(name, text))
        .then_some(*content)
}

fn is_charset(name: &[u8]) -> bool {
    let all = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(byte);
    name.len() <= limits::FILE_NAME_BYTES && name.iter().all(all)
}

/// A few words. Servers write dozens of variants.
fn is_description(value: &[u8]) -> bool {
    let printable = |byte: &u8| matches!(byte, b' '..=b'~');
    value.len() <= limits::REPORT_DESCRIPTION_BYTES && value.iter().all(printable)
}

fn is_disposition(value: &[u8]) -> bool {
    MediaType::parse(value).is_some_and(|disposition| {
        (disposition.is("inline") || disposition.is("attachment"))
            && disposition
                .parameters()
                .all(|(name, text)| mime::is_same(name, b"filename") && is_file_name(text))
    })
}

fn is_file_name(name: &[u8]) -> bool {
    let all = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-".contains(byte);
    name.len() <= limits::FILE_NAME_BYTES && name.iter().all(all)
}

fn is_language(value: &[u8]) -> bool {
    let all = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-';
    value.len() <= limits::FILE_NAME_BYTES && value.iter().all(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(slot: Slot, header: &str) -> Result<(Content, Encoding), Reason> {
        let mut part = PartHeader::new(slot);
        for line in header.lines() {
            assert_eq!(part.line(line.as_bytes())?, None, "ended at {line:?}");
        }
        part.line(b"").map(|ended| ended.expect("the end"))
    }

    #[test]
    fn the_headers_that_servers_write_say_what_the_part_holds() {
        use Content::{Status, Text};
        use Encoding::{Base64, Identity, QuotedPrintable};
        for (slot, header, expected) in [
            (Slot::Text, "", (Text, Identity)),
            (
                Slot::Text,
                "Content-Description: Notification\nContent-Type: text/plain; charset=us-ascii",
                (Text, Identity),
            ),
            (
                Slot::Text,
                "Content-Type: text/plain; charset=\"iso-2022-jp\"\nContent-Transfer-Encoding: 7bit",
                (Text, Identity),
            ),
            (
                Slot::Text,
                "content-type: text/plain; charset=koi8-r\nContent-Transfer-Encoding: BASE64",
                (Text, Base64),
            ),
            (
                Slot::Text,
                "Content-Transfer-Encoding: quoted-printable\nContent-Language: en-US",
                (Text, QuotedPrintable),
            ),
            (
                Slot::Status,
                "Content-type: message/delivery-status",
                (Status, Identity),
            ),
            (
                Slot::Status,
                "Content-Type: message/global-delivery-status\nContent-Transfer-Encoding: 8bit",
                (Status, Identity),
            ),
            (
                Slot::Status,
                "Content-Disposition: inline; filename=\"details.txt\"\nContent-Type: message/delivery-status; name=\"details.txt\"",
                (Status, Identity),
            ),
            (
                Slot::Returned,
                "Content-Description: Undelivered Message Headers\nContent-Type: text/rfc822-headers; charset=us-ascii",
                (HEADER, Identity),
            ),
            (
                Slot::Returned,
                "Content-Type: message/global-headers",
                (HEADER, Identity),
            ),
            (
                Slot::Returned,
                "Content-Type: message/rfc822\nContent-Transfer-Encoding: 8bit",
                (MESSAGE, Identity),
            ),
            (
                Slot::Returned,
                "Content-Type: message/rfc822\nContent-Transfer-Encoding: quoted-printable",
                (MESSAGE_HEADER, QuotedPrintable),
            ),
        ] {
            assert_eq!(read(slot, header), Ok(expected), "{header}");
        }
    }

    #[test]
    fn anything_else_in_the_header_of_a_part_is_refused() {
        for (slot, header, reason) in [
            (Slot::Text, "Content-Type: text/html", Reason::ContentType),
            (
                Slot::Text,
                "Content-Type: multipart/alternative; boundary=x",
                Reason::ContentType,
            ),
            (
                Slot::Text,
                "Content-Type: text/plain; title=\"Attack at dawn\"",
                Reason::ContentType,
            ),
            (
                Slot::Text,
                "Content-Type: text/plain; name=\"Attack at dawn\"",
                Reason::ContentType,
            ),
            (
                Slot::Text,
                "Content-Type: text/plain (Attack at dawn)",
                Reason::ContentType,
            ),
            (
                Slot::Text,
                "Content-Type: text/plain\nContent-Type: text/html",
                Reason::PartHeader,
            ),
            (
                Slot::Text,
                "Content-Transfer-Encoding: x-uuencode",
                Reason::TransferEncoding,
            ),
            (
                Slot::Text,
                "Content-Transfer-Encoding: base64\nContent-Transfer-Encoding: 7bit",
                Reason::PartHeader,
            ),
            (Slot::Text, "Subject: Attack at dawn", Reason::PartHeader),
            (Slot::Text, "Attack at dawn", Reason::PartHeader),
            (Slot::Text, " Attack at dawn", Reason::PartHeader),
            (Slot::Text, "MIME-Version: 1.0 (x)", Reason::PartHeader),
            (
                Slot::Text,
                "Content-Disposition: inline; text=attack",
                Reason::PartHeader,
            ),
            (Slot::Status, "", Reason::ContentType),
            (
                Slot::Status,
                "Content-Type: text/plain",
                Reason::ContentType,
            ),
            (
                Slot::Status,
                "Content-Type: message/delivery-status; charset=utf-7",
                Reason::ContentType,
            ),
            (Slot::Returned, "", Reason::ContentType),
            (
                Slot::Returned,
                "Content-Type: text/plain",
                Reason::ContentType,
            ),
            (
                Slot::Returned,
                "Content-Type: message/delivery-status",
                Reason::ContentType,
            ),
            (
                Slot::Returned,
                "Content-Type: image/png; name=\"icon.png\"",
                Reason::ContentType,
            ),
        ] {
            assert_eq!(read(slot, header), Err(reason), "{header}");
        }
        let long = "Attack at dawn. ".repeat(5);
        for header in [
            format!("Content-Description: {long}"),
            format!("Content-Language: {}", "a".repeat(41)),
            format!("Content-Type: text/plain\n{}", " ;\n".repeat(400)),
        ] {
            let answer = read(Slot::Text, &header);
            assert!(answer.is_err(), "{header}");
        }
    }
}
