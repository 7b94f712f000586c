//! The returned message, or its header.

use super::super::armor::LineEnd;
use super::super::body::Grammar;
use super::super::headers::{Announced, Header};
use super::super::limits;
use super::super::mime::Boundary;
use super::super::multipart::Multipart;
use super::super::policy;
use super::super::verdict::{Direction, Reason};
use super::fields::{Field, Fields, Long};

/// The kind of content that is returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A header, and nothing behind it. Readers show it as text.
    Header,
    /// The header of a message, and nothing behind it. Readers look for its body.
    MessageHeader,
    /// A message. Its body may be missing.
    Message,
}

/// A streaming reader of the lines.
#[derive(Debug)]
pub(super) struct Returned {
    kind: Kind,
    /// The boundary of the report around it.
    outer: Boundary,
    size: usize,
    fields: Fields,
    header: Header,
    state: State,
}

#[derive(Debug)]
enum State {
    Header,
    /// After a header without a body; the number of empty lines so far.
    Nothing(u32),
    Body(Box<Multipart>),
}

/// Bytes of a field that are kept: the fields that are read are short.
const FIELD_BYTES: usize = limits::MIME_VALUE_BYTES + limits::HEADER_NAME_BYTES;

impl Returned {
    pub(super) fn new(kind: Kind, outer: Boundary) -> Returned {
        Returned {
            kind,
            outer,
            size: 0,
            fields: Fields::new(FIELD_BYTES, Long::Cut, Reason::Returned),
            header: Header::new(Direction::Incoming),
            state: State::Header,
        }
    }

    /// The part has ended.
    pub(super) fn finish(&mut self) -> Result<(), Reason> {
        match &self.state {
            State::Header => {
                let header = &mut self.header;
                self.fields.end(|field| read(header, field))?;
                self.body().map(|_| ())
            }
            State::Nothing(_) => Ok(()),
            State::Body(body) if body.is_untouched() => Ok(()),
            State::Body(body) => body.finish().map(|_| ()),
        }
    }

    /// What may follow the header.
    fn body(&self) -> Result<State, Reason> {
        if self.kind == Kind::Header {
            return Ok(State::Nothing(0));
        }
        let header = &self.header;
        let content = header
            .check_size()
            .and_then(|()| header.check_author(b""))
            .and_then(|()| header.content());
        let (content, boundary) = match content {
            Ok(Announced::Multipart(content, boundary)) => (content, boundary),
            // A truncated header.
            Err(_) if header.is_untyped() => return Ok(State::Nothing(0)),
            _ => return Err(Reason::Returned),
        };
        if self.kind == Kind::MessageHeader {
            return Ok(State::Nothing(0));
        }
        // Mail programs would find the delimiters of one in the other.
        let (outer, inner) = (self.outer.delimiter(), boundary.delimiter());
        if outer.starts_with(inner) || inner.starts_with(outer) {
            return Err(Reason::Returned);
        }
        let body = Multipart::new(Direction::Incoming, content, boundary, Vec::new());
        Ok(State::Body(Box::new(body)))
    }
}

impl Grammar for Returned {
    fn line(&mut self, line: &[u8]) -> Result<(), Reason> {
        match &mut self.state {
            State::Header => {
                self.size += line.len() + 2;
                if self.size > limits::REPORT_HEADER_BYTES {
                    return Err(Reason::Returned);
                }
                let header = &mut self.header;
                if self.fields.line(line, |field| read(header, field))? {
                    self.state = self.body()?;
                }
                Ok(())
            }
            State::Nothing(blank_lines) => {
                *blank_lines += 1;
                match line.is_empty() && *blank_lines <= limits::BLANK_LINES_INCOMING {
                    true => Ok(()),
                    false => Err(Reason::Returned),
                }
            }
            State::Body(body) => body.line(line),
        }
    }

    fn bulk(&mut self, chunk: &[u8], line_end: LineEnd) -> Result<usize, Reason> {
        match &mut self.state {
            State::Body(body) => body.bulk(chunk, line_end),
            _ => Ok(0),
        }
    }
}

/// Reads one field as a field of a message.
fn read(header: &mut Header, field: Field<'_>) -> Result<(), Reason> {
    if field.is_cut && policy::is_read(Direction::Incoming, field.name) {
        return Err(Reason::Returned);
    }
    header.field(field.name, field.value, b"");
    Ok(())
}
