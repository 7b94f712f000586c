//! Cuts the body into lines, whatever chunks it comes in.
//!
//! A line is handed on without its line end. Line ends are CRLF, or LF for messages from files, one
//! of them throughout: where they mix, readers see different lines. A line has at most
//! [`limits::LINE_BYTES`], so what is held between two chunks is small.

use super::armor::LineEnd;
use super::limits;
use super::multipart::Multipart;
use super::verdict::{Reason, Refusal};

/// The body on its way through the grammar.
#[derive(Debug)]
pub(super) struct Body {
    grammar: Multipart,
    /// The beginning of a line whose end has not come yet.
    partial: Vec<u8>,
    /// Bytes before the current line.
    offset: u64,
    line_end: Option<LineEnd>,
}

/// A line and its CR: what may come before the LF.
const MOST: usize = limits::LINE_BYTES + 1;

impl Body {
    pub(super) fn new(grammar: Multipart) -> Body {
        Body {
            grammar,
            partial: Vec::new(),
            offset: 0,
            line_end: None,
        }
    }

    /// Reads the next bytes. After a refusal nothing more may be fed.
    pub(super) fn feed(&mut self, chunk: &[u8]) -> Result<(), Refusal> {
        self.lines(chunk).map_err(|reason| self.refusal(reason))
    }

    /// The body has ended. Returns the version of the encrypted data, if it holds any.
    pub(super) fn finish(mut self) -> Result<Option<u8>, Refusal> {
        let rest = std::mem::take(&mut self.partial);
        let result = match rest.is_empty() {
            true => Ok(()),
            false => self.line(&rest),
        };
        result
            .and_then(|()| self.grammar.finish())
            .map_err(|reason| self.refusal(reason))
    }

    fn lines(&mut self, mut chunk: &[u8]) -> Result<(), Reason> {
        while !chunk.is_empty() {
            if self.partial.is_empty()
                && let Some(line_end) = self.line_end
            {
                let passed = self.grammar.bulk(chunk, line_end)?;
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
                self.terminated(line)?;
            } else {
                let mut whole = std::mem::take(&mut self.partial);
                whole.extend_from_slice(line);
                self.terminated(&whole)?;
                whole.clear();
                self.partial = whole;
            }
            chunk = rest;
        }
        Ok(())
    }

    /// One line with its LF or CRLF.
    fn terminated(&mut self, line: &[u8]) -> Result<(), Reason> {
        let (text, line_end) = match line {
            [text @ .., b'\r', b'\n'] => (text, LineEnd::CrLf),
            [text @ .., _] => (text, LineEnd::Lf),
            [] => return Ok(()),
        };
        if *self.line_end.get_or_insert(line_end) != line_end {
            return Err(Reason::Line);
        }
        self.line(text)?;
        self.offset += line.len() as u64;
        Ok(())
    }

    fn line(&mut self, text: &[u8]) -> Result<(), Reason> {
        if text.len() > limits::LINE_BYTES {
            return Err(Reason::Line);
        }
        self.grammar.line(text)
    }

    fn refusal(&self, reason: Reason) -> Refusal {
        Refusal {
            reason,
            part: self.grammar.part(),
            offset: self.offset,
        }
    }
}
