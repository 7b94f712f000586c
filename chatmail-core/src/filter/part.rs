//! The header of a body part: few fields, fixed values.
//!
//! Readers show some of these fields (file names, descriptions), so free text in them would be
//! readable text. The values below are what programs write; all else is refused.

use super::limits;
use super::mime::{self, MediaType};
use super::verdict::{Direction, Reason};

mod values;

/// What a body part has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// `application/pgp-encrypted` (RFC 3156 section 4).
    Version,
    /// `application/octet-stream`.
    Encrypted,
    /// `text/plain` of a Secure-Join request.
    Request,
}

/// How Delta Chat begins its parts: the header, and what comes before the ciphertext. Nearly every
/// message has one of these, and needs no reading there. The last two rows are of versions before
/// 2.50.
pub(super) const OPENINGS: [(Role, &str); 4] = [
    (
        Role::Version,
        "Content-Type: application/pgp-encrypted; charset=\"utf-8\"\r\n\
         Content-Transfer-Encoding: 7bit\r\n\r\nVersion: 1\r\n",
    ),
    (
        Role::Encrypted,
        "Content-Type: application/octet-stream; charset=\"utf-8\"\r\n\
         Content-Transfer-Encoding: 7bit\r\n\r\n-----BEGIN PGP MESSAGE-----\r\n\r\n",
    ),
    (
        Role::Version,
        "Content-Type: application/pgp-encrypted; charset=\"utf-8\"\r\n\
         Content-Description: PGP/MIME version identification\r\n\
         Content-Transfer-Encoding: 7bit\r\n\r\nVersion: 1\r\n",
    ),
    (
        Role::Encrypted,
        "Content-Type: application/octet-stream; name=\"encrypted.asc\"; \r\n\
         \tcharset=\"utf-8\"\r\n\
         Content-Description: OpenPGP encrypted message\r\n\
         Content-Disposition: inline; filename=\"encrypted.asc\";\r\n\
         Content-Transfer-Encoding: 7bit\r\n\r\n-----BEGIN PGP MESSAGE-----\r\n\r\n",
    ),
];

/// How the content of a part is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    /// Not at all: 7bit, 8bit, binary, or quoted-printable that has nothing to encode.
    Identity,
    Base64,
}

/// Collects the header of one part, line by line.
#[derive(Debug)]
pub(super) struct PartHeader {
    direction: Direction,
    role: Role,
    /// Fields that came already, one bit each.
    seen: u8,
    encoding: Encoding,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Type,
    Description,
    Disposition,
    TransferEncoding,
    MimeVersion,
    ContentId,
    AttachmentId,
}

impl Field {
    fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl PartHeader {
    pub(super) fn new(direction: Direction, role: Role) -> PartHeader {
        PartHeader {
            direction,
            role,
            seen: 0,
            encoding: Encoding::Identity,
        }
    }

    /// How the content behind the header is encoded.
    pub(super) fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// The row of [`OPENINGS`] that stands at the beginning of `part`, if no line has come yet.
    pub(super) fn opening(&self, part: &[u8], field: &[u8]) -> Option<&'static str> {
        if self.seen != 0 || !field.is_empty() {
            return None;
        }
        OPENINGS
            .iter()
            .find(|(role, text)| *role == self.role && part.starts_with(text.as_bytes()))
            .map(|(_, text)| *text)
    }

    /// Reads one line, without its line end. `true`: that was the empty line behind the header.
    /// `field` keeps the current field with its folds between calls; it is empty at first.
    pub(super) fn line(&mut self, line: &[u8], field: &mut Vec<u8>) -> Result<bool, Reason> {
        match line.first() {
            Some(b' ' | b'\t') => {
                // Readers differ on a fold that holds nothing, and on one that continues nothing.
                if field.is_empty() || line.trim_ascii().is_empty() {
                    return Err(Reason::PartHeader);
                }
                field.push(b'\n');
            }
            Some(_) => self.field_ends(field)?,
            None => {
                self.field_ends(field)?;
                return match self.seen & Field::Type.bit() != 0 {
                    true => Ok(true),
                    false => Err(Reason::PartHeader),
                };
            }
        }
        if field.len() + line.len() > limits::MIME_VALUE_BYTES {
            return Err(Reason::PartHeader);
        }
        field.extend_from_slice(line);
        Ok(false)
    }

    fn field_ends(&mut self, field: &mut Vec<u8>) -> Result<(), Reason> {
        if field.is_empty() {
            return Ok(());
        }
        let (kind, good) = self.read(field)?;
        if self.seen & kind.bit() != 0 {
            return Err(Reason::PartHeader);
        }
        self.seen |= kind.bit();
        field.clear();
        good
    }

    /// The kind of a field, and whether its value is good. An `Err` is no field.
    fn read(&mut self, field: &[u8]) -> Result<(Field, Result<(), Reason>), Reason> {
        // White space to some readers, a line end to others.
        if field.split(|&byte| byte == b'\n').any(mime::has_control) {
            return Err(Reason::PartHeader);
        }
        let colon = field.iter().position(|&byte| byte == b':');
        let (name, value) = field.split_at(colon.ok_or(Reason::PartHeader)?);
        let value = value.strip_prefix(b":").unwrap_or(value);
        let known = [
            ("Content-Type", Field::Type),
            ("Content-Description", Field::Description),
            ("Content-Disposition", Field::Disposition),
            ("Content-Transfer-Encoding", Field::TransferEncoding),
            ("MIME-Version", Field::MimeVersion),
            ("Content-ID", Field::ContentId),
            ("X-Attachment-Id", Field::AttachmentId),
            // Older FlowCrypt.
            ("X-Att-Id", Field::AttachmentId),
        ];
        let kind = known
            .iter()
            .find(|(known, _)| mime::is_same(name, known.as_bytes()))
            .map(|(_, kind)| *kind)
            .ok_or(Reason::PartHeader)?;
        let (good, reason) = match kind {
            Field::Type => (self.is_type(value), Reason::ContentType),
            Field::Description => (
                values::is_description(self.direction, self.role, value.trim_ascii()),
                Reason::PartHeader,
            ),
            Field::Disposition => (self.is_disposition(value), Reason::PartHeader),
            Field::TransferEncoding => (self.take_encoding(value), Reason::TransferEncoding),
            Field::MimeVersion => (value.trim_ascii() == b"1.0", Reason::PartHeader),
            Field::ContentId | Field::AttachmentId => {
                let named = self.direction == Direction::Incoming && self.role != Role::Request;
                let good = named && values::is_identifier(value.trim_ascii());
                (good, Reason::PartHeader)
            }
        };
        match good {
            true => Ok((kind, Ok(()))),
            false => Ok((kind, Err(reason))),
        }
    }

    fn is_type(&self, value: &[u8]) -> bool {
        let Some(media_type) = MediaType::parse(value) else {
            return false;
        };
        let (essence, is_request) = match self.role {
            Role::Version => ("application/pgp-encrypted", false),
            Role::Encrypted => ("application/octet-stream", false),
            Role::Request => ("text/plain", true),
        };
        let known = media_type.parameters().all(|(name, content)| {
            let is = |known: &str| mime::is_same(name, known.as_bytes());
            is("charset") && mime::is_ascii_charset(content)
                || is("name") && !is_request && self.is_file_name(content)
                || is("format") && is_request && [&b"flowed"[..], b"fixed"].contains(&content)
                || is("delsp") && is_request && [&b"yes"[..], b"no"].contains(&content)
        });
        media_type.is(essence) && known
    }

    fn is_disposition(&self, value: &[u8]) -> bool {
        MediaType::parse(value).is_some_and(|disposition| {
            (disposition.is("inline") || disposition.is("attachment"))
                && disposition.parameters().all(|(name, content)| {
                    mime::is_same(name, b"filename")
                        && self.role != Role::Request
                        && self.is_file_name(content)
                })
        })
    }

    fn take_encoding(&mut self, value: &[u8]) -> bool {
        let is = |known: &[u8]| mime::is_same(value.trim_ascii(), known);
        let request = self.role == Role::Request;
        if self.direction == Direction::Incoming && !request && is(b"base64") {
            self.encoding = Encoding::Base64;
            return true;
        }
        // The line of a request has no character that quoted-printable would change.
        mime::is_identity_encoding(value) || request && is(b"quoted-printable")
    }

    fn is_file_name(&self, name: &[u8]) -> bool {
        values::is_file_name(self.direction, self.role, name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(direction: Direction, role: Role, header: &str) -> Result<(), Reason> {
        let mut part = PartHeader::new(direction, role);
        let mut field = Vec::new();
        for line in header.lines() {
            let ended = part.line(line.as_bytes(), &mut field)?;
            assert!(!ended, "ended at {line:?}");
        }
        let ended = part.line(b"", &mut field)?;
        assert!(ended, "not ended by the empty line");
        Ok(())
    }

    #[test]
    fn the_headers_of_delta_chat_and_others_pass() {
        for (role, header) in [
            (
                Role::Version,
                "Content-Type: application/pgp-encrypted; charset=\"utf-8\"\nContent-Transfer-Encoding: 7bit",
            ),
            (
                Role::Encrypted,
                "Content-Type: application/octet-stream; charset=\"utf-8\"\nContent-Transfer-Encoding: 7bit",
            ),
            (
                Role::Version,
                "Content-Description: PGP/MIME version identification\nContent-Type: application/pgp-encrypted",
            ),
            (
                Role::Encrypted,
                "Content-Description: OpenPGP encrypted message\nContent-Disposition: inline; filename=\"encrypted.asc\";\nContent-Type: application/octet-stream;\n name=\"encrypted.asc\"",
            ),
            (
                Role::Request,
                "Content-Type: text/plain; charset=utf-8; format=flowed; delsp=no",
            ),
        ] {
            assert_eq!(read(Direction::Outgoing, role, header), Ok(()), "{header}");
        }
    }

    #[test]
    fn identifiers_and_base64_pass_in_incoming_mail_only() {
        let encrypted = "Content-Type: application/octet-stream; name=\"\"";
        for (field, reason) in [
            ("Content-ID: <f_m9ldlyuc0>", Reason::PartHeader),
            (
                "content-id:\n <0b1c.2d-3e@flowcrypt.example>",
                Reason::PartHeader,
            ),
            ("X-Attachment-Id: f_m9ldlyuc0", Reason::PartHeader),
            ("X-Att-Id: f_SAblBasdyA", Reason::PartHeader),
            (
                "Content-Transfer-Encoding: Base64",
                Reason::TransferEncoding,
            ),
        ] {
            let header = format!("Content-Type: application/octet-stream\n{field}");
            let answer = read(Direction::Incoming, Role::Encrypted, &header);
            assert_eq!(answer, Ok(()), "{field}");
            let answer = read(Direction::Outgoing, Role::Encrypted, &header);
            assert_eq!(answer, Err(reason.clone()), "{field}");
            let request = format!("Content-Type: text/plain\n{field}");
            let answer = read(Direction::Incoming, Role::Request, &request);
            assert_eq!(answer, Err(reason), "{field}");
        }
        assert!(read(Direction::Incoming, Role::Encrypted, encrypted).is_ok());
        assert!(read(Direction::Outgoing, Role::Encrypted, encrypted).is_err());
    }

    #[test]
    fn the_encoding_is_known_behind_the_header() {
        for (value, encoding) in [("7bit", Encoding::Identity), ("base64", Encoding::Base64)] {
            let mut part = PartHeader::new(Direction::Incoming, Role::Version);
            let mut field = Vec::new();
            let header = format!("Content-Transfer-Encoding: {value}");
            for line in ["Content-Type: application/pgp-encrypted", &header, ""] {
                part.line(line.as_bytes(), &mut field).expect(value);
            }
            assert_eq!(part.encoding(), encoding);
        }
    }

    #[test]
    fn anything_else_in_a_part_header_is_refused() {
        let good = "Content-Type: application/octet-stream";
        for (other, reason) in [
            ("Attack at dawn", Reason::PartHeader),
            ("X-Text: Attack at dawn", Reason::PartHeader),
            ("Subject: Attack at dawn", Reason::PartHeader),
            ("Content-ID: <attack@dawn> (attack)", Reason::PartHeader),
            (
                "Content-ID: <attack@dawn> <attack@dawn>",
                Reason::PartHeader,
            ),
            ("Content-ID: <attack at dawn>", Reason::PartHeader),
            ("X-Attachment-Id: Attack at dawn", Reason::PartHeader),
            ("X-Attachment-Id: f_1\nX-Att-Id: f_1", Reason::PartHeader),
            ("Content-Description: Attack at dawn", Reason::PartHeader),
            (
                "Content-Disposition: inline; text=attack",
                Reason::PartHeader,
            ),
            ("Content-Disposition: form-data", Reason::PartHeader),
            (
                "Content-Transfer-Encoding: base64 (attack)",
                Reason::TransferEncoding,
            ),
            (
                "Content-Transfer-Encoding: quoted-printable",
                Reason::TransferEncoding,
            ),
            (
                "Content-Transfer-Encoding: base64\nContent-Transfer-Encoding: 7bit",
                Reason::PartHeader,
            ),
            ("Content-Type: application/octet-stream", Reason::PartHeader),
            (
                "Content-Type : application/octet-stream",
                Reason::PartHeader,
            ),
            ("MIME-Version: 1.0 (attack at dawn)", Reason::PartHeader),
            (" Attack at dawn", Reason::ContentType),
            (" ", Reason::PartHeader),
        ] {
            let header = format!("{good}\n{other}");
            let answer = read(Direction::Incoming, Role::Encrypted, &header);
            assert_eq!(answer, Err(reason), "{other}");
        }
        for header in [
            "",
            "Content-Transfer-Encoding: 7bit",
            "\tContent-Type: application/octet-stream",
        ] {
            let answer = read(Direction::Incoming, Role::Encrypted, header);
            assert_eq!(answer, Err(Reason::PartHeader), "{header}");
        }
        for value in [
            "text/plain",
            "application/octet-stream; charset=utf-7",
            "application/octet-stream; charset=utf-16",
            "application/octet-stream; x=attack",
            "application/octet-stream (attack)",
        ] {
            let header = format!("Content-Type: {value}");
            let answer = read(Direction::Incoming, Role::Encrypted, &header);
            assert_eq!(answer, Err(Reason::ContentType), "{value}");
        }
        let long = format!("{good};{} charset=utf-8", " ".repeat(900));
        let answer = read(Direction::Incoming, Role::Encrypted, &long);
        assert_eq!(answer, Err(Reason::PartHeader));
    }
}
