//! The one address inside a From header field (RFC 5322 section 3.4).

use std::borrow::Cow;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::is_atext;

mod encoded_word;
mod loose;

/// The address in the value of a From header field, without white space or quotes inside. `None`
/// unless the field holds exactly one.
///
/// The value may be folded. Read are `a@b`, `<a@b>`, `Name <a@b>`, `"Name" <a@b>`, each with a
/// comment behind it; a name may hold dots and 8-bit characters. So are the forms of
/// RFC 5322 that are rarer and that all readers of mail read alike:
///
/// | form | example |
/// |---|---|
/// | one comment before or behind the name, or inside the brackets | `(at work) Alice <a@b>` |
/// | blanks around the `@` | `<a @ b>` |
/// | in brackets, a quoted localpart that needs no quotes | `Alice <"a"@b>` |
///
/// The domain is a name, or the literal of an IPv4 or IPv6 address (`[203.0.113.7]`,
/// `[IPv6:2001:db8::7]`, RFC 5321 section 4.1.3).
///
/// Deliberately not accepted: lists, groups, source routes, an `@` in an unquoted name, comments
/// elsewhere or nested, localparts that need their quotes, folds and encoded words inside the
/// address, anything but ASCII in it, and encoded words that stand for a line break. Mail programs
/// disagree about those, and a filter must not see another sender than the recipient's client.
pub fn header_address(value: &[u8]) -> Option<Cow<'_, str>> {
    match plain_header_address(value) {
        Some(address) => Some(Cow::Borrowed(address)),
        None => loose::header_address(value).map(Cow::Owned),
    }
}

/// The same without the rarer forms: the address exactly as it stands in the field.
pub(crate) fn plain_header_address(value: &[u8]) -> Option<&str> {
    let value = skip_white_space(value);
    let (address, rest) = match value.first()? {
        b'<' => angle_address(value)?,
        b'"' => angle_address(skip_white_space(skip_quoted_string(&value[1..])?))?,
        _ => match addr_spec(value) {
            Some(found) => found,
            None => angle_address(skip_words(value))?,
        },
    };
    (ends_here(rest) && !encoded_word::break_the_line(value)).then_some(address)
}

/// `<a@b>` at the start of `text`, and what follows it.
fn angle_address(text: &[u8]) -> Option<(&str, &[u8])> {
    let inner = skip_white_space(text.strip_prefix(b"<")?);
    let (address, rest) = addr_spec(inner)?;
    Some((address, skip_white_space(rest).strip_prefix(b">")?))
}

/// Whether nothing follows, or one plain comment.
fn ends_here(rest: &[u8]) -> bool {
    let rest = rest.trim_ascii();
    let comment = rest
        .strip_prefix(b"(")
        .and_then(|rest| rest.strip_suffix(b")"));
    rest.is_empty() || comment.is_some_and(is_plain)
}

/// Whether programs that do not know comments read no address and no separator in this one.
fn is_plain(comment: &[u8]) -> bool {
    !comment.iter().any(|b| b"()<>[]:;@\\,\"\0".contains(b))
}

/// What follows an unquoted name.
fn skip_words(text: &[u8]) -> &[u8] {
    let is_name = |b: &u8| is_phrase_byte(*b) || b" \t\r\n".contains(b);
    let length = text.iter().take_while(|b| is_name(b)).count();
    &text[length..]
}

fn skip_white_space(text: &[u8]) -> &[u8] {
    text.trim_ascii_start()
}

/// A byte of an unquoted word of a name; dots are `obs-phrase` (RFC 5322 section 4.1) and common.
fn is_phrase_byte(byte: u8) -> bool {
    is_atext(byte) || byte == b'.' || byte >= 0x80
}

/// `dot-atom@dot-atom` or `dot-atom@[literal]` at the start of `text`, and what follows it.
fn addr_spec(text: &[u8]) -> Option<(&str, &[u8])> {
    let localpart = dot_atom(text)?;
    let domain_text = text[localpart..].strip_prefix(b"@")?;
    let domain = domain(domain_text)?;
    let (address, after) = text.split_at(localpart + 1 + domain);
    // RFC 2047 section 5 forbids encoded words here. Some readers decode them all the same, or let
    // one that begins in the name end here.
    let encoded =
        address.contains(&b'?') && address.windows(2).any(|pair| matches!(pair, b"=?" | b"?="));
    let address = std::str::from_utf8(address).ok()?;
    (!encoded).then_some((address, after))
}

/// Length of the domain name or address literal at the start of `text`.
fn domain(text: &[u8]) -> Option<usize> {
    match text.strip_prefix(b"[") {
        Some(literal) => {
            let end = literal.iter().position(|&b| b == b']')?;
            let literal = std::str::from_utf8(&literal[..end]).ok()?;
            is_address_literal(literal).then_some(end + 2)
        }
        None => dns_name(text),
    }
}

/// Whether an IPv4 or IPv6 address stands between the brackets of a literal.
fn is_address_literal(literal: &str) -> bool {
    const TAG: &str = "IPv6:";
    match literal.split_at_checked(TAG.len()) {
        Some((tag, address)) if tag.eq_ignore_ascii_case(TAG) => {
            address.parse::<Ipv6Addr>().is_ok()
        }
        _ => literal.parse::<Ipv4Addr>().is_ok(),
    }
}

/// Length of the domain name at the start of `text`.
fn dns_name(text: &[u8]) -> Option<usize> {
    let length = leading(text, DNS);
    let labels_are_sound = text[..length]
        .split(|&b| b == b'.')
        .all(|label| !label.is_empty());
    labels_are_sound.then_some(length)
}

/// Length of the `dot-atom-text` at the start of `text`.
///
/// Dots may stand at the ends and next to each other: relays have let people choose addresses like
/// that, and the caller compares the whole of it.
fn dot_atom(text: &[u8]) -> Option<usize> {
    let length = leading(text, DOT_ATOM);
    (length > 0).then_some(length)
}

/// A byte of a domain name.
const DNS: u8 = 1;
/// `atext` or a dot.
const DOT_ATOM: u8 = 2;

/// The classes of each byte: every message has an address to be read.
static CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0u8;
    while byte < 128 {
        let dns = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        let dot_atom = is_atext(byte) || byte == b'.';
        classes[byte as usize] = (dns as u8 * DNS) | (dot_atom as u8 * DOT_ATOM);
        byte += 1;
    }
    classes
};

/// How many bytes at the start of `text` are of a class.
fn leading(text: &[u8], class: u8) -> usize {
    let other = |b: &u8| CLASSES[usize::from(*b)] & class == 0;
    text.iter().position(other).unwrap_or(text.len())
}

/// What follows the quoted string whose opening quote stands before `text`.
fn skip_quoted_string(text: &[u8]) -> Option<&[u8]> {
    let mut i = 0;
    loop {
        match *text.get(i)? {
            b'"' => return Some(&text[i + 1..]),
            b'\\' => i += 2,
            0 => return None,
            _ => i += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_characters_of_an_address_are_those_of_the_standard() {
        for byte in 0..=u8::MAX {
            let is = |marks: &[u8]| byte.is_ascii_alphanumeric() || marks.contains(&byte);
            let class = CLASSES[usize::from(byte)];
            // RFC 5322 section 3.2.3, and the dots between.
            assert_eq!(class & DOT_ATOM != 0, is(b"!#$%&'*+-/=?^_`{|}~."), "{byte}");
            assert_eq!(class & DNS != 0, is(b"-_."), "{byte}");
        }
    }

    #[test]
    fn one_address_is_found_in_each_of_its_usual_forms() {
        for value in [
            "alice@chat.example",
            "  alice@chat.example\r\n",
            "<alice@chat.example>",
            "Alice <alice@chat.example>",
            "Alice<alice@chat.example>",
            "\"Alice, \\\"A.\\\" <bob@evil.example>\" <alice@chat.example>",
            "=?utf-8?q?Al=C3=ACce?= <alice@chat.example>",
            "=?utf-8?B?QQ==?=\r\n\t<alice@chat.example>",
            "Alìce B. Carrol <alice@chat.example>",
            "alice@chat.example (Alice)",
            "alice@chat.example (=?utf-8?q?Al=C3=ACce?=)",
            "Alice <alice@chat.example> (at home)",
            "Alice\n <alice@chat.example>",
            "Alice < alice@chat.example >",
            "\"\" <alice@chat.example>",
        ] {
            assert_eq!(
                plain_header_address(value.as_bytes()),
                Some("alice@chat.example"),
                "{value:?}"
            );
        }
        assert_eq!(
            plain_header_address(b"Al\xefce <alice@chat.example>"),
            Some("alice@chat.example")
        );
        assert_eq!(
            plain_header_address(b"..a..@chat.example"),
            Some("..a..@chat.example")
        );
    }

    #[test]
    fn an_address_literal_is_that_of_an_ipv4_or_ipv6_address() {
        for literal in [
            "[203.0.113.7]",
            "[IPv6:2001:db8::7]",
            "[ipv6:2001:DB8:0:0:0:0:0:7]",
            "[IPv6:::ffff:203.0.113.7]",
        ] {
            let address = format!("Mailer-Daemon@{literal}");
            for value in [
                address.clone(),
                format!("<{address}>"),
                format!("Mail Delivery System <{address}>"),
                format!("{address} (Mail Delivery System)"),
            ] {
                let read = header_address(value.as_bytes());
                assert_eq!(read.as_deref(), Some(&*address), "{value}");
            }
        }
        for literal in [
            "[]",
            "[203.0.113]",
            "[203.0.113.07]",
            "[203.0.113.256]",
            "[2001:db8::7]",
            "[IPv6:]",
            "[IPv6:2001:db8::7::]",
            "[IPv6:203.0.113.7]",
            "[IPv6:2001:db8::7%eth0]",
            "[IPv4:203.0.113.7]",
            "[ 203.0.113.7 ]",
            "[chat.example]",
            "[203.0.113.7",
        ] {
            let value = format!("<alice@{literal}>");
            assert_eq!(header_address(value.as_bytes()), None, "{value}");
        }
    }

    #[test]
    fn rarer_forms_that_all_readers_read_alike_hold_one_address() {
        for value in [
            "(Alice) alice@chat.example",
            "( ) alice@chat.example",
            "(Alice)\r\n <alice@chat.example>",
            "(at work) Alice <alice@chat.example>",
            "Alice (at work) <alice@chat.example>",
            "Alice(at work)<alice@chat.example>",
            "\"Alice\" (at work) <alice@chat.example>",
            "<alice@chat.example (at work)>",
            "Alice <(at work) alice@chat.example>",
            "alice @chat.example",
            "alice@ chat.example",
            "alice \t@ chat.example (Alice)",
            "<alice @ chat.example>",
            "Alice < alice @ chat.example >",
            "<\"alice\"@chat.example>",
            "Alice <\"alice\" @ chat.example>",
        ] {
            let address = header_address(value.as_bytes());
            assert_eq!(address.as_deref(), Some("alice@chat.example"), "{value:?}");
            assert_eq!(plain_header_address(value.as_bytes()), None, "{value:?}");
        }
        let literal = header_address(b"<\"a.b\"@ [IPv6:2001:db8::7]>");
        assert_eq!(literal.as_deref(), Some("a.b@[IPv6:2001:db8::7]"));
    }

    #[test]
    fn anything_else_holds_no_single_address() {
        for value in [
            "",
            " ",
            "Alice",
            "<>",
            "alice@",
            "@chat.example",
            "alice@chat.example, bob@chat.example",
            "alice@chat.example bob@chat.example",
            "<alice@chat.example> <bob@chat.example>",
            "<alice@chat.example>, ",
            "Alice, Bob <alice@chat.example>",
            "alice@chat.example <bob@chat.example>",
            "Alice bob@evil.example <alice@chat.example>",
            "Friends: alice@chat.example;",
            "<@relay.example:alice@chat.example>",
            "\"alice\"@chat.example",
            "\"alice\" @chat.example",
            "<\"al ice\"@chat.example>",
            "<\"al\\ice\"@chat.example>",
            "<\".alice\"@chat.example>",
            "<\"al..ice\"@chat.example>",
            "<\"\"@chat.example>",
            "<\"alice@chat.example>",
            "<\"=?utf-8?q?alice?=\"@chat.example>",
            "alice\r\n @chat.example",
            "<alice@\r\n chat.example>",
            "Bob alice @chat.example",
            "alice @chat.example, bob@chat.example",
            "alice @ chat.example @evil.example",
            "alice(Alice)@chat.example",
            "<alice(Alice)@chat.example>",
            "<alice@(Alice)chat.example>",
            "(Alice) (Bob) alice@chat.example",
            "(Alice) alice@chat.example (Bob)",
            "(Alice) <alice@chat.example (Bob)>",
            "(Alice (or Bob)) alice@chat.example",
            "(<bob@evil.example>) alice@chat.example",
            "(Bob, ) alice@chat.example",
            "(=?utf-8?q?Bob?=) alice@chat.example",
            "(Bob\\) alice@chat.example",
            "(Bob\") alice@chat.example",
            "Alice (Bob) Carrol <alice@chat.example>",
            "(Alice",
            "(Alice)",
            "\"two\" \"strings\" <alice@chat.example>",
            "\"Alice\" bob@evil.example <alice@chat.example>",
            "\"a\\\" <alice@chat.example>",
            "al(ice)@chat.example",
            "(bob@evil.example) alice@chat.example",
            "alice@chat.example (Alice (or Bob))",
            "alice@chat.example (Alice) (Bob)",
            "<alice@chat.example",
            "alice@chat.example>",
            "\"Alice <alice@chat.example>",
            "(Alice <alice@chat.example>",
            "Alice\0 <alice@chat.example>",
            "\"Alice\0\" <alice@chat.example>",
            "alicé@chat.example",
            "alice@chat.example@evil.example",
            "alice@[]",
            "alice@.chat.example",
            "alice@chat..example",
            "alice@chat.example.",
            "alice@chat!example",
            "alice@[203.0.113.7",
            "alice@chat.example;",
            "=?utf-8?q?alice?=@chat.example",
            "alice@chat.example (<bob@evil.example>)",
            "<alice@chat.example> (Bob, or)",
            "alice@chat.example (\")",
            "=?utf-8?q?=0A?= <alice@chat.example>",
            "\"=?utf-8?b?QQo=?=\" <alice@chat.example>",
            "alice@chat.example (=?utf-8?q?=0d=0a?=)",
            "=?utf-8?q?=0A?= (at work) <alice@chat.example>",
            "Alice <=?utf-8?q?eve=40evil=2Eexample?=@chat.example>",
            "=?utf-8?q?Alice <alice?=eve@chat.example>",
        ] {
            assert_eq!(header_address(value.as_bytes()), None, "{value:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_found_is_a_bare_address_inside_the_field(
            value in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..120),
                "[ab@.<>(),:;\"\\\\\r\n \t\\[\\]]{0,40}".prop_map(String::into_bytes),
            ]
        ) {
            if let Some(address) = header_address(&value) {
                let (localpart, domain) = address.split_once('@').unwrap();
                prop_assert!(!localpart.is_empty() && !domain.is_empty() && !domain.contains('@'));
                // Blanks and quotes may stand inside it.
                let bare: Vec<u8> = value.iter().copied().filter(|b| !b" \t\"".contains(b)).collect();
                prop_assert!(bare.windows(address.len()).any(|w| w == address.as_bytes()));
                prop_assert_eq!(plain_header_address(address.as_bytes()), Some(&*address));
                let angled = format!("<{address}>");
                prop_assert_eq!(plain_header_address(angled.as_bytes()), Some(&*address));
            }
        }
    }
}
