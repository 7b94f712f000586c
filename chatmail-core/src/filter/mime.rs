//! Content-Type and its relatives (RFC 2045 section 5.1), read strictly.
//!
//! Mail readers differ on comments, escapes, encoded words, split and repeated parameters, and on
//! values without the quotes they need. None of that is written by programs that encrypt mail, so
//! none of it is understood here: such a value is refused.

use super::limits;

/// A type or disposition and its parameters, borrowed from the field's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MediaType<'v> {
    essence: &'v str,
    parameters: [(&'v str, &'v str); PARAMETERS],
    count: usize,
}

/// More parameters than any type of ours has.
const PARAMETERS: usize = 6;

impl<'v> MediaType<'v> {
    /// Reads `type/subtype; name=value…` or, for Content-Disposition, `type; name=value…`.
    /// `None`: not in the strict grammar.
    pub(super) fn parse(value: &'v [u8]) -> Option<MediaType<'v>> {
        let value = std::str::from_utf8(value).ok()?;
        if value.len() > limits::MIME_VALUE_BYTES
            || value.as_bytes().windows(2).any(|pair| pair == b"=?")
        {
            return None;
        }
        let mut rest = skip_space(value)?;
        let essence;
        (essence, rest) = rest.split_at(
            rest.bytes()
                .position(|byte| !is_token(byte) && byte != b'/')
                .unwrap_or(rest.len()),
        );
        let mut halves = essence.split('/');
        let whole = halves.next().is_some_and(|half| !half.is_empty())
            && halves.next().is_none_or(|half| !half.is_empty())
            && halves.next().is_none();
        if !whole {
            return None;
        }
        let mut media_type = MediaType {
            essence,
            parameters: [("", ""); PARAMETERS],
            count: 0,
        };
        loop {
            rest = skip_space(rest)?;
            let Some(after) = rest.strip_prefix(';') else {
                return rest.is_empty().then_some(media_type);
            };
            rest = skip_space(after)?;
            if rest.is_empty() {
                // A last semicolon with nothing behind it; Delta Chat wrote one for years.
                return Some(media_type);
            }
            let (name, after) = rest.split_once('=')?;
            if name.is_empty() || !name.bytes().all(is_attribute) {
                return None;
            }
            let content;
            (content, rest) = match after.strip_prefix('"') {
                Some(quoted) => quoted.split_once('"')?,
                None => after.split_at(
                    after
                        .bytes()
                        .position(|byte| !is_token(byte))
                        .unwrap_or(after.len()),
                ),
            };
            let plain = content
                .bytes()
                .all(|byte| matches!(byte, b' '..=b'~') && byte != b'\\');
            if content.is_empty() || !plain || media_type.parameter(name).is_some() {
                return None;
            }
            *media_type.parameters.get_mut(media_type.count)? = (name, content);
            media_type.count += 1;
        }
    }

    /// Whether it is this type, given in lower case.
    pub(super) fn is(&self, essence: &str) -> bool {
        self.essence.eq_ignore_ascii_case(essence)
    }

    /// The value of a parameter.
    pub(super) fn parameter(&self, name: &str) -> Option<&'v str> {
        self.parameters()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, content)| content)
    }

    /// All parameters in their order.
    pub(super) fn parameters(&self) -> impl Iterator<Item = (&'v str, &'v str)> {
        self.parameters.iter().take(self.count).copied()
    }

    /// The boundary, if it is one that every reader finds at the same places: RFC 2046 section
    /// 5.1.1 without the space, and no delimiter that is a line of the armor.
    pub(super) fn boundary(&self) -> Option<&'v str> {
        let boundary = self.parameter("boundary")?;
        let plain = boundary.len() <= limits::BOUNDARY_BYTES
            && boundary.bytes().all(|byte| BOUNDARY.contains(byte))
            && !boundary.starts_with("---BEGIN")
            && !boundary.starts_with("---END");
        plain.then_some(boundary)
    }
}

/// Whether a Content-Transfer-Encoding leaves the bytes as they are (RFC 2045 section 6.2).
pub(super) fn is_identity_encoding(value: &[u8]) -> bool {
    let value = value.trim_ascii();
    [&b"7bit"[..], b"8bit", b"binary"]
        .iter()
        .any(|known| value.eq_ignore_ascii_case(known))
}

/// Whether bytes written in this charset read as ASCII if they are ASCII.
pub(super) fn is_ascii_charset(value: &str) -> bool {
    value.eq_ignore_ascii_case("utf-8") || value.eq_ignore_ascii_case("us-ascii")
}

/// Skips white space and folds. `None`: a line break that is no fold.
fn skip_space(mut text: &str) -> Option<&str> {
    loop {
        text = text.trim_start_matches([' ', '\t']);
        let Some(after) = text
            .strip_prefix("\r\n")
            .or_else(|| text.strip_prefix('\n'))
        else {
            return Some(text);
        };
        if !after.starts_with([' ', '\t']) {
            return None;
        }
        text = after;
    }
}

/// `token` of RFC 2045.
fn is_token(byte: u8) -> bool {
    TOKEN.contains(byte)
}

/// `attribute` of RFC 2231: a token without what marks its extended form.
fn is_attribute(byte: u8) -> bool {
    is_token(byte) && !matches!(byte, b'*' | b'\'' | b'%')
}

const TOKEN: Bytes = Bytes::graphic(b"()<>@,;:\\\"/[]?=");
const BOUNDARY: Bytes = Bytes::graphic(b"!\"#$%&*;<>@[\\]^`{|}~");

/// A set of bytes, built by the compiler: each byte of a header is looked up once or twice.
struct Bytes([bool; 256]);

impl Bytes {
    /// Printable ASCII without the space and without these.
    const fn graphic(without: &[u8]) -> Bytes {
        let mut set = [false; 256];
        let mut byte = b'!';
        while byte <= b'~' {
            set[byte as usize] = true;
            byte += 1;
        }
        let mut at = 0;
        while at < without.len() {
            set[without[at] as usize] = false;
            at += 1;
        }
        Bytes(set)
    }

    fn contains(&self, byte: u8) -> bool {
        self.0[usize::from(byte)]
    }
}

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
            assert_eq!(media_type.boundary(), Some("b=1"));
            let protocol = media_type.parameter("protocol");
            assert_eq!(protocol, Some("application/pgp-encrypted"));
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
        assert!(!boundary("a b"));
        assert!(!boundary("a "));
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
