//! Content-Type and its relatives (RFC 2045 section 5.1), read strictly.
//!
//! Mail readers differ on comments, escapes, encoded words, split and repeated parameters, and on
//! values without the quotes they need. None of that is written by programs that encrypt mail, so
//! none of it is understood here: such a value is refused.

use super::limits;

/// A type or disposition and its parameters, borrowed from the field's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MediaType<'v> {
    essence: &'v [u8],
    parameters: [(&'v [u8], &'v [u8]); PARAMETERS],
    count: usize,
}

/// More parameters than any type of ours has.
const PARAMETERS: usize = 6;

impl<'v> MediaType<'v> {
    /// Reads `type/subtype; name=value…` or, for Content-Disposition, `type; name=value…`.
    /// `None`: not in the strict grammar.
    pub(super) fn parse(value: &'v [u8]) -> Option<MediaType<'v>> {
        if value.len() > limits::MIME_VALUE_BYTES {
            return None;
        }
        let value = skip_space(value)?;
        let (kind, mut rest) = split(value, TOKEN);
        if let Some(after) = rest.strip_prefix(b"/") {
            let subtype;
            (subtype, rest) = split(after, TOKEN);
            if subtype.is_empty() {
                return None;
            }
        }
        let (essence, _) = value.split_at(value.len() - rest.len());
        if kind.is_empty() {
            return None;
        }
        let mut media_type = MediaType {
            essence,
            parameters: [(&[], &[]); PARAMETERS],
            count: 0,
        };
        loop {
            rest = skip_space(rest)?;
            let Some(after) = rest.strip_prefix(b";") else {
                return rest.is_empty().then_some(media_type);
            };
            rest = skip_space(after)?;
            if rest.is_empty() {
                // A last semicolon with nothing behind it; Delta Chat wrote one for years.
                return Some(media_type);
            }
            let (name, after) = split(rest, ATTRIBUTE);
            let after = after.strip_prefix(b"=")?;
            let content;
            let quoted = after.strip_prefix(b"\"");
            (content, rest) = match quoted {
                Some(quoted) => {
                    let (content, rest) = split(quoted, QUOTED);
                    (content, rest.strip_prefix(b"\"")?)
                }
                None => split(after, TOKEN),
            };
            // Some programs write an empty name for a file without one.
            let nameless = quoted.is_some() && is_file_name(name);
            // No other part of a value can hold an encoded word.
            let encoded_word = content.contains(&b'?') && content.windows(2).any(|w| w == b"=?");
            let twice = media_type.parameter(name).is_some();
            let empty = content.is_empty() && !nameless;
            if name.is_empty() || empty || encoded_word || twice {
                return None;
            }
            *media_type.parameters.get_mut(media_type.count)? = (name, content);
            media_type.count += 1;
        }
    }

    /// Whether it is this type, given in lower case.
    pub(super) fn is(&self, essence: &str) -> bool {
        is_same(self.essence, essence.as_bytes())
    }

    /// The value of a parameter.
    pub(super) fn parameter(&self, name: &[u8]) -> Option<&'v [u8]> {
        self.parameters()
            .find(|(known, _)| is_same(known, name))
            .map(|(_, content)| content)
    }

    /// All parameters in their order.
    pub(super) fn parameters(&self) -> impl Iterator<Item = (&'v [u8], &'v [u8])> {
        self.parameters.iter().take(self.count).copied()
    }

    /// The boundary, if it is one that [`Boundary::new`] takes.
    pub(super) fn boundary(&self) -> Option<Boundary> {
        Boundary::new(self.parameter(b"boundary")?)
    }
}

/// The longest delimiter: two dashes and a boundary.
const DELIMITER: usize = 2 + limits::BOUNDARY_BYTES;

/// A boundary, held without memory of its own.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Boundary {
    delimiter: [u8; DELIMITER],
    size: usize,
}

impl Boundary {
    /// `None` unless all programs find its delimiters in the same places. It must follow RFC 2046
    /// section 5.1.1, with single spaces inside only, and its delimiter must not be a line of the armor.
    pub(super) fn new(boundary: &[u8]) -> Option<Boundary> {
        let is_word = |word: &[u8]| !word.is_empty() && split(word, BOUNDARY).1.is_empty();
        let plain = boundary.len() <= limits::BOUNDARY_BYTES
            && boundary.split(|&byte| byte == b' ').all(is_word)
            && !boundary.starts_with(b"---BEGIN")
            && !boundary.starts_with(b"---END");
        let mut delimiter = [b'-'; DELIMITER];
        let size = boundary.len() + 2;
        delimiter.get_mut(2..size)?.copy_from_slice(boundary);
        plain.then_some(Boundary { delimiter, size })
    }

    /// Whether there is a space inside.
    pub(super) fn has_space(&self) -> bool {
        self.delimiter().contains(&b' ')
    }

    /// What begins each delimiter line: the boundary after two dashes.
    pub(super) fn delimiter(&self) -> &[u8] {
        self.delimiter.get(..self.size).unwrap_or_default()
    }
}

impl std::fmt::Debug for Boundary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Boundary").field(&self.size).finish()
    }
}

/// Whether two names are the same in any case. Nearly all are spelled alike.
pub(super) fn is_same(name: &[u8], other: &[u8]) -> bool {
    name.len() == other.len() && (name == other || name.eq_ignore_ascii_case(other))
}

/// Whether there is a control character but the tab. Folds over blocks of fixed size become vector
/// code.
pub(super) fn has_control(text: &[u8]) -> bool {
    let fold = |found, byte: &u8| found | ((*byte < b' ') & (*byte != b'\t')) | (*byte == 0x7f);
    let block = |block: &[u8; 16]| block.iter().fold(false, fold);
    match text.last_chunk() {
        // The last block overlaps with the one before.
        Some(last) => {
            let (blocks, _) = text.as_chunks();
            blocks
                .iter()
                .fold(block(last), |found, next| found | block(next))
        }
        None => text.iter().fold(false, fold),
    }
}

/// Whether a Content-Transfer-Encoding leaves the bytes as they are (RFC 2045 section 6.2).
pub(super) fn is_identity_encoding(value: &[u8]) -> bool {
    let value = value.trim_ascii();
    [&b"7bit"[..], b"8bit", b"binary"]
        .iter()
        .any(|known| is_same(known, value))
}

/// Whether bytes written in this charset read as ASCII if they are ASCII.
pub(super) fn is_ascii_charset(value: &[u8]) -> bool {
    is_same(value, b"utf-8") || is_same(value, b"us-ascii")
}

/// Whether a parameter names a file: of Content-Type, or of Content-Disposition.
fn is_file_name(parameter: &[u8]) -> bool {
    is_same(parameter, b"name") || is_same(parameter, b"filename")
}

/// Skips white space and folds. `None`: a line break that is no fold.
fn skip_space(mut text: &[u8]) -> Option<&[u8]> {
    loop {
        match text {
            [b' ' | b'\t', rest @ ..] => text = rest,
            [b'\n', rest @ ..] | [b'\r', b'\n', rest @ ..] => {
                if !matches!(rest, [b' ' | b'\t', ..]) {
                    return None;
                }
                text = rest;
            }
            _ => return Some(text),
        }
    }
}

/// Splits off the bytes of a class at the beginning.
fn split(text: &[u8], class: u8) -> (&[u8], &[u8]) {
    let other = |byte: &u8| CLASSES[usize::from(*byte)] & class == 0;
    text.split_at(text.iter().position(other).unwrap_or(text.len()))
}

/// `token` of RFC 2045.
const TOKEN: u8 = 1;
/// `attribute` of RFC 2231: a token without what marks its extended form.
const ATTRIBUTE: u8 = 2;
/// A character that a word of a boundary may contain.
const BOUNDARY: u8 = 4;
/// What may stand between quotes: no escapes.
const QUOTED: u8 = 8;

/// The classes of each byte, built by the compiler: most bytes of a header are looked up.
static CLASSES: [u8; 256] = {
    const fn without(others: &[u8], byte: u8) -> bool {
        let mut at = 0;
        while at < others.len() {
            if others[at] == byte {
                return false;
            }
            at += 1;
        }
        true
    }
    let mut classes = [0; 256];
    classes[b' ' as usize] = QUOTED;
    let mut byte = b'!';
    while byte <= b'~' {
        let mut class = 0;
        if without(b"\"\\", byte) {
            class |= QUOTED;
        }
        if without(b"()<>@,;:\\\"/[]?=", byte) {
            class |= TOKEN;
            if without(b"*'%", byte) {
                class |= ATTRIBUTE;
            }
        }
        if without(b"!\"#$%&*;<>@[\\]^`{|}~", byte) {
            class |= BOUNDARY;
        }
        classes[byte as usize] = class;
        byte += 1;
    }
    classes
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read_in_any_case_and_fold() {
        for value in [
            "multipart/encrypted; protocol=\"application/pgp-encrypted\"; boundary=\"b=1\"",
            " Multipart/Encrypted; \r\n\tBOUNDARY=\"b=1\";\r\n protocol=\"application/pgp-encrypted\"",
            "multipart/encrypted;protocol=\"application/pgp-encrypted\";\n boundary=\"b=1\" ;",
        ] {
            let media_type = MediaType::parse(value.as_bytes()).expect(value);
            assert!(media_type.is("multipart/encrypted"));
            let boundary = media_type.boundary().expect(value);
            assert_eq!(boundary.delimiter(), b"--b=1");
            let protocol = media_type.parameter(b"protocol");
            assert_eq!(protocol, Some(&b"application/pgp-encrypted"[..]));
        }
    }

    #[test]
    fn what_mail_readers_read_differently_is_no_content_type() {
        for value in [
            "",
            ";",
            "multipart/",
            "/encrypted",
            "multipart/encrypted/x",
            "multipart / encrypted",
            "multipart/encrypted (comment); boundary=b",
            "multipart/encrypted; boundary=b (comment)",
            "multipart/encrypted; boundary=b; boundary=c",
            "multipart/encrypted; boundary=b; BOUNDARY=b",
            "multipart/encrypted; boundary = b",
            "multipart/encrypted; boundary= b",
            "multipart/encrypted; boundary=\"a\\b\"",
            "multipart/encrypted; boundary=\"a",
            "multipart/encrypted; boundary=\"a\"b",
            "multipart/encrypted; boundary=a\"b\"",
            "multipart/encrypted; boundary=\"\"",
            "multipart/encrypted; name=",
            "multipart/encrypted; filename=; boundary=b",
            "multipart/encrypted; boundary=",
            "multipart/encrypted; boundary",
            "multipart/encrypted;; boundary=b",
            "multipart/encrypted boundary=b",
            "multipart/encrypted; boundary*=utf-8''b",
            "multipart/encrypted; boundary*0=a; boundary*1=b",
            "multipart/encrypted; boundary==?utf-8?q?b?=",
            "multipart/encrypted; boundary=\"=?utf-8?q?b?=\"",
            "multipart/encrypted; boundary=\"a\r\n b\"",
            "multipart/encrypted;\r\nboundary=b",
            "multipart/encrypted;\rboundary=b",
            "multipart/encrypted; boundary=\u{e4}",
            "multipart/encrypted; protocol=application/pgp-encrypted",
            "multipart/encrypted, text/plain",
        ] {
            assert_eq!(MediaType::parse(value.as_bytes()), None, "{value:?}");
        }
        let long = format!("multipart/encrypted; boundary={}", "b".repeat(600));
        assert_eq!(MediaType::parse(long.as_bytes()), None);
    }

    #[test]
    fn a_boundary_that_readers_may_miss_is_none() {
        let boundary = |value: &str| {
            let value = format!("multipart/mixed; boundary=\"{value}\"");
            MediaType::parse(value.as_bytes()).is_some_and(|read| read.boundary().is_some())
        };
        assert!(boundary(&"b".repeat(70)));
        assert!(boundary("----=_Part'()+,-./:=1"));
        assert!(!boundary(&"b".repeat(71)));
        assert!(boundary("a b"));
        assert!(boundary("- =_a b 'c'"));
        assert!(!boundary("a "));
        assert!(!boundary(" a"));
        assert!(!boundary("a  b"));
        assert!(!boundary(" "));
        assert!(!boundary("a\tb"));
        assert!(!boundary("a<b"));
        let allowed: String = (b' '..=b'~')
            .map(char::from)
            .filter(|c| boundary(&c.to_string()))
            .collect();
        let letters = ('A'..='Z').chain('a'..='z').collect::<String>();
        for c in allowed.chars() {
            assert!(
                letters.contains(c) || "0123456789'()+_,-./:=?".contains(c),
                "{c}"
            );
        }
        assert_eq!(allowed.len(), 26 + 26 + 10 + 12);
        assert!(!boundary("---BEGIN PGP MESSAGE-----"));
        assert!(!boundary("---END"));
    }

    #[test]
    fn the_name_of_a_file_may_be_empty() {
        for value in ["a/b; name=\"\"; charset=utf-8", "inline; FileName=\"\""] {
            let read = MediaType::parse(value.as_bytes()).expect(value);
            let first = read.parameters().next();
            assert_eq!(first.map(|(_, content)| content), Some(&b""[..]), "{value}");
        }
    }

    #[test]
    fn only_identity_encodings_leave_the_bytes_alone() {
        for value in ["7bit", " 8BIT", "Binary "] {
            assert!(is_identity_encoding(value.as_bytes()), "{value:?}");
        }
        for value in [
            "base64",
            "quoted-printable",
            "x-uuencode",
            "",
            "7bit (plain)",
        ] {
            assert!(!is_identity_encoding(value.as_bytes()), "{value:?}");
        }
    }
}
