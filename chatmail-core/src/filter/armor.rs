//! ASCII armor (RFC 9580 section 6), read line by line.
//!
//! Every line is validated; only lines that hold packet headers or the small packets are decoded.
//! The ciphertext, nearly all of a large message, is passed over in whole lines whose alphabet is
//! checked in blocks with comparisons the compiler turns into vector code.
//! The CRC24 line may be there or not; RFC 9580 section 6.1 forbids rejecting on its value.

use super::alphabet::{is_base64, whole_lines};
use super::decode::{Decoder, Sink};
use super::limits;
use super::openpgp::Packets;
use super::verdict::{Direction, Reason};

/// What ends the lines of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LineEnd {
    Lf,
    CrLf,
}

/// A streaming reader of one armored message.
#[derive(Debug)]
pub(super) struct Armor {
    direction: Direction,
    state: State,
    packets: Packets,
    blank_lines: u32,
    header_bytes: usize,
    decoder: Decoder,
    /// Length of the last line if it was full, else 0.
    line_length: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Begin,
    Headers,
    Data,
    /// After padding: only the checksum or the end can follow.
    Padded,
    Checksum,
    End,
}

pub(super) const BEGIN: &[u8] = b"-----BEGIN PGP MESSAGE-----";
const END: &[u8] = b"-----END PGP MESSAGE-----";

/// The longest header key. Those of RFC 4880 and RFC 9580 have 9 characters at most.
const KEY: usize = 32;

impl Armor {
    /// `spare` is empty memory to work in.
    pub(super) fn new(direction: Direction, spare: Vec<u8>) -> Armor {
        Armor {
            direction,
            state: State::Begin,
            packets: Packets::new(direction, spare),
            blank_lines: 0,
            header_bytes: 0,
            decoder: Decoder::default(),
            line_length: 0,
        }
    }

    /// As after [`BEGIN`] and an empty line.
    pub(super) fn begun(direction: Direction, spare: Vec<u8>) -> Armor {
        Armor {
            state: State::Data,
            ..Armor::new(direction, spare)
        }
    }

    /// Reads one line, without its line end.
    pub(super) fn line(&mut self, line: &[u8]) -> Result<(), Reason> {
        let (padded, line) = (line, trim_end(line));
        if padded.len() - line.len() > limits::TRAILING_SPACE {
            return Err(Reason::Armor);
        }
        match self.state {
            State::Begin | State::End if line.is_empty() => {
                self.blank_lines += 1;
                match self.blank_lines > limits::blank_lines(self.direction) {
                    true => Err(Reason::Armor),
                    false => Ok(()),
                }
            }
            State::Begin if line == BEGIN => {
                self.state = State::Headers;
                self.blank_lines = 0;
                Ok(())
            }
            State::Begin | State::End => Err(Reason::Armor),
            State::Headers if line.is_empty() => {
                self.state = State::Data;
                Ok(())
            }
            State::Headers => self.header(line),
            State::Data | State::Padded | State::Checksum => match line.split_first() {
                Some((b'-', _)) => self.end(line),
                Some((b'=', checksum)) => self.checksum(checksum),
                _ if self.state == State::Data => self.data(line),
                _ => Err(Reason::Armor),
            },
        }
    }

    /// Passes over whole lines of ciphertext at the beginning of `chunk`, each followed by
    /// `line_end`. Returns how many bytes those were; the rest is for [`Armor::line`].
    pub(super) fn bulk(&mut self, chunk: &[u8], line_end: LineEnd) -> Result<usize, Reason> {
        let length = self.line_length;
        if self.state != State::Data || !self.decoder.is_whole() || length == 0 {
            return Ok(0);
        }
        let stride = match line_end {
            LineEnd::Lf => length + 1,
            LineEnd::CrLf => length + 2,
        };
        let decoded = (length / 4 * 3) as u64;
        // The last byte of the ciphertext is left to `line`: an error at its end then belongs to the
        // same line however the body was cut.
        let skippable = self.packets.skippable().saturating_sub(1);
        let most = (skippable / decoded).min((chunk.len() / stride) as u64);
        let region = chunk.get(..most as usize * stride).unwrap_or_default();
        let lines = match (length, line_end) {
            // What nearly everyone writes, and the other usual widths.
            (64, LineEnd::CrLf) => whole_lines::<64, 2>(region, b"\r\n"),
            (64, LineEnd::Lf) => whole_lines::<64, 1>(region, b"\n"),
            (60, LineEnd::CrLf) => whole_lines::<60, 2>(region, b"\r\n"),
            (76, LineEnd::CrLf) => whole_lines::<76, 2>(region, b"\r\n"),
            _ => 0,
        };
        if lines > 0 {
            self.packets.skip(decoded * lines as u64)?;
        }
        Ok(lines * stride)
    }

    /// The armor has ended. Returns the version of the encrypted data.
    pub(super) fn finish(&self) -> Result<u8, Reason> {
        match self.state {
            State::End => self.packets.finish(),
            _ => Err(Reason::Armor),
        }
    }

    fn header(&mut self, line: &[u8]) -> Result<(), Reason> {
        self.header_bytes += line.len();
        let fits = self.header_bytes <= limits::ARMOR_HEADER_BYTES;
        match self.direction == Direction::Incoming && fits && is_header(line) {
            true => Ok(()),
            false => Err(Reason::ArmorHeader),
        }
    }

    fn data(&mut self, line: &[u8]) -> Result<(), Reason> {
        let pads = match line {
            [.., b'=', b'='] => 2,
            [.., b'='] => 1,
            _ => 0,
        };
        let (characters, _) = line.split_at(line.len() - pads);
        // Longer lines were refused before they came here.
        if characters.is_empty() || characters.len() > limits::LINE_BYTES || !is_base64(characters)
        {
            return Err(Reason::Armor);
        }
        let full = self.decoder.is_whole() && pads == 0 && characters.len().is_multiple_of(4);
        self.line_length = if full { characters.len() } else { 0 };
        let decoded = (characters.len() / 4 * 3) as u64;
        if full && self.packets.skippable() >= decoded {
            return self.packets.skip(decoded);
        }
        self.decoder.decode(characters, &mut self.packets)?;
        if pads == 0 {
            return Ok(());
        }
        self.state = State::Padded;
        let (quantum, count) = self.decoder.last(pads).ok_or(Reason::Armor)?;
        self.packets.push(quantum.get(..count).unwrap_or_default())
    }

    fn checksum(&mut self, checksum: &[u8]) -> Result<(), Reason> {
        let once = self.state != State::Checksum;
        match once && checksum.len() == 4 && is_base64(checksum) {
            true => {
                self.state = State::Checksum;
                Ok(())
            }
            false => Err(Reason::Armor),
        }
    }

    fn end(&mut self, line: &[u8]) -> Result<(), Reason> {
        if line != END || !self.decoder.is_whole() {
            return Err(Reason::Armor);
        }
        self.state = State::End;
        self.blank_lines = 0;
        self.packets.finish().map(drop)
    }
}

/// Whether a line is an armor header. OpenPGP programs skip those with keys they do not know (RFC 9580
/// section 6.2).
fn is_header(line: &[u8]) -> bool {
    let Some((key, value)) = std::str::from_utf8(line)
        .ok()
        .and_then(|line| line.split_once(':'))
    else {
        return false;
    };
    (1..=KEY).contains(&key.len())
        && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        && !key.starts_with('-')
        && (value.is_empty() || value.starts_with(' '))
        && !value.contains(char::is_control)
}

/// A line without spaces and tabs at its end, which armor may have (RFC 9580 section 6.2).
pub(super) fn trim_end(mut line: &[u8]) -> &[u8] {
    while let [rest @ .., b' ' | b'\t'] = line {
        line = rest;
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(data: &[u8]) -> String {
        let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut text = String::new();
        for quantum in data.chunks(3) {
            let mut bits = [0; 4];
            bits[1..=quantum.len()].copy_from_slice(quantum);
            let bits = u32::from_be_bytes(bits);
            for at in 0..4 {
                text.push(match at <= quantum.len() {
                    true => alphabet[(bits >> (18 - 6 * at)) as usize & 63] as char,
                    false => '=',
                });
            }
        }
        text
    }

    /// A message with a body of `size` bytes of "ciphertext".
    fn data(size: usize) -> Vec<u8> {
        let mut data = vec![0xd2, 255];
        data.extend((size as u32).to_be_bytes());
        data.push(1);
        data.extend((1..size).map(|i| (i * 167 % 251) as u8));
        data
    }

    fn wrapped(data: &[u8], width: usize) -> Vec<String> {
        let text = encode(data).into_bytes();
        text.chunks(width)
            .map(|line| String::from_utf8(line.to_vec()).expect("ascii"))
            .collect()
    }

    fn armored(lines: &[String], tail: &str) -> String {
        let lines = lines.join("\n");
        format!("-----BEGIN PGP MESSAGE-----\n\n{lines}\n{tail}-----END PGP MESSAGE-----")
    }

    fn read(direction: Direction, text: &str) -> Result<(), Reason> {
        let mut armor = Armor::new(direction, Vec::new());
        for line in text.split('\n') {
            armor.line(line.as_bytes())?;
        }
        armor.finish().map(drop)
    }

    fn outgoing(text: &str) -> Result<(), Reason> {
        read(Direction::Outgoing, text)
    }

    #[test]
    fn padding_checksum_and_line_length_are_free_where_the_standard_says_so() {
        for size in 100..107 {
            for width in [4, 60, 62, 63, 64, 76, 900] {
                let lines = wrapped(&data(size), width);
                // A width that tears the padding apart is no armor anyone writes.
                if lines.iter().any(|line| line.starts_with('=')) {
                    continue;
                }
                for tail in ["", "=aB+/\n"] {
                    let text = armored(&lines, tail);
                    assert_eq!(outgoing(&text), Ok(()), "{size} {width} {text}");
                }
            }
        }
    }

    #[test]
    fn white_space_at_line_ends_is_ignored() {
        let text = armored(&wrapped(&data(200), 64), "=aB+/\n");
        for (size, answer) in [(8, Ok(())), (9, Err(Reason::Armor))] {
            let spaces = " ".repeat(size) + "\n";
            assert_eq!(outgoing(&text.replacen('\n', &spaces, 1)), answer);
        }
        let text = text.replace('\n', " \t\n");
        assert_eq!(outgoing(&text), Ok(()));
        assert_eq!(outgoing(&format!("\n \n{text}\n\n")), Ok(()));
        let blank = "\n".repeat(9);
        assert_eq!(outgoing(&format!("{blank}{text}")), Err(Reason::Armor));
        assert_eq!(outgoing(&format!("{text}{blank}")), Err(Reason::Armor));
        let blank = "\n".repeat(32);
        let text = format!("{blank}{text}{blank}");
        assert_eq!(read(Direction::Incoming, &text), Ok(()));
        for text in [format!("\n{text}"), format!("{text}\n")] {
            assert_eq!(read(Direction::Incoming, &text), Err(Reason::Armor));
        }
    }

    #[test]
    fn text_at_any_place_of_the_armor_is_refused() {
        let lines = armored(&wrapped(&data(200), 64), "=aB+/\n");
        let lines: Vec<&str> = lines.split('\n').collect();
        for at in 0..=lines.len() {
            for text in [
                "attack at dawn",
                "Zm9v Zm9v",
                "Comment: hi",
                "=aB+/",
                "",
                "AAAA",
            ] {
                let mut with = lines.clone();
                with.insert(at, text);
                let blank_around = text.is_empty() && (at == 0 || at == lines.len());
                let answer = outgoing(&with.join("\n"));
                assert_eq!(answer.is_ok(), blank_around, "{text:?} before line {at}");
            }
        }
    }

    #[test]
    fn armor_headers_pass_on_incoming_mail_only_and_only_small_ones() {
        let text = armored(&wrapped(&data(200), 64), "");
        let with = |header: &str| text.replacen("-----\n", &format!("-----\n{header}\n"), 1);
        for header in [
            "Version: GnuPG v2",
            "Comment: a\nComment: b",
            "Hash: SHA256",
        ] {
            assert_eq!(read(Direction::Incoming, &with(header)), Ok(()));
            assert_eq!(outgoing(&with(header)), Err(Reason::ArmorHeader));
        }
        for header in ["X-Tool: 1", "MessageID-2: x", "Attack: dawn", "Empty:"] {
            assert_eq!(read(Direction::Incoming, &with(header)), Ok(()), "{header}");
            assert_eq!(outgoing(&with(header)), Err(Reason::ArmorHeader));
        }
        let comment = |size: usize| format!("Comment: {}", "a".repeat(size - 9));
        let most = comment(limits::ARMOR_HEADER_BYTES);
        assert_eq!(read(Direction::Incoming, &with(&most)), Ok(()));
        let long = comment(limits::ARMOR_HEADER_BYTES + 1);
        let many = "X-Tool: 1\n".repeat(60) + "X-Tool: 1";
        let long_key = format!("{}: 1", "a".repeat(KEY + 1));
        for header in [
            "Attack at dawn: yes",
            "-Attack: dawn",
            "--Attack: dawn",
            ": dawn",
            "\u{e4}: dawn",
            &many,
            &long_key,
            "Version:2",
            "Version",
            "Comment: \u{7}",
            &long,
        ] {
            let answer = read(Direction::Incoming, &with(header));
            assert_eq!(answer, Err(Reason::ArmorHeader), "{header}");
        }
    }

    #[test]
    fn base64_that_is_none_is_refused() {
        let good = wrapped(&data(100), 64);
        let with = |old: &str, new: &str| {
            let text = armored(&good, "");
            assert!(text.contains(old));
            outgoing(&text.replacen(old, new, 1))
        };
        let (_, last) = good.last().expect("lines").split_at(4);
        assert!(last.ends_with("=="), "{last}");
        let stem = last.trim_end_matches('=');
        assert_eq!(with(last, last), Ok(()));
        assert_eq!(with(last, stem), Err(Reason::Armor), "no padding");
        assert_eq!(with(last, &format!("{stem}=")), Err(Reason::Armor));
        assert_eq!(with(last, &format!("{stem}===")), Err(Reason::Armor));
        let (stem, _) = stem.split_at(stem.len() - 1);
        assert_eq!(
            with(last, &format!("{stem}/==")),
            Err(Reason::Armor),
            "stray bits"
        );
        for character in [
            " ", "-", "_", "=", "\u{e4}", "\0", "@", "[", "`", "{", ".", ":",
        ] {
            let (line, _) = good[0].split_at(63);
            let broken = format!("{line}{character}");
            assert_ne!(with(&good[0], &broken), Ok(()), "{character:?}");
        }
    }

    #[test]
    fn passing_over_lines_in_bulk_changes_nothing() {
        let lines = wrapped(&data(5000), 64);
        let text = armored(&lines, "").replace('\n', "\r\n");
        let broken = text.replacen(&lines[40], &lines[40].replace('A', "!"), 1);
        for (text, expected) in [(text, Ok(())), (broken, Err(Reason::Armor))] {
            let mut rest = text.as_bytes();
            let mut armor = Armor::new(Direction::Outgoing, Vec::new());
            let mut bulk = 0;
            let answer = loop {
                let passed = armor.bulk(rest, LineEnd::CrLf).expect("in order");
                bulk += passed;
                rest = &rest[passed..];
                let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
                    break armor.line(rest).and_then(|()| armor.finish()).map(drop);
                };
                if let Err(reason) = armor.line(&rest[..end - 1]) {
                    break Err(reason);
                }
                rest = &rest[end + 1..];
            };
            assert_eq!(answer, expected);
            assert!(bulk > 2000, "{bulk}");
        }
    }
}
