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
            buffer: Vec::new(),
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
            let continues = matches!(chunk.first(), Some(b' ' | b'\t') | None);
            if self.line > 0 && self.line == self.buffer.len() && !continues {
                self.field_ends();
            }
            let Some(end) = memchr::memchr(b'\n', chunk) else {
                self.keep(chunk);
                return;
            };
            let (text, rest) = chunk.split_at(end);
            chunk = rest.strip_prefix(b"\n").unwrap_or(rest);
            // A field of one line, of which all is here, needs no copy.
            if self.buffer.is_empty()
                && end <= limits::HEADER_FIELD_BYTES
                && !matches!(chunk.first(), Some(b' ' | b'\t') | None)
            {
                let field = line(text);
                match field.is_empty() {
                    true => self.header_ends(),
                    false => give(&mut self.filter, field),
                }
                continue;
            }
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
        if self.buffer.capacity() == 0 {
            self.buffer.reserve(512);
        }
        // Doubling would hold old and new side by side: a long field gets all it may have at once.
        if size > self.buffer.capacity() && size > 2048 {
            let missing = limits::HEADER_FIELD_BYTES - self.buffer.len();
            self.buffer.reserve_exact(missing);
        }
        self.buffer.extend_from_slice(text);
    }

    fn line_ends(&mut self) {
        let (_, text) = self.buffer.split_at(self.line);
        let size = line(text).len();
        self.buffer.truncate(self.line + size);
        match self.buffer.get(self.line) {
            None => {
                self.field_ends();
                self.header_ends();
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
            give(&mut self.filter, field);
        }
        self.buffer.drain(..self.line);
        self.line = 0;
    }

    fn header_ends(&mut self) {
        self.filter.reuse(std::mem::take(&mut self.buffer));
        self.filter.end_of_headers();
        self.in_body = true;
    }
}

/// A line without the CR of its line end. Of two the second is no line end: without it the first
/// would look like one.
fn line(text: &[u8]) -> &[u8] {
    match text {
        [.., b'\r', b'\r'] => text,
        [line @ .., b'\r'] => line,
        _ => text,
    }
}

/// Hands a field on, without its last line end.
fn give(filter: &mut MessageFilter, field: &[u8]) {
    // Names are short.
    match field.iter().position(|&byte| byte == b':') {
        Some(colon) => {
            let (name, value) = field.split_at(colon);
            let value = value.strip_prefix(b":").unwrap_or(value);
            // As Postfix does, so that limits count the same.
            let value = value.strip_prefix(b" ").unwrap_or(value);
            filter.header(name, value);
        }
        None => filter.header_malformed(),
    }
}
