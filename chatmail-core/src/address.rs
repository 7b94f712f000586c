//! Addresses of this relay, and the mail domain they belong to.
//!
//! There are two notions of an address. [`Address::parse`] accepts every address that may name a
//! mailbox directory, so that existing accounts are found whatever their names. [`Address::parse_new`]
//! accepts only what a new account may have: names that every mail server and client can use.
//!
//! ```
//! use chatmail_core::address::{Address, MailDomain, header_address};
//!
//! let domain = MailDomain::parse("nine.testrun.org").unwrap();
//! let address = Address::parse(b"Alice@nine.testrun.org", &domain).unwrap();
//! assert_eq!(address.as_str(), "alice@nine.testrun.org");
//! assert_eq!(Address::parse(b"../etc@nine.testrun.org", &domain), None);
//! assert!(Address::parse(b"alice+x@nine.testrun.org", &domain).is_some());
//! assert!(Address::parse_new(b"alice+x@nine.testrun.org", &domain).is_err());
//!
//! let author = header_address(b"Alice <alice@nine.testrun.org>");
//! assert_eq!(author.as_deref(), Some("alice@nine.testrun.org"));
//! ```

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

mod grammar;
mod header;

pub use grammar::{AddressError, LOCALPART_MAX, address_pattern, username_characters};
pub use header::header_address;
#[cfg(feature = "filter")]
pub(crate) use header::plain_header_address;

/// Longest name of a directory on the file systems mail is kept on (`NAME_MAX`), in bytes.
const ADDRESS_MAX: usize = 255;

/// How addresses of automatic tests begin. Reports do not count them as people, and nobody takes them over
/// from another relay.
pub const CI_PREFIXES: [&str; 2] = ["ci-", "ac_"];

/// The mail domain: a DNS name, or an IPv4 literal that stands bare in `chatmail.ini` and in
/// brackets in an address (RFC 5321 section 4.1.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailDomain {
    bare: String,
    literal: bool,
}

impl MailDomain {
    /// Reads the value of `mail_domain`. `None` if it is neither a DNS name nor an IPv4 address.
    ///
    /// A DNS name may hold `_`, as relays for tests do (`_chat.example`), and becomes lower case.
    pub fn parse(text: &str) -> Option<MailDomain> {
        if text.parse::<Ipv4Addr>().is_ok() {
            return Some(MailDomain {
                bare: text.to_owned(),
                literal: true,
            });
        }
        let labels_are_sound = text.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        });
        // No top-level domain is a number (RFC 3696 section 2): this is a mistyped IPv4 address.
        let ends_in_a_number = text
            .rsplit('.')
            .next()
            .is_some_and(|label| label.bytes().all(|b| b.is_ascii_digit()));
        (text.len() <= 253 && labels_are_sound && !ends_in_a_number).then(|| MailDomain {
            bare: text.to_ascii_lowercase(),
            literal: false,
        })
    }

    /// As in `chatmail.ini` and host names: `nine.testrun.org`, `203.0.113.7`.
    pub fn bare(&self) -> &str {
        &self.bare
    }

    /// As after the `@`: `nine.testrun.org`, `[203.0.113.7]`.
    pub fn in_address(&self) -> String {
        if self.literal {
            format!("[{}]", self.bare)
        } else {
            self.bare.clone()
        }
    }

    /// Whether this is an IPv4 literal, which has no DNS and so neither DKIM nor ACME.
    pub fn is_literal(&self) -> bool {
        self.literal
    }

    /// Whether `domain`, as it stands after the `@` of an address, is this domain.
    fn matches(&self, domain: &[u8]) -> bool {
        let domain = if self.literal {
            match domain {
                [b'[', inner @ .., b']'] => inner,
                _ => return false,
            }
        } else {
            domain
        };
        domain.eq_ignore_ascii_case(self.bare.as_bytes())
    }
}

/// The network address that an address literal names (RFC 5321 section 4.1.3): `[203.0.113.7]` or
/// `[IPv6:2001:db8::7]`, as it stands after the `@`. An IPv6 address that stands for an IPv4 address
/// (RFC 4291 section 2.5.5.2) is returned as that one. `None` for a DNS name or another kind of literal.
pub fn literal(domain: &str) -> Option<IpAddr> {
    let text = domain.strip_prefix('[')?.strip_suffix(']')?;
    let address = match text.split_at_checked("IPv6:".len()) {
        Some((tag, address)) if tag.eq_ignore_ascii_case("IPv6:") => {
            IpAddr::V6(address.parse::<Ipv6Addr>().ok()?)
        }
        _ => IpAddr::V4(text.parse::<Ipv4Addr>().ok()?),
    };
    Some(address.to_canonical())
}

/// An address of this relay in lower case, safe as the name of a directory: exactly one `@`, our
/// domain, at most 255 bytes, and before the `@` only what RFC 5321 section 4.1.2 allows without
/// quotes, less `/` and `..`. A dot may stand at either end.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address(String);

impl Address {
    /// `None`: no address of ours, so there is nothing to find. Never an error.
    ///
    /// For a new account, use [`Address::parse_new`].
    pub fn parse(bytes: &[u8], domain: &MailDomain) -> Option<Address> {
        let at = bytes.iter().position(|&b| b == b'@')?;
        let localpart = &bytes[..at];
        let sound = bytes.len() <= ADDRESS_MAX
            && !localpart.is_empty()
            && localpart
                .iter()
                .all(|&b| is_atext(b) && b != b'/' || b == b'.')
            && !localpart.windows(2).any(|pair| pair == b"..")
            && domain.matches(&bytes[at + 1..]);
        if !sound {
            return None;
        }
        // Never lossy: everything above is ASCII.
        let text = String::from_utf8_lossy(bytes).to_ascii_lowercase();
        Some(Address(text))
    }

    /// The whole address.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What stands before the `@`.
    pub fn localpart(&self) -> &str {
        self.0.split('@').next().unwrap_or_default()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for Address {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

/// `atext` of RFC 5322 section 3.2.3.
const fn is_atext(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'/' | b'=' | b'?' | b'^'..=b'`' | b'{'..=b'~'
        )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn domain(text: &str) -> MailDomain {
        MailDomain::parse(text).unwrap()
    }

    #[test]
    fn a_literal_names_one_network_address() {
        for (domain, address) in [
            ("[203.0.113.7]", "203.0.113.7"),
            ("[IPv6:2001:db8::7]", "2001:db8::7"),
            ("[ipv6:2001:DB8:0::7]", "2001:db8::7"),
            ("[IPv6:::ffff:203.0.113.7]", "203.0.113.7"),
        ] {
            let address: IpAddr = address.parse().expect("an address");
            assert_eq!(literal(domain), Some(address), "{domain}");
        }
        for domain in [
            "",
            "[]",
            "chat.test",
            "203.0.113.7",
            "[203.0.113.7",
            "[203.0.113.07]",
            "[203.0.113]",
            "[2001:db8::7]",
            "[IPv6:203.0.113.7]",
            "[IPv6:2001:db8::7%eth0]",
            "[IPv6:]",
            "[host]",
            "[203.0.113.7].test",
        ] {
            assert_eq!(literal(domain), None, "{domain}");
        }
    }

    #[test]
    fn a_mail_domain_is_a_dns_name_or_a_bare_ipv4_address() {
        for good in [
            "nine.testrun.org",
            "_chat.example",
            "localhost",
            "xn--bcher-kva.example",
        ] {
            assert!(!domain(good).is_literal(), "{good}");
        }
        assert!(domain("203.0.113.7").is_literal());
        for bad in [
            "",
            ".",
            "a..b",
            ".a",
            "a.",
            "-a.b",
            "a-.b",
            "a b",
            "a/b",
            "..",
            "user@host",
            "[203.0.113.7]",
            "203.0.113.256",
            "203.0.113",
            "1.2.3.4.5",
            "bücher.example",
            "a\nb",
            "a\0b",
            "::1",
        ] {
            assert_eq!(MailDomain::parse(bad), None, "{bad:?}");
        }
        assert_eq!(MailDomain::parse(&"a".repeat(64)), None);
        assert_eq!(MailDomain::parse(&["a"; 128].join(".")), None);
    }

    #[test]
    fn an_ipv4_literal_stands_in_brackets_in_an_address() {
        let literal = domain("203.0.113.7");
        assert_eq!(literal.in_address(), "[203.0.113.7]");
        assert_eq!(literal.bare(), "203.0.113.7");
        assert!(Address::parse(b"alice@[203.0.113.7]", &literal).is_some());
        assert_eq!(Address::parse(b"alice@203.0.113.7", &literal), None);
        assert_eq!(Address::parse(b"alice@[203.0.113.8]", &literal), None);
        assert_eq!(
            Address::parse(b"alice@[chat.example]", &domain("chat.example")),
            None
        );
    }

    #[test]
    fn an_address_is_lower_cased_and_split_at_its_at() {
        let address = Address::parse(b"Al.Ice+1@Chat.EXAMPLE", &domain("chat.example")).unwrap();
        assert_eq!(address.as_str(), "al.ice+1@chat.example");
        assert_eq!(address.localpart(), "al.ice+1");
    }

    #[test]
    fn what_is_no_address_of_ours_is_not_found() {
        let ours = domain("chat.example");
        for bad in [
            &b""[..],
            b"@",
            b"alice",
            b"@chat.example",
            b"alice@",
            b"alice@other.example",
            b"alice@chat.example.",
            b"alice@@chat.example",
            b"alice@bob@chat.example",
            b"alice@chat.example@chat.example",
            b"../alice@chat.example",
            b"a/b@chat.example",
            b"..@chat.example",
            b"a..b@chat.example",
            b"alice\0@chat.example",
            b"alice\n@chat.example",
            b"alice @chat.example",
            b"alice@chat.example\n",
            b"alice@chat.example\0",
            b"\"a b\"@chat.example",
            b"alic\xe9@chat.example",
            "alicé@chat.example".as_bytes(),
            b"alice@chat.example/..",
        ] {
            assert_eq!(
                Address::parse(bad, &ours),
                None,
                "{:?}",
                String::from_utf8_lossy(bad)
            );
        }
        let longest = [&b"a".repeat(255 - 13)[..], b"@chat.example"].concat();
        assert!(Address::parse(&longest, &ours).is_some());
        assert_eq!(Address::parse(&[b"a", &longest[..]].concat(), &ours), None);
    }

    proptest! {
        #[test]
        fn an_address_is_one_step_below_the_directory_of_mailboxes(
            bytes in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..300),
                "[./a-zA-Z@_\\\\\0\n-]{0,40}@chat\\.example".prop_map(String::into_bytes),
            ]
        ) {
            if let Some(address) = Address::parse(&bytes, &domain("chat.example")) {
                let base = std::path::Path::new("/home/vmail/mail/chat.example");
                let path = base.join(address.as_str());
                prop_assert_eq!(path.parent(), Some(base));
                prop_assert_eq!(path.components().count(), base.components().count() + 1);
                prop_assert!(!address.as_str().bytes().any(|b| b <= b' ' || b >= 0x7f || b == b'/'));
                prop_assert!(address.as_str().len() <= 255);
                let again = Address::parse(address.as_str().as_bytes(), &domain("chat.example"));
                prop_assert_eq!(Some(address), again);
            }
        }

        #[test]
        fn any_text_is_a_mail_domain_or_not(text in any::<String>()) {
            if let Some(domain) = MailDomain::parse(&text) {
                prop_assert!(!domain.bare().contains('/'));
                prop_assert!(!domain.bare().contains(".."));
            }
        }
    }
}
