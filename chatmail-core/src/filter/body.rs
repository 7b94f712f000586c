//! Splits the body, and the content of an encoded part, into lines, whatever chunks they come in.
//!
//! A line is handed on without its line end. Line ends are CRLF, or LF for messages from files, one
//! of them throughout: where they mix, readers see different lines. A line has at most
//! [`limits::LINE_BYTES`], so what is held between two chunks is small.

use super::armor::LineEnd;
use super::limits;
use super::multipart::Multipart;
use super::report::Report;
use super::verdict::{Part, Reason, Refusal};

/// A reader of lines.
pub(super) trait Grammar {
    /// Reads one line, without its line end.
    fn line(&mut self, line: &[u8]) -> Result<(), Reason>;

    /// Skips whole lines at the beginning of `chunk`. Returns their size in bytes.
    fn bulk(&mut self, _chunk: &[u8], _line_end: LineEnd) -> Result<usize, Reason> {
        Ok(0)
    }
}

/// The grammars of a whole body.
#[derive(Debug)]
pub(super) enum Whole {
    Multipart(Multipart),
    Report(Report),
}

/// The body as its grammar reads it.
#[derive(Debug)]
pub(super) struct Body {
    grammar: Whole,
    cutter: Cutter,
}

impl Body {
    pub(super) fn new(grammar: Whole) -> Body {
        Body {
            grammar,
            cutter: Cutter::default(),
        }
    }

    /// Reads the next bytes. After a refusal nothing more may be fed.
    pub(super) fn feed(&mut self, chunk: &[u8]) -> Result<(), Refusal> {
        let fed = self.cutter.feed(chunk, &mut self.grammar);
        fed.map_err(|reason| self.refusal(reason))
    }

    /// The body has ended. Returns the version of the encrypted data, if it holds any.
    pub(super) fn finish(mut self) -> Result<Option<u8>, Refusal> {
        self.cutter
            .finish(&mut self.grammar)
            .and_then(|()| self.grammar.finish())
            .map_err(|reason| self.refusal(reason))
    }

    fn refusal(&self, reason: Reason) -> Refusal {
        Refusal {
            reason,
            part: self.grammar.part(),
            offset: self.cutter.offset,
        }
    }
}

impl Whole {
    /// The piece of the message the next line belongs to.
    fn part(&self) -> Part {
        match self {
            Whole::Multipart(body) => body.part(),
            Whole::Report(body) => body.part(),
        }
    }

    /// The body has ended. Returns the version of the encrypted data, if it holds any.
    fn finish(&self) -> Result<Option<u8>, Reason> {
        match self {
            Whole::Multipart(body) => body.finish(),
            Whole::Report(body) => body.finish().map(|()| None),
        }
    }
}

impl Grammar for Whole {
    fn line(&mut self, line: &[u8]) -> Result<(), Reason> {
        match self {
            Whole::Multipart(body) => body.line(line),
            Whole::Report(body) => body.line(line),
        }
    }

    fn bulk(&mut self, chunk: &[u8], line_end: LineEnd) -> Result<usize, Reason> {
        match self {
            Whole::Multipart(body) => body.bulk(chunk, line_end),
            Whole::Report(body) => body.bulk(chunk, line_end),
        }
    }
}

/// Puts lines together.
#[derive(Debug, Default)]
pub(super) struct Cutter {
    /// The beginning of a line that is not complete yet.
    partial: Vec<u8>,
    /// Bytes before the current line.
    offset: u64,
    line_end: Option<LineEnd>,
}

/// A line and its CR: what may come before the LF.
const MOST: usize = limits::LINE_BYTES + 1;

impl Cutter {
    /// Reads the next bytes.
    pub(super) fn feed(
        &mut self,
        mut chunk: &[u8],
        grammar: &mut impl Grammar,
    ) -> Result<(), Reason> {
        while !chunk.is_empty() {
            if self.partial.is_empty()
                && let Some(line_end) = self.line_end
            {
                let passed = grammar.bulk(chunk, line_end)?;
                self.offset += passed as u64;
                chunk = chunk.get(passed..).unwrap_or_default();
            }
            // How much of this chunk can belong to the line.
            let window = (MOST + 1 - self.partial.len()).min(chunk.len());
            let (window, _) = chunk.split_at(window);
            let Some(end) = memchr::memchr(b'\n', window) else {
                if self.partial.len() + window.len() > MOST {
                    return Err(Reason::Line);
                }
                self.partial.extend_from_slice(window);
                return Ok(());
            };
            let (line, rest) = chunk.split_at(end + 1);
            if self.partial.is_empty() {
                self.terminated(line, grammar)?;
            } else {
                let mut whole = std::mem::take(&mut self.partial);
                whole.extend_from_slice(line);
                self.terminated(&whole, grammar)?;
                whole.clear();
                self.partial = whole;
            }
            chunk = rest;
        }
        Ok(())
    }

    /// The input has ended. The last line may have no line end.
    pub(super) fn finish(&mut self, grammar: &mut impl Grammar) -> Result<(), Reason> {
        let rest = std::mem::take(&mut self.partial);
        match rest.is_empty() {
            true => Ok(()),
            false => line(&rest, grammar),
        }
    }

    /// One line with its LF or CRLF.
    fn terminated(&mut self, whole: &[u8], grammar: &mut impl Grammar) -> Result<(), Reason> {
        let (text, line_end) = match whole {
            [text @ .., b'\r', b'\n'] => (text, LineEnd::CrLf),
            [text @ .., _] => (text, LineEnd::Lf),
            [] => return Ok(()),
        };
        if *self.line_end.get_or_insert(line_end) != line_end {
            return Err(Reason::Line);
        }
        line(text, grammar)?;
        self.offset += whole.len() as u64;
        Ok(())
    }
}

fn line(text: &[u8], grammar: &mut impl Grammar) -> Result<(), Reason> {
    if text.len() > limits::LINE_BYTES {
        return Err(Reason::Line);
    }
    grammar.line(text)
}
