//! The body of the two multiparts that pass, line by line (RFC 2046 section 5.1).
//!
//! A line that begins with the delimiter is the delimiter, or the message is refused: readers
//! differ on what to do with the rest of such a line. Around and inside the parts stands nothing
//! but what is named here.

use super::armor::{Armor, BEGIN, LineEnd, trim_end};
use super::limits;
use super::mime::Boundary;
use super::part::{PartHeader, Role};
use super::verdict::{Direction, Part, Reason};

/// What the body has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    /// `multipart/encrypted` (RFC 3156 section 4).
    Encrypted,
    /// `multipart/mixed` with the one line of this Secure-Join step.
    Request(&'static str),
}

/// Sentences before the first delimiter of incoming mail, with or without a final period:
/// Thunderbird, Enigmail, GPGTools, Outlook add-ins and webmailers; the last is Horde's.
const PREAMBLES: [&str; 4] = [
    "This is an OpenPGP/MIME encrypted message (RFC 4880 and 3156)",
    "This is an OpenPGP/MIME encrypted message (RFC 2440 and 3156)",
    "This is an OpenPGP/MIME encrypted message (RFC 3156)",
    "This message is in MIME format and has been PGP encrypted",
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
    /// In the first part; whether its line came.
    Version(bool),
    /// In the second part.
    Encrypted(Armor),
    /// In the part of a Secure-Join request; whether its line came.
    Request(bool),
    /// Behind the closing delimiter.
    Epilogue,
}

enum Delimiter {
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
        match &self.state {
            State::Preamble(_) | State::Epilogue => Part::Body,
            State::Header(_, Role::Version | Role::Request) => Part::BodyPart(1),
            State::Version(_) | State::Request(_) => Part::BodyPart(1),
            State::Header(_, Role::Encrypted) | State::Encrypted(_) => Part::BodyPart(2),
        }
    }

    /// Reads one line, without its line end.
    pub(super) fn line(&mut self, line: &[u8]) -> Result<(), Reason> {
        if let Some(delimiter) = self.delimiter(line)? {
            self.blank_lines = 0;
            return self.delimited(delimiter);
        }
        if line.is_empty() && !matches!(self.state, State::Header(..) | State::Encrypted(_)) {
            self.blank_lines += 1;
            if self.blank_lines <= limits::BLANK_LINES {
                return Ok(());
            }
        }
        match &mut self.state {
            State::Preamble(seen) => {
                let known = self.direction == Direction::Incoming && !*seen && is_preamble(line);
                *seen = true;
                known.then_some(()).ok_or(Reason::Preamble)
            }
            State::Header(header, role) => {
                if header.line(line, &mut self.field)? {
                    self.state = match role {
                        Role::Version => State::Version(false),
                        Role::Encrypted => State::Encrypted(Armor::new(
                            self.direction,
                            std::mem::take(&mut self.field),
                        )),
                        Role::Request => State::Request(false),
                    };
                }
                Ok(())
            }
            State::Version(seen) => {
                let known = !*seen && trim(line) == b"Version: 1";
                *seen = true;
                known.then_some(()).ok_or(Reason::VersionPart)
            }
            State::Encrypted(armor) => armor.line(line),
            State::Request(seen) => {
                let known = !*seen && is_request(line, self.content);
                *seen = true;
                known.then_some(()).ok_or(Reason::SecureJoin)
            }
            State::Epilogue => Err(Reason::Epilogue),
        }
    }

    /// Passes over whole lines at the beginning of `chunk`; see [`Armor::bulk`] and
    /// [`OPENINGS`](super::part::OPENINGS). Returns how many bytes those were.
    pub(super) fn bulk(&mut self, chunk: &[u8], line_end: LineEnd) -> Result<usize, Reason> {
        match &mut self.state {
            State::Encrypted(armor) => armor.bulk(chunk, line_end),
            State::Header(header, role) if line_end == LineEnd::CrLf => {
                // Some boundaries begin with dashes enough to make this line a delimiter.
                if BEGIN.starts_with(self.boundary.delimiter()) {
                    return Ok(0);
                }
                let Some(opening) = header.opening(chunk, &self.field) else {
                    return Ok(0);
                };
                self.state = match role {
                    Role::Version => State::Version(true),
                    Role::Encrypted => State::Encrypted(Armor::begun(
                        self.direction,
                        std::mem::take(&mut self.field),
                    )),
                    Role::Request => return Ok(0),
                };
                Ok(opening.len())
            }
            _ => Ok(0),
        }
    }

    /// The body has ended. Returns the version of the encrypted data, if it holds any.
    pub(super) fn finish(&self) -> Result<Option<u8>, Reason> {
        match self.state {
            State::Epilogue => Ok(self.seipd),
            _ => Err(Reason::Parts),
        }
    }

    /// What delimiter the line is, if any.
    fn delimiter(&self, line: &[u8]) -> Result<Option<Delimiter>, Reason> {
        // Few lines get as far as the comparison.
        if !line.starts_with(b"--") {
            return Ok(None);
        }
        let Some(rest) = line.strip_prefix(self.boundary.delimiter()) else {
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

    fn delimited(&mut self, delimiter: Delimiter) -> Result<(), Reason> {
        let header = |role| State::Header(PartHeader::new(self.direction, role), role);
        self.state = match (&self.state, delimiter) {
            (State::Preamble(_), Delimiter::Part) => match self.content {
                Content::Encrypted => header(Role::Version),
                Content::Request(_) => header(Role::Request),
            },
            (State::Header(..), _) => return Err(Reason::PartHeader),
            (State::Version(false), _) => return Err(Reason::VersionPart),
            (State::Version(true), Delimiter::Part) => header(Role::Encrypted),
            (State::Encrypted(armor), Delimiter::Close) => {
                self.seipd = Some(armor.finish()?);
                State::Epilogue
            }
            (State::Request(true), Delimiter::Close) => State::Epilogue,
            (State::Request(_), _) => return Err(Reason::SecureJoin),
            (State::Epilogue, _) => return Err(Reason::Epilogue),
            _ => return Err(Reason::Parts),
        };
        Ok(())
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
    let line = line.strip_suffix(b".").unwrap_or(line);
    PREAMBLES.iter().any(|known| line == known.as_bytes())
}

fn is_request(line: &[u8], content: Content) -> bool {
    let line = trim(line);
    let (name, step) = line.split_at(line.len().min(b"secure-join: ".len()));
    name.eq_ignore_ascii_case(b"secure-join: ")
        && matches!(content, Content::Request(asked) if step.eq_ignore_ascii_case(asked.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::super::mime::MediaType;
    use super::super::part::OPENINGS;
    use super::*;

    /// A reader in the header of the part with this role.
    fn in_part(direction: Direction, role: Role, boundary: &str) -> Multipart {
        let value = format!("multipart/encrypted; boundary=\"{boundary}\"");
        let boundary = MediaType::parse(value.as_bytes())
            .and_then(|media_type| media_type.boundary())
            .expect("a boundary");
        let mut body = Multipart::new(direction, Content::Encrypted, boundary, Vec::new());
        body.state = State::Header(PartHeader::new(direction, role), role);
        body
    }

    #[test]
    fn a_usual_opening_is_read_as_its_lines_are() {
        for (role, opening) in OPENINGS {
            for direction in [Direction::Outgoing, Direction::Incoming] {
                let mut at_once = in_part(direction, role, "b");
                let passed = at_once.bulk(opening.as_bytes(), LineEnd::CrLf);
                assert_eq!(passed, Ok(opening.len()), "{opening}");
                let mut by_line = in_part(direction, role, "b");
                for line in opening.split_terminator("\r\n") {
                    assert_eq!(by_line.line(line.as_bytes()), Ok(()), "{line}");
                }
                assert_eq!(format!("{at_once:?}"), format!("{by_line:?}"), "{opening}");
            }
        }
    }

    #[test]
    fn an_opening_is_usual_only_as_a_whole_at_the_beginning_of_its_part() {
        for (role, opening) in OPENINGS {
            let passed = |boundary, text: &str, line_end| {
                in_part(Direction::Incoming, role, boundary).bulk(text.as_bytes(), line_end)
            };
            assert_eq!(
                passed("b", &opening[..opening.len() - 1], LineEnd::CrLf),
                Ok(0)
            );
            assert_eq!(passed("b", &opening.to_lowercase(), LineEnd::CrLf), Ok(0));
            assert_eq!(passed("b", opening, LineEnd::Lf), Ok(0));
            // Its line of dashes is a delimiter then.
            assert_eq!(passed("-", opening, LineEnd::CrLf), Ok(0));
            for before in [
                "Content-Type: application/octet-stream",
                "MIME-Version: 1.0",
            ] {
                let mut body = in_part(Direction::Incoming, role, "b");
                assert_eq!(body.line(before.as_bytes()), Ok(()));
                assert_eq!(
                    body.bulk(opening.as_bytes(), LineEnd::CrLf),
                    Ok(0),
                    "{before}"
                );
            }
        }
    }
}
