//! The one address of a From field (RFC 5322 section 3.4), read strictly.
//!
//! `From: ` is what readers show as the author, and what DKIM vouches for. A field in which two
//! readers find two authors is refused: a list, a group, a route, an address as display name.

/// The address of a field with exactly one mailbox: `a@b`, `name <a@b>`, `"name" <a@b>`,
/// `a@b (name)`. `None` for anything else.
pub(super) fn address(value: &[u8]) -> Option<&str> {
    let value = std::str::from_utf8(value).ok()?.trim_ascii();
    if let Some(before_end) = value.strip_suffix('>') {
        let (name, address) = before_end.rsplit_once('<')?;
        return (is_address(address) && is_display_name(name.trim_ascii_end())).then_some(address);
    }
    let (address, comment) = match value.split_once('(') {
        Some((address, comment)) => (address.trim_ascii_end(), comment.strip_suffix(')')?),
        None => (value, ""),
    };
    (is_address(address) && !comment.contains(['(', ')', '\\'])).then_some(address)
}

/// Nothing, one quoted string, or words without a character that separates addresses. Encoded
/// words are such words.
fn is_display_name(name: &str) -> bool {
    if let Some(quoted) = name.strip_prefix('"') {
        let Some(mut inner) = quoted.strip_suffix('"') else {
            return false;
        };
        // Escapes: a backslash takes the next character with it, the closing quote excepted.
        while let Some(at) = inner.find(['"', '\\']) {
            let (_, tail) = inner.split_at(at);
            let mut characters = tail.chars();
            if characters.next() == Some('"') || characters.next().is_none() {
                return false;
            }
            inner = characters.as_str();
        }
        return true;
    }
    !name.contains(['"', '\\', '<', '>', '@', ',', ';', ':', '(', ')', '[', ']'])
}

/// A localpart of plain atoms, and a domain or a bracketed literal.
fn is_address(address: &str) -> bool {
    let Some((localpart, domain)) = address.split_once('@') else {
        return false;
    };
    let dotted = |text: &str, is_atom: fn(u8) -> bool| {
        text.split('.')
            .all(|atom| !atom.is_empty() && atom.bytes().all(is_atom))
    };
    let literal = domain
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let domain_holds = match literal {
        Some(literal) => {
            !literal.is_empty()
                && literal
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b".:".contains(&byte))
        }
        None => dotted(domain, |byte| {
            byte.is_ascii_alphanumeric() || b"-_".contains(&byte)
        }),
    };
    address.len() <= 254 && domain_holds && dotted(localpart, is_atext)
}

fn is_atext(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_is_found_in_each_usual_form() {
        for value in [
            "alice@chat.test",
            " alice@chat.test ",
            "<alice@chat.test>",
            "Alice <alice@chat.test>",
            "Alice B. Carol <alice@chat.test>",
            "\"Alice, B.\" <alice@chat.test>",
            "\"Al\\\"ice\" <alice@chat.test>",
            "=?utf-8?q?Al=C3=AFce?= <alice@chat.test>",
            "Al\u{ef}ce <alice@chat.test>",
            "=?utf-8?B?QQ==?=\r\n\t<alice@chat.test>",
            "alice@chat.test (Alice)",
        ] {
            assert_eq!(
                address(value.as_bytes()),
                Some("alice@chat.test"),
                "{value}"
            );
        }
        assert_eq!(address(b"<a@[203.0.113.7]>"), Some("a@[203.0.113.7]"));
    }

    #[test]
    fn a_field_with_two_possible_authors_has_none() {
        for value in [
            "",
            "alice",
            "alice@",
            "@chat.test",
            "alice@chat@test",
            "alice@chat.test, eve@chat.test",
            "eve@chat.test <alice@chat.test>",
            "<eve@chat.test> <alice@chat.test>",
            "<eve@chat.test>, <alice@chat.test>",
            "friends: alice@chat.test;",
            "<@relay.test:alice@chat.test>",
            "alice@chat.test (eve (nested))",
            "\"unclosed <alice@chat.test>",
            "\"two\" \"strings\" <alice@chat.test>",
            "\"a\\\" <alice@chat.test>",
            "alice @chat.test",
            "a lice@chat.test",
            "\"alice\"@chat.test",
            "<alice@chat.test",
            "alice@chat.test>",
            "alice@chat..test",
            "alice@[]",
            "al\u{ef}ce@chat.test",
            "(comment) alice@chat.test",
        ] {
            assert_eq!(address(value.as_bytes()), None, "{value}");
        }
    }
}
