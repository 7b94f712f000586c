//! Content-Transfer-Encoding (RFC 2045 section 6), read strictly and line by line.
//!
//! Mail programs differ on input that an encoding does not allow, so it is refused.

use super::super::body::Grammar;
use super::super::encoded::Encoded;
use super::super::limits;
use super::super::mime;
use super::super::verdict::Reason;

/// How the content of a part is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    /// 7bit, 8bit or binary.
    Identity,
    QuotedPrintable,
    Base64,
}

impl Encoding {
    /// Parses the value of the field. `None` for any other encoding.
    pub(super) fn parse(value: &[u8]) -> Option<Encoding> {
        let value = value.trim_ascii();
        if mime::is_identity_encoding(value) {
            return Some(Encoding::Identity);
        }
        if mime::is_same(value, b"quoted-printable") {
            return Some(Encoding::QuotedPrintable);
        }
        mime::is_same(value, b"base64").then_some(Encoding::Base64)
    }
}

/// Passes the decoded lines of a part to the grammar of its content.
#[derive(Debug)]
pub(super) enum Decoder {
    Identity,
    /// The beginning of a line that continues after a soft line break.
    QuotedPrintable(Vec<u8>),
    Base64(Encoded),
}

impl Decoder {
    pub(super) fn new(encoding: Encoding) -> Decoder {
        match encoding {
            Encoding::Identity => Decoder::Identity,
            Encoding::QuotedPrintable => Decoder::QuotedPrintable(Vec::new()),
            Encoding::Base64 => Decoder::Base64(Encoded::default()),
        }
    }

    /// Reads one line, without its line end.
    pub(super) fn line(&mut self, line: &[u8], content: &mut impl Grammar) -> Result<(), Reason> {
        match self {
            Decoder::Identity => content.line(line),
            Decoder::QuotedPrintable(decoded) => {
                if unquote(line, decoded)? == End::Soft {
                    return Ok(());
                }
                content.line(decoded)?;
                decoded.clear();
                Ok(())
            }
            Decoder::Base64(encoded) => encoded.line(line, content),
        }
    }

    /// The part has ended.
    pub(super) fn finish(&mut self, content: &mut impl Grammar) -> Result<(), Reason> {
        match self {
            Decoder::Identity => Ok(()),
            // Mail programs differ on a soft line break at the end.
            Decoder::QuotedPrintable(decoded) if !decoded.is_empty() => {
                Err(Reason::TransferEncoding)
            }
            Decoder::QuotedPrintable(_) => Ok(()),
            Decoder::Base64(encoded) => encoded.finish(content),
        }
    }
}

/// How a quoted-printable line ends.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Hard,
    Soft,
}

/// Decodes one quoted-printable line.
fn unquote(line: &[u8], decoded: &mut Vec<u8>) -> Result<End, Reason> {
    let before = decoded.len();
    let mut rest = line;
    let end = loop {
        let byte = match rest {
            [] => break End::Hard,
            [b'='] => break End::Soft,
            [b'=', high, low, after @ ..] => {
                rest = after;
                // A line break must not be encoded.
                let byte = hex(*high).zip(hex(*low)).map(|(high, low)| high << 4 | low);
                byte.filter(|byte| !b"\r\n".contains(byte))
            }
            // Some programs take white space at the end of a line for an addition in transit.
            [b' ' | b'\t'] => None,
            [byte @ (b' '..=b'<' | b'>'..=b'~' | b'\t'), after @ ..] => {
                rest = after;
                Some(*byte)
            }
            _ => None,
        };
        decoded.push(byte.ok_or(Reason::TransferEncoding)?);
    };
    // A soft line break alone has no content, and there could be any number of them.
    if end == End::Soft && decoded.len() == before {
        return Err(Reason::TransferEncoding);
    }
    match decoded.len() <= limits::LINE_BYTES {
        true => Ok(end),
        false => Err(Reason::Line),
    }
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unquoted(lines: &str) -> Result<Vec<u8>, Reason> {
        let mut text = Text::default();
        let mut decoder = Decoder::new(Encoding::QuotedPrintable);
        for line in lines.split('\n') {
            decoder.line(line.as_bytes(), &mut text)?;
        }
        decoder.finish(&mut text)?;
        Ok(text.0)
    }

    #[derive(Default)]
    struct Text(Vec<u8>);

    impl Grammar for Text {
        fn line(&mut self, line: &[u8]) -> Result<(), Reason> {
            self.0.extend_from_slice(line);
            self.0.push(b'\n');
            Ok(())
        }
    }

    #[test]
    fn quoted_printable_lines_are_joined_and_decoded() {
        for (lines, text) in [
            ("Gr=C3=BC=c3=9fe", "Grüße\n"),
            ("a =\nb=20\n\n=3D", "a b \n\n=\n"),
            ("a\tb", "a\tb\n"),
        ] {
            assert_eq!(unquoted(lines).as_deref(), Ok(text.as_bytes()), "{lines}");
        }
    }

    #[test]
    fn what_readers_decode_differently_is_not_quoted_printable() {
        for lines in [
            "=",
            "a=\n=\nb",
            "=4",
            "=4G",
            "==",
            "= ",
            "a ",
            "a\t",
            "a= ",
            "=0A",
            "=0d=0a",
            "gr\u{fc}n",
            "\u{7f}",
            "\u{1b}",
            "a=",
        ] {
            let refused = Err(Reason::TransferEncoding);
            assert_eq!(unquoted(lines), refused, "{lines:?}");
        }
        let long = format!("{}=\n", "a".repeat(70)).repeat(20);
        assert_eq!(unquoted(&long), Err(Reason::Line));
    }
}
