//! What the value of an outgoing header field may look like, so that it has no room for text.
//!
//! Each form is what mail programs write and a little more. A value in another form is not one of
//! theirs; `policy` says what becomes of its field.

use super::limits;
use super::mime;

/// What a value may look like. The numbers are bytes of the value, folds included, without white
/// space at its ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Anything of this size.
    Any(usize),
    /// One word of letters, digits and `.-_+=/`.
    Word(usize),
    /// Addresses with names (RFC 5322 section 3.4).
    Addresses(usize),
    /// URLs or list ids in angle brackets, with names (RFC 2369, RFC 2919).
    Links(usize),
    /// Message ids in angle brackets (RFC 5322 section 3.6.4).
    Ids(usize),
    /// A date (RFC 5322 section 3.3).
    Date,
    /// An Autocrypt header (Autocrypt level 1, section 2.1).
    Key,
}

use Form::{Addresses, Any, Date, Ids, Key, Links, Word};

impl Form {
    /// `None`: the value is not in this form. Else how many bytes of it are names, that is text
    /// people write.
    pub(super) fn text_in(self, value: &[u8]) -> Option<usize> {
        let value = value.trim_ascii();
        let (most, good) = match self {
            Any(most) => (most, true),
            Word(most) => (most, !value.is_empty() && has_only(value, WORD)),
            Ids(most) => (most, value.len() <= most && is_ids(value)),
            Date => (limits::DATE_BYTES, is_date(value)),
            Key => (limits::HEADER_FIELD_BYTES, is_key(value)),
            // One address in brackets, or none to be seen, is most of what comes.
            Addresses(_) if is_bare_address(value) => return Some(0),
            Addresses(_) if value == HIDDEN => return Some(HIDDEN.len() - b": ;".len()),
            Addresses(most) if value.len() <= most => return names(value, is_address),
            Links(most) if value.len() <= most => return names(value, is_link),
            Addresses(_) | Links(_) => return None,
        };
        (good && value.len() <= most).then_some(0)
    }
}

/// To as Delta Chat writes it: a group without members, whose name counts.
const HIDDEN: &[u8] = b"\"hidden-recipients\": ;";

/// Letters, digits and what joins them in a token.
const WORD: u8 = 1;
/// Printable ASCII without the brackets around message ids.
const ID: u8 = 2;

/// Letters, digits and what joins them in a plain address.
const ADDRESS: u8 = 4;

static CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = b'!';
    while byte <= b'~' {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'+' | b'=' | b'/') {
            classes[byte as usize] |= WORD | ADDRESS;
        }
        if byte == b'@' {
            classes[byte as usize] |= ADDRESS;
        }
        if !matches!(byte, b'<' | b'>') {
            classes[byte as usize] |= ID;
        }
        byte += 1;
    }
    classes
};

fn has_only(text: &[u8], class: u8) -> bool {
    let common = |classes, byte: &u8| classes & CLASSES[usize::from(*byte)];
    text.iter().fold(class, common) != 0
}

fn is_address(text: &[u8]) -> bool {
    text.contains(&b'@') && is_link(text)
}

fn is_bare_address(text: &[u8]) -> bool {
    let [b'<', address @ .., b'>'] = text else {
        return false;
    };
    is_address(address) && has_only(address, ADDRESS)
}

fn is_link(text: &[u8]) -> bool {
    text.len() <= limits::ADDRESS_BYTES && text.iter().fold(true, |all, byte| all & (*byte > b' '))
}

/// Bytes beside what `is_target` knows in a list of `name <target>`, `target`, and groups.
fn names(mut list: &[u8], is_target: fn(&[u8]) -> bool) -> Option<usize> {
    let mut total = 0;
    while !list.is_empty() {
        let end = item(list)?;
        let (entry, rest) = list.split_at(end);
        list = rest.split_first().map_or(rest, |(_, rest)| rest);
        let entry = entry.trim_ascii();
        let open = memchr::memrchr(b'<', entry);
        let (name, target, after) = match open {
            Some(open) => {
                let (name, target) = entry.split_at(open);
                let close = memchr::memchr(b'>', target).unwrap_or(target.len());
                let (target, after) = target.split_at(close);
                (name, target.get(1..).unwrap_or_default(), after)
            }
            None => (&[][..], entry, &[][..]),
        };
        let text = match is_target(target) {
            true => name.len() + after.len().saturating_sub(1),
            false => entry.len(),
        };
        if text > limits::NAME_BYTES {
            return None;
        }
        total += text;
    }
    Some(total)
}

/// Where the first entry of a list ends. `None`: inside a quoted string.
fn item(list: &[u8]) -> Option<usize> {
    let mut bytes = list.iter().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b',' | b';' | b':' => return Some(at),
            b'"' => loop {
                match bytes.next()?.1 {
                    b'"' => break,
                    b'\\' => drop(bytes.next()?),
                    _ => {}
                }
            },
            b'<' => {
                // An unclosed bracket is measured as a name.
                bytes.find(|(_, byte)| **byte == b'>');
            }
            _ => {}
        }
    }
    Some(list.len())
}

fn is_ids(mut value: &[u8]) -> bool {
    if value.is_empty() {
        return false;
    }
    loop {
        value = value.trim_ascii_start();
        let Some(rest) = value.strip_prefix(b"<") else {
            return value.is_empty();
        };
        let Some(end) = memchr::memchr(b'>', rest) else {
            return false;
        };
        let (id, rest) = rest.split_at(end);
        if id.is_empty() || id.len() > limits::ID_BYTES || !has_only(id, ID) {
            return false;
        }
        value = rest.get(1..).unwrap_or_default();
    }
}

/// `Sun, 15 Nov 2026 16:43:21 +0000`; the day of the week and the seconds may be missing, the zone
/// may be a name, and a small name of the zone may stand behind it in brackets.
fn is_date(value: &[u8]) -> bool {
    const DAYS: [&[u8; 3]; 7] = [b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun"];
    const MONTHS: [&[u8; 3]; 12] = [
        b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov",
        b"Dec",
    ];
    let one_of =
        |names: &[&[u8; 3]], name: &[u8]| names.iter().any(|known| mime::is_same(&known[..], name));
    // How nearly everyone writes it.
    if let Some(
        &[
            a,
            b,
            c,
            b',',
            b' ',
            d,
            e,
            b' ',
            f,
            g,
            h,
            b' ',
            ref rest @ ..,
        ],
    ) = value.first_chunk::<31>()
        && let &[
            i,
            j,
            k,
            l,
            b' ',
            m,
            n,
            b':',
            o,
            p,
            b':',
            q,
            r,
            b' ',
            b'+' | b'-',
            s,
            t,
            u,
            v,
        ] = rest
    {
        let digits = [d, e, i, j, k, l, m, n, o, p, q, r, s, t, u, v];
        let usual = value.len() == 31
            && digits.iter().all(u8::is_ascii_digit)
            && DAYS.contains(&&[a, b, c])
            && MONTHS.contains(&&[f, g, h]);
        if usual {
            return true;
        }
    }
    let number = |text: &[u8], sizes: std::ops::RangeInclusive<usize>| {
        sizes.contains(&text.len()) && text.iter().all(u8::is_ascii_digit)
    };
    let zone_name = |text: &[u8]| text.len() <= 5 && text.iter().all(u8::is_ascii_alphabetic);
    if value.len() > limits::DATE_BYTES {
        return false;
    }
    let value = match memchr::memchr(b',', value) {
        Some(comma) => {
            let (day, rest) = value.split_at(comma);
            if !one_of(&DAYS, day.trim_ascii()) {
                return false;
            }
            rest.get(1..).unwrap_or_default()
        }
        None => value,
    };
    let mut words = value
        .split(|byte| byte.is_ascii_whitespace())
        .filter(|word| !word.is_empty());
    let mut next = || words.next().unwrap_or_default();
    let day_month_year = number(next(), 1..=2) && one_of(&MONTHS, next()) && number(next(), 2..=4);
    let time = next();
    let mut parts = time.split(|byte| *byte == b':');
    let clock = (2..=3).contains(&parts.clone().count()) && parts.all(|part| number(part, 1..=2));
    let zone = match next() {
        [b'+' | b'-', digits @ ..] => number(digits, 4..=4),
        name => !name.is_empty() && zone_name(name),
    };
    let comment = match next() {
        [b'(', name @ .., b')'] => zone_name(name),
        rest => rest.is_empty(),
    };
    day_month_year && clock && zone && comment && words.next().is_none()
}

/// Attributes `addr`, `prefer-encrypt` and last `keydata`, which begins as a public key packet
/// does in base64.
fn is_key(value: &[u8]) -> bool {
    let mut attributes = value.split(|byte| *byte == b';');
    let mut seen_address = false;
    for attribute in attributes.by_ref() {
        let attribute = attribute.trim_ascii();
        let Some(at) = memchr::memchr(b'=', attribute) else {
            return false;
        };
        let (name, content) = attribute.split_at(at);
        let content = content.get(1..).unwrap_or_default().trim_ascii();
        match name.trim_ascii() {
            b"addr" if !seen_address && is_address(content) => seen_address = true,
            b"prefer-encrypt" if [&b"mutual"[..], b"nopreference"].contains(&content) => {}
            b"keydata" => {
                let base64 = |byte: &u8| {
                    byte.is_ascii_alphanumeric()
                        || b"+/=".contains(byte)
                        || byte.is_ascii_whitespace()
                };
                return seen_address
                    && matches!(content, [b'm' | b'x', ..])
                    && content.iter().all(base64)
                    && attributes.all(|rest| rest.trim_ascii().is_empty());
            }
            _ => return false,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: usize = 512;

    #[test]
    fn dates_of_mail_programs_are_dates_and_text_is_none() {
        for date in [
            "Sun, 15 Nov 2026 16:43:21 +0000",
            "15 Nov 2026 16:43 -0330",
            "sUN, 15 nOV 2026 16:43:21 -0000",
            "Sun, 5 Nov 2026 16:43:21 GMT",
            "sun,  15 nov 26 16:43:21 +0100 (CEST)",
            "Sun,\n 15 Nov 2026 16:43:21 +0000",
        ] {
            assert_eq!(Date.text_in(date.as_bytes()), Some(0), "{date}");
        }
        for date in [
            "",
            "at dawn",
            "Sin, 15 Nov 2026 16:43:21 +0000",
            "Sun, 15 Dawn2026 16:43:21 +0000",
            "Sun, 15 Nov 2o26 16:43:21 +0000",
            "Dawn, 15 Nov 2026 16:43:21 +0000",
            "Sun, 15 Attack 2026 16:43:21 +0000",
            "Sun, 15 Nov 2026 16:43:21 +0000 at dawn",
            "Sun, 15 Nov 2026 16:43:21 +0000 (attack)",
            "Sun, 15 Nov 2026 16:43:21",
            "Sun, 15 Nov 2026 16:43:21:22 +0000",
            "Sun, 15 Nov 2026 dawn +0000",
            "Sun, 15 Nov 2026 16:43:21 attack",
        ] {
            assert_eq!(Date.text_in(date.as_bytes()), None, "{date}");
        }
    }

    #[test]
    fn of_addresses_the_names_are_measured() {
        let names = |value: &str| Addresses(4096).text_in(value.as_bytes());
        for (value, text) in [
            ("", 0),
            ("alice@chat.test", 0),
            ("<alice@chat.test>, bob@[192.0.2.1]", 0),
            ("Alice <alice@chat.test>", 6),
            ("\"A, <B>; \\\"C\\\"\" <a@chat.test>", 16),
            ("\"hidden-recipients\": ;", 19),
            ("\"hidden-recipients\":;", 19),
            ("Attack at dawn", 14),
            ("attack@dawn bring ladders", 25),
            ("<attack at@dawn>", 16),
            ("<dawn>", 6),
            ("a@chat.test (at dawn)", 21),
            ("<a@chat.test> dawn", 5),
        ] {
            assert_eq!(names(value), Some(text), "{value}");
        }
        assert_eq!(names("\"Alice <alice@chat.test>"), None);
        let long = "a".repeat(limits::NAME_BYTES);
        assert!(names(&format!("\"{long}\" <a@chat.test>")).is_none());
        assert!(names(&format!("<{long}{long}@chat.test>")).is_none());
        assert!(names(&format!("{long}, ").repeat(10)).is_some());
        let links = |value: &str| Links(SHORT).text_in(value.as_bytes());
        let link = "<https://chat.test/?l=1>, <mailto:l@chat.test?subject=u>";
        assert_eq!(links(link), Some(0));
        assert_eq!(links("Our list <list.chat.test>"), Some(9));
        assert_eq!(links("Attack at dawn"), Some(14));
    }

    #[test]
    fn message_ids_stand_in_angle_brackets() {
        for ids in ["<a@localhost>", "<a@b>\n\t<c@d> <e>"] {
            assert_eq!(Ids(SHORT).text_in(ids.as_bytes()), Some(0), "{ids}");
        }
        let long = format!("<{}>", "a".repeat(limits::ID_BYTES + 1));
        for ids in [
            "",
            "<>",
            "a@b",
            "<a b@c>",
            "<a@b> at dawn",
            "at dawn <a@b>",
            "<a@b",
            "<a<b>",
            "<\u{e4}@b>",
            &long,
        ] {
            assert_eq!(Ids(SHORT).text_in(ids.as_bytes()), None, "{ids}");
        }
    }

    #[test]
    fn an_autocrypt_key_is_a_key() {
        for key in [
            "addr=alice@chat.test; prefer-encrypt=mutual; keydata=mDMEXlh13RYJKw\n YBBAHaRw8B=",
            "addr=alice@chat.test;keydata=xjMEXlh13RYJKw==;",
        ] {
            assert_eq!(Key.text_in(key.as_bytes()), Some(0), "{key}");
        }
        for key in [
            "",
            "attack at dawn",
            "addr=alice@chat.test",
            "keydata=mDME",
            "addr=alice@chat.test; keydata=QXR0YWNr",
            "addr=alice@chat.test; keydata=mDME, at dawn",
            "addr=alice@chat.test; _text=dawn; keydata=mDME",
            "addr=attack at dawn@chat.test; keydata=mDME",
            "addr=alice@chat.test; keydata=mDME; attack=dawn",
            "addr=alice@chat.test; prefer-encrypt=dawn; keydata=mDME",
        ] {
            assert_eq!(Key.text_in(key.as_bytes()), None, "{key}");
        }
    }
}
