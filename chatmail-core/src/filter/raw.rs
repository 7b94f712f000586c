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
    /// The lines of the current field, each with a LF, then the beginning of the next line. One
    /// buffer for both, because a field may be long and memory is not.
    buffer: Vec<u8>,
    /// Where that next line begins.
    line: usize,
    /// The current field is too long and its rest is thrown away.
    overflowed: bool,
}

impl RawMessage {
    /// Feeds `filter`, which has its recipients and nothing else yet.
    pub fn new(filter: MessageFilter) -> RawMessage {
        RawMessage {
            filter,
            in_body: false,
            buffer: Vec::with_capacity(512),
            line: 0,
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
            self.line_ends();
        }
        if !chunk.is_empty() {
            self.filter.body(chunk);
        }
    }

    /// See [`MessageFilter::wants_body`].
    pub fn wants_body(&self) -> bool {
        self.filter.wants_body()
    }

    /// See [`MessageFilter::finish`].
    pub fn finish(mut self, mailboxes: &Mailboxes) -> Result<Verdict, Undecided> {
        if !self.in_body {
            if self.buffer.len() > self.line {
                self.line_ends();
            }
            self.field_ends();
        }
        self.filter.finish(mailboxes)
    }

    fn keep(&mut self, text: &[u8]) {
        let size = self.buffer.len() + text.len();
        if size > limits::HEADER_FIELD_BYTES {
            self.overflowed = true;
            // What counts of a line that is thrown away is how it began.
            self.buffer.extend(text.first());
            self.buffer.truncate(self.line + 1);
            return;
        }
        // Doubling would hold old and new side by side: a long field gets all it may have at once.
        if size > self.buffer.capacity() && size > 2048 {
            let missing = limits::HEADER_FIELD_BYTES - self.buffer.len();
            self.buffer.reserve_exact(missing);
        }
        self.buffer.extend_from_slice(text);
    }

    fn line_ends(&mut self) {
        if self.buffer.len() > self.line && self.buffer.ends_with(b"\r") {
            self.buffer.pop();
        }
        match self.buffer.get(self.line) {
            None => {
                self.field_ends();
                self.filter.end_of_headers();
                self.in_body = true;
                return;
            }
            Some(b' ' | b'\t') if self.line > 0 => {
                if self.overflowed {
                    self.buffer.truncate(self.line);
                    return;
                }
            }
            Some(_) => self.field_ends(),
        }
        self.buffer.push(b'\n');
        self.line = self.buffer.len();
    }

    /// Hands the current field on; the next line, if any, stays in the buffer.
    fn field_ends(&mut self) {
        if std::mem::take(&mut self.overflowed) {
            self.filter.header_overflow();
        }
        let (field, _) = self.buffer.split_at(self.line);
        if let Some(field) = field.strip_suffix(b"\n") {
            match memchr::memchr(b':', field) {
                Some(colon) => {
                    let (name, value) = field.split_at(colon);
                    let value = value.strip_prefix(b":").unwrap_or(value);
                    // As Postfix does, so that limits count the same.
                    let value = value.strip_prefix(b" ").unwrap_or(value);
                    self.filter.header(name, value);
                }
                None => self.filter.header_malformed(),
            }
        }
        self.buffer.drain(..self.line);
        self.line = 0;
    }
}
