//! The body of the two multiparts that pass, line by line (RFC 2046 section 5.1).
//!
//! A line that begins with the delimiter is the delimiter, or the message is refused: readers
//! differ on what to do with the rest of such a line. Around and inside the parts stands nothing
//! but what is named here.
//!
//! Outgoing mail must have the shapes that Delta Chat and other clients of a relay write. Incoming mail
//! may have these as well, which come from other programs and from gateways:
//!
//! | shape | bound | seen of |
//! |---|---|---|
//! | a sentence in the preamble | table in this module | Thunderbird, GPGTools, Horde, MIME::tools |
//! | empty lines before, between and after the parts and their content | 32 at a time | gateways, webmailers |
//! | a boundary with spaces | one at a time, inside | RFC 2046 allows it |
//! | a part in base64 | canonical, one end; inside, the same grammar | mail-builder (Himalaya), Exchange, FlowCrypt, Python's `email` |
//! | `Content-ID`, `X-Attachment-Id`, `X-Att-Id` | one identifier of 100 bytes each | Gmail, FlowCrypt, Exchange |
//! | `name=""` | | FlowCrypt |
//! | `name` and `filename` of ordinary files | 40 bytes of letters, digits and `._-`, a known ending | most |
//! | `noname`, `message`, `ATT00001`, `PGPMIME version identification` | fixed | Gmail, FlowCrypt, Exchange |
//! | descriptions in other words or cases | table in `part` | Go, JavaScript and PHP libraries |
//! | armor headers, unknown keys too | 512 bytes | GnuPG, FlowCrypt, Mailvelope, go-crypto, BouncyCastle |
//! | Padding packets after the data | 4096 bytes with those before | RFC 9580 allows it |
//!
//! Not accepted: quoted-printable, in which `=` means two things; packets without armor; comments in
//! fields; parameters for the size and dates of a file.

use super::armor::{Armor, BEGIN, LineEnd, trim_end};
use super::body::Grammar;
use super::encoded::Encoded;
use super::limits;
use super::mime::Boundary;
use super::part::{Encoding, PartHeader, Role};
use super::verdict::{Direction, Part, Reason};

#[cfg(test)]
mod tests;

/// What the body has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    /// `multipart/encrypted` (RFC 3156 section 4).
    Encrypted,
    /// `multipart/mixed` with the one line of this Secure-Join step.
    Request(&'static str),
}

/// Sentences before the first delimiter of incoming mail, with or without full stops at the end:
/// Thunderbird, Enigmail, GPGTools, Outlook add-ins and webmailers; Horde; MIME::tools and other
/// libraries that have one sentence for all multiparts.
const PREAMBLES: [&str; 5] = [
    "This is an OpenPGP/MIME encrypted message (RFC 4880 and 3156)",
    "This is an OpenPGP/MIME encrypted message (RFC 2440 and 3156)",
    "This is an OpenPGP/MIME encrypted message (RFC 3156)",
    "This message is in MIME format and has been PGP encrypted",
    "This is a multi-part message in MIME format",
];

/// A streaming reader of the body.
#[derive(Debug)]
pub(super) struct Multipart {
    direction: Direction,
    content: Content,
    boundary: Boundary,
    state: State,
    blank_lines: u32,
    /// The current field of a part's header. The packets take this memory over.
    field: Vec<u8>,
    /// Version of the encrypted data, once they have ended.
    seipd: Option<u8>,
}

#[derive(Debug)]
enum State {
    /// Before the first delimiter; whether a sentence came.
    Preamble(bool),
    /// In the header of a part.
    Header(PartHeader, Role),
    /// In a part that is not encoded.
    Plain(Inside),
    /// In a part in base64.
    Base64(Inside, Encoded),
    /// Behind the closing delimiter.
    Epilogue,
}

/// The content of a part.
#[derive(Debug)]
struct Inside {
    direction: Direction,
    holds: Holds,
    blank_lines: u32,
}

#[derive(Debug)]
enum Holds {
    /// The first part; whether its line was seen.
    Version(bool),
    /// The second part.
    Encrypted(Armor),
    /// The part of a Secure-Join request with this step; whether its line was seen.
    Request(Content, bool),
}

/// A line between parts, or after the last one.
#[derive(Debug, Clone, Copy)]
pub(super) enum Delimiter {
    Part,
    Close,
}

impl Multipart {
    /// `spare` is empty memory to work in.
    pub(super) fn new(
        direction: Direction,
        content: Content,
        boundary: Boundary,
        spare: Vec<u8>,
    ) -> Multipart {
        Multipart {
            direction,
            content,
            boundary,
            state: State::Preamble(false),
            blank_lines: 0,
            field: spare,
            seipd: None,
        }
    }

    /// The piece of the message the next line belongs to.
    pub(super) fn part(&self) -> Part {
        let second = match &self.state {
            State::Preamble(_) | State::Epilogue => return Part::Body,
            State::Header(_, role) => *role == Role::Encrypted,
            State::Plain(inside) | State::Base64(inside, _) => {
                matches!(inside.holds, Holds::Encrypted(_))
            }
        };
        match second {
            true => Part::BodyPart(2),
            false => Part::BodyPart(1),
        }
    }

    /// The content of the part with this header.
    fn inside(&mut self, role: Role) -> Inside {
        let holds = match role {
            Role::Version => Holds::Version(false),
            Role::Encrypted => {
                let spare = std::mem::take(&mut self.field);
                Holds::Encrypted(Armor::new(self.direction, spare))
            }
            Role::Request => Holds::Request(self.content, false),
        };
        self.inside_with(holds)
    }

    fn inside_with(&self, holds: Holds) -> Inside {
        Inside {
            direction: self.direction,
            holds,
            blank_lines: 0,
        }
    }

    /// The body has ended. Returns the version of the encrypted data, if it holds any.
    pub(super) fn finish(&self) -> Result<Option<u8>, Reason> {
        match self.state {
            State::Epilogue => Ok(self.seipd),
            _ => Err(Reason::Parts),
        }
    }

    /// Whether there were only empty lines so far.
    pub(super) fn is_untouched(&self) -> bool {
        matches!(self.state, State::Preamble(false))
    }

    fn delimited(&mut self, delimiter: Delimiter) -> Result<(), Reason> {
        if let State::Base64(inside, encoded) = &mut self.state {
            encoded.finish(inside)?;
        }
        let header = |role| State::Header(PartHeader::new(self.direction, role), role);
        self.state = match (&self.state, delimiter) {
            (State::Preamble(_), Delimiter::Part) => match self.content {
                Content::Encrypted => header(Role::Version),
                Content::Request(_) => header(Role::Request),
            },
            (State::Header(..), _) => return Err(Reason::PartHeader),
            (State::Epilogue, _) => return Err(Reason::Epilogue),
            (State::Plain(inside) | State::Base64(inside, _), _) => {
                match (&inside.holds, delimiter) {
                    (Holds::Version(false), _) => return Err(Reason::VersionPart),
                    (Holds::Version(true), Delimiter::Part) => header(Role::Encrypted),
                    (Holds::Encrypted(armor), Delimiter::Close) => {
                        self.seipd = Some(armor.finish()?);
                        State::Epilogue
                    }
                    (Holds::Request(_, true), Delimiter::Close) => State::Epilogue,
                    (Holds::Request(..), _) => return Err(Reason::SecureJoin),
                    _ => return Err(Reason::Parts),
                }
            }
            _ => return Err(Reason::Parts),
        };
        Ok(())
    }
}

impl Grammar for Multipart {
    fn line(&mut self, line: &[u8]) -> Result<(), Reason> {
        if let Some(delimiter) = delimiter(&self.boundary, line)? {
            self.blank_lines = 0;
            return self.delimited(delimiter);
        }
        match &mut self.state {
            State::Preamble(_) if line.is_empty() => {
                count_blank(self.direction, &mut self.blank_lines, Reason::Preamble)
            }
            State::Epilogue if line.is_empty() => {
                count_blank(self.direction, &mut self.blank_lines, Reason::Epilogue)
            }
            State::Preamble(seen) => {
                let known = self.direction == Direction::Incoming && !*seen && is_preamble(line);
                *seen = true;
                self.blank_lines = 0;
                known.then_some(()).ok_or(Reason::Preamble)
            }
            State::Header(header, role) => {
                if header.line(line, &mut self.field)? {
                    let (encoding, role) = (header.encoding(), *role);
                    let inside = self.inside(role);
                    self.state = match encoding {
                        Encoding::Identity => State::Plain(inside),
                        Encoding::Base64 => State::Base64(inside, Encoded::default()),
                    };
                }
                Ok(())
            }
            State::Plain(inside) => inside.line(line),
            State::Base64(inside, encoded) => encoded.line(line, inside),
            State::Epilogue => Err(Reason::Epilogue),
        }
    }

    /// See [`Armor::bulk`] and [`OPENINGS`](super::part::OPENINGS).
    fn bulk(&mut self, chunk: &[u8], line_end: LineEnd) -> Result<usize, Reason> {
        match &mut self.state {
            State::Plain(inside) => inside.bulk(chunk, line_end),
            State::Header(header, role) if line_end == LineEnd::CrLf => {
                // Some boundaries begin with dashes enough to make this line a delimiter.
                if BEGIN.starts_with(self.boundary.delimiter()) {
                    return Ok(0);
                }
                let Some(opening) = header.opening(chunk, &self.field) else {
                    return Ok(0);
                };
                let holds = match role {
                    Role::Version => Holds::Version(true),
                    Role::Encrypted => Holds::Encrypted(Armor::begun(
                        self.direction,
                        std::mem::take(&mut self.field),
                    )),
                    Role::Request => return Ok(0),
                };
                self.state = State::Plain(self.inside_with(holds));
                Ok(opening.len())
            }
            _ => Ok(0),
        }
    }
}

impl Grammar for Inside {
    fn line(&mut self, line: &[u8]) -> Result<(), Reason> {
        let reason = match &self.holds {
            Holds::Version(_) => Reason::VersionPart,
            Holds::Request(..) => Reason::SecureJoin,
            Holds::Encrypted(_) => Reason::Armor,
        };
        let (seen, known) = match &mut self.holds {
            Holds::Encrypted(armor) => return armor.line(line),
            _ if line.is_empty() => {
                return count_blank(self.direction, &mut self.blank_lines, reason);
            }
            Holds::Version(seen) => (seen, trim(line) == b"Version: 1"),
            Holds::Request(asked, seen) => (seen, is_request(line, *asked)),
        };
        // In outgoing mail those before and after the line count together.
        if self.direction == Direction::Incoming {
            self.blank_lines = 0;
        }
        let first = !std::mem::replace(seen, true);
        (first && known).then_some(()).ok_or(reason)
    }

    fn bulk(&mut self, chunk: &[u8], line_end: LineEnd) -> Result<usize, Reason> {
        match &mut self.holds {
            Holds::Encrypted(armor) => armor.bulk(chunk, line_end),
            _ => Ok(0),
        }
    }
}

/// The delimiter that the line is, if any.
pub(super) fn delimiter(boundary: &Boundary, line: &[u8]) -> Result<Option<Delimiter>, Reason> {
    // Few lines get as far as the comparison.
    if !line.starts_with(b"--") {
        return Ok(None);
    }
    let Some(rest) = line.strip_prefix(boundary.delimiter()) else {
        return Ok(None);
    };
    let (delimiter, padding) = match rest.strip_prefix(b"--") {
        Some(padding) => (Delimiter::Close, padding),
        None => (Delimiter::Part, rest),
    };
    // RFC 2046 calls white space here transport padding.
    let fits = padding.len() <= limits::TRAILING_SPACE;
    match fits && padding.iter().all(|byte| b" \t".contains(byte)) {
        true => Ok(Some(delimiter)),
        false => Err(Reason::Delimiter),
    }
}

/// Counts consecutive empty lines. Too many are an `Err` with `reason`.
fn count_blank(direction: Direction, count: &mut u32, reason: Reason) -> Result<(), Reason> {
    *count += 1;
    match *count <= limits::blank_lines(direction) {
        true => Ok(()),
        false => Err(reason),
    }
}

/// A line without spaces and tabs at its ends. Other white space is none to some readers.
fn trim(mut line: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = line {
        line = rest;
    }
    trim_end(line)
}

fn is_preamble(line: &[u8]) -> bool {
    let line = trim_end(line);
    PREAMBLES.iter().any(|known| {
        line.strip_prefix(known.as_bytes())
            .is_some_and(|rest| [&b""[..], b".", b"..."].contains(&rest))
    })
}

fn is_request(line: &[u8], content: Content) -> bool {
    let line = trim(line);
    let (name, step) = line.split_at(line.len().min(b"secure-join: ".len()));
    name.eq_ignore_ascii_case(b"secure-join: ")
        && matches!(content, Content::Request(asked) if step.eq_ignore_ascii_case(asked.as_bytes()))
}
