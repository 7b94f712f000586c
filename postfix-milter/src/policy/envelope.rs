//! What Postfix makes of an envelope address before it delivers there.
//!
//! Clients write one mailbox in many ways, and the filter sees what they wrote. Postfix takes off
//! quotes, comments, a source route and a final dot, and completes an address without a domain
//! (trivial-rewrite(8), with the settings that `chatmail render` writes: `domain!user` and
//! `user%domain` are localparts). A check of the text alone would pass addresses that bounce later.

/// Localpart and domain, without quotes. Never an error: text that is not an address becomes a name
/// that nobody has.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Parts {
    pub(super) localpart: Vec<u8>,
    /// `None` if there is no `@`.
    pub(super) domain: Option<Vec<u8>>,
}

/// Takes an address apart.
pub(super) fn parts(address: &[u8]) -> Parts {
    let mut text = plain(address);
    if text.first() == Some(&Char::Syntax(b'@'))
        && let Some(colon) = position(&text, b':')
    {
        text.drain(..=colon);
    }
    let at = text.iter().rposition(|c| *c == Char::Syntax(b'@'));
    let domain = at.map(|at| {
        let mut domain = text.split_off(at + 1);
        text.truncate(at);
        if domain.last() == Some(&Char::Syntax(b'.')) {
            domain.pop();
        }
        octets(&domain)
    });
    Parts {
        localpart: octets(&text),
        domain,
    }
}

/// An octet, and whether it stood outside of quotes, where it may have a meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Char {
    Syntax(u8),
    Quoted(u8),
}

/// Without quotes, comments, white space, and what stands around angle brackets.
fn plain(address: &[u8]) -> Vec<Char> {
    let mut text = Vec::with_capacity(address.len());
    let mut quoted = false;
    let mut comments = 0_usize;
    let mut octets = address.iter().copied();
    while let Some(octet) = octets.next() {
        match octet {
            b'\\' => {
                if let Some(next) = octets.next().filter(|_| comments == 0) {
                    text.push(Char::Quoted(next));
                }
            }
            b'"' if comments == 0 => quoted = !quoted,
            _ if quoted => text.push(Char::Quoted(octet)),
            b'(' => comments += 1,
            b')' => comments = comments.saturating_sub(1),
            _ if comments > 0 || octet.is_ascii_whitespace() => {}
            b'<' => text.clear(),
            b'>' => break,
            _ => text.push(Char::Syntax(octet)),
        }
    }
    text
}

fn position(text: &[Char], syntax: u8) -> Option<usize> {
    text.iter().position(|c| *c == Char::Syntax(syntax))
}

fn octets(text: &[Char]) -> Vec<u8> {
    let octet = |c: &Char| match *c {
        Char::Syntax(octet) | Char::Quoted(octet) => octet,
    };
    text.iter().map(octet).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(address: &str) -> (String, Option<String>) {
        let Parts { localpart, domain } = parts(address.as_bytes());
        let text = |octets| String::from_utf8(octets).unwrap();
        (text(localpart), domain.map(text))
    }

    #[test]
    fn one_mailbox_is_written_in_many_ways() {
        for address in [
            "bob@chat.test",
            "bob@chat.test.",
            "\"bob\"@chat.test",
            "\"b\\ob\"@chat.test",
            "b\\ob@chat.test",
            "\"b\"ob@chat.test",
            "@relay.test:bob@chat.test",
            "@relay.test,@other.test:bob@chat.test",
            "bob(a (nested) comment)@chat.test(comp)",
            " bob @ chat.test ",
            "Bob <bob@chat.test>",
        ] {
            let expected = ("bob".to_owned(), Some("chat.test".to_owned()));
            assert_eq!(written(address), expected, "{address}");
        }
    }

    #[test]
    fn what_is_quoted_has_no_meaning() {
        for (address, localpart, domain) in [
            ("\"a@b\"@chat.test", "a@b", Some("chat.test")),
            ("\"bob@chat.test\"", "bob@chat.test", None),
            ("bob\\@chat.test", "bob@chat.test", None),
            ("\"b ob\"@chat.test", "b ob", Some("chat.test")),
            ("chat.test!bob", "chat.test!bob", None),
            ("bob%chat.test", "bob%chat.test", None),
            ("bob", "bob", None),
            ("bob@", "bob", Some("")),
            ("", "", None),
            ("a%b@chat.test", "a%b", Some("chat.test")),
            ("a!b@chat.test", "a!b", Some("chat.test")),
            ("a@b@chat.test", "a@b", Some("chat.test")),
        ] {
            let expected = (localpart.to_owned(), domain.map(str::to_owned));
            assert_eq!(written(address), expected, "{address}");
        }
    }

    proptest! {
        #[test]
        fn no_address_is_too_odd_to_take_apart(
            address in prop_oneof![any::<Vec<u8>>(), "[ab@\"\\\\()<>:!%., ]{0,30}".prop_map(String::into_bytes)],
        ) {
            let Parts { localpart, domain } = parts(&address);
            prop_assert!(localpart.len() + domain.map_or(0, |domain| domain.len()) <= address.len());
        }
    }
}
