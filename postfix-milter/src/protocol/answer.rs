//! Answers of the filter.

use std::fmt;

use super::negotiation::Negotiated;

const CONTINUE: u8 = b'c';
const REPLY: u8 = b'y';
const CHANGE_HEADER: u8 = b'm';
const INSERT_HEADER: u8 = b'i';
const CHANGE_SENDER: u8 = b'e';
const NEGOTIATE: u8 = b'O';

/// Octets of an SMTP reply line without its CRLF (RFC 5321 section 4.5.3.1.5).
pub const MAX_REPLY: usize = 510;

/// A change that cannot be written down: a field's name or value holds a NUL, its name is no field
/// name, or the MTA does not allow it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidEdit;

impl fmt::Display for InvalidEdit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a change that the mail server or the protocol does not allow")
    }
}

impl std::error::Error for InvalidEdit {}

/// Answers waiting to be sent.
#[derive(Debug, Default)]
pub struct Answers {
    octets: Vec<u8>,
}

impl Answers {
    /// What is to be sent.
    pub fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// Everything was sent.
    pub fn clear(&mut self) {
        self.octets.clear();
    }

    /// The MTA may go on. At the end of a message: it is accepted.
    pub fn go_on(&mut self) {
        self.frame(CONTINUE, &[]);
    }

    /// The outcome of negotiation.
    pub fn negotiated(&mut self, negotiated: Negotiated) {
        self.frame(NEGOTIATE, &[&negotiated.payload()]);
    }

    /// The SMTP reply with which the MTA turns the command or message away: one line such as
    /// `523 Encryption Needed: …`.
    ///
    /// A line must stay a line and printable: control characters become `?`, and it ends at
    /// [`MAX_REPLY`] octets. `%` is doubled because MTAs undo that (Sendmail uses the text
    /// as a format, Postfix follows: `%%` becomes `%`, a single one is lost).
    pub fn reply(&mut self, line: &str) {
        let mut text = Vec::with_capacity(line.len() + 1);
        let mut length = 0;
        for character in line.chars() {
            let character = if character.is_control() {
                '?'
            } else {
                character
            };
            length += character.len_utf8();
            if length > MAX_REPLY {
                break;
            }
            if character == '%' {
                text.push(b'%');
            }
            text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        }
        self.frame(REPLY, &[&text, b"\0"]);
    }

    /// Deletes the `index`th header field of that name, counted from 1.
    ///
    /// # Errors
    ///
    /// See [`InvalidEdit`]; nothing is added.
    pub fn delete_header(&mut self, name: &str, index: u32) -> Result<(), InvalidEdit> {
        // An empty value deletes.
        self.change_header(name, index, "")
    }

    /// Replaces the value of the `index`th header field of that name, counted from 1. Whether the
    /// space after the colon is part of it was negotiated.
    ///
    /// # Errors
    ///
    /// See [`InvalidEdit`]; nothing is added. An empty value is one: it would delete.
    pub fn replace_header(
        &mut self,
        name: &str,
        index: u32,
        value: &str,
    ) -> Result<(), InvalidEdit> {
        if value.is_empty() {
            return Err(InvalidEdit);
        }
        self.change_header(name, index, value)
    }

    /// Puts a header field above all others. Folds are bare line feeds.
    ///
    /// # Errors
    ///
    /// See [`InvalidEdit`]; nothing is added.
    pub fn insert_header(&mut self, name: &str, value: &str) -> Result<(), InvalidEdit> {
        self.header(INSERT_HEADER, name, 0, value)
    }

    /// Makes the envelope sender the null sender.
    pub fn remove_sender(&mut self) {
        self.frame(CHANGE_SENDER, &[b"<>\0"]);
    }

    fn change_header(&mut self, name: &str, index: u32, value: &str) -> Result<(), InvalidEdit> {
        match index {
            0 => Err(InvalidEdit),
            _ => self.header(CHANGE_HEADER, name, index, value),
        }
    }

    fn header(
        &mut self,
        command: u8,
        name: &str,
        index: u32,
        value: &str,
    ) -> Result<(), InvalidEdit> {
        let is_name = |name: &str| {
            !name.is_empty() && name.bytes().all(|c| c.is_ascii_graphic() && c != b':')
        };
        if !is_name(name) || value.contains('\0') {
            return Err(InvalidEdit);
        }
        let index = index.to_be_bytes();
        self.frame(
            command,
            &[&index, name.as_bytes(), b"\0", value.as_bytes(), b"\0"],
        );
        Ok(())
    }

    fn frame(&mut self, command: u8, payload: &[&[u8]]) {
        let length = 1 + payload.iter().map(|part| part.len()).sum::<usize>();
        // Names and values come out of frames far below 4 GiB.
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        self.octets.extend_from_slice(&length.to_be_bytes());
        self.octets.push(command);
        for part in payload {
            self.octets.extend_from_slice(part);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(write: impl FnOnce(&mut Answers)) -> Vec<u8> {
        let mut answers = Answers::default();
        write(&mut answers);
        answers.octets
    }

    #[test]
    fn percent_signs_of_a_reply_are_doubled() {
        assert_eq!(
            answered(|a| a.reply("450 100% of a%b")),
            b"\0\0\0\x13y450 100%% of a%%b\0"
        );
    }

    #[test]
    fn a_reply_stays_one_line() {
        let sent = answered(|a| a.reply("500 a\r\n250 b\0c"));
        assert_eq!(sent, b"\0\0\0\x10y500 a??250 b?c\0");
    }

    #[test]
    fn a_reply_ends_at_the_limit_of_smtp_and_between_characters() {
        let sent = answered(|a| a.reply(&format!("500 {}", "ä".repeat(600))));
        let text = std::str::from_utf8(&sent[5..sent.len() - 1]).unwrap();
        assert_eq!(text.len(), MAX_REPLY);
    }

    #[test]
    fn edits_name_the_occurrence() {
        assert_eq!(
            answered(|a| a.delete_header("Received", 2).unwrap()),
            b"\0\0\0\x0fm\0\0\0\x02Received\0\0"
        );
        assert_eq!(
            answered(|a| a.replace_header("Subject", 1, "[...]").unwrap()),
            b"\0\0\0\x13m\0\0\0\x01Subject\0[...]\0"
        );
    }

    #[test]
    fn a_field_comes_on_top_and_a_sender_goes() {
        assert_eq!(
            answered(|a| a.insert_header("X", " a;\n\tb").unwrap()),
            b"\0\0\0\x0ei\0\0\0\0X\0 a;\n\tb\0"
        );
        assert_eq!(answered(Answers::remove_sender), b"\0\0\0\x04e<>\0");
    }

    #[test]
    fn an_edit_that_cannot_be_expressed_is_an_error_and_nothing_is_sent() {
        let sent = answered(|a| {
            assert_eq!(a.delete_header("", 1), Err(InvalidEdit));
            assert_eq!(a.delete_header("a:b", 1), Err(InvalidEdit));
            assert_eq!(a.delete_header("Received", 0), Err(InvalidEdit));
            assert_eq!(a.replace_header("Subject", 1, ""), Err(InvalidEdit));
            assert_eq!(a.replace_header("Subject", 1, "a\0b"), Err(InvalidEdit));
        });
        assert!(sent.is_empty());
    }
}
