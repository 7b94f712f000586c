//! The one address inside a From header field (RFC 5322 section 3.4).

use super::is_atext;

/// The address in the value of a From header field, exactly as it stands there. `None` unless the
/// field holds exactly one.
///
/// The value may be folded. Read are `a@b`, `<a@b>` and `Name <a@b>`, with comments and quoted
/// strings wherever RFC 5322 has them around the address, and dots and 8-bit characters in the
/// name. Deliberately not read: lists, groups, source routes, an `@` in an unquoted name, quoted
/// localparts, white space inside the address, and anything but ASCII in the address. Readers of
/// mail disagree about those, and a filter must not see another sender than the recipient's client.
pub fn header_address(value: &[u8]) -> Option<&str> {
    let mut rest = value;
    let mut phrase = false;
    loop {
        rest = skip_cfws(rest)?;
        match *rest.first()? {
            b'<' => {
                let (address, after) = addr_spec(skip_cfws(&rest[1..])?)?;
                let after = skip_cfws(after)?.strip_prefix(b">")?;
                return skip_cfws(after)?.is_empty().then_some(address);
            }
            b'"' => {
                rest = skip_quoted_string(&rest[1..])?;
                phrase = true;
            }
            _ => {
                let word = rest.iter().take_while(|&&b| is_phrase_byte(b)).count();
                match rest.get(word) {
                    Some(b'@') if !phrase => {
                        let (address, after) = addr_spec(rest)?;
                        return skip_cfws(after)?.is_empty().then_some(address);
                    }
                    _ if word == 0 => return None,
                    _ => {
                        rest = &rest[word..];
                        phrase = true;
                    }
                }
            }
        }
    }
}

/// A byte of an unquoted word of a name; dots are `obs-phrase` (RFC 5322 section 4.1) and common.
fn is_phrase_byte(byte: u8) -> bool {
    is_atext(byte) || byte == b'.' || byte >= 0x80
}

/// `dot-atom@dot-atom` or `dot-atom@[literal]` at the start of `text`, and what follows it.
fn addr_spec(text: &[u8]) -> Option<(&str, &[u8])> {
    let localpart = dot_atom(text)?;
    let domain_text = text[localpart..].strip_prefix(b"@")?;
    let domain = match domain_text.first()? {
        b'[' => {
            let inner = domain_text[1..]
                .iter()
                .take_while(|&&b| b.is_ascii_alphanumeric() || b == b'.' || b == b':')
                .count();
            (domain_text.get(1 + inner) == Some(&b']') && inner > 0).then_some(inner + 2)?
        }
        _ => dot_atom(domain_text)?,
    };
    let (address, after) = text.split_at(localpart + 1 + domain);
    Some((std::str::from_utf8(address).ok()?, after))
}

/// Length of the `dot-atom-text` at the start of `text`.
///
/// Dots may stand at the ends and next to each other: addresses like that exist, and the caller
/// compares the whole of it.
fn dot_atom(text: &[u8]) -> Option<usize> {
    let length = text
        .iter()
        .take_while(|&&b| is_atext(b) || b == b'.')
        .count();
    (length > 0).then_some(length)
}

/// Skips white space, folds and comments, which nest. `None` if a comment does not end.
fn skip_cfws(text: &[u8]) -> Option<&[u8]> {
    let mut depth = 0usize;
    let mut i = 0;
    while let Some(&byte) = text.get(i) {
        match byte {
            b'(' => depth += 1,
            b')' if depth > 0 => depth -= 1,
            b'\\' if depth > 0 => i += 1,
            b' ' | b'\t' | b'\r' | b'\n' => {}
            0 => return None,
            _ if depth > 0 => {}
            _ => break,
        }
        i += 1;
    }
    (depth == 0).then(|| text.get(i..).unwrap_or_default())
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
    fn one_address_is_found_in_each_of_its_usual_forms() {
        for value in [
            "alice@chat.example",
            "  alice@chat.example\r\n",
            "<alice@chat.example>",
            "Alice <alice@chat.example>",
            "Alice<alice@chat.example>",
            "\"Alice, \\\"A.\\\" <bob@evil.example>\" <alice@chat.example>",
            "=?utf-8?q?Al=C3=ACce?= <alice@chat.example>",
            "Alìce B. Carrol <alice@chat.example>",
            "(bob@evil.example) alice@chat.example (Alice (or (bob)\\)))",
            "Alice\r\n\t<alice@chat.example>",
            "Alice\n <alice@chat.example>",
            "Alice < alice@chat.example >",
            "\"\" <alice@chat.example>",
        ] {
            assert_eq!(
                header_address(value.as_bytes()),
                Some("alice@chat.example"),
                "{value:?}"
            );
        }
        assert_eq!(
            header_address(b"<Alice@[203.0.113.7]>"),
            Some("Alice@[203.0.113.7]")
        );
        assert_eq!(
            header_address(b"..a..@chat.example"),
            Some("..a..@chat.example")
        );
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
            "Friends: alice@chat.example;",
            "<@relay.example:alice@chat.example>",
            "\"alice\"@chat.example",
            "alice @chat.example",
            "alice@ chat.example",
            "al(ice)@chat.example",
            "<alice@chat.example",
            "alice@chat.example>",
            "\"Alice <alice@chat.example>",
            "(Alice <alice@chat.example>",
            "Alice\0 <alice@chat.example>",
            "alicé@chat.example",
            "alice@chat.example@evil.example",
            "alice@[]",
            "alice@[203.0.113.7",
            "alice@chat.example;",
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
                prop_assert!(value.windows(address.len()).any(|w| w == address.as_bytes()));
                prop_assert_eq!(header_address(address.as_bytes()), Some(address));
                let angled = format!("<{address}>");
                prop_assert_eq!(header_address(angled.as_bytes()), Some(address));
            }
        }
    }
}
