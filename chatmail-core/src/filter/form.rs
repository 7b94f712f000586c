//! What the value of an outgoing header field may look like, so that it has no room for text.
//!
//! Each form is what mail programs write and a little more. A value in another form is not one of
//! theirs; `policy` says what becomes of its field.
//!
//! White space is allowed only where a form says so. No run of it, folds included, is longer than
//! [`limits::SPACE_RUN`].

mod addresses;
mod date;
mod ids;
mod key;
mod packets;

use super::limits;
use super::mime;

/// What a value may look like. The numbers are bytes of the value, folds included, without white
/// space at its ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Whatever other hosts write, within the limits of the header.
    Free,
    /// A Content-Type, which the grammar of MIME reads.
    MediaType,
    /// One of these words, in any case.
    OneOf(&'static [&'static str]),
    /// One word of letters, digits and `.-_+=/`.
    Word(usize),
    /// Addresses with names (RFC 5322 section 3.4).
    Addresses(usize),
    /// URLs or list ids in angle brackets, with names (RFC 2369, RFC 2919).
    Links(usize),
    /// At most this many message ids (RFC 5322 section 3.6.4), together at most
    /// [`limits::THREAD_BYTES`] long.
    Ids(usize),
    /// A date (RFC 5322 section 3.3).
    Date,
    /// An Autocrypt header (Autocrypt level 1, section 2.1).
    Key,
}

use Form::{Addresses, Date, Free, Ids, Key, Links, MediaType, OneOf, Word};

/// The bytes of a value that can carry text. Forms have few other bytes that a sender can choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Room {
    /// Names, links and anything else that can hold text with spaces or arbitrary characters.
    pub(super) text: usize,
    /// Addresses.
    pub(super) addresses: usize,
}

impl Form {
    /// The room in a value of this form; `None` if it is not in this form. `author` is the address
    /// that the message must come from.
    pub(super) fn room_in(self, value: &[u8], author: &[u8]) -> Option<Room> {
        let field = value;
        let value = field.trim_ascii();
        if field.len() - value.len() > limits::SPACE_RUN && self != Free {
            return None;
        }
        let good = match self {
            Free => true,
            MediaType => is_tight(value),
            OneOf(words) => words
                .iter()
                .any(|word| mime::is_same(word.as_bytes(), value)),
            Word(most) => value.len() <= most && !value.is_empty() && has_only(value, WORD),
            Ids(most) => ids::are_ids(value, most),
            Date => date::is_date(value),
            Key => key::is_key(value, author),
            Addresses(most) if value.len() <= most => return addresses::room_in(value),
            Links(most) if value.len() <= most => return addresses::room_in_links(value),
            Addresses(_) | Links(_) => false,
        };
        good.then_some(Room::default())
    }

    /// The most readable bytes in this form that a sender can choose. Addresses and
    /// [`Room::text`] are not included, because all fields share their limits.
    #[cfg(test)]
    pub(super) fn readable(self) -> usize {
        match self {
            Addresses(_) | Links(_) => 0,
            // Other hosts choose.
            Free => usize::MAX,
            // The only free choice is the boundary.
            MediaType => limits::BOUNDARY_BYTES,
            OneOf(words) => words.iter().map(|word| word.len()).max().unwrap_or(0),
            Word(most) => most,
            Ids(most) => limits::THREAD_BYTES.min(most * limits::ID_BYTES),
            Date => limits::DATE_BYTES,
            Key => limits::ADDRESS_BYTES + limits::KEY_RELAYS_BYTES,
        }
    }
}

/// Letters, digits and what joins them in a token.
const WORD: u8 = 1;
/// A character on either side of the `@` of a message id.
const ID: u8 = 2;
/// Letters, digits and what joins them in a plain address.
const ADDRESS: u8 = 4;
/// A character before the `@` of an address.
const LOCALPART: u8 = 8;
/// A character after it.
const DOMAIN: u8 = 16;

static CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = b'!';
    while byte <= b'~' {
        let mut class = 0;
        if byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'+' | b'=' | b'/') {
            class |= WORD | ADDRESS;
        }
        if byte == b'@' {
            class |= ADDRESS;
        }
        // RFC 5322 sections 3.2.3 and 3.4.1: `dot-atom-text`, and what a literal holds.
        if !matches!(
            byte,
            b'(' | b')' | b'<' | b'>' | b'@' | b',' | b';' | b'\\' | b'"'
        ) {
            class |= ID;
            if !matches!(byte, b'[' | b']' | b':') {
                class |= LOCALPART;
            }
        }
        if byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'[' | b']' | b':') {
            class |= DOMAIN;
        }
        classes[byte as usize] = class;
        byte += 1;
    }
    classes
};

fn has_only(text: &[u8], class: u8) -> bool {
    let common = |classes, byte: &u8| classes & CLASSES[usize::from(*byte)];
    text.iter().fold(class, common) != 0
}

/// Whether a value is an address without quotes and comments.
fn is_address(text: &[u8]) -> bool {
    let Some(at) = memchr::memchr(b'@', text) else {
        return false;
    };
    let (localpart, domain) = text.split_at(at);
    let domain = domain.strip_prefix(b"@").unwrap_or(domain);
    text.len() <= limits::ADDRESS_BYTES
        && !localpart.is_empty()
        && !domain.is_empty()
        && has_only(localpart, LOCALPART)
        && has_only(domain, DOMAIN)
}

/// Whether no run of white space is too long.
fn is_tight(value: &[u8]) -> bool {
    let mut longest = 0;
    let mut run = 0;
    for byte in value {
        run = match byte {
            b' ' | b'\t' | b'\n' => run + 1,
            b'\r' => run,
            _ => 0,
        };
        longest = longest.max(run);
    }
    longest <= limits::SPACE_RUN
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_in(form: Form, value: &str) -> bool {
        form.room_in(value.as_bytes(), b"alice@chat.test").is_some()
    }

    #[test]
    fn a_token_is_one_word_of_its_size() {
        for word in ["1.0", " 1.0", "a-b_c+d=e/f", "\n\t1.0 "] {
            assert!(is_in(Word(16), word), "{word}");
        }
        for word in ["", "at dawn", "a\n b", "(a)", "\u{e4}", "attack-at-dawn-17"] {
            assert!(!is_in(Word(16), word), "{word}");
        }
    }

    #[test]
    fn a_keyword_is_one_of_those_there_are() {
        let keywords = OneOf(&["auto-replied", "no"]);
        assert!(is_in(keywords, "Auto-Replied"));
        assert!(is_in(keywords, " no"));
        for word in ["", "yes", "no no", "auto-replied; attack=dawn"] {
            assert!(!is_in(keywords, word), "{word}");
        }
    }

    #[test]
    fn white_space_is_no_longer_than_a_fold() {
        let run = " ".repeat(limits::SPACE_RUN);
        for form in [Word(64), MediaType, Addresses(512), Ids(4), Links(512)] {
            let value = match form {
                Addresses(_) => "alice@chat.test",
                Ids(_) | Links(_) => "<a@b>",
                _ => "word",
            };
            assert!(is_in(form, &format!("{run}{value}")), "{form:?}");
            assert!(is_in(form, &format!("{value}{run}")), "{form:?}");
            assert!(!is_in(form, &format!("{run} {value}")), "{form:?}");
            assert!(!is_in(form, &format!("{value} {run}")), "{form:?}");
            assert!(!is_in(form, &format!("{run}{value} ")), "{form:?}");
        }
        for (form, one, other) in [
            (MediaType, "multipart/encrypted;", "boundary=b"),
            (Addresses(512), "alice@chat.test,", "bob@chat.test"),
            (Addresses(512), "\"Bob", "B.\" <bob@chat.test>"),
            (Ids(4), "<a@b>", "<c@d>"),
            (Links(512), "<https://chat.test>,", "<https://chat.test>"),
            (Date, "Sun,", "15 Nov 2026 16:43:21 +0000"),
        ] {
            let fold = format!("\n{}", " ".repeat(limits::SPACE_RUN - 1));
            assert!(is_in(form, &format!("{one}{fold}{other}")), "{one}");
            let crlf = format!("\r{fold}");
            assert!(is_in(form, &format!("{one}{crlf}{other}")), "{one}");
            assert!(!is_in(form, &format!("{one}{fold} {other}")), "{one}");
        }
    }

    #[test]
    fn a_list_is_no_longer_than_it_may_be() {
        let list = "<a@bc>, ".repeat(64);
        for form in [Addresses(512), Links(512)] {
            assert!(is_in(form, &list), "{form:?}");
            assert!(!is_in(form, &format!("{list}<a>")), "{form:?}");
        }
    }

    #[test]
    fn an_address_has_two_sides() {
        for address in [
            "alice@chat.test",
            "o'brien+tag@chat.test",
            "bob@[192.0.2.1]",
            "bob@[IPv6:2001:db8::1]",
        ] {
            assert!(is_address(address.as_bytes()), "{address}");
        }
        let long = format!("{}@chat.test", "a".repeat(limits::ADDRESS_BYTES));
        for address in [
            "", "@", "a@", "@b", "a b@c", "a@b c", "a@b@c", "a@b!", "\"a\"@b", "a@b_c", &long,
        ] {
            assert!(!is_address(address.as_bytes()), "{address}");
        }
    }
}
