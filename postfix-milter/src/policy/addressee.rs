//! Classifies envelope addresses: ours, elsewhere, or ambiguous.

use chatmail_core::address::{Address, MailDomain};

use super::envelope::{self, Parts};

/// Where a recipient belongs, as Postfix reads the address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Addressee {
    /// A user of this relay; `None` if no mailbox can have this name.
    Ours(Option<Address>),
    /// Somebody at another domain.
    Elsewhere,
    /// Cannot be decided: Postfix may find another address in this one.
    Ambiguous,
}

/// Characters by which mail servers find an address in a localpart. Postfix does so for every `@`,
/// quoted or not, that is followed by one of its own domains. The literal of any interface of this host
/// always is one, whatever `mydestination` says.
const ROUTING: &[u8] = b"%!@";

impl Addressee {
    /// Reads an address in any of its spellings.
    pub(super) fn of(address: &[u8], ours: &MailDomain) -> Addressee {
        let Parts { localpart, domain } = envelope::parts(address);
        let routes = localpart.iter().any(|octet| ROUTING.contains(octet));
        match domain.as_deref() {
            // Postfix appends our domain to an address without one.
            None if localpart.is_empty() || routes => Addressee::Ambiguous,
            None => Addressee::ours(&localpart, ours),
            Some(b"") => Addressee::Ambiguous,
            Some([b'[', ..]) if routes => Addressee::Ambiguous,
            Some(domain) if !domain.eq_ignore_ascii_case(ours.in_address().as_bytes()) => {
                Addressee::Elsewhere
            }
            Some(_) if routes => Addressee::Ambiguous,
            Some(_) => Addressee::ours(&localpart, ours),
        }
    }

    fn ours(localpart: &[u8], ours: &MailDomain) -> Addressee {
        let localpart = without_detail(localpart);
        let address = [localpart, b"@", ours.in_address().as_bytes()].concat();
        Addressee::Ours(Address::parse(&address, ours))
    }
}

/// `alice` for `alice+news`: `recipient_delimiter = +` as Postfix and Dovecot have it.
fn without_detail(localpart: &[u8]) -> &[u8] {
    match localpart.iter().position(|&b| b == b'+') {
        // A leading plus is part of the name.
        Some(plus) if plus > 0 => &localpart[..plus],
        _ => localpart,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addressee(address: &str, domain: &str) -> Addressee {
        let domain = MailDomain::parse(domain).unwrap();
        Addressee::of(address.as_bytes(), &domain)
    }

    #[test]
    fn an_address_in_which_postfix_finds_another_is_ambiguous() {
        for address in [
            "bob%chat.test@[127.0.0.1]",
            "chat.test!bob@[127.0.0.1]",
            "bob@chat.test@[127.0.0.1]",
            "\"bob@chat.test\"@[127.0.0.1]",
            "bob\\@chat.test@[127.0.0.1]",
            "\"bob@chat.test\"@[127.1]",
            "\"bob@chat.test\"@[127.000.000.001]",
            "\"bob@chat.test\"@[127.0.0.1].",
            "\"bob@chat.test\"@[IPv6:::1]",
            "@relay.test:bob%chat.test@[127.0.0.1]",
            "@[127.0.0.1]:bob%chat.test",
            "bob%chat.test",
            "chat.test!bob",
            "\"bob@chat.test\"",
            "bob%elsewhere.test@chat.test",
            "elsewhere.test!bob@chat.test",
            "bob@elsewhere.test@chat.test",
            "bob%chat.test.",
            "bob@",
            "bob@chat.test@",
            "@",
            "",
            "\"\"",
        ] {
            assert_eq!(
                addressee(address, "chat.test"),
                Addressee::Ambiguous,
                "{address}"
            );
        }
    }

    #[test]
    fn the_literal_of_a_relay_is_its_domain_and_others_are_not() {
        let ours = |address| addressee(address, "203.0.113.7");
        let domain = MailDomain::parse("203.0.113.7").unwrap();
        let bob = Address::parse(b"bob@[203.0.113.7]", &domain);
        assert!(bob.is_some());
        for address in [
            "bob@[203.0.113.7]",
            "Bob",
            "bob@[203.0.113.7].",
            "\"bob\"@[203.0.113.7]",
        ] {
            assert_eq!(ours(address), Addressee::Ours(bob.clone()), "{address}");
        }
        for address in ["bob%x@[203.0.113.7]", "\"bob@[203.0.113.7]\"@[127.0.0.1]"] {
            assert_eq!(ours(address), Addressee::Ambiguous, "{address}");
        }
        for address in [
            "bob@203.0.113.7",
            "bob@[203.0.113.07]",
            "bob@[IPv6:::ffff:203.0.113.7]",
            "bob@[127.0.0.1]",
            "bob@chat.test",
        ] {
            assert_eq!(ours(address), Addressee::Elsewhere, "{address}");
        }
    }

    #[test]
    fn at_other_domains_the_localpart_is_for_others_to_read() {
        for address in [
            "bob%chat.test@elsewhere.test",
            "chat.test!bob@elsewhere.test",
            "\"bob@chat.test\"@elsewhere.test",
            "bob@[203.0.113.7]",
            "bob@chat.test.elsewhere.test",
        ] {
            assert_eq!(
                addressee(address, "chat.test"),
                Addressee::Elsewhere,
                "{address}"
            );
        }
    }
}
