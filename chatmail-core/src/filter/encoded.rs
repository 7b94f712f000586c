//! A body part in base64 (RFC 2045 section 6.8), decoded as it arrives.
//!
//! The decoded content is split into lines and read by the same grammar as a part that is not encoded.
//! The encoding leaves no room for text: every character is in the alphabet, padding is canonical and
//! at the end, and there are only empty lines around it.

use super::alphabet::is_base64;
use super::body::{Cutter, Grammar};
use super::decode::{Decoder, Sink};
use super::limits;
use super::verdict::Reason;

/// A streaming reader of the lines of one encoded part.
#[derive(Debug, Default)]
pub(super) struct Encoded {
    decoder: Decoder,
    state: State,
    blank_lines: u32,
    inside: Cutter,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Before,
    Data,
    /// There was some padding, but less than the last quantum needs.
    Padding(usize),
    /// Only empty lines can follow.
    End,
}

/// Passes decoded bytes to the inner grammar, line by line.
struct Lines<'e, G> {
    cutter: &'e mut Cutter,
    grammar: &'e mut G,
}

impl<G: Grammar> Sink for Lines<'_, G> {
    fn push(&mut self, bytes: &[u8]) -> Result<(), Reason> {
        self.cutter.feed(bytes, self.grammar)
    }
}

impl Encoded {
    /// Reads one line, without its line end, and passes its decoded content to `grammar`.
    pub(super) fn line(&mut self, line: &[u8], grammar: &mut impl Grammar) -> Result<(), Reason> {
        if line.is_empty() {
            return self.blank_line();
        }
        let pads = line.iter().rev().take_while(|&&byte| byte == b'=').count();
        let (characters, _) = line.split_at(line.len() - pads);
        let in_order = match self.state {
            State::Before | State::Data => is_base64(characters),
            State::Padding(_) => characters.is_empty(),
            State::End => false,
        };
        if !in_order {
            return Err(Reason::TransferEncoding);
        }
        if !characters.is_empty() {
            self.state = State::Data;
            self.blank_lines = 0;
            let mut lines = Lines {
                cutter: &mut self.inside,
                grammar,
            };
            self.decoder.decode(characters, &mut lines)?;
        }
        match pads {
            0 => Ok(()),
            _ => self.pad(pads, grammar),
        }
    }

    /// The part has ended.
    pub(super) fn finish(&mut self, grammar: &mut impl Grammar) -> Result<(), Reason> {
        let whole = self.decoder.is_whole() && !matches!(self.state, State::Padding(_));
        match whole {
            true => self.inside.finish(grammar),
            false => Err(Reason::TransferEncoding),
        }
    }

    /// Empty lines may come only before the first character and after the last.
    fn blank_line(&mut self) -> Result<(), Reason> {
        if self.state == State::Data && self.decoder.is_whole() {
            self.state = State::End;
        }
        self.blank_lines += 1;
        let around = matches!(self.state, State::Before | State::End);
        match around && self.blank_lines <= limits::BLANK_LINES_INCOMING {
            true => Ok(()),
            false => Err(Reason::TransferEncoding),
        }
    }

    /// Reads padding, which some line widths split.
    fn pad(&mut self, pads: usize, grammar: &mut impl Grammar) -> Result<(), Reason> {
        let pads = match self.state {
            State::Padding(before) => before + pads,
            _ => pads,
        };
        if self.decoder.carried() == 2 && pads == 1 {
            self.state = State::Padding(pads);
            return Ok(());
        }
        let (quantum, count) = self.decoder.last(pads).ok_or(Reason::TransferEncoding)?;
        self.state = State::End;
        let last = quantum.get(..count).unwrap_or_default();
        self.inside.feed(last, grammar)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use proptest::prelude::*;

    /// Collects what is inside.
    #[derive(Default)]
    struct Collected(Vec<Vec<u8>>);

    impl Grammar for Collected {
        fn line(&mut self, line: &[u8]) -> Result<(), Reason> {
            self.0.push(line.to_vec());
            Ok(())
        }
    }

    fn read<'l>(lines: impl IntoIterator<Item = &'l [u8]>) -> Result<Vec<Vec<u8>>, Reason> {
        let mut encoded = Encoded::default();
        let mut inside = Collected::default();
        for line in lines {
            encoded.line(line, &mut inside)?;
        }
        encoded.finish(&mut inside)?;
        Ok(inside.0)
    }

    fn read_text(text: &str) -> Result<Vec<Vec<u8>>, Reason> {
        read(text.split('\n').map(str::as_bytes))
    }

    proptest! {
        #[test]
        fn lines_of_any_width_hold_what_was_encoded(
            content in proptest::collection::vec("[ -~]{0,80}", 1..20),
            line_end in prop_oneof![Just("\n"), Just("\r\n")],
            last in any::<bool>(),
            width in 1..200_usize,
        ) {
            let mut text = content.join(line_end);
            if last {
                text += line_end;
            }
            let encoded = STANDARD.encode(&text);
            let mut expected: Vec<&[u8]> = text.split(line_end).map(str::as_bytes).collect();
            if expected.last().is_some_and(|line| line.is_empty()) {
                expected.pop();
            }
            let read = read(encoded.as_bytes().chunks(width));
            prop_assert_eq!(read, Ok(expected.iter().map(|line| line.to_vec()).collect()));
        }

        #[test]
        fn no_two_encodings_of_the_same_bytes_are_read(
            content in "[ -~]{1,40}",
            at in any::<proptest::sample::Index>(),
            byte in any::<u8>(),
        ) {
            let mut encoded = STANDARD.encode(&content).into_bytes();
            let at = at.index(encoded.len());
            let same = std::mem::replace(&mut encoded[at], byte) == byte;
            // The lines alone do not tell whether the last of them ends.
            if read([&encoded[..]]).is_ok() && !same {
                let other = STANDARD.decode(&encoded);
                prop_assert!(other.is_ok_and(|other| other != content.as_bytes()));
            }
        }
    }

    #[test]
    fn empty_lines_stand_around_the_data_and_are_counted() {
        let version = [b"Version: 1".to_vec()];
        assert_eq!(read_text("VmVyc2lvbjogMQ==").as_deref(), Ok(&version[..]));
        for count in [1, limits::BLANK_LINES_INCOMING as usize] {
            let blank = "\n".repeat(count);
            let text = format!("{blank}VmVyc2lvbjogMQ=={blank}");
            assert_eq!(read_text(&text).as_deref(), Ok(&version[..]));
        }
        let blank = "\n".repeat(limits::BLANK_LINES_INCOMING as usize + 1);
        for text in [
            format!("{blank}VmVyc2lvbjogMQ=="),
            format!("VmVyc2lvbjogMQ=={blank}"),
            "VmVyc2lv\n\nbjogMQ==".to_owned(),
            "VmVyc2l\n\nvbjogMQ==".to_owned(),
            "VmVyc2lvbjogMQ=\n\n=".to_owned(),
        ] {
            assert_eq!(read_text(&text), Err(Reason::TransferEncoding), "{text:?}");
        }
    }

    #[test]
    fn the_encoding_has_no_room_for_anything_else() {
        for text in [
            "VmVyc2lvbjogMQ",
            "VmVyc2lvbjogMQ=",
            "VmVyc2lvbjogMQ===",
            "VmVyc2lvbjogMQ==\n=",
            "VmVyc2lvbjogMQ=\n==",
            "VmVyc2lvbjogM===",
            "VmVyc2lvbjogMR==",
            "VmVyc2lvbjogMQ==VmVyc2lvbjogMQ==",
            "VmVyc2lvbjogMQ==\nVmVyc2lv",
            "VmVyc2lvbjogMQ==\nAttack at dawn.",
            "VmVyc2lv=bjogMQ==",
            "VmVyc2lv\n=\nbjogMQ==",
            "VmVyc2lvbjogMQ== ",
            " VmVyc2lvbjogMQ==",
            "VmVyc2lv bjogMQ==",
            "VmVyc2lv\rbjogMQ==",
            "VmVyc2lv-bjogMQ==",
            "VmVyc2lv_bjogMQ==",
            "VmVyc2lvbjogMQ==\r",
            "=",
            "====",
            "Attack at dawn.",
        ] {
            assert_eq!(read_text(text), Err(Reason::TransferEncoding), "{text:?}");
        }
        let nothing: &[Vec<u8>] = &[];
        assert_eq!(read_text("").as_deref(), Ok(nothing));
    }

    #[test]
    fn lines_inside_end_alike_and_are_no_longer_than_others() {
        let mixed = STANDARD.encode("Version: 1\r\nAttack\nat dawn");
        assert_eq!(read_text(&mixed), Err(Reason::Line));
        let fits = STANDARD.encode("a".repeat(limits::LINE_BYTES) + "\r\n");
        assert!(read(fits.as_bytes().chunks(76)).is_ok());
        for long in [
            "a".repeat(limits::LINE_BYTES + 1) + "\n",
            "a".repeat(100_000),
        ] {
            let long = STANDARD.encode(long);
            assert_eq!(read(long.as_bytes().chunks(76)), Err(Reason::Line));
        }
    }
}
