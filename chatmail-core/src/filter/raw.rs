//! A raw message, split into its header fields and its body.

use super::{MessageFilter, Undecided, Verdict, limits};
use crate::mailbox::Mailboxes;

/// The check of one message as a raw stream (RFC 5322, line ends CRLF or LF), cut anywhere.
///
/// A line of the header that is no field makes the message malformed: readers differ on whether
/// the body begins there.
#[derive(Debug)]
pub struct RawMessage {
    filter: MessageFilter,
    in_body: bool,
    /// The current field with its folds, without its last line end.
    field: Vec<u8>,
    /// The beginning of a line of the header.
    line: Vec<u8>,
    /// The current field is too long and its rest is thrown away.
    overflowed: bool,
}

impl RawMessage {
    /// Feeds `filter`, which has its recipients and nothing else yet.
    pub fn new(filter: MessageFilter) -> RawMessage {
        RawMessage {
            filter,
            in_body: false,
            field: Vec::new(),
            line: Vec::new(),
            overflowed: false,
        }
    }

    /// One envelope recipient; see [`MessageFilter::recipient`].
    pub fn recipient(&mut self, address: &[u8]) {
        self.filter.recipient(address);
    }

    /// The next bytes of the message.
    pub fn write(&mut self, mut chunk: &[u8]) {
        while !self.in_body {
            let Some(end) = memchr::memchr(b'\n', chunk) else {
                self.keep(chunk);
                return;
            };
            let (text, rest) = chunk.split_at(end);
            chunk = rest.strip_prefix(b"\n").unwrap_or(rest);
            self.keep(text);
            let mut line = std::mem::take(&mut self.line);
            if line.ends_with(b"\r") {
                line.pop();
            }
            self.header_line(&line);
            line.clear();
            self.line = line;
        }
        if !chunk.is_empty() {
            self.filter.body(chunk);
        }
    }

    /// See [`MessageFilter::finish`].
    pub fn finish(mut self, mailboxes: &Mailboxes) -> Result<Verdict, Undecided> {
        if !self.in_body {
            let line = std::mem::take(&mut self.line);
            if !line.is_empty() {
                self.header_line(&line);
            }
            self.field_ends();
        }
        self.filter.finish(mailboxes)
    }

    fn keep(&mut self, text: &[u8]) {
        if self.field.len() + self.line.len() + text.len() > limits::HEADER_FIELD_BYTES {
            self.overflowed = true;
            // What counts of a line thrown away is how it began.
            self.line.truncate(1);
            if self.line.is_empty() {
                self.line.extend(text.first());
            }
        } else {
            self.line.extend_from_slice(text);
        }
    }

    fn header_line(&mut self, line: &[u8]) {
        match line.first() {
            None => {
                self.field_ends();
                self.filter.end_of_headers();
                self.in_body = true;
            }
            Some(b' ' | b'\t') if !self.field.is_empty() => {
                if !self.overflowed {
                    self.field.push(b'\n');
                    self.field.extend_from_slice(line);
                }
            }
            Some(_) => {
                self.field_ends();
                self.field.extend_from_slice(line);
            }
        }
    }

    fn field_ends(&mut self) {
        if std::mem::take(&mut self.overflowed) {
            self.filter.header_overflow();
        }
        if self.field.is_empty() {
            return;
        }
        match memchr::memchr(b':', &self.field) {
            Some(colon) => {
                let (name, value) = self.field.split_at(colon);
                let value = value.strip_prefix(b":").unwrap_or(value);
                self.filter.header(name, value);
            }
            None => self.filter.header_malformed(),
        }
        self.field.clear();
    }
}
