//! The body of a delivery report (RFC 3464), line by line.
//!
//! A report has readable text: without it nobody learns that a message was lost. This grammar accounts
//! for every byte of the body and bounds the text.
//!
//! # Sender and recipient
//!
//! The envelope sender must be null, and there must be one recipient (RFC 3464 section 2). From must be
//! `mailer-daemon@…`, as most servers write it, or `postmaster@…`, as RFC 3464 recommends and Exchange
//! and others write it. Auto-Submitted must be `auto-replied` or `auto-generated`, with or without a
//! comment such as sendmail's. If the domain of From is an address literal, the client must have that
//! address. The signature of any other domain is verified by the caller.
//!
//! # Content
//!
//! `multipart/report; report-type=delivery-status` (RFC 6522), with two or three parts:
//!
//! | part | type | content |
//! |---|---|---|
//! | 1 | `text/plain`, or no type | at most [`limits::REPORT_TEXT_BYTES`] of text, decoded |
//! | 2 | `message/delivery-status`, `message/global-delivery-status` | the fields of RFC 3464, see `status`; at most [`limits::REPORT_STATUS_BYTES`] |
//! | 3 | `text/rfc822-headers`, `message/global-headers`, maddy's `message/rfc822-headers` | the header of the message; at most [`limits::REPORT_HEADER_BYTES`] |
//! | 3 | `message/rfc822`, `message/global` | the same header, then nothing, or the encrypted message or Secure-Join request that it announces |
//!
//! # Free text
//!
//! | place | bytes at most |
//! |---|---|
//! | the report's own header | [`limits::REPORT_HEADER_BYTES`] |
//! | the text | [`limits::REPORT_TEXT_BYTES`] |
//! | names of hosts, comments, Diagnostic-Code and `X-` fields of the second part | [`limits::REPORT_STATUS_BYTES`] |
//! | the returned header | [`limits::REPORT_HEADER_BYTES`] |
//! | descriptions and file names of the three parts | three times [`limits::REPORT_PART_HEADER_BYTES`] |
//!
//! The sum is [`limits::REPORT_BYTES`]. The rest of a report is delimiters, empty lines and the
//! body of a returned message, to which the rules for any other incoming message apply.
//!
//! # Mail servers
//!
//! | server | its reports pass |
//! |---|---|
//! | Postfix, sendmail, Exim, Courier, maddy, Stalwart, Haraka with Auto-Submitted | yes |
//! | Exchange | with its option for reports in plain text |
//! | Gmail, Exchange as installed | no: their text is HTML with images |
//! | OpenSMTPD | no: it writes `multipart/mixed`, and whole messages as headers |
//! | mox | no: it writes no Auto-Submitted |
//! | qmail | no: it writes plain text, unless patched for RFC 3464 |
//!
//! A returned message that was truncated does not pass: current Postfix and Exim return only the header
//! of a message that is too large. Stalwart encodes the second and the third part, which RFC 2046
//! forbids. Encoded headers are decoded; encoded messages are refused.

mod encoding;
mod fields;
mod part;
mod returned;
mod status;
#[cfg(test)]
mod tests;

use super::armor::{BEGIN, LineEnd, trim_end};
use super::body::Grammar;
use super::limits;
use super::mime::{self, Boundary};
use super::multipart::{Delimiter, delimiter};
use super::verdict::{Part, Reason};

use encoding::Decoder;
use part::{Content, PartHeader, Slot};
use returned::Returned;
use status::Status;

/// Lines before the first delimiter, with or without a final period: sendmail and Postfix, others,
/// and the two lines of Courier.
const PREAMBLES: [&str; 5] = [
    "This is a MIME-encapsulated message",
    "This is a multi-part message in MIME format",
    "This is a multipart message in MIME format",
    "This is a MIME-formatted message.  If you see this text it means that your",
    "E-mail software does not support MIME-formatted messages",
];

/// A streaming reader of the body.
#[derive(Debug)]
pub(super) struct Report {
    boundary: Boundary,
    state: State,
    /// Number of lines of the preamble so far.
    preamble: usize,
    /// Number of consecutive empty lines outside the parts.
    blank_lines: u32,
}

#[derive(Debug)]
enum State {
    Preamble,
    Header(PartHeader),
    Text(Decoder, Text),
    Status(Decoder, Status),
    Returned(Decoder, Box<Returned>),
    Epilogue,
}

/// The text for people, of which only the size is kept.
#[derive(Debug, Default)]
struct Text(usize);

impl Report {
    pub(super) fn new(boundary: Boundary) -> Report {
        Report {
            boundary,
            state: State::Preamble,
            preamble: 0,
            blank_lines: 0,
        }
    }

    /// The piece of the message the next line belongs to.
    pub(super) fn part(&self) -> Part {
        let slot = match &self.state {
            State::Preamble | State::Epilogue => return Part::Body,
            State::Header(header) => header.slot(),
            State::Text(..) => Slot::Text,
            State::Status(..) => Slot::Status,
            State::Returned(..) => Slot::Returned,
        };
        Part::BodyPart(slot.number())
    }

    /// The body has ended.
    pub(super) fn finish(&self) -> Result<(), Reason> {
        match self.state {
            State::Epilogue => Ok(()),
            _ => Err(Reason::Parts),
        }
    }

    /// A line before the first or after the last delimiter.
    fn between(&mut self, line: &[u8]) -> Result<(), Reason> {
        if line.is_empty() {
            self.blank_lines += 1;
            if self.blank_lines <= limits::BLANK_LINES_INCOMING {
                return Ok(());
            }
        }
        if matches!(self.state, State::Epilogue) {
            return Err(Reason::Epilogue);
        }
        self.preamble += 1;
        let known = self.preamble <= 2 && is_preamble(line);
        known.then_some(()).ok_or(Reason::Preamble)
    }

    fn delimited(&mut self, delimiter: Delimiter) -> Result<(), Reason> {
        let (next, closes) = match &mut self.state {
            State::Preamble => (Some(Slot::Text), false),
            State::Header(_) => return Err(Reason::PartHeader),
            State::Text(decoder, text) => {
                decoder.finish(text)?;
                (Some(Slot::Status), false)
            }
            State::Status(decoder, status) => {
                decoder.finish(status)?;
                status.finish()?;
                (Some(Slot::Returned), true)
            }
            State::Returned(decoder, returned) => {
                decoder.finish(&mut **returned)?;
                returned.finish()?;
                (None, true)
            }
            State::Epilogue => return Err(Reason::Epilogue),
        };
        self.state = match (delimiter, next) {
            (Delimiter::Part, Some(slot)) => State::Header(PartHeader::new(slot)),
            (Delimiter::Close, _) if closes => State::Epilogue,
            _ => return Err(Reason::Parts),
        };
        Ok(())
    }
}

impl Grammar for Report {
    fn line(&mut self, line: &[u8]) -> Result<(), Reason> {
        if let Some(delimiter) = delimiter(&self.boundary, line)? {
            self.blank_lines = 0;
            return self.delimited(delimiter);
        }
        match &mut self.state {
            State::Preamble | State::Epilogue => self.between(line),
            State::Header(header) => {
                if let Some((content, encoding)) = header.line(line)? {
                    let decoder = Decoder::new(encoding);
                    self.state = match content {
                        Content::Text => State::Text(decoder, Text::default()),
                        Content::Status => State::Status(decoder, Status::new()),
                        Content::Returned(kind) => {
                            let returned = Returned::new(kind, self.boundary);
                            State::Returned(decoder, Box::new(returned))
                        }
                    };
                }
                Ok(())
            }
            State::Text(decoder, text) => decoder.line(line, text),
            State::Status(decoder, status) => decoder.line(line, status),
            State::Returned(decoder, returned) => decoder.line(line, &mut **returned),
        }
    }

    fn bulk(&mut self, chunk: &[u8], line_end: LineEnd) -> Result<usize, Reason> {
        match &mut self.state {
            // With a boundary of enough dashes, this line would be a delimiter.
            State::Returned(_, returned) if !BEGIN.starts_with(self.boundary.delimiter()) => {
                returned.bulk(chunk, line_end)
            }
            _ => Ok(0),
        }
    }
}

impl Grammar for Text {
    /// Each line counts with a CRLF, whatever ends it. ISO-2022-JP switches character sets with ESC.
    fn line(&mut self, line: &[u8]) -> Result<(), Reason> {
        const ESC: u8 = 0x1b;
        self.0 += line.len() + 2;
        let plain = !line.split(|byte| *byte == ESC).any(mime::has_control);
        match plain && self.0 <= limits::REPORT_TEXT_BYTES {
            true => Ok(()),
            false => Err(Reason::ReportText),
        }
    }
}

fn is_preamble(line: &[u8]) -> bool {
    let line = trim_end(line);
    let line = line.strip_suffix(b".").unwrap_or(line);
    PREAMBLES.iter().any(|known| line == known.as_bytes())
}
